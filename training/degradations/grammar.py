"""The grammar of chains: `name(parameter=value,...)|name(...)`, looked up in a registry of named functions.

A chain is text in a label table; with the clean samples and a seed it recreates a sound.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ...runtime.errors import OptionError

Array: TypeAlias = npt.NDArray[np.float64]
Limits: TypeAlias = tuple[float, float]

_CALL: Final = re.compile(r"^([a-z0-9_]+)\(([^()]*)\)$")


@dataclass(frozen=True)
class Condition:
    """A named change of a sound, callable as `(x [samples], rate, rng, *, parameters) -> [samples]`.

    Attributes:
        name: what a chain calls it.
        function: what it does; works on any sound that is not silent, at 16 kHz and above.
        limits: lowest and highest value of each parameter.
    """

    name: str
    function: Callable[..., Array]
    limits: Mapping[str, Limits]

    def __call__(self, x: Array, rate: int, rng: np.random.Generator, **parameters: float) -> Array:
        return self.function(x, rate, rng, **parameters)


Registry: TypeAlias = dict[str, Condition]
Link: TypeAlias = tuple[Condition, dict[str, float]]

CONDITIONS: Final[Registry] = {}
"""what `degradations.degrade` knows; `conditions` and `links` enter themselves"""


def condition(registry: Registry = CONDITIONS, **limits: Limits) -> Callable[[Callable[..., Array]], Condition]:
    """Enter a function into a registry under its name, with the limits of each of its parameters."""

    def enter(function: Callable[..., Array]) -> Condition:
        entry = Condition(function.__name__, function, limits)
        registry[entry.name] = entry
        return entry

    return enter


def parse(chain: str, registry: Registry) -> list[Link]:
    """The conditions and parameters that a chain names.

    Raises:
        OptionError: an unknown condition or parameter, or a value outside its limits.
    """
    links = []
    for text in filter(None, chain.split("|")):
        call = _CALL.match(text.strip())
        if call is None or call[1] not in registry:
            raise OptionError(f"{text!r} is not a condition: expected name(parameter=value) of {sorted(registry)}")
        entry = registry[call[1]]
        pairs = [part.partition("=")[::2] for part in call[2].replace(" ", "").split(",") if part]
        given = sorted(key for key, _ in pairs)
        if given != sorted(entry.limits):
            raise OptionError(f"{entry.name} takes {sorted(entry.limits)}, each once, got {given} in {text!r}")
        links.append((entry, {key: _number(key, value, entry.limits[key], text) for key, value in pairs}))
    return links


def _number(key: str, text: str, limits: Limits, origin: str) -> float:
    value = float("nan")
    with contextlib.suppress(ValueError):
        value = float(text)
    if not limits[0] <= value <= limits[1]:  # false for NaN too
        raise OptionError(f"{key}={text} in {origin!r} is not a number from {limits[0]:g} to {limits[1]:g}")
    return value


def apply(x: Array, rate: int, chain: str, seed: int, registry: Registry) -> Array:
    """Apply a chain, left to right, to samples float64 [n]; every link draws from a generator of its own."""
    for link, (entry, parameters) in enumerate(parse(chain, registry)):
        x = entry(x, rate, np.random.default_rng([seed, link]), **parameters)
    return x


def chain_of(*links: tuple[str, Mapping[str, float]]) -> str:
    """The chain's string of conditions and their parameters, to three significant digits."""
    return "|".join(f"{name}({','.join(f'{k}={v:.3g}' for k, v in p.items())})" for name, p in links)
