"""What the tests of the training room share: two seconds of real music."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from excerpts import Excerpt


@pytest.fixture(scope="session")
def excerpt() -> Excerpt:
    demo = Path(__file__).resolve().parents[2] / "demo" / "clean.flac"
    samples, rate = soundfile.read(demo, start=24_000, frames=48_000)
    samples.flags.writeable = False
    return Excerpt(samples, rate)
