"""Robustness section: levels, noise, shortened clips, sample rates and codecs, each compared with HAAQI itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr
from matplotlib.figure import Figure as Picture

from ...evaluation.predictors import ScorerJudge, judge_of
from ...haaqi.index import Ear, Reference
from ...runtime.audiogram import STANDARD
from ...training.corpus.clips import Corpus
from ...training.corpus.synthetic import RATE
from ...training.data.rendering import presented, reference_of
from ...training.data.rows import PRESENTATION, SYNTHETIC, Row
from ...training.degradations import chain_of
from ...training.degradations.sampling import random_chain
from ...training.statistics import agreement
from ..context import Workbench
from ..parallel import spread
from ..report.plots import axes, band, colour, reach
from ..report.published import BEST_LEVEL
from ..report.schema import Figure, Section
from ..report.section_builder import DRAWS, Sheet
from ..studies.sanity import LISTENERS, RANKED, SNRS, Trial, rank_correlation, trials

TITLE: Final = "Robustness"
SECONDS: Final = 10.0
LEVELS: Final = tuple(float(level) for level in range(35, 100, 5))
"""presentation levels in dB SPL"""
CUTS: Final = (0.32, 0.64, 1.0, 2.0, 3.0, 5.0, 8.0)
"""durations of shortened clips in seconds"""
RATES: Final = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000)
"""sample rates in Hz"""
CODECS: Final = {
    **{f"MP3, {kbps} kbit/s": ("mp3", {"kbps": float(kbps)}) for kbps in (16, 32, 56)},
    **{f"Vorbis, quality {quality:g}": ("vorbis", {"quality": quality}) for quality in (0.0, 0.25, 0.5)},
    **{f"Opus, {kbps} kbit/s": ("opus", {"kbps": float(kbps)}) for kbps in (8, 16, 32)},
}
CLIPS: Final = {"levels": 96, "others": 40}
QUICK: Final = {"levels": 5, "others": 4}
EXCERPT: Final = 5.0
"""seconds of each clip in a quick run"""
_FIRST: Final = 200_000_000
"""number of the first synthetic piece; training and calibration use other pieces"""
_STEPS: Final = 0.01
"""largest rise of a score from one SNR to the next lower one that does not count as a rise"""
Scores = list[float]


def measure(bench: Workbench) -> Section:
    """Run each test on its clips in parallel processes; nano is the model under test."""
    sheet, clips = Sheet("robustness", TITLE), QUICK if bench.options.quick else CLIPS
    if bench.corpus is None:
        sheet.lacks(
            "robustness on real music",
            "it needs clips with their CLIPS.csv: --music; pieces composed by chance stand in",
        )
    if bench.options.quick:
        sheet.lacks(
            f"more than {clips['levels']} and {clips['others']} clips of {EXCERPT:g} s", "a quick run has no time"
        )
    _levels(sheet, _over(bench, "levels", clips["levels"], _at_levels))
    _noise(sheet, _over(bench, "noise", clips["others"], _in_noise))
    _cuts(sheet, _over(bench, "cuts", clips["others"], _cut_short))
    _rates(sheet, _over(bench, "rates", clips["others"], _resampled))
    _codecs(sheet, _over(bench, "codecs", clips["others"], _coded))
    return sheet.section()


def _over(bench: Workbench, what: str, clips: int, work: Callable[[Trial, int], Any]) -> list[Any]:
    """Call `work` with each of the clips and its number; return the results."""

    def made() -> list[Any]:
        material = heard(bench.options.music, clips, bench.options.seed)
        if bench.options.quick:
            material = [one.excerpt(EXCERPT, one.row.listener, one.row.seed) for one in material]
        calls = [(trial, number) for number, trial in enumerate(material)]
        return spread(work, calls, bench.options.jobs, lambda done: bench.told(f"robustness: {what}", done, clips))

    settings = (clips, bench.options.music, bench.options.seed, bench.options.quick)
    return list(bench.store.cell(f"robustness/{what}", settings, made))


def heard(music: Path | None, clips: int, seed: int) -> list[Trial]:
    """Return clips of the test split, selected as in `sanity`, or synthetic pieces if there is no music.

    Args:
        music: folder of clips with its CLIPS.csv, or None.
        clips: number of clips.
        seed: of the selection.
    """
    if music is not None:
        return trials(Corpus(music), clips, seed)
    found = []
    for number in range(clips):
        listener = LISTENERS[number % len(LISTENERS)]
        name = f"{SYNTHETIC}{_FIRST + 1_000 * seed + number}"
        row = Row(
            "test", name, 0.0, SECONDS, "", "", seed + number, "nal-r", PRESENTATION, listener, STANDARD[listener]
        )
        clean, rate = reference_of(row, _NOWHERE)
        assert rate == RATE
        found.append(Trial(row, clean, rate))
    return found


class _Nowhere(Corpus):
    """The corpus of synthetic pieces, which are not files."""

    def __init__(self) -> None:
        self.folder, self.clips = Path(), []


_NOWHERE: Final = _Nowhere()


@cache
def _judge() -> ScorerJudge:
    judge = judge_of("nano", threads=1)
    assert isinstance(judge, ScorerJudge)
    return judge


def _both(trial: Trial, chains: Sequence[str]) -> list[Scores]:
    """Return the scores of nano and of HAAQI for each chain, [2][chains]."""
    judge, reference = _judge(), Reference(trial.clean, trial.rate, Ear(trial.listener))
    sounds = [trial.heard(chain)[0] for chain in chains]
    return [
        [judge((sound, trial.rate), trial.listener) for sound in sounds],
        [reference.score(sound, trial.rate).score for sound in sounds],
    ]


def _at_levels(trial: Trial, number: int) -> list[Scores]:
    """Score one randomly degraded sound at each level; return nano's scores and HAAQI's, [2][levels]."""
    chain = random_chain(np.random.default_rng([23, number]), speech=False)
    judge, found = _judge(), []
    for level in LEVELS:
        gain = 10 ** ((level - trial.row.level) / 20)
        row = replace(trial.row, chain=chain, level=level)
        clean = trial.clean * gain
        sound = presented(row, clean, trial.rate)
        haaqi = Reference(clean, trial.rate, Ear(trial.listener)).score(sound, trial.rate).score
        found.append([judge((sound, trial.rate), trial.listener), haaqi])
    return [list(column) for column in zip(*found, strict=True)]


def _in_noise(trial: Trial, _: int) -> list[Scores]:
    return _both(trial, [chain_of(("noise", {"snr": snr})) for snr in SNRS])


def _cut_short(trial: Trial, number: int) -> Scores:
    """Return the score of the beginning, for each shorter duration, minus the score of the whole sound."""
    sound, rate = trial.heard(random_chain(np.random.default_rng([29, number]), speech=False))
    judge = _judge()
    whole = judge((sound, rate), trial.listener)
    return [
        judge((sound[: round(seconds * rate)], rate), trial.listener) - whole
        for seconds in CUTS
        if seconds < trial.row.duration
    ]


def _resampled(trial: Trial, number: int) -> Scores:
    """Return the score at each sample rate, minus the score at the clip's own rate."""
    sound, rate = trial.heard(random_chain(np.random.default_rng([31, number]), speech=False))
    judge = _judge()
    own = judge((sound, rate), trial.listener)
    return [judge((soxr.resample(sound, rate, to, "VHQ"), to), trial.listener) - own for to in RATES]


