"""Robustness section: levels, noise, shortened clips, sample rates and codecs, each compared with HAAQI itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr
from matplotlib.figure import Figure as Picture

from ...evaluation.predictors import ScorerPredictor, open_predictor
from ...haaqi.index import Listener, Reference
from ...runtime.audio.levels import LEVEL1
from ...training.corpus.clips import Corpus
from ...training.corpus.synthetic import RATE
from ...training.data.rendering import render_presented, render_reference
from ...training.data.rows import SYNTHETIC
from ...training.degradations import format_chain
from ...training.degradations.sampling import random_chain
from ...training.statistics import agreement, bootstrap_interval, pearson, spearman
from ..context import BenchContext
from ..report.plots import create_axes, draw_band, error_bars, model_colour
from ..report.published import BEST_LEVEL
from ..report.schema import Figure, Section
from ..report.section_builder import SectionBuilder
from ..studies.sanity import LISTENERS, MIN_CORRELATION, SNRS, Trial, as_presented, make_row, select_trials

TITLE: Final = "Robustness"
_SECONDS: Final = 10.0
LEVELS: Final = tuple(float(level) for level in range(35, 100, 5))
"""presentation levels in dB SPL"""
CUT_DURATIONS: Final = (0.32, 0.64, 1.0, 2.0, 3.0, 5.0, 8.0)
"""durations of shortened clips in seconds"""
_RATES: Final = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)
"""sample rates in Hz"""
_CODECS: Final = {
    **{f"MP3, {kbps} kbit/s": ("mp3", {"kbps": float(kbps)}) for kbps in (16, 32, 56)},
    **{f"Vorbis, quality {quality:g}": ("vorbis", {"quality": quality}) for quality in (0.0, 0.25, 0.5)},
    **{f"Opus, {kbps} kbit/s": ("opus", {"kbps": float(kbps)}) for kbps in (8, 16, 32)},
}
_CLIPS: Final = {"levels": 96, "others": 40}
_QUICK_CLIPS: Final = {"levels": 5, "others": 4}
_EXCERPT: Final = 5.0
"""seconds of each clip in a quick run"""
_FIRST_PIECE: Final = 200_000_000
"""number of the first synthetic piece; training and calibration use other pieces"""
_MAX_RISE: Final = 0.01
"""largest rise of a score from one SNR to the next lower one that does not count as a rise"""
Scores = list[float]


def measure(context: BenchContext) -> Section:
    """Run each test on its clips in parallel processes. The model under test is nano."""
    builder, clips = SectionBuilder("robustness", TITLE), _QUICK_CLIPS if context.options.quick else _CLIPS
    if context.corpus is None:
        builder.add_missing(
            "robustness on real music",
            "it needs clips with their CLIPS.csv (--music); synthetic pieces are used instead",
        )
    if context.options.quick:
        builder.add_missing(
            f"more than {clips['levels']} and {clips['others']} clips of {_EXCERPT:g} s",
            "a quick run has no time for them",
        )
    _add_levels(builder, _map_trials(context, "levels", clips["levels"], _score_at_levels))
    _add_noise(builder, _map_trials(context, "noise", clips["others"], _score_in_noise))
    _add_cuts(builder, _map_trials(context, "cuts", clips["others"], _score_cut))
    _add_rates(builder, _map_trials(context, "rates", clips["others"], _score_resampled))
    _add_codecs(builder, _map_trials(context, "codecs", clips["others"], _score_coded))
    return builder.build()


def _map_trials(context: BenchContext, test: str, clips: int, work: Callable[[Trial, int], Any]) -> list[Any]:
    """Call `work` with each of the clips and its number; return the results, or load them from the store."""

    def measure_trials() -> list[Any]:
        trials = select_clips(context.options.music, clips, context.options.seed)
        if context.options.quick:
            trials = [one.excerpt(_EXCERPT, one.row.listener, one.row.seed) for one in trials]
        return context.parallel_map(partial(_call, work), list(enumerate(trials)), f"robustness: {test}")

    settings = (clips, context.options.music, context.options.seed, context.options.quick)
    return list(context.store.load_or_measure(f"robustness/{test}", settings, measure_trials))


def _call(work: Callable[[Trial, int], Any], item: tuple[int, Trial]) -> Any:
    number, trial = item
    return work(trial, number)


def select_clips(music: Path | None, clips: int, seed: int) -> list[Trial]:
    """Return clips of the test split, selected as in `sanity`, or synthetic pieces if there is no music.

    Args:
        music: folder of clips with its CLIPS.csv, or None.
        clips: number of clips.
        seed: of the selection.
    """
    if music is not None:
        return select_trials(Corpus(music), clips, seed)
    found = []
    for number in range(clips):
        listener = LISTENERS[number % len(LISTENERS)]
        name = f"{SYNTHETIC}{_FIRST_PIECE + 1_000 * seed + number}"
        row = make_row(name, _SECONDS, listener, seed + number)
        clean, rate = render_reference(row, _SYNTHETIC_CORPUS)
        assert rate == RATE
        found.append(Trial(row, clean, rate))
    return found


class _SyntheticCorpus(Corpus):
    """The corpus of synthetic pieces, which are not files."""

    def __init__(self) -> None:
        self.folder, self.clips = Path(), []


_SYNTHETIC_CORPUS: Final = _SyntheticCorpus()


@cache
def _nano() -> ScorerPredictor:
    predictor = open_predictor("nano", threads=1)
    assert isinstance(predictor, ScorerPredictor)
    return predictor


def _score_both(trial: Trial, chains: Sequence[str]) -> list[Scores]:
    """Return the scores of nano and of HAAQI for each chain, [2][chains]."""
    nano_score, reference = _nano(), Reference(trial.clean, trial.rate, Listener(trial.listener, level1=LEVEL1))
    sounds = [trial.render(chain)[0] for chain in chains]
    return [
        [nano_score(as_presented(sound, trial.rate), trial.listener) for sound in sounds],
        [reference.score(sound, trial.rate).score for sound in sounds],
    ]


def _score_at_levels(trial: Trial, number: int) -> list[Scores]:
    """Score one randomly degraded sound at each level; return nano's scores and HAAQI's, [2][levels]."""
    chain = random_chain(np.random.default_rng([23, number]), speech=False)
    nano_score, found = _nano(), []
    for level in LEVELS:
        gain = 10 ** ((level - trial.row.level) / 20)
        row = replace(trial.row, chain=chain, level=level)
        clean = trial.clean * gain
        sound = render_presented(row, clean, trial.rate)
        haaqi = Reference(clean, trial.rate, Listener(trial.listener, level1=LEVEL1)).score(sound, trial.rate).score
        found.append([nano_score(as_presented(sound, trial.rate), trial.listener), haaqi])
    return [list(column) for column in zip(*found, strict=True)]


def _score_in_noise(trial: Trial, _: int) -> list[Scores]:
    return _score_both(trial, [format_chain(("noise", {"snr": snr})) for snr in SNRS])


def _score_cut(trial: Trial, number: int) -> Scores:
    """Return the score of the beginning, for each shorter duration, minus the score of the whole sound."""
    sound, rate = trial.render(random_chain(np.random.default_rng([29, number]), speech=False))
    nano_score = _nano()
    whole = nano_score(as_presented(sound, rate), trial.listener)
    return [
        nano_score(as_presented(sound[: round(seconds * rate)], rate), trial.listener) - whole
        for seconds in CUT_DURATIONS
        if seconds < trial.row.duration
    ]


def _score_resampled(trial: Trial, number: int) -> Scores:
    """Return the score at each sample rate, minus the score at the clip's own rate."""
    sound, rate = trial.render(random_chain(np.random.default_rng([31, number]), speech=False))
    nano_score = _nano()
    own = nano_score(as_presented(sound, rate), trial.listener)
    sounds = [as_presented(soxr.resample(sound, rate, to, "VHQ"), to) for to in _RATES]
    return [nano_score(one, trial.listener) - own for one in sounds]


