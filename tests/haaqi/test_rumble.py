"""HAAQI ignores an offset and rumble below 20 Hz, which is why `spl` does so, too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.haaqi.index import Listener, Reference
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audio.presentation import Presentation
from haaqi_edge.runtime.audio.reading import open_audio
from sounds import RATE, Sound, music

LISTENER = Listener(Audiogram.named("N3"), level1=85.0)
CLEAN, DEGRADED = (music(4, start=3, clip=clip) for clip in ("clean", "degraded"))
TIME = np.arange(len(CLEAN)) / RATE


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(CLEAN.astype(np.float64), RATE, LISTENER)


@pytest.mark.parametrize(
    "rumble",
    [0.2 + 0 * TIME, 0.2 * np.sin(2 * np.pi * 8 * TIME), 0.1 * np.sin(2 * np.pi * 18 * TIME)],
    ids=["DC", "8 Hz", "18 Hz"],
)
def test_haaqi_and_the_level_ignore_it(reference: Reference, rumble: npt.NDArray[np.float64]) -> None:
    disturbed = DEGRADED + rumble

    def level(sound: Sound) -> float:
        return 20 * np.log10(Presentation(spl=65).gain(open_audio((sound, RATE)), 85.0))

    plain, other = (reference.score(x.astype(np.float64), RATE).score for x in (DEGRADED, disturbed))
    assert other == pytest.approx(plain, abs=2e-3)
    assert level(disturbed.astype(np.float32)) == pytest.approx(level(DEGRADED), abs=0.1)
