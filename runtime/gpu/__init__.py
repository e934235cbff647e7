"""Inference on a GPU: provider options, I/O binding, optimization profiles. Imported on request only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lazy import resolve

if TYPE_CHECKING:
    from .device import Gpu, first_gpu
    from .io_binding import BoundModel
    from .optimization_profiles import OptimizationProfile, default_profiles
    from .provider_options import ProviderOptions, resolve_provider_options

_HOMES = {
    "BoundModel": "io_binding",
    "Gpu": "device",
    "OptimizationProfile": "optimization_profiles",
    "ProviderOptions": "provider_options",
    "default_profiles": "optimization_profiles",
    "first_gpu": "device",
    "resolve_provider_options": "provider_options",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "BoundModel",
    "Gpu",
    "OptimizationProfile",
    "ProviderOptions",
    "default_profiles",
    "first_gpu",
    "resolve_provider_options",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
