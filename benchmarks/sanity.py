"""Whether a model is sane on real music: python -m haaqi_edge.benchmarks.sanity MUSIC [--model nano] [--clips N]

MUSIC is a folder of clips with its CLIPS.csv, whose test split is heard. Four things that anybody may expect of a
quality: it falls as noise rises, clean music for which the hearing aid is fitted sounds good, the file's format does
not matter, and another listener changes it as HAAQI does. Exit code 0 whatever is found: this measures.
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

from ..calibration.judges import Judge, judge_of
from ..haaqi.index import HAAQI_FREQUENCIES, Ear, Reference
from ..runtime.audiogram import STANDARD, Audiogram
from ..runtime.errors import CorpusError
from ..runtime.levels import LEVEL1, SILENCE, amplitude
from ..training.corpus.clips import Corpus
from ..training.data.rendering import presented, reference_of
from ..training.data.rows import PRESENTATION, Row
from ..training.degradations import chain_of
from ..training.degradations.grammar import Array
from ..training.degradations.sampling import random_chain
from ..training.degradations.signals import rms
from .program import told_in_a_line

CLIPS: Final = 40
SECONDS: Final = 10.0
"""of a clip"""
EXCERPT: Final = 5.0
"""seconds of it that HAAQI hears"""
LISTENERS: Final = ("N1", "N2", "N3", "N4", "N5", "S1", "S2", "S3")
SNRS: Final = tuple(float(snr) for snr in range(40, -5, -4))
"""dB"""
RANKED: Final = 0.95
"""rank correlation of SNR and score above which a clip's scores count as falling"""
BAD: Final = 0.5
"""a score that clean music should not get"""
MOVED: Final = 0.05
"""change of HAAQI from one listener to the other that counts"""
APART: Final = 20.0
"""dB between two listeners' levels, in the mean"""
SOUNDS: Final = 3
"""of a clip that are scored for two listeners"""
TARGETS: Final = {"snr": 0.95, "clean": 0.85, "formats": 0.01, "listeners": 0.9}
_RATE: Final = 24_000
_PEAK: Final = 0.9
"""of full scale; louder music is turned down before it is written"""


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
    """A clip, and who hears it.

    Attributes:
        row: how the clean clip is presented: NAL-R, 65 dB SPL.
        clean: float64 [samples] at that level, not amplified.
        rate: Hz.
    """

    row: Row
    clean: Array
    rate: int

    @property
    def listener(self) -> Audiogram:
        """Who hears it."""
        return Audiogram(self.row.audiogram, self.row.listener)

    def heard(self, chain: str = "") -> tuple[Array, int]:
        """The presented signal [samples] after a chain of conditions, and its rate."""
        return presented(replace(self.row, chain=chain), self.clean, self.rate), self.rate

    def excerpt(self, seconds: float, listener: str, seed: int) -> Trial:
        """The louder of the clip's two ends, at the same level, for another listener."""
        samples = round(seconds * self.rate)
        part = max(self.clean[:samples], self.clean[-samples:], key=rms)
        row = _row(self.row.clip, min(seconds, self.row.duration), listener, seed)
        return Trial(row, part * (amplitude(row.level - LEVEL1) / rms(part)), self.rate)


def rank_correlation(scores: Sequence[float]) -> float:
    """Spearman's, of `SNRS` and a score for each; 0 where the scores don't differ."""
    return 0.0 if len(set(scores)) == 1 else float(stats.spearmanr(SNRS, scores).statistic)


class Ranked(NamedTuple):
    """A clip's scores, one for each of `SNRS`."""

    trial: Trial
    scores: list[float]

    @property
    def correlation(self) -> float:
        """Spearman's, of SNR and score; 0 where the scores don't differ."""
        return rank_correlation(self.scores)


class Change(NamedTuple):
    """From one listener to the other: the model's, and HAAQI's."""

    model: float
    haaqi: float


def trials(corpus: Corpus, clips: int, seed: int) -> list[Trial]:
    """So many clips of the test split, drawn by chance, those of a smaller number among them; silent ones are left out.

    Raises:
        CorpusError: none that sounds, or one that cannot be read.
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
    """How a clip's beginning is presented to a standard listener."""
    return Row("test", clip, 0.0, seconds, "", "", seed, "nal-r", PRESENTATION, listener, STANDARD[listener])


def ranked(trial: Trial, judge: Judge) -> Ranked:
    """A clip's scores as the same noise rises."""
    sounds = (trial.heard(chain_of(("noise", {"snr": snr}))) for snr in SNRS)
    return Ranked(trial, [judge(sound, trial.listener) for sound in sounds])


def formats(trial: Trial, judge: Judge) -> dict[str, float]:
    """By format, how far the score of a file is from that of the samples in memory."""
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
    """What happens to the scores of random sounds, amplified for one listener, when another one hears them."""
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
    """The standard audiograms whose levels, where HAAQI reads them, are far from one's."""
    levels = {name: Audiogram.named(name).at(HAAQI_FREQUENCIES) for name in STANDARD}
    return [name for name in STANDARD if float(np.abs(levels[name] - levels[listener]).mean()) >= APART]


def snr_figures(found: Sequence[Ranked]) -> dict[str, Any]:
    """The share of clips whose score falls with the SNR."""
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
    """The mean score of clean music, and the share that is called bad."""
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
    """The largest difference of a file's score, of all and by format."""
    by_format = {name: max(one[name] for one in found) for name in FORMATS}
    largest = max(by_format.values())
    return {
        **_judged(largest, TARGETS["formats"], largest <= TARGETS["formats"]),
        "clips": len(found),
        "by_format": by_format,
    }


def listener_figures(found: Sequence[Change]) -> dict[str, Any]:
    """The share of the pairs that HAAQI moves in which the model moves the same way; None where it moves none."""
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
    """Everything that is printed, the same each time.

    Args:
        music: folder of clips with its CLIPS.csv.
        model: a shipped name, the folder of a bundle, or a judge.
        clips: how many of the test split; all of them where it holds fewer.
        seed: of what is drawn by chance.

    Returns:
        `snr`, `clean`, `formats` and `listeners`, each with its `figure`, its `target`, whether it was `met`, and more;
        numbers to six digits.

    Raises:
        CorpusError, BundleError, BundleNotFoundError: see their messages.
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
    """What was measured, and what it should be."""
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
    """Print the figures and their targets."""
    parser = argparse.ArgumentParser(prog="python -m haaqi_edge.benchmarks.sanity", description=__doc__)
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
