"""What clipping, babble and bit rate do to the score.

Each degradation is applied to a song in five strengths, for the listener N3, with NAL-R. The black line is HAAQI
itself, which compares the degraded song with the clean one. The blue line is nano's prediction, for which nano has the
degraded song only. Where the lines diverge, the prediction is wrong. The talkers of the babble are synthetic, because
the package contains no speech.

    python examples/degradations.py [FILE] --picture degradations.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from haaqi_edge.haaqi import Listener, Reference
from haaqi_edge.runtime.audio.levels import LEVEL1, nal_r_filter
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.training.degradations import degrade
from matplotlib.figure import Figure

from haaqi_edge import Scorer

Array = npt.NDArray[np.float64]

SECONDS = 5.0
DEGRADATIONS = {
    "clip(peak={})": ("clipping", "peak, as a share of the clean peak", [1.0, 0.6, 0.4, 0.25, 0.15]),
    "babble(snr={},talkers=8,room=0)": ("babble", "signal-to-noise ratio in dB", [30, 20, 10, 5, 0]),
    "mp3(kbps={})": ("MP3", "kbit/s", [128, 96, 64, 48, 32]),
}
"""chain of degradations, title, name of its parameter, and values of the parameter"""


@dataclass(frozen=True)
class Talker:
    """A voice of `Voices`; see `haaqi_edge.training.degradations.Speech`."""

    human: bool
    female: bool
    frames: int


class Voices:
    """Eight synthetic talkers: vowels at the rate of syllables, with a pitch of their own."""

    RATE = 16_000

    def __init__(self) -> None:
        self.talkers = [Talker(human=False, female=number % 2 == 0, frames=4 * self.RATE) for number in range(8)]
        self._samples = [self._speak(number) for number in range(8)]

    def _speak(self, number: int) -> Array:
        rng = np.random.default_rng(number)
        length = self.talkers[number].frames
        pitch = (190 if self.talkers[number].female else 110) * rng.uniform(0.9, 1.1)
        seconds = np.arange(length) / self.RATE
        pulses = np.mod(seconds * pitch + 2 * np.sin(2 * np.pi * 0.7 * seconds), 1.0) - 0.5
        syllables = np.clip(np.sin(2 * np.pi * (rng.uniform(3, 5) * seconds + rng.random())), 0, None)
        frequencies, amplitudes = self.spectrum()
        shape = np.interp(np.fft.rfftfreq(length, 1 / self.RATE), frequencies, amplitudes)
        voice = np.fft.irfft(np.fft.rfft(pulses * syllables) * shape, n=length)
        return np.asarray(0.1 * voice / np.sqrt(np.mean(voice**2)))

    def stretch(self, talker: int, start: int, length: int) -> Array:
        """Return samples [length] of a talker from sample `start` on."""
        return np.take(self._samples[talker], np.arange(start, start + length), mode="wrap")

    def spectrum(self) -> tuple[Array, Array]:
        """Return frequencies in Hz and the amplitudes of the voices there."""
        frequencies = np.linspace(0, 8_000, 33)
        return frequencies, 1 / (1 + (frequencies / 600) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=Path("demo/clean.flac"), help="clean music")
    parser.add_argument("--listener", default="N3", help="audiogram")
    parser.add_argument("--picture", type=Path, default=Path("degradations.png"), help="PNG file to write")
    args = parser.parse_args()

    rate = soundfile.info(args.file).samplerate
    clean = soundfile.read(args.file, start=10 * rate, frames=int(SECONDS * rate), always_2d=True)[0].mean(axis=1)
    listener = Audiogram.parse(args.listener)
    scorer = Scorer("nano", threads=1)
    reference = Reference(clean, rate, Listener(listener, level1=LEVEL1))
    amplifier = nal_r_filter(listener, rate)
    voices = Voices()

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for pane, (chain, (title, label, values)) in zip(figure.subplots(1, 3), DEGRADATIONS.items(), strict=True):
        predicted, index = [], []
        for value in values:
            degraded = degrade(clean, rate, chain.format(value), seed=1, speech=voices)
            predicted.append(scorer.score((degraded, rate), listener, nal_r=True).score)
            index.append(reference.score(np.convolve(degraded, amplifier, mode="same"), rate).score)
            print(f"{chain.format(value):36} predicted {predicted[-1]:.3f}  HAAQI {index[-1]:.3f}")
        places = range(len(values))
        pane.plot(places, index, marker="o", color="black", label="HAAQI, with the original")
        pane.plot(places, predicted, marker="o", color="tab:blue", label="nano, without it")
        pane.set(xlabel=label, ylabel="score", title=title, ylim=(0, 1), xticks=places, xticklabels=map(str, values))
        pane.legend()
    figure.savefig(args.picture, dpi=100)


if __name__ == "__main__":
    main()
