"""Random chains for the label table, what family each belongs to, and the kinds that no training row may hold.

The unseen kinds are the nine that HAAQI-Net held out (Wisnu, Rini, Zezario, Wang & Tsao 2024: compressed babble and
its relatives, resonance with low-pass) and two whole families: Opus and ringing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from . import BEYOND, STUDIES, chain_of, parse_chain

Rng: TypeAlias = np.random.Generator
Parameters: TypeAlias = dict[str, float]

COUNTS: Final = (0.05, 0.55, 0.32, 0.08)
"""shares of chains of no, one, two and three conditions"""


def _uniform(low: float, high: float) -> Callable[[Rng], float]:
    return lambda rng: float(rng.uniform(low, high))


def _log(low: float, high: float) -> Callable[[Rng], float]:
    return lambda rng: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _of(*values: float) -> Callable[[Rng], float]:
    return lambda rng: float(rng.choice(values))


def _either_sign(low: float, high: float) -> Callable[[Rng], float]:
    return lambda rng: float(rng.uniform(low, high) * rng.choice([-1, 1]))


# From just perceptible to severe.
RANGES: Final[Mapping[str, Mapping[str, Callable[[Rng], float]]]] = {
    "noise": {"snr": _uniform(-5, 40)},
    "music_babble": {"snr": _uniform(-5, 40)},
    "clip": {"peak": _log(0.03, 0.8)},
    "quantize": {"bits": _uniform(2.5, 11)},
    "compress": {"ratio": _log(1.5, 20), "attack": _log(1, 30), "release": _log(15, 500)},
    "spectral_subtraction": {"snr": _uniform(-5, 35), "over": _uniform(0.8, 4)},
    "babble_subtraction": {"snr": _uniform(-5, 35), "over": _uniform(0.8, 4)},
    "lowpass": {"hz": _log(500, 9_000)},
    "highpass": {"hz": _log(80, 4_000)},
    "bandpass": {"low": _log(80, 1_000), "high": _log(1_300, 8_000)},
    "tilt": {"slope": _either_sign(0.3, 8)},
    "resonance": {"hz": _log(250, 3_000), "gain": _uniform(3, 32), "peaks": _of(1, 3)},
    "wdrc": {
        "bands": _of(2, 3, 4, 6),
        "ratio": _log(1.3, 10),
        "threshold": _uniform(-45, -5),
        "attack": _log(0.5, 30),
        "release": _log(15, 1_000),
    },
    "softclip": {"drive": _uniform(0, 40)},
    "modulation": {"hz": _log(0.3, 12), "depth": _uniform(0.1, 0.95), "skew": _of(0.05, 0.2, 0.5)},
    "reverb": {"t60": _log(0.15, 2.5), "wet": _log(0.01, 5)},
    "hum": {"hz": _of(50, 60), "snr": _uniform(-10, 35)},
    "mp3": {"kbps": _of(8, 16, 24, 32, 40, 56)},
    "vorbis": {"quality": _uniform(0, 0.5)},
    "resample": {"hz": _of(5_000, 6_000, 8_000, 11_000, 12_000, 16_000)},
    "dropouts": {"per_second": _log(0.4, 10), "ms": _log(5, 180)},
    "opus": {"kbps": _log(6, 32)},
    "ringing": {"hz": _log(700, 5_000), "gain": _uniform(-6, 4)},
}
UNSEEN_FAMILIES: Final = ("opus", "ringing")
LAST: Final = ("resample", "mp3", "vorbis", "dropouts")
"""what comes last in a chain that is seen, in this order"""

_BABBLE: Final = {"music_babble", "babble_subtraction"}
# No training row holds these together: the held-out combinations, and near relatives of them that would give them away.
_APART: Final = (
    (_BABBLE, {"compress", "wdrc"}),
    ({"resonance"}, {"lowpass", "bandpass", "resample"}),
)
_FILTERS: Final = {
    "highpass": ("high-pass", "highpass"),
    "lowpass": ("low-pass", "lowpass"),
    "tilt up": ("tilt up", "tilt"),
    "tilt down": ("tilt down", "tilt"),
    "resonance": ("resonance", "resonance"),
    "resonances": ("resonances", "resonance"),
}
"""what `_kind` says of a filter, its name in an unseen kind, its condition"""
HELD_OUT: Final[Mapping[str, tuple[str, ...]]] = {
    "babble + compression": ("music_babble", "compress"),
    "babble subtraction + compression": ("babble_subtraction", "compress"),
    "resonance + low-pass": ("resonance", "lowpass"),
    **{f"babble + compression + {kind}": ("music_babble", "compress", name) for kind, name in _FILTERS.values()},
    **{name: (name,) for name in UNSEEN_FAMILIES},
}
"""the unseen kinds and what they are made of"""

_SEEN_STUDIES: Final = tuple(name for name in RANGES if name in STUDIES)
_SEEN: Final = tuple(name for name in RANGES if name in STUDIES | BEYOND and name not in UNSEEN_FAMILIES)


def random_chain(rng: Rng, unseen: bool = False) -> str:
    """Draw a chain.

    Args:
        rng: what is drawn from.
        unseen: one of the unseen kinds, each as likely, instead of a chain that training may hold. Half of the chains
            of Opus and ringing have a seen condition before them.
    """
    if unseen:
        return _unseen_chain(rng)
    pool = _SEEN_STUDIES if rng.random() < 0.5 else _SEEN
    count = int(rng.choice(len(COUNTS), p=COUNTS))
    names = [str(name) for name in rng.choice(pool, count, replace=False)]
    while _too_close(names):
        names = [str(name) for name in rng.choice(pool, count, replace=False)]
    return _drawn(rng, sorted(names, key=lambda name: LAST.index(name) if name in LAST else -1))


def redrawn(rng: Rng, chain: str) -> str:
    """The same conditions as a chain's, with other parameters."""
    return _drawn(rng, [entry.name for entry, _ in parse_chain(chain)])