def _score_coded(trial: Trial, _: int) -> list[Scores]:
    return _score_both(trial, ["", *(format_chain(link) for link in _CODECS.values())])


def _add_levels(builder: SectionBuilder, scores: list[list[Scores]]) -> None:
    """Add agreement and error at each level, from scores [clips][2][levels]."""
    nano, haaqi = np.array(scores).transpose(1, 2, 0)  # [levels, clips] each
    rows, errors = [], {}
    for level, predicted, label in zip(LEVELS, nano, haaqi, strict=True):
        metrics = agreement(predicted, label)
        lcc = builder.add_derived(
            f"levels/{level:g}/lcc",
            f"at {level:g} dB SPL, LCC",
            metrics.lcc,
            *bootstrap_interval(pearson, predicted, label),
            better="higher",
        )
        errors[level] = (predicted - label) ** 2
        of = f"clips, seed and levels as in robustness/levels ({nano.shape[1]})"
        mse = builder.add_measurements(
            f"levels/{level:g}/mse", f"at {level:g} dB SPL, MSE", errors[level], of=of, statistic="mean"
        )
        rows.append(
            [
                f"{level:g}",
                _format_with_interval(lcc),
                f"{metrics.srcc:.3f}",
                _format_with_interval(mse, 4),
                f"{predicted.mean():.3f}",
                f"{label.mean():.3f}",
            ]
        )
    builder.add_table(
        "Presentation level",
        ["dB SPL", "LCC (95%)", "SRCC", "MSE (95%)", "mean score", "mean HAAQI"],
        rows,
        f"{nano.shape[1]} sounds, each at every level, random conditions, NAL-R for standard listeners.",
    )
    means = {level: float(values.mean()) for level, values in errors.items()}
    best = min(means, key=lambda level: means[level])
    excess = errors[BEST_LEVEL] - errors[best]
    interval = bootstrap_interval(np.mean, excess)
    builder.add_derived(
        "levels/65 worse than best",
        f"MSE at 65 dB SPL less that at the best level, {best:g}",
        excess.mean(),
        *interval,
        better="lower",
    )
    verdict = "significantly" if interval.low > 0 else "but not significantly"
    builder.statements.append(
        "The published networks are most accurate at 65 dB SPL. nano's error is smallest at "
        + (f"{best:g} dB SPL, too." if best == BEST_LEVEL else f"{best:g} dB SPL, {verdict} smaller than at 65.")
    )


