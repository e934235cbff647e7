"""The grammar of chains: `name(parameter=value,...)|name(...)`, with names from a registry of functions.

A chain is text in a label table. With the clean samples and a seed, it recreates a sound.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ...runtime.errors import OptionError

Array: TypeAlias = npt.NDArray[np.float64]
Limits: TypeAlias = tuple[float, float]

_CALL: Final = re.compile(r"^([a-z0-9_]+)\(([^()]*)\)$")


class Talker(Protocol):
    """The properties of a recorded or synthetic voice that degradations need."""

    @property
    def human(self) -> bool:
        """Whether the voice is a person's, possibly changed in pitch, vocal-tract length or tempo."""

    @property
    def female(self) -> bool:
        """Whether the voice sounds like a woman or a child (high fundamental frequency)."""

    @property
    def frames(self) -> int:
        """Number of samples at 16 kHz."""


class Speech(Protocol):
    """The voices of one split. `training.corpus.speech.bank.SpeechVoices` implements this protocol."""

    @property
    def talkers(self) -> Sequence[Talker]:
        """The voices. Degradations refer to them by their index."""

    def stretch(self, talker: int, start: int, length: int) -> Array:
        """Return samples float64 [length] at 16 kHz of a voice, from sample `start` on.

        At the end of the voice, its samples repeat from the beginning. All voices have the same active speech level.
        """

    def spectrum(self) -> tuple[Array, Array]:
        """Return frequencies in Hz [bins], 0 to 8 kHz, and the long-term average amplitude spectrum there [bins]."""


@dataclass(frozen=True)
class Degradation:
    """A named change of a sound, callable as `(x [samples], rate, rng, *, parameters) -> [samples]`.

    Attributes:
        name: its name in a chain.
        function: its implementation, for any sound that is not silent, at a rate of 16 kHz or more.
        limits: lowest and highest value of each parameter.
        needs_speech: whether the function reads voices, as its fourth argument.
        inaudible: whether it only adds inaudible components, which do not count for the level.
    """

    name: str
    function: Callable[..., Array]
    limits: Mapping[str, Limits]
    needs_speech: bool = False
    inaudible: bool = False

    def __call__(
        self, x: Array, rate: int, rng: np.random.Generator, *, speech: Speech | None = None, **parameters: float
    ) -> Array:
        """Apply the degradation.

        Raises:
            OptionError: it needs speech, but `speech` is None.
        """
        if not self.needs_speech:
            return self.function(x, rate, rng, **parameters)
        if speech is None:
            raise OptionError(
                f"{self.name} needs the voices of a speech bank and got none: build the corpus with "
                "`haaqi-edge corpus build` and give its folder"
            )
        return self.function(x, rate, rng, speech, **parameters)


Registry: TypeAlias = dict[str, Degradation]
ChainStep: TypeAlias = tuple[Degradation, dict[str, float]]

DEGRADATIONS: Final[Registry] = {}
"""Degradations that `degradations.degrade` supports. Their modules register them."""


def degradation(
    registry: Registry = DEGRADATIONS, *, needs_speech: bool = False, inaudible: bool = False, **limits: Limits
) -> Callable[[Callable[..., Array]], Degradation]:
    """Register a function as a degradation under its name, with the limits of each of its parameters.

    With `needs_speech`, its fourth argument is a `Speech`. For `inaudible`, see `Degradation`.
    """

    def enter(function: Callable[..., Array]) -> Degradation:
        entry = Degradation(function.__name__, function, limits, needs_speech, inaudible)
        registry[entry.name] = entry
        return entry

    return enter


def parse_steps(chain: str, registry: Registry) -> list[ChainStep]:
    """Return the degradations and parameters of a chain.

    Raises:
        OptionError: a degradation or parameter is unknown, or a value is outside its limits.
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


def apply_chain(
    x: Array, rate: int, chain: str, seed: int, registry: Registry, *, speech: Speech | None = None
) -> Array:
    """Apply a chain, from left to right, to samples float64 [n]. Every step has its own random generator.

    Raises:
        OptionError: a degradation or parameter is unknown, or speech is needed, but `speech` is None.
    """
    return apply_steps(x, rate, list(enumerate(parse_steps(chain, registry))), seed, speech)


def apply_steps(
    x: Array, rate: int, links: Sequence[tuple[int, ChainStep]], seed: int, speech: Speech | None = None
) -> Array:
    """Apply steps, given with their positions in the chain. The position and `seed` define the generator of a step."""
    for place, (entry, parameters) in links:
        x = entry(x, rate, np.random.default_rng([seed, place]), speech=speech, **parameters)
    return x


def format_chain(*links: tuple[str, Mapping[str, float]]) -> str:
    """Return the text of a chain, with parameters rounded to three significant digits."""
    return "|".join(f"{name}({','.join(f'{k}={v:.3g}' for k, v in p.items())})" for name, p in links)
