"""Random chains for the label table, their families, and the kinds that no training row may have.

The unseen kinds are the nine combinations that HAAQI-Net held out (Wisnu, Rini, Zezario, Wang & Tsao 2024: compressed
babble and its relatives, resonance with low-pass), with people talking as babble, and two complete families: Opus and
the noise of a crowd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from . import DEGRADATIONS, EXTENDED, STUDIES, codecs, devices, environment, format_chain, parse_chain, speech
from .distributions import Draw, either_sign, log_uniform, one_of, uniform

Rng: TypeAlias = np.random.Generator
Parameters: TypeAlias = dict[str, float]

COUNTS: Final = (0.07, 0.53, 0.32, 0.08)
"""shares of chains of no, one, two and three degradations"""
STUDIED_SHARE: Final = 0.45
"""share of chains that are drawn from the degradations of the HAAQI studies; some of the others have only these, too"""


# From just perceptible to severe.
RANGES: Final[Mapping[str, Mapping[str, Draw]]] = {
    "noise": {"snr": uniform(-5, 40)},
    "music_babble": {"snr": uniform(-5, 40)},
    "clip": {"peak": log_uniform(0.03, 0.8)},
    "quantize": {"bits": uniform(2.5, 11)},
    "compress": {"ratio": log_uniform(1.5, 20), "attack": log_uniform(1, 30), "release": log_uniform(15, 500)},
    "spectral_subtraction": {"snr": uniform(-5, 35), "over": uniform(0.8, 4)},
    "babble_subtraction": {"snr": uniform(-5, 35), "over": uniform(0.8, 4)},
    "lowpass": {"hz": log_uniform(500, 9_000)},
    "highpass": {"hz": log_uniform(80, 4_000)},
    "bandpass": {"low": log_uniform(80, 1_000), "high": log_uniform(1_300, 8_000)},
    "tilt": {"slope": either_sign(uniform(0.3, 8))},
    "resonance": {"hz": log_uniform(250, 3_000), "gain": uniform(3, 32), "peaks": one_of(1, 3)},
    "wdrc": {
        "bands": one_of(2, 3, 4, 6),
        "ratio": log_uniform(1.3, 10),
        "threshold": uniform(-45, -5),
        "attack": log_uniform(0.5, 30),
        "release": log_uniform(15, 1_000),
    },
    "softclip": {"drive": uniform(0, 40)},
    "modulation": {"hz": log_uniform(0.3, 12), "depth": uniform(0.1, 0.95), "skew": one_of(0.05, 0.2, 0.5)},
    "reverb": {"t60": log_uniform(0.15, 2.5), "wet": log_uniform(0.01, 5)},
    "hum": {"hz": one_of(50, 60), "snr": uniform(-10, 35)},
    "mp3": {"kbps": one_of(8, 16, 24, 32, 40, 56)},
    "vorbis": {"quality": uniform(0, 0.5)},
    "resample": {"hz": one_of(5_000, 6_000, 8_000, 11_000, 12_000, 16_000)},
    "dropouts": {"per_second": log_uniform(0.4, 10), "ms": log_uniform(5, 180)},
    "opus": {"kbps": log_uniform(6, 32)},
    "ringing": {"hz": log_uniform(700, 5_000), "gain": uniform(-6, 4)},
    **speech.RANGES,
    **codecs.RANGES,
    **devices.RANGES,
    **environment.RANGES,
}
UNSEEN_FAMILIES: Final = ("opus", "crowd")
WEIGHTS: Final[Mapping[str, float]] = {
    "babble": 3.0,
    "speech_babble_subtraction": 1.5,
    "talker": 1.5,
    "reverb": 1.5,
    "room": 2.5,
    "compress": 1.5,
    "wdrc": 2.0,
    "tilt": 1.5,
    "resonance": 1.3,
    "aac": 1.2,
    "feedback_tremolo": 0.7,
    "directional_mic": 0.7,
    "frequency_lowering": 0.7,
    "agc": 0.7,
    "bandpass": 0.6,
    "hum": 0.5,
    "mains_hum": 0.5,
    "softclip": 0.6,
    "modulation": 0.6,
    "vorbis": 0.6,
    "sbc": 0.7,
    "resample": 0.7,
    "resample_pass": 0.7,
    "ringing": 0.7,
    "music_babble": 0.5,
    "babble_subtraction": 0.2,
    "dc": 0.3,
    "rumble": 0.3,
}
"""relative frequency of degradations (1 if not listed), higher for those that are hard to recognise or common"""
LAST: Final = ("resample", "resample_pass", "mp3", "aac", "vorbis", "sbc", "packet_loss", "dropouts", "rumble", "dc")
"""degradations at the end of a seen chain, in this order"""

_BABBLE: Final = {"babble", "talker", "speech_babble_subtraction", "music_babble", "babble_subtraction"}
# No training row holds these together: the held-out combinations, and near relatives of them that would give them away.
_APART: Final = (
    (_BABBLE, {"compress", "wdrc", "agc"}),
    ({"resonance"}, {"lowpass", "bandpass", "resample", "sbc"}),
)
_FILTERS: Final = {
    "highpass": ("high-pass", "highpass"),
    "lowpass": ("low-pass", "lowpass"),
    "tilt up": ("tilt up", "tilt"),
    "tilt down": ("tilt down", "tilt"),
    "resonance": ("resonance", "resonance"),
    "resonances": ("resonances", "resonance"),
}
"""for each result of `_kind` for a filter: its name in an unseen kind, and its degradation"""
HELD_OUT: Final[Mapping[str, tuple[str, ...]]] = {
    "babble + compression": ("babble", "compress"),
    "babble subtraction + compression": ("speech_babble_subtraction", "compress"),
    "resonance + low-pass": ("resonance", "lowpass"),
    **{f"babble + compression + {kind}": ("babble", "compress", name) for kind, name in _FILTERS.values()},
    **{name: (name,) for name in UNSEEN_FAMILIES},
}
"""degradations of the unseen kinds"""

_SEEN_STUDIES: Final = tuple(name for name in RANGES if name in STUDIES)
_SEEN: Final = tuple(name for name in RANGES if name in STUDIES | EXTENDED and name not in UNSEEN_FAMILIES)


@lru_cache(maxsize=4)
def _without_speech(pool: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in pool if not DEGRADATIONS[name].needs_speech)


@lru_cache(maxsize=4)
def _shares(pool: tuple[str, ...]) -> npt.NDArray[np.float64]:
    weights = np.array([WEIGHTS.get(name, 1.0) for name in pool])
    return np.asarray(weights / weights.sum())


def random_chain(rng: Rng, unseen: bool = False, speech: bool = True) -> str:
    """Draw a chain.

    Args:
        rng: random generator.
        unseen: draw one of the unseen kinds, each with the same probability, instead of a chain that training may have.
            Half of the chains of the unseen families have a seen degradation before them.
        speech: whether degradations that need a speech bank may be drawn.
    """
    if unseen:
        return _unseen_chain(rng, speech)
    pool = _SEEN_STUDIES if rng.random() < STUDIED_SHARE else _SEEN
    if not speech:
        pool = _without_speech(pool)
    count = int(rng.choice(len(COUNTS), p=COUNTS))
    names = [str(name) for name in rng.choice(pool, count, replace=False, p=_shares(pool))]
    while _too_close(names):
        names = [str(name) for name in rng.choice(pool, count, replace=False, p=_shares(pool))]
    return _draw_chain(rng, sorted(names, key=lambda name: LAST.index(name) if name in LAST else -1))


def redraw_parameters(rng: Rng, chain: str) -> str:
    """Return the degradations of a chain with other random parameters."""
    return _draw_chain(rng, [entry.name for entry, _ in parse_chain(chain)])


def _unseen_chain(rng: Rng, speech: bool) -> str:
    kinds = [kind for kind, names in HELD_OUT.items() if speech or _without_speech(names) == names]
    kind = str(rng.choice(kinds))
    names = list(HELD_OUT[kind])
    if kind in UNSEEN_FAMILIES and rng.random() < 0.5:
        pool = _SEEN if speech else _without_speech(_SEEN)
        names.insert(0, str(rng.choice(pool, p=_shares(pool))))
    chain = _draw_chain(rng, names)
    while family(chain) != kind:  # the sign of the tilt and the number of resonances
        chain = _draw_chain(rng, names)
    return chain


def _draw_chain(rng: Rng, names: Sequence[str]) -> str:
    """Return a chain of the given degradations with random parameters."""
    return format_chain(*((name, {key: draw(rng) for key, draw in RANGES[name].items()}) for name in names))


def _too_close(names: Sequence[str]) -> bool:
    return any(one & set(names) and other & set(names) for one, other in _APART)


def family(chain: str) -> str:
    """Return the family of a chain: `clean`, the name of a degradation, `combination` of several, or an unseen kind.

    Tilts are `tilt up` and `tilt down`, resonances `resonance` (one peak) and `resonances`.
    """
    links = [_kind(entry.name, parameters) for entry, parameters in parse_chain(chain)]
    kinds = set(links)
    for name in UNSEEN_FAMILIES:
        if name in kinds:
            return name
    if "compress" in kinds and kinds & _BABBLE:
        babble = "babble" if kinds & {"babble", "talker", "music_babble"} else "babble subtraction"
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
    """Return whether a chain is of a kind that no training row has."""
    return family(chain) in HELD_OUT


def is_from_studies(chain: str) -> bool:
    """Return whether all degradations of a chain are those of the HAAQI studies. Clean music is, too."""
    return all(entry.name in STUDIES for entry, _ in parse_chain(chain))
