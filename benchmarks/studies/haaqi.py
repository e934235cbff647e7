"""Compare HAAQI with pyclarity's, in values and time: haaqi-edge bench study haaqi MUSIC [--cases N] [--json]

MUSIC is a folder of clips with its CLIPS.csv. The cases include every condition of `degradations` and other difficult
inputs: other sample rates, delays, silence, short clips, levels. Exit code 1 if a score differs by more than 1e-3. All
cases take about eight minutes on one core, most of it for pyclarity.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr
from clarity.evaluator.haaqi.haaqi import haaqi_v1
from clarity.utils.audiogram import Audiogram as ClarityAudiogram
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ...haaqi.index import HAAQI_FREQUENCIES, Ear, Haaqi, Reference
from ...runtime.audio.levels import LEVEL1, amplitude
from ...runtime.errors import CorpusError
from ...training.corpus.clips import Corpus
from ...training.degradations import chain_of, degrade
from ...training.degradations.hearing_aids import amplify
from ...training.degradations.sampling import RANGES
from ...training.degradations.signals import rms
from ..program import told_in_a_line

TOLERANCE: Final = 1e-3
LISTENERS: Final = ("NH", "N2", "N4", "S2", "N7")
RATES: Final = (24_000, 44_100, 16_000, 48_000, 32_000)
SECONDS: Final = 2.2
LONG: Final = 10.0
"""seconds of the clip that is timed"""
_RUNS: Final = 7
_LEAST_RMS: Final = 1e-3
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
        rate: sample rate in Hz; None selects one of `RATES`.
    """

    family: str
    chain: str = ""
    change: Change = lambda x, y, _: (x, y)
    seconds: float = SECONDS
    spl: float = 65.0
    level1: float = LEVEL1
    rate: int | None = None


class Outcome(NamedTuple):
    """Result of a case: the setup, and the indices of both implementations."""

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


def oracle(clean: Array, processed: Array, rate: int, ear: Ear, seed: int = 0) -> Haaqi:
    """Compute the HAAQI of two signals [samples] at one rate with pyclarity."""
    levels = ear.audiogram.at(HAAQI_FREQUENCIES)
    listener = ClarityAudiogram(levels=levels, frequencies=np.array(HAAQI_FREQUENCIES))
    np.random.seed(seed)  # noqa: NPY002 - pyclarity draws its noise from this generator
    with np.errstate(divide="ignore"):  # for silent signals
        score, nonlinear, linear, parts = haaqi_v1(clean, rate, processed, rate, listener, 1, ear.level1)
    return Haaqi(*map(float, (score, nonlinear, linear, *parts)))


