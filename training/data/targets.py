"""Dense targets: intermediate results of HAAQI per patch and band, in addition to the score of a clip.

There are three targets, each float [patches, 32]:

- `synchrony`, 0 to 1: how closely the basilar membrane's motion follows that of the reference.
- `envelope`, a correlation, -1 to 1: how closely the modulations of the envelope follow those of the reference.
- `gain`, in dB of the envelope above threshold: how much louder the band is than in the reference.

They are NaN where the reference is inaudible.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ...haaqi.cochlea import BANDS, RATE
from ...haaqi.index import Tiles
from ...haaqi.kernels import SMOOTHING
from ...haaqi.segments import SEGMENT

PLANES: Final = ("synchrony", "envelope", "gain")
PATCH: Final = RATE * 16 // 100
"""Samples between the starts of two patches, 160 ms."""
DELAY: Final = 450
"""Delay of the model's bands, in samples."""
GAIN_RANGE: Final = 40.0
"""Maximum gain or attenuation in dB. Larger ones are clipped."""
MISSING: Final = 255
"""Stored byte that means that there is no value."""
_LOWEST: Final = (0.0, -1.0, -GAIN_RANGE)
_RANGE: Final = (1.0, 2.0, 2 * GAIN_RANGE)


def dense_targets(tiles: Tiles, patches: int) -> npt.NDArray[np.float32]:
    """Compute the three targets [3, patches, 32] of a comparison, in the order of `PLANES`."""
    heard = np.isfinite(tiles.synchrony)
    where = _patch(tiles, SEGMENT // 2, tiles.synchrony.shape[1], patches)
    count = _sums(heard.astype(np.float64), where, patches)
    with np.errstate(invalid="ignore", divide="ignore"):
        synchrony = _sums(np.where(heard, tiles.synchrony, 0.0), where, patches) / count
        where = _patch(tiles, SMOOTHING, tiles.reference.shape[1], patches)
        x, y = tiles.reference, tiles.processed
        windows = np.bincount(where, minlength=patches)[:, None]
        x_mean, y_mean = (_sums(part, where, patches) / windows for part in (x, y))
        x_var, y_var, xy = (
            _sums(a * b, where, patches) / windows - m * n
            for a, b, m, n in ((x, x, x_mean, x_mean), (y, y, y_mean, y_mean), (x, y, x_mean, y_mean))
        )
        envelope = np.where((x_var > 1e-3) & (y_var > 1e-3), xy / np.sqrt(np.maximum(x_var * y_var, 1e-6)), np.nan)
    envelope = np.where((x_var > 1e-3) & (y_var <= 1e-3), 0.0, envelope)
    audible = (x_mean > 0) | (y_mean > 0)
    gain = np.where(audible, np.clip(y_mean - x_mean, -GAIN_RANGE, GAIN_RANGE), np.nan)
    return np.stack([synchrony, envelope, gain]).astype(np.float32)


def _patch(tiles: Tiles, hop: int, count: int, patches: int) -> npt.NDArray[np.int64]:
    """Return the patch that contains the middle of each window of two hops."""
    middle = tiles.start + (np.arange(count) + 1) * hop - DELAY
    return np.clip(middle // PATCH, 0, patches - 1)


def _sums(values: npt.NDArray[np.floating], where: npt.NDArray[np.int64], patches: int) -> npt.NDArray[np.float64]:
    """Return the sums [patches, 32] of values [32, windows] per patch."""
    sums = np.zeros((patches, BANDS))
    starts = np.flatnonzero(np.diff(where, prepend=-1))
    sums[where[starts]] = np.add.reduceat(values, starts, axis=1).T
    return sums


def quantize_targets(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Quantize targets [..., 3, patches, 32] to bytes, in steps of 1/254 of their range."""
    low, span = (np.array(v, np.float32)[:, None, None] for v in (_LOWEST, _RANGE))
    scaled = np.clip((planes - low) / span, 0, 1) * (MISSING - 1)
    return np.where(np.isnan(planes), MISSING, np.round(np.nan_to_num(scaled))).astype(np.uint8)


def dequantize_targets(stored: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Undo `quantize_targets`, except for its rounding and clipping. Missing values are NaN."""
    low, span = (np.array(v, np.float32)[:, None, None] for v in (_LOWEST, _RANGE))
    return np.where(stored == MISSING, np.float32(np.nan), stored.astype(np.float32) / (MISSING - 1) * span + low)
