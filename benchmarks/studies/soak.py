"""Soak test: stream hours of audio at full speed, and check that memory, scores and speed do not change.

    haaqi-edge bench study soak --hours 24 [--model nano]

`haaqi-edge bench streaming` runs the test for one hour.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime import Scorer, Update
from ...runtime.features import patches as fe
from ..program import told_in_a_line

MINUTE: Final = round(60 / fe.PATCH_SECONDS)
HOUR: Final = 60 * MINUTE
"""`MINUTE` and `HOUR` are numbers of patches"""

Array = npt.NDArray[np.float32]


class Soaked(NamedTuple):
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


class Programme:
    """Endless audio at 16 kHz: stretches of noise and tones, loud, soft or silent. Every patch can be recomputed.

    Scenes last 1 to 17 s. The level and mixture of each scene are drawn at random from the number of its minute.
    """

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        seconds = np.arange(fe.SAMPLE_RATE * 8) / fe.SAMPLE_RATE
        tones = sum(np.sin(2 * np.pi * hz * seconds) / k for k, hz in enumerate((220, 277, 330, 440, 1760), 1))
        self._tones = (0.1 * np.asarray(tones)).astype(np.float32)
        self._noise = (0.1 * draw.standard_normal(len(seconds))).astype(np.float32)

    def patch(self, index: int) -> Array:
        """Return the first 2560 samples of patch `index`."""
        minute, place = divmod(index, MINUTE)
        draw = np.random.default_rng(minute)
        scene = int(np.searchsorted(np.cumsum(draw.integers(6, 106, MINUTE // 6)), place, side="right"))
        level, share, kind = np.random.default_rng([minute, scene]).random(3)
        start = place * 1_009 % (len(self._noise) - fe.PATCH_SHIFT)
        mixed = share * self._tones[start:][: fe.PATCH_SHIFT] + (1 - share) * self._noise[start:][: fe.PATCH_SHIFT]
        gain = 0.0 if kind < 0.1 else 10 ** (2 * level - 2)
        return np.asarray(mixed * gain, dtype=np.float32)


def soak(scorer: Scorer, hours: float) -> Soaked:
    """Stream hours of audio in windows of 10 s, one patch at a time. Requires Linux.

    Memory is read once per minute of audio. Results of the hops are written to arrays that are allocated beforehand.

    Args:
        scorer: the model.
        hours: duration of the audio.

    Raises:
        RuntimeError: silence occurs at other times than in a fresh stream.
    """
    patches = round(hours * HOUR)
    tail = min(HOUR, patches // 2)
    programme = Programme()
    taken = np.full(patches, np.nan, dtype=np.float32)
    scores = np.full(tail, np.nan, dtype=np.float32)
    after_a_minute, largest = 0.0, 0.0
    with scorer.stream("N3", fe.SAMPLE_RATE, window=10.0) as stream:
        for index in range(patches):
            chunk = programme.patch(index)
            started = time.perf_counter()
            updates = stream.accept_waveform(chunk)
            taken[index] = time.perf_counter() - started
            if index >= patches - tail:
                scores[index - patches + tail] = _score(updates)
            if index == MINUTE:
                after_a_minute = memory("VmRSS")
            elif index > MINUTE and index % MINUTE == 0:
                largest = max(largest, memory("VmRSS"))
    fresh = np.full(tail, np.nan, dtype=np.float32)
    with scorer.stream("N3", fe.SAMPLE_RATE, window=10.0) as stream:
        for index in range(tail):
            fresh[index] = _score(stream.accept_waveform(programme.patch(patches - tail + index)))
        full = round(stream.window / fe.PATCH_SECONDS)
    # The last 240 samples of a patch, shared with the next patch, arrive one chunk later. So updates lag by one chunk.
    mine, theirs = scores[full + 1 :], fresh[full + 1 :]
    if not np.array_equal(np.isnan(mine), np.isnan(theirs)):
        raise RuntimeError("silence comes at other moments in the long stream than in the fresh one")
    drift = float(np.nanmax(np.abs(mine - theirs)))
    first, last = (float(np.median(part)) for part in (taken[MINUTE : MINUTE + tail], taken[-tail:]))
    return Soaked(hours, largest - after_a_minute, memory("VmHWM"), drift, first, last)


def memory(what: str) -> float:
    """Return the memory of this process in MB (10^6 bytes), as reported by Linux.

    Args:
        what: `VmRSS` for the current memory, `VmHWM` for the peak.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024e-6
    raise RuntimeError(f"/proc/self/status does not tell {what}: this is measured on Linux")


def _score(updates: list[Update]) -> float:
    """Return the score of the only update; NaN if there is no update, or for silence."""
    return np.nan if not updates or updates[0].score is None else updates[0].score


def main() -> None:
    """Print the results of a soak test as JSON."""
    parser = argparse.ArgumentParser(prog="haaqi-edge bench study soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of audio (default: 24)")
    parser.add_argument("--model", default="nano", help="a shipped name, or a bundle's folder (default: nano)")
    options = parser.parse_args()
    with told_in_a_line():
        found = soak(Scorer(options.model, threads=1), options.hours)
    print(json.dumps(found._asdict(), indent=2))


if __name__ == "__main__":
    main()
