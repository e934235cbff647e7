"""int8 against fp32.

nano-int8 is a smaller version of nano. Both models score a song for four listeners, clean and with seven degradations.
Left: the scores of both models, with a dot for each window of 10 s. Middle: how many windows differ by how much. Right:
the size of the models.

    python examples/int8.py [FILE] --picture int8.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
from haaqi_edge.runtime.bundle import Bundle
from haaqi_edge.training.degradations import degrade
from matplotlib.figure import Figure

from haaqi_edge import Scorer

LISTENERS = ["N1", "N3", "N5", "S2"]
CHAINS = [
    "",
    "clip(peak=0.3)",
    "noise(snr=15)",
    "lowpass(hz=2000)",
    "highpass(hz=1000)",
    "mp3(kbps=48)",
    "quantize(bits=6)",
    "noise(snr=10)|clip(peak=0.4)",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=Path("demo/clean.flac"), help="clean music")
    parser.add_argument("--picture", type=Path, default=Path("int8.png"), help="PNG file to write")
    args = parser.parse_args()

    samples, rate = soundfile.read(args.file, always_2d=True)
    clean = samples.mean(axis=1)
    models = {name: Scorer(name, threads=1) for name in ("nano", "nano-int8")}
    scores = {name: list[float]() for name in models}
    for seed, chain in enumerate(CHAINS):
        sound = degrade(clean, rate, chain, seed)
        for name, scorer in models.items():
            results = scorer.score((sound, rate), LISTENERS, nal_r=True)
            scores[name] += [window.score for result in results for window in result.windows if window.score]
    fp32, int8 = (np.array(values) for values in scores.values())
    change = int8 - fp32

    sizes = {name: sum(f.stat().st_size for f in Bundle(name).folder.glob("*.onnx")) / 1e6 for name in models}
    print(f"{len(change)} windows: largest change {np.abs(change).max():.4f}, mean {np.abs(change).mean():.4f}")
    for name in models:
        print(f"{name}: {sizes[name]:.2f} MB")

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    scatter, histogram, size = figure.subplots(1, 3)
    scatter.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    scatter.scatter(fp32, int8, s=16)
    scatter.set(xlim=(0, 1), ylim=(0, 1), xlabel="nano (fp32)", ylabel="nano-int8", title="score of each window")
    histogram.hist(change, bins=20)
    histogram.locator_params(axis="x", nbins=5)
    histogram.set(xlabel="int8 - fp32", ylabel="windows", title=f"largest change: {np.abs(change).max():.4f}")
    size.bar(list(sizes), list(sizes.values()), color=["0.6", "tab:blue"])
    size.set(ylabel="MB", title="size of the files")
    figure.savefig(args.picture, dpi=100)


if __name__ == "__main__":
    main()