def _unseen_chain(rng: Rng) -> str:
    kind = str(rng.choice(list(HELD_OUT)))
    names = list(HELD_OUT[kind])
    if kind in UNSEEN_FAMILIES and rng.random() < 0.5:
        names.insert(0, str(rng.choice(_SEEN)))
    chain = _drawn(rng, names)
    while family(chain) != kind:  # the sign of the tilt and the number of resonances
        chain = _drawn(rng, names)
    return chain


def _drawn(rng: Rng, names: Sequence[str]) -> str:
    """The chain of these conditions with random parameters."""
    return chain_of(*((name, {key: draw(rng) for key, draw in RANGES[name].items()}) for name in names))


def _too_close(names: Sequence[str]) -> bool:
    return any(one & set(names) and other & set(names) for one, other in _APART)


def family(chain: str) -> str:
    """The family of a chain: `clean`, a condition's name, `combination` of several, or an unseen kind.

    Tilts are `tilt up` and `tilt down`, resonances `resonance` (one peak) and `resonances`.
    """
    links = [_kind(entry.name, parameters) for entry, parameters in parse_chain(chain)]
    kinds = set(links)
    for name in UNSEEN_FAMILIES:
        if name in kinds:
            return name
    if "compress" in kinds and kinds & _BABBLE:
        babble = "babble" if "music_babble" in kinds else "babble subtraction"
        filters = [_FILTERS[kind][0] for kind in links if kind in _FILTERS]
        return " + ".join([babble, "compression", *(filters[:1] if babble == "babble" else [])])
    if "lowpass" in kinds and kinds & {"resonance", "resonances"}:
        return "resonance + low-pass"
    return "combination" if len(links) > 1 else links[0] if links else "clean"


def _kind(name: str, parameters: Parameters) -> str:
    if name == "tilt":
        return "tilt down" if parameters["slope"] < 0 else "tilt up"
    return "resonances" if name == "resonance" and parameters["peaks"] >= 2 else name


def is_unseen(chain: str) -> bool:
    """Whether a chain is of a kind that no training row holds."""
    return family(chain) in HELD_OUT


def from_studies(chain: str) -> bool:
    """Whether the HAAQI studies know all conditions of a chain; they know clean music."""
    return all(entry.name in STUDIES for entry, _ in parse_chain(chain))
