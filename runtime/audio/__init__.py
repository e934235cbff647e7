"""Audio: reading files and arrays, resampling, PCM, presentation levels and NAL-R."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..lazy import resolve

if TYPE_CHECKING:
    from .channels import Channel
    from .file_lists import is_file_list, read_file_list
    from .folders import FolderSearch, audio_in, find_audio, search_folder
    from .levels import NalR, nal_r, nal_r_filter, nal_r_gains
    from .pcm import Pcm
    from .presentation import Presentation, Presenter
    from .reading import ArrayAudio, Audio, AudioLike, FileAudio, Resampler, open_audio

_HOMES = {
    "ArrayAudio": "reading",
    "Audio": "reading",
    "AudioLike": "reading",
    "Channel": "channels",
    "FileAudio": "reading",
    "FolderSearch": "folders",
    "NalR": "levels",
    "Pcm": "pcm",
    "Presentation": "presentation",
    "Presenter": "presentation",
    "Resampler": "reading",
    "audio_in": "folders",
    "find_audio": "folders",
    "is_file_list": "file_lists",
    "nal_r": "levels",
    "nal_r_filter": "levels",
    "nal_r_gains": "levels",
    "open_audio": "reading",
    "read_file_list": "file_lists",
    "search_folder": "folders",
}
"""Module of this package that each public name comes from."""

__all__ = [
    "ArrayAudio",
    "Audio",
    "AudioLike",
    "Channel",
    "FileAudio",
    "FolderSearch",
    "NalR",
    "Pcm",
    "Presentation",
    "Presenter",
    "Resampler",
    "audio_in",
    "find_audio",
    "is_file_list",
    "nal_r",
    "nal_r_filter",
    "nal_r_gains",
    "open_audio",
    "read_file_list",
    "search_folder",
]


def __getattr__(name: str) -> Any:
    return resolve(__name__, name, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
