"""Measure how well models follow HAAQI: `haaqi-edge bench study accuracy CORPUS`.

The models score rows of a label table, by kind of condition, music and listener; a set like that of HAAQI-Net's paper,
whose conditions have fixed strengths; clean music; music in rising noise; and the same music with an offset, at other
sample rates, and in other file formats. All of it is music that training does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr
from scipy import signal

from ...evaluation.predictors import ScorerPredictor, open_predictor
from ...evaluation.timing import time_interleaved
from ...haaqi.index import Listener, Reference
from ...runtime.audio.levels import LEVEL1
from ...runtime.audiogram import Audiogram
from ...runtime.batch.parallel import parallel_map
from ...runtime.errors import OptionError
from ...runtime.features.front_ends import FEATURE_EXTRACTORS
from ...training.card import metrics_by_group
from ...training.corpus.clips import Corpus
from ...training.data.features import resample_to_front_end
from ...training.data.labels import read_rows
from ...training.data.rendering import render_row
from ...training.data.rows import Row
from ...training.degradations import format_chain
from ...training.intervals import coverage_of
from ...training.statistics import agreement, none_if_undefined, ordered_pairs
from ..progress import Progress, no_progress
from .sanity import MIN_CORRELATION, as_presented, compare_formats, make_row, score_in_noise, select_trials

Array = npt.NDArray[np.float64]

MIN_PAIR_DIFFERENCE: Final = 0.1
"""Pairs of sounds of one piece count if their HAAQI differs by at least this much."""
_CHUNK: Final = 20
"""Rows that a process scores at a time."""
_SECONDS: Final = 10.0
_PAPER_LISTENERS: Final = ("N1", "N2", "N3", "N4", "N5", "N6", "N7", "S1", "S2", "S3")
"""The audiograms of HAAQI-Net's paper (Bisgaard, Vlaming & Dahlquist 2010)."""
_OFFSET: Final = 0.5
"""Direct-current offset, relative to full scale."""
_OTHER_RATES: Final = (44_100, 48_000)
"""Sample rates to which clips are resampled, Hz."""
_GENRES: Final = ("piano", "voice", "guitar", "trumpet")
"""Parts of the genres' names that are listed by themselves."""


class Goal(NamedTuple):
    """What a result should reach: the first milestone and the goal. Smaller is better if `most`."""

    milestone: float
    goal: float
    most: bool = False

    def is_met(self, value: float | None) -> bool:
        """Return whether a value reaches the milestone."""
        return value is not None and (value <= self.milestone if self.most else value >= self.milestone)


GOALS: Final[Mapping[str, Goal]] = {
    "LCC": Goal(0.84, 0.90),
    "SRCC": Goal(0.84, 0.90),
    "MSE": Goal(0.026, 0.015, most=True),
    "studies' conditions, NAL-R, 65 dB: LCC": Goal(0.87, 0.9456),
    "100 fixed conditions: LCC": Goal(0.90, 0.9456),
    "100 fixed conditions: SRCC": Goal(0.90, 0.9603),
    "unseen conditions: LCC": Goal(0.75, 0.85),
    "babble: LCC": Goal(0.85, 0.92),
    "clean music with NAL-R: mean score": Goal(0.90, 0.96),
    "clean music with NAL-R: standard deviation over music": Goal(0.08, 0.04, most=True),
    "score falls with the SNR: share of clips": Goal(0.85, 0.95),
    "pairs of one piece in the right order": Goal(0.85, 0.92),
    "largest change by offset, resampling or file format": Goal(0.01, 0.005, most=True),
    "intervals: coverage": Goal(0.88, 0.90),
}


