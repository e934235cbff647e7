"""The dashboard of a stream.

The clean song, a second of silence and the degraded song are streamed in chunks of 10 ms for the listeners N2 and N5,
with NAL-R. The stream gives an update every 160 ms. The picture shows the values of all updates below the waveform: the
level, the score of the last 10 s, and the mean of the complete windows so far.

    python examples/stream.py [FILE...] --picture stream.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.figure import Figure

from haaqi_edge import Scorer

DEMO = [Path("demo/clean.flac"), Path("demo/degraded.flac")]
LISTENERS = {"N2": "tab:blue", "N5": "tab:red"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=DEMO, help="audio files; default: the demo clips")
    parser.add_argument("--picture", type=Path, default=Path("stream.png"), help="PNG file to write")
    args = parser.parse_args()

    rate = soundfile.info(args.files[0]).samplerate
    parts, starts = [], []
    for file in args.files:
        samples, its_rate = soundfile.read(file, dtype="float32", always_2d=True)
        if its_rate != rate:
            parser.error(f"{file} is {its_rate} Hz; give files of one sample rate ({rate} Hz)")
        starts.append(sum(map(len, parts)) / rate)
        parts += [samples.mean(axis=1), np.zeros(rate, np.float32)]
    audio = np.concatenate(parts)

    chunk = rate // 100
    with Scorer("nano", threads=1).stream(list(LISTENERS), rate, nal_r=True) as stream:
        updates = list(stream.updates(audio[i : i + chunk] for i in range(0, len(audio), chunk)))
        summary = stream.summary()
    for total in summary.totals:
        print(f"{total.audiogram.name}: {total.score:.3f} for {summary.time:.1f} s, {len(updates)} updates")

    times = [update.time for update in updates]
    figure = Figure(figsize=(11, 6), layout="constrained")
    wave, levels, scores = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1, 2])
    wave.plot(np.arange(len(audio)) / rate, audio, color="0.6", linewidth=0.3)
    wave.set(ylabel="samples", xlim=(0, times[-1]))
    for file, start in zip(args.files, starts, strict=True):
        wave.text(start + 0.2, 0.9 * np.abs(audio).max(), file.name, va="top")
    for place, (name, colour) in enumerate(LISTENERS.items()):
        readings = [update.readings[place] for update in updates]
        levels.plot(times, [np.nan if r.level is None else r.level for r in readings], color=colour, linewidth=1)
        score = [np.nan if r.score is None else r.score for r in readings]
        mean = [np.nan if r.mean is None else r.mean for r in readings]
        scores.plot(times, score, color=colour, label=f"{name}: last 10 s")
        scores.plot(times, mean, color=colour, linestyle=":", label=f"{name}: mean of complete windows")
    levels.set(ylabel="dB SPL at the ear")
    scores.set(xlabel="seconds", ylabel="predicted HAAQI", ylim=(0, 1))
    scores.legend(ncols=2)
    figure.savefig(args.picture, dpi=100)


if __name__ == "__main__":
    main()