def cases() -> Iterator[Case]:
    """Yield all cases, the same at every call."""
    rng = np.random.default_rng(1)
    for name, ranges in RANGES.items():
        for _ in range(2):
            yield Case(name, chain_of((name, {key: draw(rng) for key, draw in ranges.items()})))
    yield from (Case("clean, amplified") for _ in range(2))
    yield from (Case("identical", change=lambda x, _, __: (x, x)) for _ in range(3))
    # At other rates, pyclarity's score of silence is NaN: it divides by the power of the resampled signal.
    yield from (Case("silence", change=lambda x, y, _: (x, 0 * y), rate=24_000) for _ in range(2))
    for which in ((1, 1), (1, 0), (0, 1)):
        yield Case("leading silence", "noise(snr=10)", _led(*which))
    for ms in (-100, -37, 37, 100):
        yield Case("delay", "clip(peak=0.3)", _delayed(ms))
    for chain in ("", "noise(snr=5)", "lowpass(hz=2000)", "modulation(hz=8,depth=0.8,skew=0.2)"):
        yield Case("half a second", chain, seconds=0.5)
    for spl, level1 in ((40.0, LEVEL1), (90.0, LEVEL1), (65.0, 65.0), (65.0, 100.0), (10.0, LEVEL1)):
        yield Case("levels", "noise(snr=15)", spl=spl, level1=level1)
    yield Case("upside down", change=lambda x, y, _: (x, -y))
    yield Case("shorter", "noise(snr=15)", lambda x, y, _: (x, y[: len(y) * 3 // 4]))
    yield Case("longer", "noise(snr=15)", lambda x, y, _: (x[: len(y) * 3 // 4], y))
    yield Case("other music", change=lambda x, y, _: (x, y[::-1].copy()))


def _led(first: int, second: int) -> Change:
    """Return a change that inserts silence before each of the two signals, in units of half a second."""
    return lambda x, y, rate: (np.pad(x, (rate // 2 * first, 0)), np.pad(y, (rate // 2 * second, 0)))


def _delayed(ms: int) -> Change:
    """Return a change that rotates the processed signal by milliseconds."""
    return lambda x, y, rate: (x, np.roll(y, ms * rate // 1000))


def meet(case: Case, number: int, corpus: Corpus) -> Outcome:
    """Compare a case on a clip; its number determines clip, rate and listener."""
    rate, listener = case.rate or RATES[number % len(RATES)], LISTENERS[number // len(RATES) % len(LISTENERS)]
    ear = Ear(listener, case.level1)
    clip, x = _excerpt(corpus, number, rate, case.seconds)
    x = x * (amplitude(case.spl - case.level1) / rms(x))
    degraded = degrade(x, rate, case.chain, number).astype(np.float32)
    x, y = case.change(x, amplify(degraded, rate, ear.audiogram, "nal-r").astype(np.float64), rate)
    ours = Reference(x, rate, ear).score(y, rate)
    return Outcome(case.family, case.chain, clip, rate, listener, ours, oracle(x, y, rate, ear))


def _excerpt(corpus: Corpus, number: int, rate: int, seconds: float) -> tuple[str, Array]:
    """Return the path of a clip, and an excerpt of it [n] at a rate; silent excerpts are skipped."""
    step = 7919  # a prime, because neighbours in the list are similar
    for k in range(len(corpus.clips)):
        clip = corpus.clips[(number + k) * step % len(corpus.clips)]
        if clip.duration < seconds:
            continue
        samples, own = corpus.excerpt(clip.path, (clip.duration - seconds) / 3, seconds)
        if rms(samples) > _LEAST_RMS:
            return clip.path, np.asarray(soxr.resample(samples, own, rate, "VHQ"))
    raise CorpusError(f"no clip of {corpus.folder} sounds for {seconds:g} s: give longer or louder ones")


def timed(corpus: Corpus) -> dict[str, float]:
    """Measure CPU seconds for one clip of 10 s at 24 kHz.

    Returns:
        the time of pyclarity's HAAQI, of ours, and of ours including the analysis of the reference.
    """
    ear = Ear("N3")
    _, x = _excerpt(corpus, 0, 24_000, LONG)
    x *= amplitude(65 - LEVEL1) / rms(x)
    y = amplify(degrade(x, 24_000, "noise(snr=10)", 0).astype(np.float32), 24_000, ear.audiogram, "nal-r").astype(
        np.float64
    )
    reference = Reference(x, 24_000, ear)
    reference.score(y, 24_000)  # this call and the next one compile the kernels
    oracle(x[:12_000], y[:12_000], 24_000, ear)
    score = [_cpu(lambda: reference.score(y, 24_000)) for _ in range(_RUNS)]
    whole = [_cpu(lambda: Reference(x, 24_000, ear).score(y, 24_000)) for _ in range(_RUNS)]
    return {
        "pyclarity": _cpu(lambda: oracle(x, y, 24_000, ear)),
        "ours": float(np.median(score)),
        "ours, reference included": float(np.median(whole)),
    }


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def summary(outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    """Return the number of cases and the largest and mean difference of the scores, by family and for all."""
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name in (outcome.family, "all"):
            found.setdefault(name, []).append(outcome.difference)
    found["all"] = found.pop("all")
    return {
        name: {"cases": len(part), "worst": float(np.max(part)), "mean": float(np.mean(part))}
        for name, part in found.items()
    }


def measure(music: str, count: int | None) -> dict[str, Any]:
    """Return everything that is printed.

    Args:
        music: folder of clips with its CLIPS.csv.
        count: number of cases, spread over all of them; None takes all.
    """
    logging.getLogger("clarity").setLevel(logging.ERROR)
    corpus, all_cases = Corpus(music), list(enumerate(cases()))
    chosen = all_cases if count is None else [all_cases[i * len(all_cases) // count] for i in range(count)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        seconds = timed(corpus)
        outcomes = [meet(case, number, corpus) for number, case in bar.track(chosen, description="comparing")]
    return {
        "families": summary(outcomes),
        "cpu_seconds": seconds,
        "ratio": seconds["pyclarity"] / seconds["ours"],
        "ratio, reference included": seconds["pyclarity"] / seconds["ours, reference included"],
        "cases": [{**o._asdict(), "ours": o.ours._asdict(), "theirs": o.theirs._asdict()} for o in outcomes],
    }


def main() -> None:
    """Print the differences and the times."""
    parser = argparse.ArgumentParser(prog="haaqi-edge bench study haaqi", description=__doc__)
    parser.add_argument("music", help="folder of clips with its CLIPS.csv")
    parser.add_argument("--cases", type=int, help="so many of them, spread over all")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.cases is not None and arguments.cases < 1:
        parser.error(f"--cases {arguments.cases}: give a number from 1")
    with told_in_a_line():
        found = measure(arguments.music, arguments.cases)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        table = Table("family", "cases", "worst", "mean")
        for name, row in found["families"].items():
            if name == "all":
                table.add_section()
            table.add_row(name, f"{row['cases']:.0f}", f"{row['worst']:.1e}", f"{row['mean']:.1e}")
        Console().print(table)
        for name, seconds in found["cpu_seconds"].items():
            print(f"{name:<26} {seconds:7.3f} s of CPU for {LONG:g} s of audio")
        print(f"ratio {found['ratio']:.0f}, {found['ratio, reference included']:.0f} with the reference's side")
    if not found["families"]["all"]["worst"] <= TOLERANCE:  # NaN fails too
        sys.exit(1)


if __name__ == "__main__":
    main()
