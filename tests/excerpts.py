"""Music as the training room's tests pass it round: samples and their rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Excerpt(NamedTuple):
    """Samples float64 [n], mono and read only, and their rate in Hz."""

    samples: npt.NDArray[np.float64]
    rate: int
