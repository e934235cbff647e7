"""What happens to music before it reaches the ear: named, seeded, parametric conditions and chains of them.

A chain is a short string such as `noise(snr=10)|clip(peak=0.4)`. With the clean samples and a seed it recreates the
degraded samples. `haaqi_studies` has the families of the HAAQI studies; `speech` has babble and whatever else needs
recordings of people talking; `extended`, `codecs`, `devices` and `environment` go beyond the studies.
"""

from __future__ import annotations

import numpy as np

from . import codecs, devices, environment, extended, haaqi_studies, speech  # noqa: F401 - they register conditions
from .grammar import CONDITIONS, Array, Condition, Link, Speech, chain_of, condition, parse, run
from .signals import rms

__all__ = [
    "BEYOND",
    "CONDITIONS",
    "STUDIES",
    "Array",
    "Condition",
    "Speech",
    "chain_of",
    "condition",
    "degrade",
    "parse_chain",
]

_OF_STUDIES = {entry.name for entry in vars(haaqi_studies).values() if isinstance(entry, Condition)}
STUDIES = speech.STUDIED | _OF_STUDIES
"""names of the conditions that the HAAQI studies know"""
BEYOND = frozenset(CONDITIONS) - STUDIES
"""names of the others"""


def degrade(x: Array, rate: int, chain: str, seed: int, *, speech: Speech | None = None) -> Array:
    """Apply a chain of conditions, left to right.

    Args:
        x: float [samples] in [-1, 1], not silent.
        rate: Hz, 16 kHz or more.
        chain: conditions joined by `|`; the empty string leaves the music as it is.
        seed: of all that is random in the chain; every link draws from a generator of its own.
        speech: the voices of the row's split, for conditions that need some.

    Returns:
        float64 [samples] with the RMS of `x`, apart from what inaudible conditions at the end of the chain add.

    Raises:
        OptionError: a chain that names an unknown condition or parameter, or needs speech that is not given.
    """
    x = np.asarray(x, dtype=np.float64)
    if not chain:
        return x
    links = list(enumerate(parse_chain(chain)))
    audible = next((place for place, (entry, _) in links if entry.inaudible), len(links))
    y = run(x, rate, links[:audible], seed, speech)
    y = y * (rms(x) / max(rms(y), 1e-200))
    return run(y, rate, links[audible:], seed, speech)


def parse_chain(chain: str) -> list[Link]:
    """The conditions and parameters that a chain names.

    Raises:
        OptionError: an unknown condition or parameter, or a value outside its limits.
    """
    return parse(chain, CONDITIONS)