def _add_noise(builder: SectionBuilder, scores: list[list[Scores]]) -> None:
    """Add how scores change with the SNR, from scores [clips][2][SNRs]."""
    rows = []
    by_model = np.array(scores).transpose(1, 0, 2)  # [2, clips, SNRs]
    count = by_model.shape[1]
    for name, of_model in zip(("nano", "HAAQI"), by_model, strict=True):
        correlations = spearman(SNRS, of_model)  # NaN for a constant score
        falls = (np.diff(of_model, axis=1) <= _MAX_RISE).all(axis=1)
        title = f"{name}: clips whose score falls with the SNR (rank correlation of {MIN_CORRELATION} or more)"
        share = builder.add_share(f"noise/{name}/monotone", title, correlations >= MIN_CORRELATION)
        rows.append(
            [
                name,
                _format_with_interval(share, 0),
                f"{100 * falls.mean():.0f}%",
                f"{np.median(correlations):.3f}",
                f"{correlations.min():.3f}",
            ]
        )
        for snr, values in zip(SNRS, of_model.T, strict=True):
            builder.add_measurements(
                f"noise/{name}/{snr:g}",
                f"{name}: mean score at {snr:g} dB",
                values,
                of="clips",
                statistic="mean",
                better=None,
            )
    builder.add_table(
        f"Speech-shaped noise, {SNRS[0]:g} to {SNRS[-1]:g} dB SNR",
        [
            "",
            f"% of clips with a rank correlation of {MIN_CORRELATION} or more (95%)",
            f"no rise by more than {_MAX_RISE}",
            "median correlation",
            "lowest",
        ],
        rows,
        f"{count} clips of otherwise clean music, amplified by NAL-R, {len(SNRS)} ratios.",
    )
    builder.add_target(
        f"nano: clips whose score falls with the SNR ({count} clips)", "noise/nano/monotone", "at least", 95.0
    )


def _add_cuts(builder: SectionBuilder, changes: list[Scores]) -> None:
    durations = [f"{seconds:g} s" for seconds in CUT_DURATIONS[: min(map(len, changes))]]
    changes = [one[: len(durations)] for one in changes]
    _add_changes(builder, "cuts", durations, changes, "Shortened clips: change from the whole clip")


def _add_rates(builder: SectionBuilder, changes: list[Scores]) -> None:
    names = [f"{rate / 1000:g} kHz" for rate in _RATES]
    _add_changes(builder, "rates", names, changes, "Other sample rates: change from the clip's own")
    builder.statements.append(
        "Sample rates below 16 kHz remove frequencies that the front end uses (up to 8 kHz). There a change of the "
        "score is correct, not an error."
    )


