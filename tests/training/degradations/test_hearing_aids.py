"""Hearing aids by name: none, NAL-R, and NAL-R fitted wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from excerpts import Excerpt
from haaqi_edge.runtime.audio.levels import nal_r
from haaqi_edge.runtime.audiogram import STANDARD, Audiogram
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.degradations.hearing_aids import amplify

N3 = Audiogram.named("N3")


def tone(hz: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.sin(2 * np.pi * hz * np.arange(24_000) / 24_000).astype(np.float32)


def test_no_aid_and_the_right_aid(excerpt: Excerpt) -> None:
    samples = excerpt.samples.astype(np.float32)
    assert (amplify(samples, 24_000, N3, "none") == samples).all()
    right = amplify(samples, 24_000, N3, "nal-r")
    assert right.dtype == np.float32
    assert (right == nal_r(samples, 24_000, N3)).all()
    assert not (right == samples).all()


@pytest.mark.parametrize("name", STANDARD)
def test_the_aid_of_somebody_else(name: str, excerpt: Excerpt) -> None:
    samples = excerpt.samples.astype(np.float32)
    got = amplify(samples, 24_000, N3, f"nal-r(for={name})")
    assert (got == nal_r(samples, 24_000, Audiogram.named(name))).all()


@pytest.mark.parametrize(("gain", "tilt"), [(0.0, 0.0), (-10.0, 0.0), (4.5, 2.0), (0.0, -3.0)])
def test_errors_come_on_top(gain: float, tilt: float) -> None:
    for hz in (500, 1_000, 4_000):
        right, wrong = (amplify(tone(hz), 24_000, N3, aid) for aid in ("nal-r", f"nal-r(gain={gain},tilt={tilt})"))
        assert wrong.dtype == np.float32
        assert wrong.shape == right.shape
        change = 20 * np.log10(np.std(wrong[4_000:-4_000]) / np.std(right[4_000:-4_000]))
        assert change == pytest.approx(gain + tilt * np.log2(hz / 1000), abs=0.05)


@pytest.mark.parametrize(
    "aid", ["", "NAL-R", "nal-r()", "nal-r(for=N9)", "nal-r(gain=3)", "nal-r(gain=x,tilt=1)", "nal-r(gain=1,tilt=nan)"]
)
def test_other_aids_are_refused(aid: str) -> None:
    with pytest.raises(OptionError, match=r"is not an aid: expected none, nal-r, .* with one of NH, N1"):
        amplify(tone(500), 24_000, N3, aid)
