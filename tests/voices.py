"""Voices for the tests: synthetic talkers in memory, and a speech bank of them on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

RATE: Final = 16_000
SECONDS: Final = 3
_HEADING: Final = "voice,split,kind,sex,language,seconds,f0_hz,file,parent,origin,licence,frames,sha256"
_SPECTRUM: Final = (np.linspace(0, 8_000, 33), 1 / (1 + np.linspace(0, 8_000, 33) / 500))


@dataclass(frozen=True)
class Talker:
    """A voice: implements `degradations.chains.Talker`."""

    human: bool
    female: bool
    frames: int = SECONDS * RATE


def voice(number: int) -> npt.NDArray[np.float64]:
    """Three seconds of a buzz that comes and goes at the rate of syllables, float64 [n], unlike any other's."""
    rng = np.random.default_rng([31, number])
    seconds = np.arange(SECONDS * RATE) / RATE
    buzz = np.mod(seconds * rng.uniform(90, 250), 1.0) - 0.5 + 0.1 * rng.standard_normal(len(seconds))
    return np.asarray(0.1 * buzz * (1 + np.sin(2 * np.pi * (rng.uniform(3, 5) * seconds + rng.random()))))


class Voices:
    """Eight talkers, half of them human, half female: implements `degradations.chains.Speech`."""

    def __init__(self) -> None:
        self.talkers = [Talker(number < 4, number % 2 == 0) for number in range(8)]
        self._samples = [voice(number) for number in range(8)]

    def stretch(self, talker: int, start: int, length: int) -> npt.NDArray[np.float64]:
        """Samples [length] of a talker from sample `start` on, repeated."""
        return np.take(self._samples[talker], np.arange(start, start + length), mode="wrap")

    def spectrum(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Frequencies in Hz and amplitudes, 33 of each."""
        return _SPECTRUM


def write_bank(folder: Path) -> Path:
    """Write a speech bank of four voices in each split, as `training.corpus.speech.bank` reads it; gives its folder."""
    folder.mkdir(parents=True)
    lines = [_HEADING]
    for place, split in enumerate(("train", "valid", "test")):
        for number in range(4):
            name = f"{split}-{number}"
            soundfile.write(folder / f"{name}.wav", voice(10 * place + number), RATE, subtype="PCM_16")
            sex, frames = ("female", "male")[number % 2], SECONDS * RATE
            lines.append(f"{name},{split},human,{sex},en,{SECONDS},150,{name}.wav,,tests,CC0-1.0,{frames},0")
    (folder / "VOICES.csv").write_text("\n".join(lines) + "\n")
    spectra = ["hz,train,valid,test", *(f"{hz:g}" + f",{a:.4g}" * 3 for hz, a in zip(*_SPECTRUM, strict=True))]
    (folder / "SPECTRA.csv").write_text("\n".join(spectra) + "\n")
    return folder
