"""The networks in PyTorch (nano, small, student, teacher), their front ends and checkpoints, and HAAQI as a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend import CheckpointBackend, TorchBackend, load_backend
    from .beats import Beats, BeatsConfig
    from .family import Network, load_network
    from .fbank import Fbank
    from .head import HeadConfig, Scores
    from .loss import HAAQILoss
    from .nano import Nano, NanoConfig
    from .small import Small, SmallConfig
    from .student import Student
    from .teacher import Teacher
    from .texture import Texture, TextureMel

_HOMES = {
    "Beats": "beats",
    "BeatsConfig": "beats",
    "CheckpointBackend": "backend",
    "Fbank": "fbank",
    "HAAQILoss": "loss",
    "HeadConfig": "head",
    "Nano": "nano",
    "NanoConfig": "nano",
    "Network": "family",
    "Scores": "head",
    "Small": "small",
    "SmallConfig": "small",
    "Student": "student",
    "Teacher": "teacher",
    "Texture": "texture",
    "TextureMel": "texture",
    "TorchBackend": "backend",
    "load_backend": "backend",
    "load_network": "family",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "Beats",
    "BeatsConfig",
    "CheckpointBackend",
    "Fbank",
    "HAAQILoss",
    "HeadConfig",
    "Nano",
    "NanoConfig",
    "Network",
    "Scores",
    "Small",
    "SmallConfig",
    "Student",
    "Teacher",
    "Texture",
    "TextureMel",
    "TorchBackend",
    "load_backend",
    "load_network",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ..runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
