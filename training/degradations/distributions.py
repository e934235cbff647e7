"""Distributions of the parameters of degradations: functions of a random generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

Draw: TypeAlias = Callable[[np.random.Generator], float]
Ranges: TypeAlias = Mapping[str, Mapping[str, Draw]]
"""distribution of each parameter of each degradation, from just perceptible to severe"""


def uniform(low: float, high: float) -> Draw:
    """Draw uniformly from `low` to `high`."""
    return lambda rng: float(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Draw:
    """Draw from `low` to `high`, uniformly in the logarithm."""
    return lambda rng: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def one_of(*values: float) -> Draw:
    """Draw one of the values, each with the same probability."""
    return lambda rng: float(rng.choice(values))


def either_sign(draw: Draw) -> Draw:
    """Draw a magnitude, then a random sign."""
    return lambda rng: float(draw(rng) * rng.choice([-1, 1]))
