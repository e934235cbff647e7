"""Compare HAAQI with pyclarity's, in values and time: `haaqi-edge bench study haaqi MUSIC`.

The cases include every condition of `degradations` and other difficult inputs: other sample rates, delays, silence,
short clips, levels. All cases take about eight minutes on one core, most of it for pyclarity.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr
from clarity.evaluator.haaqi.haaqi import haaqi_v1
from clarity.utils.audiogram import Audiogram as ClarityAudiogram

from ...haaqi.index import HAAQI_FREQUENCIES, Haaqi, Listener, Reference
from ...runtime.audio.levels import LEVEL1, amplitude
from ...runtime.errors import CorpusError
from ...training.corpus.clips import Corpus
from ...training.degradations import degrade, format_chain
from ...training.degradations.hearing_aids import amplify
from ...training.degradations.sampling import RANGES
from ...training.degradations.signals import rms
from ..progress import Progress, no_progress

TOLERANCE: Final = 1e-3
"""largest difference of a score from pyclarity's"""
_LISTENERS: Final = ("NH", "N2", "N4", "S2", "N7")
_RATES: Final = (24_000, 44_100, 16_000, 48_000, 32_000)
_SECONDS: Final = 2.2
_TIMED_SECONDS: Final = 10.0
"""duration of the clip that is timed"""
_RUNS: Final = 7
_MIN_RMS: Final = 1e-3
"""minimum RMS of an excerpt; quieter excerpts are not informative"""

Array = npt.NDArray[np.float64]
Change = Callable[[Array, Array, int], tuple[Array, Array]]


@dataclass(frozen=True)
class Case:
    """A case to compare.

    Attributes:
        family: group of the case in the results.
        chain: degradations of the music; empty for none.
        change: applied to reference and processed signal after the degradations; its arguments are both signals and the
            rate in Hz.
        seconds: duration of the music.
        spl: level in dB SPL.
        level1: dB SPL of RMS 1.0.
        rate: sample rate in Hz; None selects one of five.
    """

    family: str
    chain: str = ""
    change: Change = lambda x, y, _: (x, y)
    seconds: float = _SECONDS
    spl: float = 65.0
    level1: float = LEVEL1
    rate: int | None = None


class CaseResult(NamedTuple):
    """Result of a case: the setup, and the HAAQI of both implementations."""

    family: str
    chain: str
    clip: str
    rate: int
    listener: str
    ours: Haaqi
    theirs: Haaqi

    @property
    def difference(self) -> float:
        """Absolute difference of the scores."""
        return abs(self.ours.score - self.theirs.score)


def pyclarity_haaqi(clean: Array, processed: Array, rate: int, listener: Listener, seed: int = 0) -> Haaqi:
    """Compute the HAAQI of two signals [samples] at one rate with pyclarity."""
    levels = listener.audiogram.at(HAAQI_FREQUENCIES)
    audiogram = ClarityAudiogram(levels=levels, frequencies=np.array(HAAQI_FREQUENCIES))
    np.random.seed(seed)  # noqa: NPY002 - pyclarity draws its noise from this generator
    with np.errstate(divide="ignore"):  # for silent signals
        score, nonlinear, linear, parts = haaqi_v1(clean, rate, processed, rate, audiogram, 1, listener.level1)
    return Haaqi(*map(float, (score, nonlinear, linear, *parts)))


