"""Check a model on real music: `haaqi-edge bench study sanity MUSIC`.

Four properties that you can expect of a quality score are tested on clips of the test split. The score falls as noise
rises. Clean music with a fitted hearing aid gets a high score. The file format does not matter. Another listener
changes the score as it changes HAAQI.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile
import soxr

from ...evaluation.predictors import Predictor, open_predictor
from ...haaqi.index import HAAQI_FREQUENCIES, Listener, Reference
from ...runtime.audio.levels import LEVEL1, SILENCE, amplitude
from ...runtime.audio.reading import ArrayAudio, FileAudio, open_audio
from ...runtime.audiogram import STANDARD, Audiogram
from ...runtime.errors import CorpusError
from ...training.corpus.clips import Corpus
from ...training.data.rendering import render_presented, render_reference
from ...training.data.rows import PRESENTATION_LEVEL, Row
from ...training.degradations import format_chain
from ...training.degradations.chains import Array
from ...training.degradations.sampling import random_chain
from ...training.degradations.signals import rms
from ...training.statistics import none_if_undefined, pearson, spearman
from ..progress import Progress, no_progress

CLIPS: Final = 40
"""default number of clips"""
_SECONDS: Final = 10.0
"""seconds of each clip"""
_EXCERPT: Final = 5.0
"""seconds of the part of a clip that HAAQI scores"""
LISTENERS: Final = ("N1", "N2", "N3", "N4", "N5", "S1", "S2", "S3")
SNRS: Final = tuple(float(snr) for snr in range(40, -5, -4))
"""SNRs in dB"""
MIN_CORRELATION: Final = 0.95
"""minimum rank correlation of SNR and score at which the scores of a clip count as falling"""
_LOW_SCORE: Final = 0.5
"""scores of clean music below this value are reported as bad"""
_MIN_HAAQI_CHANGE: Final = 0.05
"""minimum change of HAAQI between two listeners that is counted"""
_MIN_LEVEL_DISTANCE: Final = 20.0
"""minimum mean difference of two listeners' hearing levels, in dB"""
SOUNDS_PER_CLIP: Final = 3
"""number of sounds per clip that are scored for two listeners"""
_TARGETS: Final = {"snr": 0.95, "clean": 0.85, "formats": 0.01, "listeners": 0.9}
_RATE: Final = 24_000
_PEAK: Final = 0.9
"""largest peak, relative to full scale; louder music is attenuated before it is written"""


class _FileFormat(NamedTuple):
    suffix: str
    subtype: str
    rate: int = _RATE


