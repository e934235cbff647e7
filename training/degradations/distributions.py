"""Distributions that parameters of conditions are drawn from: functions of a generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

Draw: TypeAlias = Callable[[np.random.Generator], float]
Ranges: TypeAlias = Mapping[str, Mapping[str, Draw]]
"""of each parameter of each condition, from just perceptible to severe"""


def uniform(low: float, high: float) -> Draw:
    """Draw uniformly from `low` to `high`."""
    return lambda rng: float(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Draw:
    """Draw from `low` to `high`, uniformly in the logarithm."""
    return lambda rng: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def one_of(*values: float) -> Draw:
    """Draw one of the values, each as likely."""
    return lambda rng: float(rng.choice(values))


def either_sign(draw: Draw) -> Draw:
    """Draw a magnitude, then its sign, each as likely."""
    return lambda rng: float(draw(rng) * rng.choice([-1, 1]))
