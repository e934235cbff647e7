"""Check a model on real music: haaqi-edge bench study sanity MUSIC [--model nano] [--clips N]

MUSIC is a folder of clips with its CLIPS.csv, of which the test split is used. The program tests four properties that
you can expect of a quality score. The score falls as noise rises. Clean music with a fitted hearing aid gets a high
score. The file format does not matter. Another listener changes the score as it changes HAAQI. The exit code does not
depend on the results, because the program only measures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scipy import stats

from ...evaluation.predictors import Judge, judge_of
from ...haaqi.index import HAAQI_FREQUENCIES, Ear, Reference
from ...runtime.audio.levels import LEVEL1, SILENCE, amplitude
from ...runtime.audiogram import STANDARD, Audiogram
from ...runtime.errors import CorpusError
from ...training.corpus.clips import Corpus
from ...training.data.rendering import presented, reference_of
from ...training.data.rows import PRESENTATION, Row
from ...training.degradations import chain_of
from ...training.degradations.grammar import Array
from ...training.degradations.sampling import random_chain
from ...training.degradations.signals import rms
from ..program import told_in_a_line

CLIPS: Final = 40
SECONDS: Final = 10.0
"""seconds of each clip"""
EXCERPT: Final = 5.0
"""seconds of the part of a clip that HAAQI scores"""
LISTENERS: Final = ("N1", "N2", "N3", "N4", "N5", "S1", "S2", "S3")
SNRS: Final = tuple(float(snr) for snr in range(40, -5, -4))
"""SNRs in dB"""
RANKED: Final = 0.95
"""minimum rank correlation of SNR and score at which the scores of a clip count as falling"""
BAD: Final = 0.5
"""scores of clean music below this value count as bad"""
MOVED: Final = 0.05
"""minimum change of HAAQI between two listeners that is counted"""
APART: Final = 20.0
"""minimum mean difference of two listeners' hearing levels, in dB"""
SOUNDS: Final = 3
"""number of sounds per clip that are scored for two listeners"""
TARGETS: Final = {"snr": 0.95, "clean": 0.85, "formats": 0.01, "listeners": 0.9}
_RATE: Final = 24_000
_PEAK: Final = 0.9
"""largest peak, relative to full scale; louder music is attenuated before it is written"""


class _Format(NamedTuple):
    suffix: str
    subtype: str
    rate: int = _RATE


FORMATS: Final = {
    "WAV, 16 bits": _Format("wav", "PCM_16"),
    "WAV, 24 bits": _Format("wav", "PCM_24"),
    "WAV, float": _Format("wav", "FLOAT"),
    "FLAC": _Format("flac", "PCM_16"),
    "WAV, float, 48 kHz": _Format("wav", "FLOAT", 2 * _RATE),
}


@dataclass(frozen=True)
class Trial:
    """A clip and its listener.

    Attributes:
        row: how the clean clip is presented: NAL-R, 65 dB SPL.
        clean: float64 [samples] at that level, not amplified.
        rate: sample rate in Hz.
    """

    row: Row
    clean: Array
    rate: int

    @property
    def listener(self) -> Audiogram:
        """Audiogram of the listener."""
        return Audiogram(self.row.audiogram, self.row.listener)

    def heard(self, chain: str = "") -> tuple[Array, int]:
        """Return the presented signal [samples] after a chain of degradations, and its rate in Hz."""
        return presented(replace(self.row, chain=chain), self.clean, self.rate), self.rate

    def excerpt(self, seconds: float, listener: str, seed: int) -> Trial:
        """Return the louder end of the clip, at the same level, for another listener.

        Args:
            seconds: duration of the excerpt.
            listener: name of a standard audiogram.
            seed: of the degradations.
        """
        samples = round(seconds * self.rate)
        part = max(self.clean[:samples], self.clean[-samples:], key=rms)
        row = _row(self.row.clip, min(seconds, self.row.duration), listener, seed)
        return Trial(row, part * (amplitude(row.level - LEVEL1) / rms(part)), self.rate)


def rank_correlation(scores: Sequence[float]) -> float:
    """Return Spearman's correlation of `SNRS` and their scores; 0 if all scores are equal."""
    return 0.0 if len(set(scores)) == 1 else float(stats.spearmanr(SNRS, scores).statistic)


class Ranked(NamedTuple):
    """Scores of a clip, one for each of `SNRS`."""

    trial: Trial
    scores: list[float]

    @property
    def correlation(self) -> float:
        """Spearman's correlation of SNR and score; 0 if all scores are equal."""
        return rank_correlation(self.scores)


class Change(NamedTuple):
    """Change of the score from one listener to the other, of the model and of HAAQI."""

    model: float
    haaqi: float


