"""What happens to music before it reaches the ear: named, seeded, parametric conditions and chains of them.

A chain is a short string such as `noise(snr=10)|clip(peak=0.4)`. With the clean samples and a seed it recreates the
degraded samples. `haaqi_studies` holds the families of the HAAQI studies, `extended` what music meets beyond them.
"""

from __future__ import annotations

import numpy as np

from . import extended, haaqi_studies
from .grammar import CONDITIONS, Array, Condition, Link, apply, chain_of, condition, parse
from .signals import rms

__all__ = ["BEYOND", "CONDITIONS", "STUDIES", "Array", "Condition", "chain_of", "condition", "degrade", "parse_chain"]

STUDIES = frozenset(entry.name for entry in vars(haaqi_studies).values() if isinstance(entry, Condition))
"""names of the conditions that the HAAQI studies know"""
BEYOND = frozenset(entry.name for entry in vars(extended).values() if isinstance(entry, Condition))
"""names of the others"""


def degrade(x: Array, rate: int, chain: str, seed: int) -> Array:
    """Apply a chain of conditions, left to right.

    Args:
        x: float [samples] in [-1, 1], not silent.
        rate: Hz, 16 kHz or more.
        chain: conditions joined by `|`; the empty string leaves the music as it is.
        seed: of all that is random in the chain; every link draws from a generator of its own.

    Returns:
        float64 [samples] with the RMS of `x`.

    Raises:
        OptionError: a chain that names an unknown condition or parameter.
    """
    x = np.asarray(x, dtype=np.float64)
    if not chain:
        return x
    y = apply(x, rate, chain, seed, CONDITIONS)
    return y * (rms(x) / max(rms(y), 1e-200))


def parse_chain(chain: str) -> list[Link]:
    """The conditions and parameters that a chain names.

    Raises:
        OptionError: an unknown condition or parameter, or a value outside its limits.
    """
    return parse(chain, CONDITIONS)