def fixed_conditions() -> list[str]:
    """Return 100 chains: the conditions of the HAAQI studies at five strengths each, and combinations of two.

    They are to HAAQI-Net's set what is known of it: 100 conditions of noise, nonlinear processing and linear filtering.
    """

    def each(name: str, values: Mapping[str, Sequence[float]]) -> list[str]:
        return [format_chain((name, dict(zip(values, one, strict=True)))) for one in zip(*values.values(), strict=True)]

    snrs = (30.0, 20.0, 10.0, 5.0, 0.0)
    single = [
        *each("noise", {"snr": snrs}),
        *each("babble", {"snr": snrs, "talkers": (6.0,) * 5, "room": (0.0,) * 5}),
        *each("speech_babble_subtraction", {"snr": snrs, "over": (2.0,) * 5, "talkers": (6.0,) * 5}),
        *each("spectral_subtraction", {"snr": snrs, "over": (2.0,) * 5}),
        *each("clip", {"peak": (0.6, 0.4, 0.25, 0.12, 0.06)}),
        *each("quantize", {"bits": (10.0, 8.0, 6.0, 5.0, 4.0)}),
        *each("compress", {"ratio": (1.5, 2.5, 5.0, 10.0, 20.0), "attack": (5.0,) * 5, "release": (70.0,) * 5}),
        *each("lowpass", {"hz": (7000.0, 5000.0, 3500.0, 2000.0, 1000.0)}),
        *each("highpass", {"hz": (150.0, 300.0, 700.0, 1500.0, 3000.0)}),
        *each("bandpass", {"low": (100.0, 200.0, 300.0, 500.0, 700.0), "high": (8e3, 6e3, 4e3, 3e3, 2e3)}),
        *each("tilt", {"slope": (0.8, 1.5, 3.0, 5.0, 7.5)}),
        *each("tilt", {"slope": (-0.8, -1.5, -3.0, -5.0, -7.5)}),
        *each("resonance", {"hz": (1000.0,) * 5, "gain": (6.0, 12.0, 18.0, 24.0, 30.0), "peaks": (1.0,) * 5}),
        *each("resonance", {"hz": (1000.0,) * 5, "gain": (6.0, 12.0, 18.0, 24.0, 30.0), "peaks": (3.0,) * 5}),
    ]
    processing: dict[str, dict[str, float]] = {
        "noise": {"snr": 15.0},
        "clip": {"peak": 0.3},
        "quantize": {"bits": 6.0},
        "compress": {"ratio": 5.0, "attack": 5.0, "release": 70.0},
        "spectral_subtraction": {"snr": 10.0, "over": 2.0},
    }
    filters: list[tuple[str, dict[str, float]]] = [
        ("lowpass", {"hz": 3000.0}),
        ("highpass", {"hz": 500.0}),
        ("bandpass", {"low": 300.0, "high": 5000.0}),
        ("tilt", {"slope": 3.0}),
        ("tilt", {"slope": -3.0}),
        ("resonance", {"hz": 1000.0, "gain": 18.0, "peaks": 1.0}),
    ]
    return [*single, *(format_chain(one, other) for one, other in product(processing.items(), filters))]