def trials(corpus: Corpus, clips: int, seed: int) -> list[Trial]:
    """Select clips of the test split at random, without silent ones.

    With the same seed, a larger selection contains the smaller ones.

    Args:
        corpus: the music.
        clips: number of clips; the selection is smaller if there are not enough.
        seed: of the selection.

    Raises:
        CorpusError: all clips are silent, or a clip cannot be read.
    """
    found: list[Trial] = []
    every = corpus.of("test")
    for number in np.random.default_rng(seed).permutation(len(every)):
        if len(found) == clips:
            break
        clip = every[number]
        row = _row(clip.path, SECONDS, LISTENERS[len(found) % len(LISTENERS)], seed + int(number))
        samples, _ = corpus.excerpt(row.clip, row.start, row.duration)
        if np.abs(samples).max(initial=0.0) > SILENCE:
            found.append(Trial(row, *reference_of(row, corpus)))
    if not found:
        raise CorpusError(f"no clip of split test in {corpus.folder} sounds: name some in CLIPS.csv")
    return found


def _row(clip: str, seconds: float, listener: str, seed: int) -> Row:
    """Return how the beginning of a clip is presented to a standard listener."""
    return Row("test", clip, 0.0, seconds, "", "", seed, "nal-r", PRESENTATION, listener, STANDARD[listener])


def ranked(trial: Trial, judge: Judge) -> Ranked:
    """Score a clip with the same noise at each of `SNRS`."""
    sounds = (trial.heard(chain_of(("noise", {"snr": snr}))) for snr in SNRS)
    return Ranked(trial, [judge(sound, trial.listener) for sound in sounds])


def formats(trial: Trial, judge: Judge) -> dict[str, float]:
    """Return, by format, how far the score of a file is from the score of the samples in memory."""
    x = trial.clean if trial.rate == _RATE else soxr.resample(trial.clean, trial.rate, _RATE, "VHQ")
    x = x * min(1.0, _PEAK / float(np.abs(x).max()))
    expected = judge((x, _RATE), trial.listener, spl=PRESENTATION, nal_r=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, subtype, rate) in FORMATS.items():
            path = Path(folder) / f"clip.{suffix}"
            samples = x if rate == _RATE else soxr.resample(x, _RATE, rate, "VHQ")
            soundfile.write(path, samples, rate, subtype=subtype)
            found[name] = abs(judge(path, trial.listener, spl=PRESENTATION, nal_r=True) - expected)
    return found


def changes(trial: Trial, judge: Judge) -> list[Change]:
    """Return how scores change if random sounds, amplified for one listener, are scored for another."""
    rng = np.random.default_rng([trial.row.seed, 1])
    found = []
    for number in range(SOUNDS):
        first = str(rng.choice(LISTENERS))
        second = str(rng.choice(far_from(first)))
        own = trial.excerpt(EXCERPT, first, trial.row.seed * SOUNDS + number)
        sound, rate = own.heard(random_chain(rng, speech=False))
        ears = [Audiogram.named(name) for name in (first, second)]
        model = [judge((sound, rate), ear) for ear in ears]
        haaqi = [Reference(own.clean, rate, Ear(ear)).score(sound, rate).score for ear in ears]
        found.append(Change(model[1] - model[0], haaqi[1] - haaqi[0]))
    return found


def far_from(listener: str) -> list[str]:
    """Return the standard audiograms whose levels at HAAQI's frequencies are far from those of a listener."""
    levels = {name: Audiogram.named(name).at(HAAQI_FREQUENCIES) for name in STANDARD}
    return [name for name in STANDARD if float(np.abs(levels[name] - levels[listener]).mean()) >= APART]


def snr_figures(found: Sequence[Ranked]) -> dict[str, Any]:
    """Return the share of clips whose score falls with the SNR, and related results."""
    correlations = [one.correlation for one in found]
    share = float(np.mean([correlation >= RANKED for correlation in correlations]))
    worst = min(found, key=lambda one: one.correlation)
    means = np.mean([one.scores for one in found], axis=0)
    return {
        **_judged(share, TARGETS["snr"], share >= TARGETS["snr"]),
        "clips": len(found),
        "median": float(np.median(correlations)),
        "worst": {**_named(worst.trial), "correlation": worst.correlation},
        "mean_score": {f"{snr:g}": float(mean) for snr, mean in zip(SNRS, means, strict=True)},
    }


def clean_figures(found: Sequence[tuple[Trial, float]]) -> dict[str, Any]:
    """Return the mean score of clean music, the share of bad scores, and related results."""
    scores = [score for _, score in found]
    mean, worst = float(np.mean(scores)), min(found, key=lambda one: one[1])
    listeners = {trial.row.listener for trial, _ in found}
    return {
        **_judged(mean, TARGETS["clean"], mean > TARGETS["clean"]),
        "clips": len(found),
        "bad": float(np.mean([score < BAD for score in scores])),
        "worst": {**_named(worst[0]), "score": worst[1]},
        "mean_score": {
            name: float(np.mean([score for trial, score in found if trial.row.listener == name]))
            for name in LISTENERS
            if name in listeners
        },
    }


