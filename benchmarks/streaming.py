"""A stream's time, memory and agreement with the offline score: python -m haaqi_edge.benchmarks.streaming [SHARED]

    python -m haaqi_edge.benchmarks.streaming                   # nano
    python -m haaqi_edge.benchmarks.streaming ../shared         # and the student, its weights by the golden rule
    python -m haaqi_edge.benchmarks.streaming --soak 24         # 24 hours of audio at full speed

One thread. A hop is 160 ms, timed from the call with its samples to the updates.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..calibration.timing import compare
from ..runtime import Bundle, Scorer, Tokens
from ..runtime import frontend as fe
from ..runtime.audiogram import Audiogram
from ..runtime.encoder import READINGS
from ..runtime.errors import HaaqiEdgeError
from ..runtime.sessions import Session
from ..runtime.windows import Encoded
from .soak import soak

Array = npt.NDArray[np.float32]

LISTENER: Final = "N3"
RATES: Final = ((fe.SAMPLE_RATE, 1), (48_000, 2))
"""Hz and channels that are streamed"""
WINDOWS: Final = (10.0, 30.0, 60.0)
"""seconds, of the student's heads"""
_ALONE: Final = """
import sys
import numpy as np
from haaqi_edge.runtime import Scorer

hop = np.tile(np.sin(np.arange(7680) * 0.05).astype(np.float32)[:, None] * 0.1, (1, 2))
with Scorer(sys.argv[1], threads=1).stream("N3", 48_000, window=10.0) as stream:
    for _ in range(400):
        stream.accept_waveform(hop)
    stream.input_finished()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def noise(rate: int, channels: int, seconds: float) -> Array:
    """White noise of RMS 0.1, float32 [n, channels]."""
    return 0.1 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels)).astype(np.float32)


def hop_times(scorer: Scorer, rate: int, channels: int, window: float, hops: int) -> npt.NDArray[np.float64]:
    """Seconds of each of `hops` hops, audio to score, once the window is full."""
    step = int(rate * fe.PATCH_SECONDS)
    sound = noise(rate, channels, 20.0)
    chunks = [sound[at : at + step] for at in range(0, len(sound) - step + 1, step)]
    taken = np.empty(hops)
    with scorer.stream(LISTENER, rate, window=window) as stream:
        before = round(stream.window / fe.PATCH_SECONDS) + 10
        for index in range(before + hops):
            chunk = chunks[index % len(chunks)]
            started = time.perf_counter()
            stream.accept_waveform(chunk)
            if index >= before:
                taken[index - before] = time.perf_counter() - started
    return taken


def part_times(model: str, scorer: Scorer, window: float, runs: int) -> dict[str, float]:
    """Median seconds of what a hop consists of: front end and encoder on a patch, the head on a window."""
    card = scorer.card
    sound = noise(fe.SAMPLE_RATE, 1, window + 1)[:, 0]
    patch = sound[: fe.PATCH_LENGTH]
    tokens = scorer.encode((sound, fe.SAMPLE_RATE)).encoded.tokens[: int(window / fe.PATCH_SECONDS + 1e-9)]
    listener = Audiogram.named(LISTENER).array()[None]
    reading = READINGS[card.encoder_input]
    features = reading(patch)
    encoder, head = (Session(Bundle(model).path(role), threads=1) for role in ("encoder", "head"))
    contenders = {
        "front end": lambda: reading(patch),
        "encoder": lambda: encoder.run(**{card.encoder_input: features}),
        "head": lambda: head.run(tokens=tokens.reshape(1, -1, card.width), audiogram=listener),
    }
    return {name: timing.median for name, timing in compare(contenders, runs).items()}


def difference(scorer: Scorer, window: float, seconds: float) -> float:
    """The largest difference of a score between a stream in uneven chunks and the offline head on the same patches."""
    sound = noise(44_100, 2, seconds)
    tokens = scorer.encode((sound, 44_100))
    largest, at = 0.0, 0
    with scorer.stream(LISTENER, 44_100, window=window) as stream:
        length = round(stream.window / fe.PATCH_SECONDS)
        sizes = np.random.default_rng(0).integers(1, 9_000, len(sound))
        chunks = np.split(sound, np.cumsum(sizes[np.cumsum(sizes) < len(sound)]))
        for at, update in enumerate(stream.updates(chunks), 1):
            expected = scorer.score(_part(tokens, max(0, at - length), at), LISTENER, window=None).score
            assert update.score is not None
            largest = max(largest, abs(update.score - expected))
        total = stream.summary().score
        assert total is not None
        assert at == len(tokens.encoded.silent)
    return max(largest, abs(total - scorer.score((sound, 44_100), LISTENER, window=window).score))


def _part(tokens: Tokens, start: int, stop: int) -> Tokens:
    encoded = tokens.encoded
    return dataclasses.replace(tokens, encoded=Encoded(encoded.tokens[start:stop], encoded.silent[start:stop]))


def peak_memory(model: str) -> float:
    """MB that a fresh process holds at most which streams a minute of 48 kHz stereo."""
    done = subprocess.run([sys.executable, "-c", _ALONE, model], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def measure(model: str, windows: tuple[float, ...], hops: int) -> dict[str, float]:
    """All figures of a model, by name; milliseconds, MB and ratios."""
    scorer = Scorer(model, threads=1)
    found: dict[str, float] = {}
    for window in windows:
        where = f"window {window:g} s"
        for rate, channels in RATES:
            taken = hop_times(scorer, rate, channels, window, hops)
            name = f"{where}, {rate / 1000:g} kHz, {channels} channel{'s' if channels > 1 else ''}"
            found[f"{name}: ms per hop, median"] = float(np.median(taken)) * 1e3
            found[f"{name}: ms per hop, 5th percentile"] = float(np.quantile(taken, 0.05)) * 1e3
            found[f"{name}: ms per hop, 99th percentile"] = float(np.quantile(taken, 0.99)) * 1e3
            found[f"{name}: real-time factor"] = float(taken.mean()) / fe.PATCH_SECONDS
        parts = part_times(model, scorer, window, hops)
        for part, seconds in parts.items():
            found[f"{where}: {part}, ms"] = seconds * 1e3
        found[f"{where}: the head's part of the three"] = parts["head"] / sum(parts.values())
    found["largest difference of a score from offline"] = difference(scorer, windows[0], 3 * windows[0])
    found["peak memory of the process, MB"] = peak_memory(model)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m haaqi_edge.benchmarks.streaming", description=__doc__)
    parser.add_argument("shared", nargs="?", type=Path, help="the reference material: the student is measured too")
    parser.add_argument("--model", default="nano", help="a shipped name, or a bundle's folder (default: nano)")
    parser.add_argument("--hops", type=int, default=2000, help="hops that are timed (default: 2000)")
    parser.add_argument("--soak", type=float, metavar="HOURS", help="push so many hours of audio through instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found: dict[str, Any]
    try:
        if options.soak is not None:
            found = {options.model: soak(Scorer(options.model, threads=1), options.soak)._asdict()}
        else:
            found = {options.model: measure(options.model, (10.0,), options.hops)}
            if options.shared is not None:
                from .golden import student_bundle

                with tempfile.TemporaryDirectory() as folder:
                    bundle = student_bundle(options.shared, Path(folder))
                    found["student"] = measure(str(bundle), WINDOWS, min(options.hops, 300))
    except HaaqiEdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for model, figures in found.items():
            for name, figure in figures.items():
                print(f"{model}: {name:<70} {figure:.4g}")


if __name__ == "__main__":
    main()