def _coded(trial: Trial, _: int) -> list[Scores]:
    return _both(trial, ["", *(chain_of(link) for link in CODECS.values())])


def _levels(sheet: Sheet, found: list[list[Scores]]) -> None:
    nano, haaqi = np.array(found).transpose(1, 2, 0)  # [levels, clips] each
    draws = np.random.default_rng(0).integers(0, nano.shape[1], (DRAWS, nano.shape[1]))
    rows, errors = [], {}
    for level, mine, label in zip(LEVELS, nano, haaqi, strict=True):
        told = agreement(mine, label)
        lcc = np.array([np.corrcoef(mine[d], label[d])[0, 1] for d in draws if np.ptp(mine[d]) and np.ptp(label[d])])
        figure = sheet.derived(
            f"levels/{level:g}/lcc",
            f"at {level:g} dB SPL, LCC",
            told.lcc,
            *np.quantile(lcc, [0.025, 0.975]),
            better="higher",
        )
        of = f"clips, seed and levels as in robustness/levels ({nano.shape[1]})"
        error = sheet.sampled(
            f"levels/{level:g}/mse", f"at {level:g} dB SPL, MSE", (mine - label) ** 2, of=of, statistic="mean"
        )
        errors[level] = (mine - label) ** 2
        rows.append(
            [
                f"{level:g}",
                ranged(figure),
                f"{told.srcc:.3f}",
                ranged(error, 4),
                f"{mine.mean():.3f}",
                f"{label.mean():.3f}",
            ]
        )
    sheet.table(
        "Presentation level",
        ["dB SPL", "LCC (95%)", "SRCC", "MSE (95%)", "mean score", "mean HAAQI"],
        rows,
        f"{nano.shape[1]} sounds, each at every level, random conditions, NAL-R for standard listeners.",
    )
    means = {level: float(values.mean()) for level, values in errors.items()}
    best = min(means, key=lambda level: means[level])
    gap = errors[BEST_LEVEL] - errors[best]
    spread = np.quantile(gap[draws].mean(axis=1), [0.025, 0.975])
    sheet.derived(
        "levels/65 worse than best",
        f"MSE at 65 dB SPL less that at the best level, {best:g}",
        gap.mean(),
        *spread,
        better="lower",
    )
    surely = "surely" if spread[0] > 0 else "not surely"
    sheet.said.append(
        "The published networks are best at 65 dB SPL. nano's error is smallest at "
        + (f"{best:g} dB SPL too." if best == BEST_LEVEL else f"{best:g} dB SPL, {surely} smaller than at 65.")
    )


