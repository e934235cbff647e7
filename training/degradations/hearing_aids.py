"""Hearing aids by name: none, NAL-R, and incorrectly fitted NAL-R."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt

from ...runtime.audio.levels import amplitude, nal_r
from ...runtime.audiogram import STANDARD, Audiogram
from ...runtime.errors import OptionError
from .signals import apply_tilt

Array32 = npt.NDArray[np.float32]

_NUMBER: Final = r"(-?\d+(?:\.\d+)?)"
_FITTED_FOR: Final = re.compile(rf"^nal-r\(for=({'|'.join(STANDARD)})\)$")
_WITH_ERROR: Final = re.compile(rf"^nal-r\(gain={_NUMBER},tilt={_NUMBER}\)$")


def amplify(samples: Array32, rate: int, audiogram: Audiogram, aid: str) -> Array32:
    """Amplify music for a listener.

    Args:
        samples: float32 [n], not amplified.
        rate: in Hz.
        audiogram: of the listener.
        aid: `none`; `nal-r`; `nal-r(for=N3)`, fitted for another, standard audiogram; or `nal-r(gain=-3.5,tilt=1)`,
            with a gain error of -3.5 dB and 1 dB per octave around 1 kHz.

    Returns:
        float32 [n], without delay.

    Raises:
        OptionError: the aid is unknown.
    """
    if aid == "none":
        return samples
    if aid == "nal-r":
        return nal_r(samples, rate, audiogram)
    if fitted := _FITTED_FOR.match(aid):
        return nal_r(samples, rate, Audiogram.named(fitted[1]))
    if error := _WITH_ERROR.match(aid):
        right = nal_r(samples, rate, audiogram).astype(np.float64)
        return (apply_tilt(right, rate, float(error[2])) * amplitude(float(error[1]))).astype(np.float32)
    raise OptionError(
        f"{aid!r} is not an aid: expected none, nal-r, nal-r(gain=dB,tilt=dB per octave) or nal-r(for=NAME) "
        f"with one of {', '.join(STANDARD)}"
    )
