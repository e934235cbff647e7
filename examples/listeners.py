"""A song for three listeners.

A song, clean and degraded, is scored for normal hearing (NH), a moderate hearing loss (N3) and a severe one (N5). It is
amplified for each listener (NAL-R). Left: the audiograms. Middle and right: the predicted quality over time, with the
score of the whole song in the legend.

    python examples/listeners.py [FILE...] --picture listeners.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from haaqi_edge.runtime.audiogram import FREQUENCIES
from matplotlib.figure import Figure

from haaqi_edge import Audiogram, Scorer

DEMO = [Path("demo/clean.flac"), Path("demo/degraded.flac")]
LISTENERS = {"NH": "tab:green", "N3": "tab:blue", "N5": "tab:red"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=DEMO, help="audio files; default: the demo clips")
    parser.add_argument("--picture", type=Path, default=Path("listeners.png"), help="PNG file to write")
    args = parser.parse_args()

    scorer = Scorer("nano", threads=1)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    audiograms, *panes = figure.subplots(1, 1 + len(args.files))

    for name, colour in LISTENERS.items():
        audiograms.semilogx(FREQUENCIES, Audiogram.named(name).levels, marker="o", color=colour, label=name)
    audiograms.minorticks_off()
    audiograms.set_xticks([250, 500, 1000, 2000, 4000, 8000], ["250", "500", "1k", "2k", "4k", "8k"])
    audiograms.set(xlabel="Hz", ylabel="dB HL", title="audiograms", ylim=(100, -10))
    audiograms.legend()

    for pane, file in zip(panes, args.files, strict=True):
        scores = scorer.score(file, list(LISTENERS), nal_r=True)
        for score, colour in zip(scores, LISTENERS.values(), strict=True):
            print(f"{file.name:16} {score.audiogram.name}  {score.score:.3f}")
            pane.plot(score.times, score.frame_scores, color=colour, label=f"{score.audiogram.name}: {score.score:.2f}")
        pane.set(xlabel="seconds", ylabel="predicted HAAQI", title=file.name, ylim=(0, 1))
        pane.legend()
    figure.savefig(args.picture, dpi=100)


if __name__ == "__main__":
    main()