def _add_changes(builder: SectionBuilder, key: str, names: Sequence[str], changes: list[Scores], title: str) -> None:
    """Add the changes of scores [clips][names]."""
    rows = []
    for name, values in zip(names, np.array(changes).T, strict=True):
        figure = builder.add_measurements(
            f"{key}/{name}",
            f"{name}: mean absolute change",
            np.abs(values),
            of=f"clips ({len(values)})",
            statistic="mean",
        )
        tail = np.quantile(np.abs(values), 0.95)
        rows.append([name, _format_with_interval(figure, 4), f"{tail:.4f}", f"{values.mean():+.4f}"])
    builder.add_table(title, ["", "mean absolute change (95%)", "95th percentile", "mean change"], rows)


def _add_codecs(builder: SectionBuilder, scores: list[list[Scores]]) -> None:
    """Add the scores after each codec, from scores [clips][2][codecs]."""
    nano, haaqi = np.array(scores).transpose(1, 2, 0)
    rows = []
    for name, predicted, label in zip(("uncoded", *_CODECS), nano, haaqi, strict=True):
        figures = [
            builder.add_measurements(
                f"codecs/{model}/{name}",
                f"{model}: mean score, {name}",
                values,
                of="clips",
                statistic="mean",
                better=None,
            )
            for model, values in (("nano", predicted), ("HAAQI", label))
        ]
        rows.append([name, *(_format_with_interval(f) for f in figures), f"{np.abs(predicted - label).mean():.3f}"])
    builder.add_table(
        "Codec round trips of clean music", ["", "nano (95%)", "HAAQI (95%)", "mean absolute error"], rows
    )


def _format_with_interval(figure: Figure, digits: int = 3) -> str:
    """Format a value with its interval."""
    if figure.value is None:
        return "–"
    interval = "" if figure.low is None else f" ({figure.low:.{digits}f} to {figure.high:.{digits}f})"
    return f"{figure.value:.{digits}f}{interval}"


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the results for levels, noise, shortened clips and codecs."""
    picture, ((levels, noise), (cuts, codecs)) = create_axes(2, 2, size=(11.0, 8.0))
    draw_band(
        levels, LEVELS, [section.figure(f"robustness/levels/{x:g}/mse") for x in LEVELS], "MSE", model_colour("nano")
    )
    levels.axvline(BEST_LEVEL, color="#8b949e", linestyle="--", linewidth=1)
    levels.set(xlabel="dB SPL", ylabel="mean squared error", title="Presentation level")
    levels.set_ylim(bottom=0)
    for name in ("HAAQI", "nano"):
        draw_band(
            noise, SNRS, [section.figure(f"robustness/noise/{name}/{x:g}") for x in SNRS], name, model_colour(name)
        )
    noise.set(xlabel="SNR in dB", ylabel="mean score", title="Noise", ylim=(0, 1))
    noise.legend()
    draw_band(
        cuts,
        CUT_DURATIONS,
        [section.figure(f"robustness/cuts/{x:g} s") for x in CUT_DURATIONS],
        "nano",
        model_colour("nano"),
    )
    cuts.set(xscale="log", xlabel="seconds", ylabel="mean absolute change", title="Shortened clips")
    shown = [x for x in CUT_DURATIONS if section.figure(f"robustness/cuts/{x:g} s")]
    cuts.set_xticks(shown, [f"{x:g}" for x in shown])
    cuts.minorticks_off()
    cuts.set_ylim(bottom=0)
    names = ("uncoded", *_CODECS)
    places: npt.NDArray[np.float64] = np.arange(len(names), dtype=float)
    for row, name in enumerate(("HAAQI", "nano")):
        figures = [section.figure(f"robustness/codecs/{name}/{codec}") for codec in names]
        values = [f.value if f and f.value is not None else np.nan for f in figures]
        ends = [error_bars(f) for f in figures]
        codecs.barh(
            places + 0.38 * row - 0.19,
            values,
            height=0.36,
            color=model_colour(name),
            label=name,
            xerr=np.array(ends).T,
            error_kw={"ecolor": "#8b949e", "elinewidth": 1},
        )
    codecs.set_yticks(places, names, fontsize=8.5)
    codecs.invert_yaxis()
    codecs.grid(axis="y", visible=False)
    codecs.set(xlabel="mean score", xlim=(0, 1))
    codecs.set_title("Codecs", loc="right")
    codecs.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    caption = "nano by level, SNR, duration and codec, with 95% intervals; HAAQI itself by SNR and codec."
    return {"robustness": (picture, caption)}
