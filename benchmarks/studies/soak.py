"""Soak test: stream hours of audio at full speed, and check that memory, scores and speed do not change.

`haaqi-edge bench study soak` runs it; `haaqi-edge bench streaming` includes one hour.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime import Scorer, Update
from ...runtime.errors import HaaqiEdgeError, OptionError
from ...runtime.features import patches as fe
from ..progress import Progress, no_progress

MINUTE: Final = round(60 / fe.PATCH_SECONDS)
HOUR: Final = 60 * MINUTE
"""`MINUTE` and `HOUR` are numbers of patches"""
_MIN_HOURS: Final = 0.05
"""minimum duration: growth is measured after the first minute"""

Array = npt.NDArray[np.float32]


class SoakError(HaaqiEdgeError, RuntimeError):
    """Raised if the test cannot run, or if a long stream differs from a fresh one."""

    exit_code = 1


class SoakResult(NamedTuple):
    """Results of a soak test.

    Attributes:
        hours: duration of the audio.
        growth: largest growth of the process in MB after the first minute of audio.
        peak: peak memory in MB, including libraries.
        drift: largest difference of a score in the last hour (or half) from a fresh stream of only that time.
        first, last: median seconds of a hop in the first and in the last hour (or half).
    """

    hours: float
    growth: float
    peak: float
    drift: float
    first: float
    last: float


class EndlessSignal:
    """Endless audio at 16 kHz: stretches of noise and tones, loud, soft or silent. Every patch can be recomputed.

    Scenes last 1 to 17 s. The level and mixture of each scene are random, with the number of its minute as the seed.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        seconds = np.arange(fe.SAMPLE_RATE * 8) / fe.SAMPLE_RATE
        tones = sum(np.sin(2 * np.pi * hz * seconds) / k for k, hz in enumerate((220, 277, 330, 440, 1760), 1))
        self._tones = (0.1 * np.asarray(tones)).astype(np.float32)
        self._noise = (0.1 * rng.standard_normal(len(seconds))).astype(np.float32)

    def patch(self, index: int) -> Array:
        """Return the first 2560 samples of patch `index`."""
        minute, place = divmod(index, MINUTE)
        rng = np.random.default_rng(minute)
        scene = int(np.searchsorted(np.cumsum(rng.integers(6, 106, MINUTE // 6)), place, side="right"))
        level, share, kind = np.random.default_rng([minute, scene]).random(3)
        start = place * 1_009 % (len(self._noise) - fe.PATCH_SHIFT)
        mixed = share * self._tones[start:][: fe.PATCH_SHIFT] + (1 - share) * self._noise[start:][: fe.PATCH_SHIFT]
        gain = 0.0 if kind < 0.1 else 10 ** (2 * level - 2)
        return np.asarray(mixed * gain, dtype=np.float32)


def soak(scorer: Scorer, hours: float, on_progress: Progress = no_progress) -> SoakResult:
    """Stream hours of audio in windows of 10 s, one patch at a time. Requires Linux.

    Memory is read once per minute of audio. Results of the hops are written to arrays that are allocated beforehand.

    Args:
        scorer: the model.
        hours: duration of the audio, at least 0.05.
        on_progress: called with the minutes of audio that were streamed.

    Raises:
        OptionError: the duration is too short.
        SoakError: silence occurs at other times than in a fresh stream, or this is not Linux.
    """
    if not hours >= _MIN_HOURS:
        raise OptionError(f"--hours {hours:g}: give {_MIN_HOURS:g} or more")
    patches = round(hours * HOUR)
    tail = min(HOUR, patches // 2)
    signal = EndlessSignal()
    seconds = np.full(patches, np.nan, dtype=np.float32)
    scores = np.full(tail, np.nan, dtype=np.float32)
    after_a_minute, largest = _read_memory("VmRSS"), 0.0
    with scorer.stream("N3", fe.SAMPLE_RATE, window=10.0) as stream:
        for index in range(patches):
            chunk = signal.patch(index)
            started = time.perf_counter()
            updates = stream.accept_waveform(chunk)
            seconds[index] = time.perf_counter() - started
            if index >= patches - tail:
                scores[index - patches + tail] = _score(updates)
            if index % MINUTE == 0:
                on_progress("streaming, minutes of audio", index // MINUTE, patches // MINUTE)
            if index == MINUTE:
                after_a_minute = _read_memory("VmRSS")
            elif index > MINUTE and index % MINUTE == 0:
                largest = max(largest, _read_memory("VmRSS"))
    fresh = np.full(tail, np.nan, dtype=np.float32)
    with scorer.stream("N3", fe.SAMPLE_RATE, window=10.0) as stream:
        for index in range(tail):
            fresh[index] = _score(stream.accept_waveform(signal.patch(patches - tail + index)))
        full = round(stream.window / fe.PATCH_SECONDS)
    # The last 240 samples of a patch, shared with the next patch, arrive one chunk later. So updates lag by one chunk.
    scores, fresh = scores[full + 1 :], fresh[full + 1 :]
    if not np.array_equal(np.isnan(scores), np.isnan(fresh)):
        raise SoakError("the long stream is silent at other times than a fresh stream of the same audio")
    drift = float(np.nanmax(np.abs(scores - fresh)))
    first, last = (float(np.median(part)) for part in (seconds[MINUTE : MINUTE + tail], seconds[-tail:]))
    return SoakResult(hours, largest - after_a_minute, _read_memory("VmHWM"), drift, first, last)


def _read_memory(name: str) -> float:
    """Return the memory of this process in MB (10^6 bytes), as reported by Linux.

    Args:
        name: `VmRSS` for the current memory, `VmHWM` for the peak.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise SoakError("memory is read from /proc/self/status: run the soak test on Linux") from error
    return next(int(line.split()[1]) * 1024e-6 for line in status.splitlines() if line.startswith(f"{name}:"))


def _score(updates: list[Update]) -> float:
    """Return the score of the only update; NaN if there is no update, or for silence."""
    return np.nan if not updates or updates[0].score is None else updates[0].score


def measure(hours: float, model: str = "nano", on_progress: Progress = no_progress) -> dict[str, Any]:
    """Run the soak test with a model on one thread, and return the fields of `SoakResult`."""
    return soak(Scorer(model, threads=1), hours, on_progress)._asdict()


def format_lines(results: dict[str, Any]) -> list[str]:
    """Format the results as text."""
    return [
        f"{results['hours']:g} h of audio: memory grew by {results['growth']:.2f} MB after the first minute, peak "
        f"{results['peak']:.1f} MB",
        f"largest drift of a score {results['drift']:.1e}; a hop took {1e3 * results['first']:.2f} ms in the first and "
        f"{1e3 * results['last']:.2f} ms in the last hour (or half)",
    ]