def format_figures(found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the largest difference of a file's score, over all formats and by format."""
    by_format = {name: max(one[name] for one in found) for name in FORMATS}
    largest = max(by_format.values())
    return {
        **_judged(largest, TARGETS["formats"], largest <= TARGETS["formats"]),
        "clips": len(found),
        "by_format": by_format,
    }


def listener_figures(found: Sequence[Change]) -> dict[str, Any]:
    """Return how often the model changes in the same direction as HAAQI.

    Only pairs in which HAAQI changes by at least `MOVED` count. The share is None if there are none.
    """
    moved = [change for change in found if abs(change.haaqi) >= MOVED]
    share = float(np.mean([change.model * change.haaqi > 0 for change in moved])) if moved else None
    spread = len({change.model for change in found}) > 1 and len({change.haaqi for change in found}) > 1
    return {
        **_judged(share, TARGETS["listeners"], share is not None and share >= TARGETS["listeners"]),
        "pairs": len(found),
        "moved": len(moved),
        "correlation": float(np.corrcoef(np.array(found), rowvar=False)[0, 1]) if spread else None,
    }


def _judged(figure: float | None, target: float, met: bool) -> dict[str, Any]:
    return {"figure": figure, "target": target, "met": met}


def _named(trial: Trial) -> dict[str, str]:
    return {"clip": trial.row.clip, "listener": trial.row.listener}


def measure(
    music: str | Path, model: str | Path | Judge = "nano", clips: int = CLIPS, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Run all checks. The results are the same each time.

    Args:
        music: folder of clips with its CLIPS.csv.
        model: a shipped name, the folder of a bundle, or a predictor.
        clips: number of clips of the test split; all clips are used if there are fewer.
        seed: of all random choices.

    Returns:
        `snr`, `clean`, `formats` and `listeners`, each with its result (`figure`), its `target`, whether it is `met`,
        and further results. Numbers have six decimals.

    Raises:
        CorpusError: the music cannot be used.
        BundleNotFoundError: the bundle does not exist.
        BundleError: the bundle is invalid.
    """
    judge = judge_of(model, threads=1) if isinstance(model, str | Path) else model
    heard = trials(Corpus(music), clips, seed)
    noisy: list[Ranked] = []
    clean: list[tuple[Trial, float]] = []
    files: list[dict[str, float]] = []
    swapped: list[Change] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        for trial in bar.track(heard, description="is the model sane?"):
            noisy.append(ranked(trial, judge))
            clean.append((trial, judge(trial.heard(), trial.listener)))
            files.append(formats(trial, judge))
            swapped += changes(trial, judge)
    found = {
        "snr": snr_figures(noisy),
        "clean": clean_figures(clean),
        "formats": format_figures(files),
        "listeners": listener_figures(swapped),
    }
    return {name: _rounded(part) for name, part in found.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def table(found: dict[str, dict[str, Any]]) -> Table:
    """Return a table of the results and their targets."""
    snr, clean, files, swapped = (found[name] for name in ("snr", "clean", "formats", "listeners"))
    share = "none moved" if swapped["figure"] is None else f"{swapped['figure']:.1%}"
    worst = snr["worst"]
    lines = {
        "snr": (
            f"score falls with SNR, {SNRS[0]:g} to {SNRS[-1]:g} dB: clips with rank correlation >= {RANKED}",
            f"{snr['figure']:.1%} of {snr['clips']}; median {snr['median']:.3f}, "
            f"lowest {worst['correlation']:.3f} ({worst['listener']})",
            f">= {snr['target']:.0%}",
        ),
        "clean": (
            "clean music with NAL-R: mean score",
            f"{clean['figure']:.3f}; {clean['bad']:.1%} below {BAD}, "
            f"lowest {clean['worst']['score']:.3f} ({clean['worst']['listener']})",
            f"> {clean['target']}",
        ),
        "formats": (
            "file formats: largest difference of a score",
            f"{files['figure']:.2g} ({max(files['by_format'], key=files['by_format'].get)})",
            f"<= {files['target']}",
        ),
        "listeners": (
            f"another listener: same direction where HAAQI moves by >= {MOVED}",
            f"{share} of {swapped['moved']} in {swapped['pairs']} pairs",
            f">= {swapped['target']:.0%}",
        ),
    }
    printed = Table("check", "figure", "target", "")
    for name, cells in lines.items():
        printed.add_row(*cells, "[green]met[/]" if found[name]["met"] else "[red]missed[/]")
    return printed


def main() -> None:
    """Print the results and their targets."""
    parser = argparse.ArgumentParser(prog="haaqi-edge bench study sanity", description=__doc__)
    parser.add_argument("music", help="folder of clips with its CLIPS.csv")
    parser.add_argument("--model", default="nano", help="a shipped name or the folder of a bundle")
    parser.add_argument("--clips", type=int, default=CLIPS, help=f"so many clips of the test split ({CLIPS})")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn by chance")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    if arguments.clips < 1 or arguments.seed < 0:
        parser.error(f"--clips {arguments.clips} --seed {arguments.seed}: give at least 1, and at least 0")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"--json {arguments.json}: its folder does not exist")
    with told_in_a_line():
        found = measure(arguments.music, arguments.model, arguments.clips, arguments.seed)
    Console().print(table(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