FORMATS: Final = {
    "WAV, 16 bits": _FileFormat("wav", "PCM_16"),
    "WAV, 24 bits": _FileFormat("wav", "PCM_24"),
    "WAV, float": _FileFormat("wav", "FLOAT"),
    "FLAC": _FileFormat("flac", "PCM_16"),
    "WAV, float, 48 kHz": _FileFormat("wav", "FLOAT", 2 * _RATE),
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

    def render(self, chain: str = "") -> tuple[Array, int]:
        """Return the presented signal [samples] after a chain of degradations, and its rate in Hz."""
        return render_presented(replace(self.row, chain=chain), self.clean, self.rate), self.rate

    def excerpt(self, seconds: float, listener: str, seed: int) -> Trial:
        """Return the louder end of the clip, at the same level, for another listener.

        Args:
            seconds: duration of the excerpt.
            listener: name of a standard audiogram.
            seed: of the degradations.
        """
        samples = round(seconds * self.rate)
        part = max(self.clean[:samples], self.clean[-samples:], key=rms)
        row = make_row(self.row.clip, min(seconds, self.row.duration), listener, seed)
        return Trial(row, part * (amplitude(row.level - LEVEL1) / rms(part)), self.rate)


class NoiseScores(NamedTuple):
    """Scores of a clip, one for each of `SNRS`."""

    trial: Trial
    scores: list[float]

    @property
    def correlation(self) -> float:
        """Spearman's correlation of SNR and score; NaN if all scores are equal."""
        return float(spearman(SNRS, self.scores))


class ListenerChange(NamedTuple):
    """Change of the score from one listener to the other, of the model and of HAAQI."""

    model: float
    haaqi: float


def select_trials(corpus: Corpus, clips: int, seed: int) -> list[Trial]:
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
        row = make_row(clip.path, _SECONDS, LISTENERS[len(found) % len(LISTENERS)], seed + int(number))
        samples, _ = corpus.excerpt(row.clip, row.start, row.duration)
        if np.abs(samples).max(initial=0.0) > SILENCE:
            found.append(Trial(row, *render_reference(row, corpus)))
    if not found:
        raise CorpusError(f"no clip of split test in {corpus.folder} has sound: add some to CLIPS.csv")
    return found


def make_row(clip: str, seconds: float, listener: str, seed: int) -> Row:
    """Return how the beginning of a clip is presented to a standard listener."""
    return Row("test", clip, 0.0, seconds, "", "", seed, "nal-r", PRESENTATION_LEVEL, listener, STANDARD[listener])


def score_in_noise(trial: Trial, predictor: Predictor) -> NoiseScores:
    """Score a clip with the same noise at each of `SNRS`."""
    sounds = (trial.render(format_chain(("noise", {"snr": snr}))) for snr in SNRS)
    return NoiseScores(trial, [predictor(as_presented(*sound), trial.listener) for sound in sounds])


def as_presented(samples: Array, rate: int) -> ArrayAudio | FileAudio:
    """Return a sound that is known to be the presented signal, which may be louder than music is before."""
    return open_audio((samples, rate), presented=True)


def compare_formats(trial: Trial, predictor: Predictor) -> dict[str, float]:
    """Return, by format, how far the score of a file is from the score of the samples in memory."""
    x = trial.clean if trial.rate == _RATE else soxr.resample(trial.clean, trial.rate, _RATE, "VHQ")
    x = x * min(1.0, _PEAK / float(np.abs(x).max()))
    expected = predictor((x, _RATE), trial.listener, spl=PRESENTATION_LEVEL, nal_r=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, subtype, rate) in FORMATS.items():
            path = Path(folder) / f"clip.{suffix}"
            samples = x if rate == _RATE else soxr.resample(x, _RATE, rate, "VHQ")
            soundfile.write(path, samples, rate, subtype=subtype)
            found[name] = abs(predictor(path, trial.listener, spl=PRESENTATION_LEVEL, nal_r=True) - expected)
    return found


def compare_listeners(trial: Trial, predictor: Predictor) -> list[ListenerChange]:
    """Return how scores change if random sounds, amplified for one listener, are scored for another."""
    rng = np.random.default_rng([trial.row.seed, 1])
    found = []
    for number in range(SOUNDS_PER_CLIP):
        first = str(rng.choice(LISTENERS))
        second = str(rng.choice(distant_listeners(first)))
        excerpt = trial.excerpt(_EXCERPT, first, trial.row.seed * SOUNDS_PER_CLIP + number)
        sound, rate = excerpt.render(random_chain(rng, speech=False))
        listeners = [Audiogram.named(name) for name in (first, second)]
        model = [predictor(as_presented(sound, rate), listener) for listener in listeners]
        haaqi = [
            Reference(excerpt.clean, rate, Listener(one, level1=LEVEL1)).score(sound, rate).score for one in listeners
        ]
        found.append(ListenerChange(model[1] - model[0], haaqi[1] - haaqi[0]))
    return found


def distant_listeners(listener: str) -> list[str]:
    """Return the standard audiograms whose levels at HAAQI's frequencies are far from those of a listener."""
    levels = {name: Audiogram.named(name).at(HAAQI_FREQUENCIES) for name in STANDARD}
    return [name for name in STANDARD if float(np.abs(levels[name] - levels[listener]).mean()) >= _MIN_LEVEL_DISTANCE]


def snr_metrics(found: Sequence[NoiseScores]) -> dict[str, Any]:
    """Return the share of clips whose score falls with the SNR, and related results."""
    correlations = np.array([one.correlation for one in found])
    share = float(np.mean(correlations >= MIN_CORRELATION))
    worst = found[int(np.argmin(correlations))]  # the first undefined one, if there are any
    means = np.mean([one.scores for one in found], axis=0)
    return {
        **_compare_with_target(share, _TARGETS["snr"], share >= _TARGETS["snr"]),
        "clips": len(found),
        "median": float(np.median(correlations)),
        "worst": {**_identify(worst.trial), "correlation": worst.correlation},
        "mean_score": {f"{snr:g}": float(mean) for snr, mean in zip(SNRS, means, strict=True)},
    }


def clean_metrics(found: Sequence[tuple[Trial, float]]) -> dict[str, Any]:
    """Return the mean score of clean music, the share of bad scores, and related results."""
    scores = [score for _, score in found]
    mean, worst = float(np.mean(scores)), min(found, key=lambda one: one[1])
    listeners = {trial.row.listener for trial, _ in found}
    return {
        **_compare_with_target(mean, _TARGETS["clean"], mean > _TARGETS["clean"]),
        "clips": len(found),
        "bad": float(np.mean([score < _LOW_SCORE for score in scores])),
        "worst": {**_identify(worst[0]), "score": worst[1]},
        "mean_score": {
            name: float(np.mean([score for trial, score in found if trial.row.listener == name]))
            for name in LISTENERS
            if name in listeners
        },
    }


def format_metrics(found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the largest difference of a file's score, over all formats and by format."""
    by_format = {name: max(one[name] for one in found) for name in FORMATS}
    largest = max(by_format.values())
    return {
        **_compare_with_target(largest, _TARGETS["formats"], largest <= _TARGETS["formats"]),
        "clips": len(found),
        "by_format": by_format,
    }


def listener_metrics(found: Sequence[ListenerChange]) -> dict[str, Any]:
    """Return how often the model changes in the same direction as HAAQI.

    Only pairs in which HAAQI changes by at least 0.05 count. The share is None if there are none.
    """
    moved = [change for change in found if abs(change.haaqi) >= _MIN_HAAQI_CHANGE]
    share = float(np.mean([change.model * change.haaqi > 0 for change in moved])) if moved else None
    return {
        **_compare_with_target(share, _TARGETS["listeners"], share is not None and share >= _TARGETS["listeners"]),
        "pairs": len(found),
        "moved": len(moved),
        "correlation": none_if_undefined(float(pearson(*np.array(found).T))),
    }


def _compare_with_target(figure: float | None, target: float, met: bool) -> dict[str, Any]:
    return {"figure": figure, "target": target, "met": met}


def _identify(trial: Trial) -> dict[str, str]:
    return {"clip": trial.row.clip, "listener": trial.row.listener}


def measure(
    music: str | Path,
    model: str | Path | Predictor = "nano",
    clips: int = CLIPS,
    seed: int = 0,
    on_progress: Progress = no_progress,
) -> dict[str, dict[str, Any]]:
    """Run all checks. The results are the same each time.

    Args:
        music: folder of clips with its CLIPS.csv.
        model: a shipped name, the folder of a bundle, or a predictor.
        clips: number of clips of the test split; all clips are used if there are fewer.
        seed: of all random choices.
        on_progress: called with the progress.

    Returns:
        `snr`, `clean`, `formats` and `listeners`, each with its result (`figure`), its `target`, whether the target is
        `met`, and further results. Numbers have six decimals; undefined ones are None.

    Raises:
        CorpusError: the music cannot be used.
        BundleNotFoundError: the bundle does not exist.
        BundleError: the bundle is invalid.
    """
    predictor = open_predictor(model, threads=1) if isinstance(model, str | Path) else model
    trials = select_trials(Corpus(music), clips, seed)
    in_noise: list[NoiseScores] = []
    clean: list[tuple[Trial, float]] = []
    formats: list[dict[str, float]] = []
    changes: list[ListenerChange] = []
    for number, trial in enumerate(trials):
        on_progress("checking the scores", number, len(trials))
        in_noise.append(score_in_noise(trial, predictor))
        clean.append((trial, predictor(as_presented(*trial.render()), trial.listener)))
        formats.append(compare_formats(trial, predictor))
        changes += compare_listeners(trial, predictor)
    results = {
        "snr": snr_metrics(in_noise),
        "clean": clean_metrics(clean),
        "formats": format_metrics(formats),
        "listeners": listener_metrics(changes),
    }
    return {name: _round(part) for name, part in results.items()}


def _round(value: Any) -> Any:
    """Round all numbers in a result to six decimals; undefined ones become None."""
    if isinstance(value, dict):
        return {key: _round(part) for key, part in value.items()}
    return none_if_undefined(round(value, 6)) if isinstance(value, float) else value


def result_rows(results: dict[str, dict[str, Any]]) -> list[tuple[str, str, str, bool]]:
    """Format the results for a table.

    Returns:
        a row for each check: its name, its result, its target, and whether the target is met.
    """
    snr, clean, formats, listeners = (results[name] for name in ("snr", "clean", "formats", "listeners"))
    worst = snr["worst"]
    share = "none changed" if listeners["figure"] is None else f"{listeners['figure']:.1%}"
    return [
        (
            f"score falls with SNR, {SNRS[0]:g} to {SNRS[-1]:g} dB: clips with rank correlation >= {MIN_CORRELATION}",
            f"{snr['figure']:.1%} of {snr['clips']}; median {_format(snr['median'])}, "
            f"lowest {_format(worst['correlation'])} ({worst['listener']})",
            f">= {snr['target']:.0%}",
            snr["met"],
        ),
        (
            "clean music with NAL-R: mean score",
            f"{clean['figure']:.3f}; {clean['bad']:.1%} below {_LOW_SCORE}, "
            f"lowest {clean['worst']['score']:.3f} ({clean['worst']['listener']})",
            f"> {clean['target']}",
            clean["met"],
        ),
        (
            "file formats: largest difference of a score",
            f"{formats['figure']:.2g} ({max(formats['by_format'], key=formats['by_format'].get)})",
            f"<= {formats['target']}",
            formats["met"],
        ),
        (
            f"another listener: same direction where HAAQI changes by >= {_MIN_HAAQI_CHANGE}",
            f"{share} of {listeners['moved']} in {listeners['pairs']} pairs",
            f">= {listeners['target']:.0%}",
            listeners["met"],
        ),
    ]


def _format(correlation: float | None) -> str:
    return "undefined" if correlation is None else f"{correlation:.3f}"
