"""The front end against the same fbank written per frame: python -m haaqi_edge.benchmarks.frontend"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..calibration.timing import Timing, compare
from ..runtime import frontend as fe
from ..runtime.fbank import fbank, mel_filters, povey_window

Array = npt.NDArray[np.float32]
SECONDS = 10.0


def fbank_per_frame(samples: Array) -> Array:
    """The runtime's `fbank`, one frame at a time as Kaldi's own code goes: float32 [n] to [frames, 128]."""
    frames = []
    for start in range(0, len(samples) - fe.FRAME_LENGTH + 1, fe.FRAME_SHIFT):
        frame = samples[start : start + fe.FRAME_LENGTH] * np.float32(fe.WAVE_SCALE)
        frame = frame - frame.mean()
        frame = frame - np.float32(fe.PREEMPHASIS) * np.concatenate([frame[:1], frame[:-1]])
        spectrum = np.fft.rfft(frame * povey_window(), fe.FFT_LENGTH)[: fe.FFT_LENGTH // 2]
        energy = np.maximum(np.abs(spectrum) ** 2 @ mel_filters(), np.finfo(np.float32).eps)
        frames.append((np.log(energy) - fe.FBANK_MEAN) / (2 * fe.FBANK_STD))
    return np.stack(frames).astype(np.float32)


def measure(runs: int = 20) -> dict[str, Timing]:
    """Both on 10 s of noise, after making sure that they agree."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(int(SECONDS * fe.SAMPLE_RATE)).astype(np.float32)
    difference = float(np.abs(fbank(samples) - fbank_per_frame(samples)).max())
    assert difference < 1e-3, f"the two front ends differ by {difference}"
    return compare({"fbank": lambda: fbank(samples), "per frame": lambda: fbank_per_frame(samples)}, runs)


def main() -> None:
    """Print both and their ratio."""
    timings = measure()
    for name, timing in timings.items():
        print(f"{name:<10} {timing.median * 1e3:6.2f} ms  ({timing.low * 1e3:.2f} to {timing.high * 1e3:.2f})")
    print(f"ratio {timings['per frame'].median / timings['fbank'].median:.1f}")


if __name__ == "__main__":
    main()
