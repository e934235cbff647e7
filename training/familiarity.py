"""The measure of how far a sound is from the training data: fitted to training rows, with a threshold from test rows.

python -m haaqi_edge.training.familiarity runtime/models/nano --corpus CORPUS --table training/table

It writes `familiarity` into the `card.json` of bundles, and their page again. The distance is that of
`runtime.features.familiarity`. The threshold is the distance that a stated share of the test rows exceeds. The card
then says how large the errors of those rows are, and how many other sounds are above the threshold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr
from scipy import signal

from ..runtime.audio.levels import LEVEL1, nal_r
from ..runtime.audiogram import Audiogram
from ..runtime.backend import Backend
from ..runtime.batch.parallel import parallel_map
from ..runtime.bundle import CARD, Bundle
from ..runtime.errors import CorpusError
from ..runtime.features.familiarity import Familiarity, describe_tokens
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..runtime.features.patches import SAMPLE_RATE
from ..runtime.scorer import Scorer
from ..runtime.writing import write_file
from .card import write_model_card
from .corpus.clips import Corpus
from .data.features import resample_to_front_end
from .data.labels import read_rows
from .data.rendering import render_row
from .data.rows import Row
from .intervals import coverage_of

Array = npt.NDArray[np.float64]

DIRECTIONS: Final = 64
"""main directions of the tokens of training clips that the distance uses"""
SHARE: Final = 0.02
"""share of the test clips above the threshold"""
MIN_PATCHES: Final = 31
"""patches with sound that a window needs at least: 5 s"""
ROWS: Final = 1000
"""rows of each table that are encoded"""
MIN_ROWS: Final = 500
"""rows of each table that are needed"""
LARGE_ERROR: Final = 0.2
"""error of a score that counts as large"""
_CHUNK: Final = 20
_SECONDS: Final = 10.0
_SOUNDS: Final = 40
"""sounds of each kind"""
_LISTENER: Final = "N3"


class Encodings(NamedTuple):
    """Rows as a model hears them.

    Attributes:
        labels: [rows], HAAQI.
        scores: [rows].
        intervals: [rows, 2]; NaN if the model predicts none.
        whole: float32 [rows, 2 x width], the description of the tokens (`describe_tokens`).
        half: the same of the first half of the patches.
    """

    labels: Array
    scores: Array
    intervals: Array
    whole: npt.NDArray[np.float32]
    half: npt.NDArray[np.float32]


def encode_rows(
    rows: Sequence[Row],
    corpus: Corpus,
    bundles: Sequence[Path],
    jobs: int = 1,
    count: Callable[[], None] = lambda: None,
) -> list[Encodings]:
    """Render rows and encode them with several models.

    Args:
        rows: of one label table.
        corpus: the music of the table.
        bundles: the models.
        jobs: number of processes.
        count: called after each chunk of `_CHUNK` rows.

    Returns:
        The encodings of each model. Rows are in the same order for all models.
    """
    chunks = [(at, rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)]
    parts: dict[int, list[Encodings]] = {}
    for at, part in parallel_map(partial(_encode_chunk, corpus=corpus, bundles=tuple(map(str, bundles))), chunks, jobs):
        parts[at] = part
        count()
    in_order = [parts[at] for at, _ in chunks]
    return [Encodings(*map(np.concatenate, zip(*of_bundle, strict=True))) for of_bundle in zip(*in_order, strict=True)]


def _encode_chunk(
    chunk: tuple[int, Sequence[Row]], corpus: Corpus, bundles: Sequence[str]
) -> tuple[int, list[Encodings]]:
    at, rows = chunk
    found: list[list[tuple[Any, ...]]] = [[] for _ in bundles]
    for row in rows:
        _, presented, rate = render_row(row, corpus)
        samples = resample_to_front_end(presented, rate, row.duration)
        for place, encoded in enumerate(_encode(samples, Audiogram(row.audiogram), bundles)):
            found[place].append((row.score, *encoded))
    return at, [Encodings(*(np.array(column) for column in zip(*one, strict=True))) for one in found]


def _encode(
    samples: npt.NDArray[np.float32], audiogram: Audiogram, bundles: Sequence[str]
) -> Iterator[tuple[float, npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Yield the score, the interval, and the descriptions of a sound and of its first half, for each model."""
    features: dict[str, npt.NDArray[np.float32]] = {}
    for bundle in bundles:
        backend = _open(bundle)
        front_end = backend.card.front_end_name
        if front_end not in features:
            features[front_end] = FEATURE_EXTRACTORS[front_end](samples)
        tokens = backend.encode(features[front_end])
        output = backend.run_head(tokens, audiogram.array()[np.newaxis])
        interval = np.full(2, np.nan) if output.intervals is None else output.intervals[0]
        half = describe_tokens(tokens[: len(tokens) // 2])
        yield float(output.scores[0]), interval, describe_tokens(tokens), half


@cache
def _open(bundle: str) -> Backend:
    return Scorer(bundle, threads=1).backend


def fit_familiarity(
    train: Encodings, test: Encodings, directions: int = DIRECTIONS, share: float = SHARE
) -> Familiarity:
    """Fit the measure to training rows, and set its threshold by test rows.

    Args:
        train: training rows.
        test: test rows.
        directions: number of main directions of the training rows.
        share: share of the test rows above the threshold.

    Raises:
        CorpusError: there are fewer than `MIN_ROWS` rows of one of them.
    """
    if min(len(train.scores), len(test.scores)) < MIN_ROWS:
        raise CorpusError(
            f"{len(train.scores)} training rows and {len(test.scores)} test rows: the familiarity of sounds needs "
            f"{MIN_ROWS} of each; label more, or do without it"
        )
    mean = train.whole.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(np.cov(train.whole.T.astype(np.float64)))
    chosen = np.argsort(variances)[::-1][:directions]
    projection = (axes[:, chosen] / np.sqrt(variances[chosen])).T
    found = Familiarity.create(mean, projection, share=share, min_patches=MIN_PATCHES)
    distances = found.distances(test.whole)
    found = replace(found, threshold=float(np.quantile(distances, 1 - share)))
    return replace(found, results=measure_familiarity(found, test))


def measure_familiarity(familiarity: Familiarity, test: Encodings) -> dict[str, float | int]:
    """Compare the rows above the threshold with the others.

    Returns:
        `rows`, `flagged`: numbers of rows. `rmse`, `rmse_others`, `coverage`, `coverage_others`, `width`,
        `width_others`: of the rows above the threshold and of the others. `flagged_half`: share of the rows above the
        threshold if only the first half is heard. `auc_errors` and `auc_errors_by_width`: probability that a row with a
        large error has a larger distance, or a wider interval, than a row with a small one.
    """
    distances = familiarity.distances(test.whole)
    flagged, errors = distances > familiarity.threshold, test.scores - test.labels
    large = np.abs(errors) > LARGE_ERROR
    results: dict[str, float | int] = {
        "rows": len(errors),
        "flagged": int(flagged.sum()),
        "flagged_half": float((familiarity.distances(test.half) > familiarity.threshold).mean()),
        "auc_errors": area_under_curve(distances[large], distances[~large]),
    }
    with_intervals = not np.isnan(test.intervals).any()
    if with_intervals:
        widths = np.diff(test.intervals, axis=1)[:, 0]
        results["auc_errors_by_width"] = area_under_curve(widths[large], widths[~large])
    for name, chosen in (("", flagged), ("_others", ~flagged)):
        results[f"rmse{name}"] = float(np.sqrt(np.mean(errors[chosen] ** 2)))
        if with_intervals:
            results[f"coverage{name}"], results[f"width{name}"] = coverage_of(
                test.intervals[chosen], test.labels[chosen]
            )
    return {name: value if isinstance(value, int) else round(value, 4) for name, value in results.items()}


def area_under_curve(positive: npt.ArrayLike, negative: npt.ArrayLike) -> float:
    """Return the probability that a value of `positive` is above one of `negative`; NaN if one of them is empty."""
    above, below = np.asarray(positive), np.sort(np.asarray(negative))
    if not len(above) or not len(below):
        return float("nan")
    ranks = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return float(ranks.mean() / (2 * len(below)))


def other_sounds(corpus: Corpus, count: int = _SOUNDS) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield kinds of sound and their samples at 16 kHz, 10 s at 60 to 72 dB SPL, amplified for a listener in turn.

    Music, and speech if there is a speech bank, are of the test split.

    Args:
        corpus: the music.
        count: number of sounds of each kind.
    """
    rng = np.random.default_rng(5)
    seconds = np.arange(round(_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    clips, voices = corpus.of("test"), corpus.voices("test")

    def noise() -> Array:
        return rng.normal(size=len(seconds))

    def music(number: int) -> Array:
        clip = clips[7 * number % len(clips)]
        samples, rate = corpus.excerpt(clip.path, 0.0, min(_SECONDS, clip.duration))
        return np.asarray(np.resize(soxr.resample(samples, rate, SAMPLE_RATE), len(seconds)))

    def tones(number: int) -> Array:
        partials = [np.sin(2 * np.pi * hz * seconds) for hz in rng.uniform(100, 6000, 1 + number % 3)]
        return np.asarray(np.sum(partials, axis=0))

    def sweep(number: int) -> Array:  # noqa: ARG001 - all kinds have the same arguments
        low, high = rng.uniform(50, 500), rng.uniform(2000, 7500)
        return np.asarray(signal.chirp(seconds, low, _SECONDS, high, method="logarithmic"))

    def hum(number: int) -> Array:
        hz = (50, 60)[number % 2]
        partials = [np.sin(2 * np.pi * hz * k * seconds) / k for k in (1, 2, 3, 5, 7)]
        return np.asarray(np.sum(partials, axis=0) + 0.02 * noise())

    def engine(number: int) -> Array:  # noqa: ARG001
        speed = rng.uniform(25, 90) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.05, 0.3) * seconds))
        phase = 2 * np.pi * np.cumsum(speed) / SAMPLE_RATE
        buzz = np.sum([np.sin(k * phase + rng.uniform(0, 6)) / k**0.8 for k in range(1, 40)], axis=0)
        rumble = np.cumsum(noise())
        return np.asarray(buzz + 0.6 * buzz.std() * signal.detrend(rumble) / rumble.std())

    def clicks(number: int) -> Array:  # noqa: ARG001
        samples = 1e-4 * noise()
        for at in rng.integers(0, len(samples) - 20, rng.integers(5, 60)):
            samples[at : at + 20] += rng.normal(size=20) * np.exp(-np.arange(20) / 4)
        return samples

    def narrow(number: int) -> Array:
        low = soxr.resample(music(number), SAMPLE_RATE, 8000)
        return np.asarray(np.resize(soxr.resample(low, 8000, SAMPLE_RATE), len(seconds)))

    def speech(number: int) -> Array:
        assert voices is not None
        return voices.stretch(number * 7 % len(voices.talkers), 0, len(seconds))

    def memo(number: int) -> Array:
        samples = signal.sosfilt(
            signal.butter(2, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos"), speech(number)
        )
        return np.asarray(samples + 0.05 * samples.std() * noise())

    kinds: dict[str, Callable[[int], Array]] = {
        "music": music,
        "music up to 4 kHz": narrow,
        "tones": tones,
        "sweep": sweep,
        "mains hum": hum,
        "engine": engine,
        "clicks": clicks,
        "white noise": lambda _: noise(),
    }
    if voices is not None:
        kinds |= {"speech": speech, "speech by telephone": memo}
    listener = Audiogram.named(_LISTENER)
    for kind, create in kinds.items():
        for number in range(count):
            samples = create(number)
            samples = samples - samples.mean()
            samples *= 10 ** ((rng.uniform(60, 72) - LEVEL1) / 20) / np.sqrt(np.mean(samples**2))
            presented = samples.astype(np.float32)
            yield kind, nal_r(presented, SAMPLE_RATE, listener) if number % 2 else presented


def measure_other_sounds(
    familiarities: Sequence[Familiarity], corpus: Corpus, bundles: Sequence[Path], count: int = _SOUNDS
) -> list[dict[str, float]]:
    """Return, for each model, the share of sounds of each kind that are above the threshold."""
    found: list[dict[str, list[bool]]] = [{} for _ in bundles]
    for kind, samples in other_sounds(corpus, count):
        encoded = _encode(samples, Audiogram.named(_LISTENER), tuple(map(str, bundles)))
        for place, (familiarity, (_, _, whole, _)) in enumerate(zip(familiarities, encoded, strict=True)):
            flagged = bool(familiarity.distances(whole) > familiarity.threshold)
            found[place].setdefault(kind, []).append(flagged)
    return [{kind: round(float(np.mean(flags)), 3) for kind, flags in one.items()} for one in found]


def add_familiarity(
    bundles: Sequence[Path],
    corpus: Corpus,
    table: Path,
    trained_on: str = "train",
    rows: int = ROWS,
    jobs: int = 1,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Familiarity]:
    """Measure and write the familiarity of bundles.

    Args:
        bundles: folders of bundles. Their `card.json` is replaced.
        corpus: the music of the table.
        table: folder of the label table.
        trained_on: the table that the models were trained on.
        rows: number of rows of that table and of `test`, evenly from the whole tables.
        jobs: number of processes.
        on_progress: called with the name of the step, the number of finished chunks, and their number.

    Raises:
        CorpusError: the table or the music is missing, or there are too few rows.
    """
    encoded: dict[str, list[Encodings]] = {}
    for name in (trained_on, "test"):
        chosen = _spread(read_rows(table, name), rows)
        total, done = -(-len(chosen) // _CHUNK), 0

        def count() -> None:
            nonlocal done
            done += 1
            on_progress(f"encoding rows of {name}", done, total)  # noqa: B023 - called within this pass of the loop

        encoded[name] = encode_rows(chosen, corpus.part(name), bundles, jobs, count)
    return write_familiarity(bundles, encoded[trained_on], encoded["test"], corpus)


def write_familiarity(
    bundles: Sequence[Path],
    train: Sequence[Encodings],
    test: Sequence[Encodings],
    corpus: Corpus,
    sounds_per_kind: int = _SOUNDS,
) -> list[Familiarity]:
    """Fit the familiarity of bundles to their encodings of rows, and write it; see `add_familiarity`."""
    fitted = [fit_familiarity(*pair) for pair in zip(train, test, strict=True)]
    sounds = measure_other_sounds(fitted, corpus, bundles, sounds_per_kind)
    found = [replace(one, results={**one.results, "sounds": kinds}) for one, kinds in zip(fitted, sounds, strict=True)]
    for bundle, one in zip(bundles, found, strict=True):
        card = replace(Bundle(bundle).card, familiarity=one)
        write_file(card.to_json().encode(), bundle / CARD)
        write_model_card(bundle)
    return found


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return `count` rows, evenly from all."""
    return [rows[round(place)] for place in np.linspace(0, len(rows) - 1, min(count, len(rows)))]


def main() -> None:
    """Measure the familiarity of bundles, and write it into their `card.json` and their page."""
    parser = argparse.ArgumentParser(prog="python -m haaqi_edge.training.familiarity", description=main.__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, help="folders of bundles that were trained on label tables")
    parser.add_argument("--corpus", type=Path, required=True, help="the music of the label table")
    parser.add_argument("--table", type=Path, required=True, help="folder of the label table")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of train and of test (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    given = parser.parse_args()

    def show(step: str, done: int, total: int) -> None:
        print(f"\r{step}: {done} of {total} chunks", end="" if done < total else "\n", flush=True)

    found = add_familiarity(
        given.bundles, Corpus(given.corpus), given.table, rows=given.rows, jobs=given.jobs, on_progress=show
    )
    for bundle, one in zip(given.bundles, found, strict=True):
        print(f"{bundle}: threshold {one.threshold:.3f}")
        results: Mapping[str, Any] = one.results
        for name, value in {**results, **results["sounds"]}.items():
            if name != "sounds":
                print(f"  {name}: {value}")


if __name__ == "__main__":
    main()
