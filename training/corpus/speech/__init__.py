"""The speech bank: voices of people and synthesizers, their processing, and measurements of the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audit import audit_speech
    from .bank import SpeechBank, SpeechVoices, Voice, build_bank
    from .sentences import random_text
    from .signals import change_voice

_HOMES = {
    "SpeechBank": "bank",
    "SpeechVoices": "bank",
    "Voice": "bank",
    "audit_speech": "audit",
    "build_bank": "bank",
    "change_voice": "signals",
    "random_text": "sentences",
}
"""Module that each public name comes from. It is imported at the first use of the name (PEP 562)."""

__all__ = [
    "SpeechBank",
    "SpeechVoices",
    "Voice",
    "audit_speech",
    "build_bank",
    "change_voice",
    "random_text",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from ....runtime.lazy import resolve

        return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