def _noise(sheet: Sheet, found: list[list[Scores]]) -> None:
    rows = []
    by = np.array(found).transpose(1, 0, 2)  # [2, clips, SNRs]
    for name, scores in zip(("nano", "HAAQI"), by, strict=True):
        ranks = np.array([rank_correlation(one.tolist()) for one in scores])
        falls = (np.diff(scores, axis=1) <= _STEPS).all(axis=1)
        title = f"{name}: clips whose score falls with the SNR (rank correlation of {RANKED} or more)"
        share = sheet.share(f"noise/{name}/monotone", title, ranks >= RANKED)
        rows.append(
            [name, ranged(share, 0), f"{100 * falls.mean():.0f}%", f"{np.median(ranks):.3f}", f"{ranks.min():.3f}"]
        )
        for snr, values in zip(SNRS, scores.T, strict=True):
            sheet.sampled(
                f"noise/{name}/{snr:g}",
                f"{name}: mean score at {snr:g} dB",
                values,
                of="clips",
                statistic="mean",
                better=None,
            )
    sheet.table(
        f"Speech-shaped noise, {SNRS[0]:g} to {SNRS[-1]:g} dB SNR",
        [
            "",
            f"% of clips with a rank correlation of {RANKED} or more (95%)",
            f"no step up by more than {_STEPS}",
            "median correlation",
            "lowest",
        ],
        rows,
        f"{by.shape[1]} clips of the otherwise clean music, amplified by NAL-R, {len(SNRS)} ratios.",
    )
    clips = f"{by.shape[1]} clips"
    sheet.target(f"nano: clips whose score falls with the SNR ({clips})", "noise/nano/monotone", "at least", 95.0)


def _cuts(sheet: Sheet, found: list[Scores]) -> None:
    names = [f"{seconds:g} s" for seconds in CUTS[: min(map(len, found))]]
    cut = [one[: len(names)] for one in found]
    _changes(sheet, "cuts", names, cut, "Clips cut short: change from the whole clip")


