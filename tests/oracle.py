"""pyclarity, the reference implementation that tests compare with. Without it, those tests are skipped.

It is installed apart (`pip install --no-deps pyclarity`), since its dependencies are large and hardly used.
"""

from __future__ import annotations

from typing import Any

import pytest


class OptionalModule:
    """A module that is imported at the first use of its attributes. The using test is skipped if it is missing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        module = pytest.importorskip(self._name, reason="pyclarity is not installed: pip install --no-deps pyclarity")
        return getattr(module, attribute)


eb = OptionalModule("clarity.evaluator.haspi.eb")
"""HAAQI's auditory model."""
haaqi = OptionalModule("clarity.evaluator.haaqi")
audiogram = OptionalModule("clarity.utils.audiogram")
nalr = OptionalModule("clarity.enhancer.nalr")
compressor = OptionalModule("clarity.enhancer.multiband_compressor")
