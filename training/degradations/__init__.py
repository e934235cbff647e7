"""Degradations of music before it reaches the ear: named, seeded, parametric, and chains of them.

A chain is a short string such as `noise(snr=10)|clip(peak=0.4)`. With the clean samples and a seed it recreates the
degraded samples. `haaqi_studies` has the degradations of the HAAQI studies. `speech` has those that need recordings of
people talking. `extended`, `codecs`, `devices` and `environment` go beyond the studies.
"""

from __future__ import annotations

import numpy as np

from . import codecs, devices, environment, extended, haaqi_studies, speech  # noqa: F401 - they register conditions
from .chains import (
    DEGRADATIONS,
    Array,
    ChainStep,
    Degradation,
    Speech,
    apply_steps,
    degradation,
    format_chain,
    parse_steps,
)
from .signals import rms

__all__ = [
    "DEGRADATIONS",
    "EXTENDED",
    "STUDIES",
    "Array",
    "Degradation",
    "Speech",
    "degradation",
    "degrade",
    "format_chain",
    "parse_chain",
]

_HAAQI_STUDIES = {entry.name for entry in vars(haaqi_studies).values() if isinstance(entry, Degradation)}
STUDIES = speech.STUDIED | _HAAQI_STUDIES
"""names of the degradations of the HAAQI studies"""
EXTENDED = frozenset(DEGRADATIONS) - STUDIES
"""names of all other degradations"""


def degrade(x: Array, rate: int, chain: str, seed: int, *, speech: Speech | None = None) -> Array:
    """Apply a chain of degradations from left to right.

    Args:
        x: float [samples] in [-1, 1], not silent.
        rate: in Hz, 16 kHz or more.
        chain: degradations joined by `|`. The empty string does not change the music.
        seed: of the chain. Every step has its own random generator.
        speech: voices of the row's split, for degradations that need speech.

    Returns:
        float64 [samples] with the RMS of `x`, apart from what inaudible degradations at the end of the chain add.

    Raises:
        OptionError: a degradation or parameter is unknown, or speech is needed but not given.
    """
    x = np.asarray(x, dtype=np.float64)
    if not chain:
        return x
    links = list(enumerate(parse_chain(chain)))
    audible = next((place for place, (entry, _) in links if entry.inaudible), len(links))
    y = apply_steps(x, rate, links[:audible], seed, speech)
    y = y * (rms(x) / max(rms(y), 1e-200))
    return apply_steps(y, rate, links[audible:], seed, speech)


def parse_chain(chain: str) -> list[ChainStep]:
    """Return the degradations and parameters of a chain.

    Raises:
        OptionError: a degradation or parameter is unknown, or a value is outside its limits.
    """
    return parse_steps(chain, DEGRADATIONS)
