"""Fast sums of partials, for synthetic music."""

from __future__ import annotations

import numba
import numpy as np

from ..degradations.chains import Array


@numba.njit(cache=True)
def add_decaying_partials(
    out: Array, turns: Array, amplitudes: Array, rates: Array, phases: Array
) -> None:  # pragma: no cover - compiled
    """Add exponentially decaying partials to `out` [n].

    Args:
        out: receives the sum.
        turns, rates: frequency in turns per sample and decay in nepers per sample of each partial, [partials].
        amplitudes, phases: initial amplitude, and initial phase in radians, [partials].
    """
    for p in range(len(turns)):
        gain = np.exp(-rates[p])
        c, s = gain * np.cos(2 * np.pi * turns[p]), gain * np.sin(2 * np.pi * turns[p])
        x, y = amplitudes[p] * np.cos(phases[p]), amplitudes[p] * np.sin(phases[p])
        least = amplitudes[p] * 1e-6
        for i in range(len(out)):
            out[i] += y
            x, y = c * x - s * y, s * x + c * y
            if i % 4096 == 4095 and x * x + y * y < least * least:
                break


@numba.njit(cache=True)
def add_harmonics(out: Array, phase: Array, amplitudes: Array) -> None:  # pragma: no cover - compiled
    """Add the harmonics of a fundamental to `out` [n]: sines of 1, 2, ... times its phase [n] in radians.

    Each sine is computed from the previous two (Chebyshev's recurrence).
    """
    for i in range(len(out)):
        twice = 2 * np.cos(phase[i])
        before, here, total = 0.0, np.sin(phase[i]), 0.0
        for p in range(len(amplitudes)):
            total += amplitudes[p] * here
            before, here = here, twice * here - before
        out[i] += total