def generate_cases() -> Iterator[Case]:
    """Yield all cases, the same at every call."""
    rng = np.random.default_rng(1)
    for name, ranges in RANGES.items():
        for _ in range(2):
            yield Case(name, format_chain((name, {key: draw(rng) for key, draw in ranges.items()})))
    yield from (Case("clean, amplified") for _ in range(2))
    yield from (Case("identical", change=lambda x, _, __: (x, x)) for _ in range(3))
    # At other rates, pyclarity's score of silence is NaN: it divides by the power of the resampled signal.
    yield from (Case("silence", change=lambda x, y, _: (x, 0 * y), rate=24_000) for _ in range(2))
    for which in ((1, 1), (1, 0), (0, 1)):
        yield Case("leading silence", "noise(snr=10)", _lead_with_silence(*which))
    for ms in (-100, -37, 37, 100):
        yield Case("delay", "clip(peak=0.3)", _delay(ms))
    for chain in ("", "noise(snr=5)", "lowpass(hz=2000)", "modulation(hz=8,depth=0.8,skew=0.2)"):
        yield Case("half a second", chain, seconds=0.5)
    for spl, level1 in ((40.0, LEVEL1), (90.0, LEVEL1), (65.0, 65.0), (65.0, 100.0), (10.0, LEVEL1)):
        yield Case("levels", "noise(snr=15)", spl=spl, level1=level1)
    yield Case("upside down", change=lambda x, y, _: (x, -y))
    yield Case("shorter", "noise(snr=15)", lambda x, y, _: (x, y[: len(y) * 3 // 4]))
    yield Case("longer", "noise(snr=15)", lambda x, y, _: (x[: len(y) * 3 // 4], y))
    yield Case("other music", change=lambda x, y, _: (x, y[::-1].copy()))


def _lead_with_silence(first: int, second: int) -> Change:
    """Return a change that inserts silence before each of the two signals, in units of half a second."""
    return lambda x, y, rate: (np.pad(x, (rate // 2 * first, 0)), np.pad(y, (rate // 2 * second, 0)))


def _delay(ms: int) -> Change:
    """Return a change that rotates the processed signal by milliseconds."""
    return lambda x, y, rate: (x, np.roll(y, ms * rate // 1000))


def compare_case(case: Case, number: int, corpus: Corpus) -> CaseResult:
    """Compare a case on a clip; its number determines clip, rate and listener."""
    rate, name = case.rate or _RATES[number % len(_RATES)], _LISTENERS[number // len(_RATES) % len(_LISTENERS)]
    listener = Listener(name, level1=case.level1)
    clip, x = _excerpt(corpus, number, rate, case.seconds)
    x = x * (amplitude(case.spl - case.level1) / rms(x))
    degraded = degrade(x, rate, case.chain, number).astype(np.float32)
    x, y = case.change(x, amplify(degraded, rate, listener.audiogram, "nal-r").astype(np.float64), rate)
    ours = Reference(x, rate, listener).score(y, rate)
    return CaseResult(case.family, case.chain, clip, rate, name, ours, pyclarity_haaqi(x, y, rate, listener))


def _excerpt(corpus: Corpus, number: int, rate: int, seconds: float) -> tuple[str, Array]:
    """Return the path of a clip, and an excerpt of it [n] at a rate; silent excerpts are skipped."""
    step = 7919  # a prime, because neighbours in the list are similar
    for k in range(len(corpus.clips)):
        clip = corpus.clips[(number + k) * step % len(corpus.clips)]
        if clip.duration < seconds:
            continue
        samples, own = corpus.excerpt(clip.path, (clip.duration - seconds) / 3, seconds)
        if rms(samples) > _MIN_RMS:
            return clip.path, np.asarray(soxr.resample(samples, own, rate, "VHQ"))
    raise CorpusError(f"no clip of {corpus.folder} has sound for {seconds:g} s: add longer or louder ones")


def measure_cpu_times(corpus: Corpus) -> dict[str, float]:
    """Measure CPU seconds for one clip of 10 s at 24 kHz.

    Returns:
        the time of pyclarity's HAAQI, of ours, and of ours including the analysis of the reference.
    """
    listener = Listener("N3", level1=LEVEL1)
    _, x = _excerpt(corpus, 0, 24_000, _TIMED_SECONDS)
    x *= amplitude(65 - LEVEL1) / rms(x)
    degraded = degrade(x, 24_000, "noise(snr=10)", 0).astype(np.float32)
    y = amplify(degraded, 24_000, listener.audiogram, "nal-r").astype(np.float64)
    reference = Reference(x, 24_000, listener)
    reference.score(y, 24_000)  # this call and the next one compile the kernels
    pyclarity_haaqi(x[:12_000], y[:12_000], 24_000, listener)
    score = [_cpu_seconds(lambda: reference.score(y, 24_000)) for _ in range(_RUNS)]
    whole = [_cpu_seconds(lambda: Reference(x, 24_000, listener).score(y, 24_000)) for _ in range(_RUNS)]
    return {
        "pyclarity": _cpu_seconds(lambda: pyclarity_haaqi(x, y, 24_000, listener)),
        "ours": float(np.median(score)),
        "ours, reference included": float(np.median(whole)),
    }


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def summarize(results_of_cases: list[CaseResult]) -> dict[str, dict[str, float]]:
    """Return the number of cases and the largest and mean difference of the scores, by family and for all."""
    differences: dict[str, list[float]] = {}
    for result in results_of_cases:
        for name in (result.family, "all"):
            differences.setdefault(name, []).append(result.difference)
    differences["all"] = differences.pop("all")
    return {
        name: {"cases": len(part), "worst": float(np.max(part)), "mean": float(np.mean(part))}
        for name, part in differences.items()
    }


def measure(music: str | Path, count: int | None, on_progress: Progress = no_progress) -> dict[str, Any]:
    """Compare the scores of all cases, and measure the times.

    Args:
        music: folder of clips with its CLIPS.csv.
        count: number of cases, spread over all of them; None takes all.
        on_progress: called with the progress.

    Returns:
        the differences by family, the CPU times and their ratios, and all cases.

    Raises:
        CorpusError: the music cannot be used.
    """
    logging.getLogger("clarity").setLevel(logging.ERROR)
    corpus, cases = Corpus(music), list(enumerate(generate_cases()))
    if count is not None:
        cases = [cases[i * len(cases) // count] for i in range(count)]
    on_progress("measuring CPU times", 0, 0)
    seconds = measure_cpu_times(corpus)
    results_of_cases = []
    for place, (number, case) in enumerate(cases):
        on_progress("comparing cases", place, len(cases))
        results_of_cases.append(compare_case(case, number, corpus))
    return {
        "families": summarize(results_of_cases),
        "cpu_seconds": seconds,
        "ratio": seconds["pyclarity"] / seconds["ours"],
        "ratio, reference included": seconds["pyclarity"] / seconds["ours, reference included"],
        "cases": [
            {**one._asdict(), "ours": one.ours._asdict(), "theirs": one.theirs._asdict()} for one in results_of_cases
        ],
    }


def is_within_tolerance(results: dict[str, Any]) -> bool:
    """Return whether no score differs from pyclarity's by more than `TOLERANCE`, or is NaN."""
    return bool(results["families"]["all"]["worst"] <= TOLERANCE)


def result_rows(results: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Format a table of differences: family, cases, largest and mean difference. The last row is `all`."""
    return [
        (name, f"{row['cases']:.0f}", f"{row['worst']:.1e}", f"{row['mean']:.1e}")
        for name, row in results["families"].items()
    ]


def format_times(results: dict[str, Any]) -> list[str]:
    """Format the CPU times and their ratios as text."""
    lines = [
        f"{name:<26} {seconds:7.3f} s of CPU time for {_TIMED_SECONDS:g} s of audio"
        for name, seconds in results["cpu_seconds"].items()
    ]
    with_reference = results["ratio, reference included"]
    return [*lines, f"pyclarity takes {results['ratio']:.0f} times as long, {with_reference:.0f} with the reference"]