def _rates(sheet: Sheet, found: list[Scores]) -> None:
    names = [f"{rate / 1000:g} kHz" for rate in RATES]
    _changes(sheet, "rates", names, found, "Other sample rates: change from the clip's own")
    sheet.said.append(
        "Rates below 16 kHz take away what the front end hears up to 8 kHz: there a change of the score is "
        "right, not an error."
    )


def _changes(sheet: Sheet, key: str, names: Sequence[str], found: list[Scores], title: str) -> None:
    rows = []
    for name, values in zip(names, np.array(found).T, strict=True):
        figure = sheet.sampled(
            f"{key}/{name}",
            f"{name}: mean absolute change",
            np.abs(values),
            of=f"clips ({len(values)})",
            statistic="mean",
        )
        rows.append([name, ranged(figure, 4), f"{np.quantile(np.abs(values), 0.95):.4f}", f"{values.mean():+.4f}"])
    sheet.table(title, ["", "mean absolute change (95%)", "95th percentile", "mean change"], rows)


def _codecs(sheet: Sheet, found: list[list[Scores]]) -> None:
    nano, haaqi = np.array(found).transpose(1, 2, 0)
    rows = []
    for name, mine, label in zip(("uncoded", *CODECS), nano, haaqi, strict=True):
        figures = [
            sheet.sampled(
                f"codecs/{who}/{name}", f"{who}: mean score, {name}", v, of="clips", statistic="mean", better=None
            )
            for who, v in (("nano", mine), ("HAAQI", label))
        ]
        rows.append([name, *(ranged(f) for f in figures), f"{np.abs(mine - label).mean():.3f}"])
    sheet.table("Codec round trips of clean music", ["", "nano (95%)", "HAAQI (95%)", "mean absolute error"], rows)


def ranged(figure: Figure, digits: int = 3) -> str:
    """Format a value with its interval."""
    if figure.value is None:
        return "–"
    spread = "" if figure.low is None else f" ({figure.low:.{digits}f} to {figure.high:.{digits}f})"
    return f"{figure.value:.{digits}f}{spread}"


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the results for levels, noise, shortened clips and codecs."""
    picture, ((levels, noise), (cuts, codecs)) = axes(2, 2, size=(11.0, 8.0))
    band(levels, LEVELS, [section.figure(f"robustness/levels/{x:g}/mse") for x in LEVELS], "MSE", colour("nano"))
    levels.axvline(BEST_LEVEL, color="#8b949e", linestyle="--", linewidth=1)
    levels.set(xlabel="dB SPL", ylabel="mean squared error", title="Presentation level")
    levels.set_ylim(bottom=0)
    for name in ("HAAQI", "nano"):
        band(noise, SNRS, [section.figure(f"robustness/noise/{name}/{x:g}") for x in SNRS], name, colour(name))
    noise.set(xlabel="SNR in dB", ylabel="mean score", title="Noise", ylim=(0, 1))
    noise.legend()
    band(cuts, CUTS, [section.figure(f"robustness/cuts/{x:g} s") for x in CUTS], "nano", colour("nano"))
    cuts.set(xscale="log", xlabel="seconds kept", ylabel="mean absolute change", title="Clips cut short")
    kept = [x for x in CUTS if section.figure(f"robustness/cuts/{x:g} s")]
    cuts.set_xticks(kept, [f"{x:g}" for x in kept])
    cuts.minorticks_off()
    cuts.set_ylim(bottom=0)
    names = ("uncoded", *CODECS)
    places: npt.NDArray[np.float64] = np.arange(len(names), dtype=float)
    for turn, name in enumerate(("HAAQI", "nano")):
        found = [section.figure(f"robustness/codecs/{name}/{codec}") for codec in names]
        values = [f.value if f and f.value is not None else np.nan for f in found]
        ends = [reach(f) for f in found]
        codecs.barh(
            places + 0.38 * turn - 0.19,
            values,
            height=0.36,
            color=colour(name),
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
    caption = (
        "nano under other levels, noise, cuts and codecs, with 95% intervals; HAAQI itself where it has an answer."
    )
    return {"robustness": (picture, caption)}