def plan_fixed_rows(corpus: Corpus, count: int) -> list[Row]:
    """Plan rows of the test split with `fixed_conditions`: NAL-R, 65 dB SPL, the paper's audiograms.

    Conditions, clips and listeners each appear in turn, in a random order of the clips.
    """
    conditions, clips = fixed_conditions(), corpus.of("test")
    order = np.random.default_rng(100).permutation(len(clips))
    return [
        replace(
            make_row(clips[order[number % len(clips)]].path, _SECONDS, _PAPER_LISTENERS[number // 7 % 10], seed=number),
            chain=conditions[number % len(conditions)],
        )
        for number in range(count)
    ]


class _Scored(NamedTuple):
    """The HAAQI of a row, and the results of each model.

    Attributes:
        label: HAAQI.
        results: [models, 5]: the score, the ends of its interval, and the ends if the clip is scored in two windows;
            NaN if the model predicts no intervals.
    """

    label: float
    results: Array


@cache
def _open(model: str) -> ScorerPredictor:
    return open_predictor(model, threads=1)


@cache
def _corpus(folder: str) -> Corpus:
    return Corpus(folder)


def _predict_row(models: Sequence[str], row: Row, presented: Array, rate: int) -> Array:
    """Score a row as one window and as two, see `_Scored.results`.

    `Scorer` would refuse the loudest rows, because music at their level, amplified for a severe hearing loss, is louder
    than any music that is not amplified yet.
    """
    samples = resample_to_front_end(presented, rate, row.duration)
    audiogram = np.array([row.audiogram], np.float32)
    found = np.full((len(models), 5), np.nan)
    for index, model in enumerate(models):
        backend = _open(model).scorer.backend
        tokens = backend.encode(FEATURE_EXTRACTORS[backend.card.front_end_name](samples))
        output = backend.run_head(tokens, audiogram)
        found[index, 0] = output.scores[0]
        if output.intervals is not None:
            half = len(tokens) // 2
            parts = [backend.run_head(part, audiogram).intervals for part in (tokens[:half], tokens[-half:])]
            found[index, 1:3] = output.intervals[0]
            found[index, 3:] = np.mean([part[0] for part in parts if part is not None], axis=0)
    return found


def _score_rows(rows: Sequence[tuple[int, Row]], folder: str, models: Sequence[str]) -> list[tuple[int, _Scored]]:
    """Render rows, label those that have no label, and score them."""
    found = []
    for number, row in rows:
        corpus = _corpus(folder).part("test")
        clean, presented, rate = render_row(row, corpus)
        label = row.score
        if np.isnan(label):
            listener = Listener(Audiogram(row.audiogram), level1=LEVEL1)
            label = Reference(clean, rate, listener).score(presented, rate).score
        found.append((number, _Scored(label, _predict_row(models, row, presented, rate))))
    return found


def _score_clip(number: int, folder: str, models: Sequence[str], clips: int) -> dict[str, Array]:
    """Score a clip clean, in noise, and changed in ways that HAAQI hardly hears.

    Returns:
        arrays [models]: `clean`, `correlation` of score and SNR, and `change`, the largest change of a score.
    """
    trial = _trials(folder, clips)[number]
    presented, rate = trial.render()
    changed = [(presented + _OFFSET, rate)]
    for other in _OTHER_RATES:
        divisor = int(np.gcd(rate, other))
        changed.append((soxr.resample(presented, rate, other, "VHQ"), other))
        changed.append((signal.resample_poly(presented, other // divisor, rate // divisor), other))
    rows = []
    for model in models:
        predictor = _open(model)
        clean = predictor(as_presented(presented, rate), trial.listener)
        changes = [abs(predictor(as_presented(*sound), trial.listener) - clean) for sound in changed]
        largest = max(*changes, *compare_formats(trial, predictor).values())
        rows.append((clean, score_in_noise(trial, predictor).correlation, largest))
    clean, correlation, change = np.array(rows).T
    return {"clean": clean, "correlation": correlation, "change": change}


def _relative_times(models: Sequence[str]) -> list[float]:
    """Return the times that the models take for 10 s of audio on one thread, divided by that of the first model."""
    sound = np.random.default_rng(0).normal(0, 0.1, 160_000).astype(np.float32)
    listener = Audiogram.named("N3")
    runs = time_interleaved({model: partial(_open(model), (sound, 16_000), listener) for model in models}, runs=15)
    medians = [float(np.median(runs[model])) for model in models]
    return [median / medians[0] for median in medians]


@cache
def _trials(folder: str, clips: int) -> list[Any]:
    return select_trials(Corpus(folder), clips, 0)


def measure(
    corpus: Path,
    table: Path,
    models: Sequence[str],
    rows: int | None = None,
    fixed_rows: int = 1000,
    clips: int = 100,
    jobs: int = 1,
    on_progress: Progress = no_progress,
) -> dict[str, dict[str, Any]]:
    """Measure the accuracy of models.

    Args:
        corpus: folder of the label table's music.
        table: folder of the label table's shards.
        models: shipped names, folders of bundles, or checkpoints.
        rows: number of rows of the test table, from the start. None takes all.
        fixed_rows: number of rows with fixed conditions, which are labelled first (0.1 s each).
        clips: number of clips that are scored clean, in noise, and changed.
        jobs: number of processes.
        on_progress: called with the progress.

    Returns:
        for each model, `goals` (the results that have goals), and `groups` (`training.card.metrics_by_group`).

    Raises:
        CorpusError: the corpus is not the one of the table.
        OptionError: there are no models.
    """
    if not models:
        raise OptionError("no model: give at least one with --model")
    part = Corpus(corpus).part("test")
    labelled = read_rows(table, "test")[:rows]
    fixed = plan_fixed_rows(part, fixed_rows)
    results = _score_all([*labelled, *fixed], str(corpus), models, jobs, on_progress)
    tested, in_set = results[: len(labelled)], results[len(labelled) :]
    clip_work = partial(_score_clip, folder=str(corpus), models=models, clips=clips)
    count = len(_trials(str(corpus), clips))
    checks = []
    for done, one in enumerate(parallel_map(clip_work, range(count), jobs)):
        on_progress("clean music and noise", done, count)
        checks.append(one)
    genres = {clip.path: clip.genre for clip in part.clips}
    times = _relative_times(models)
    return {
        model: _results(index, labelled, tested, in_set, checks, genres, times[index])
        for index, model in enumerate(models)
    }


def _score_all(
    rows: Sequence[Row], folder: str, models: Sequence[str], jobs: int, on_progress: Progress
) -> list[_Scored]:
    numbered = list(enumerate(rows))
    chunks = [numbered[at : at + _CHUNK] for at in range(0, len(numbered), _CHUNK)]
    found: dict[int, _Scored] = {}
    for chunk in parallel_map(partial(_score_rows, folder=folder, models=models), chunks, jobs):
        found.update(chunk)
        on_progress("scoring rows", len(found), len(rows))
    return [found[number] for number in range(len(rows))]


def _results(
    index: int,
    rows: Sequence[Row],
    tested: Sequence[_Scored],
    fixed: Sequence[_Scored],
    checks: Sequence[Mapping[str, Array]],
    genres: Mapping[str, str],
    relative_time: float = 1.0,
) -> dict[str, Any]:
    values = np.array([one.results[index] for one in tested])
    labels = np.array([one.label for one in tested])
    intervals = None if np.isnan(values[:, 1]).any() else values[:, 1:3].astype(np.float32)
    groups = metrics_by_group(rows, values[:, 0].astype(np.float32), genres, intervals)
    found: dict[str, float | None] = {
        "LCC": groups["all"]["lcc"],
        "SRCC": groups["all"]["srcc"],
        "MSE": groups["all"]["mse"],
    }
    for name, group in (("studies' conditions, NAL-R, 65 dB", "comparable"), ("unseen conditions", "unseen")):
        found[f"{name}: LCC"] = groups.get(group, {}).get("lcc")
    found["babble: LCC"] = groups["condition"].get("babble", {}).get("lcc")
    if fixed:
        overall = agreement([one.results[index, 0] for one in fixed], [one.label for one in fixed])
        found["100 fixed conditions: LCC"], found["100 fixed conditions: SRCC"] = overall.lcc, overall.srcc
        by_condition = _by_condition([one.results[index, 0] for one in fixed], [one.label for one in fixed])
        found["100 fixed conditions, means by condition: LCC"] = by_condition
    clean = np.array([one["clean"][index] for one in checks])
    found["clean music with NAL-R: mean score"] = float(clean.mean())
    found["clean music with NAL-R: standard deviation over music"] = float(clean.std())
    falls = [one["correlation"][index] >= MIN_CORRELATION for one in checks]
    found["score falls with the SNR: share of clips"] = float(np.mean(falls))
    pieces = [f"{row.clip} {row.start} {row.level} {row.audiogram}" for row in rows]
    pairs = ordered_pairs(values[:, 0], labels, min_difference=MIN_PAIR_DIFFERENCE, groups=pieces)
    found["pairs of one piece in the right order"] = pairs / 100
    for genre, metrics in groups.get("genre", {}).items():
        if any(part in genre.lower() for part in _GENRES):
            found[f"{genre}: LCC"] = metrics["lcc"]
    found["largest change by offset, resampling or file format"] = float(max(one["change"][index] for one in checks))
    if intervals is not None:
        found["intervals: coverage"], found["intervals: mean width"] = groups["all"]["coverage"], groups["all"]["width"]
        found["intervals: coverage of clips in two windows"] = coverage_of(values[:, 3:], labels)[0]
        found["intervals: coverage under unseen conditions"] = groups.get("unseen", {}).get("coverage")
        large = [
            metrics["coverage"]
            for kind in ("condition", "genre", "listener", "level")
            for metrics in groups.get(kind, {}).values()
            if metrics["rows"] >= 100
        ]
        found["intervals: lowest coverage of a group of 100 rows or more"] = min(large, default=None)
    found["time for 10 s of audio, one thread, relative to the first model"] = relative_time
    return {"goals": {name: _rounded(value) for name, value in found.items()}, "groups": groups}


def _by_condition(scores: Sequence[float], labels: Sequence[float]) -> float:
    """Return the LCC of the means over the rows of each condition."""
    conditions = np.arange(len(scores)) % len(fixed_conditions())
    means = [
        [np.mean(np.asarray(values)[conditions == one]) for one in np.unique(conditions)] for values in (scores, labels)
    ]
    return agreement(*means).lcc


def _rounded(value: float | None) -> float | None:
    return None if value is None else none_if_undefined(round(value, 4))


def result_rows(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table: the result's name, its value for each model, the first milestone, and the goal."""
    names = dict.fromkeys(name for one in results.values() for name in one["goals"])
    for name in names:
        values = []
        for one in results.values():
            value = one["goals"].get(name)
            mark = "" if name not in GOALS or not GOALS[name].is_met(value) else " *"
            values.append("-" if value is None else f"{value:.3f}{mark}")
        goal = GOALS.get(name)
        yield (name, *values, *(("", "") if goal is None else (f"{goal.milestone:g}", f"{goal.goal:g}")))
