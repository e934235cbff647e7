"""What the inspection of a file gives: parts, each for one decoder, and findings."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from ...errors import AudioFileError, DamagedAudioWarning, SkippedBytesWarning
from .byte_source import Layout

_MAX_SKIPPED_SECONDS: Final = 0.1
"""Length of audio up to which skipped bytes are no reason for a warning."""

Decoder: TypeAlias = Literal["libsndfile", "libmpg123", "ffmpeg"]
"""libmpg123 is a part of libsndfile."""


@dataclass(frozen=True)
class Part:
    """A part of a file that one decoder reads. Most files are one part; chained and joined files have several.

    Attributes:
        layout: the bytes for the decoder: without tags and garbage, and with headers that hold.
        decoder: the decoder.
        start: number of decoded frames to drop at the beginning, for example the delay of an encoder.
        stop: decoded frame at which the part ends; None for the end of what is decoded.
        frames: number of frames that the decoder must give; None if it is not known.
        seconds: length that the header announces, for FFmpeg; 0 if it does not.
        exact: whether `frames` is the number of frames, rather than a number within 0.1 s of it.
    """

    layout: Layout
    decoder: Decoder = "libsndfile"
    start: int = 0
    stop: int | None = None
    frames: int | None = None
    seconds: float = 0.0
    exact: bool = True

    def over(self, inner: Layout) -> Part:
        """Return the part with ranges of the source of `inner`, if its own are ranges of the stream `inner`."""
        return replace(self, layout=self.layout.over(inner))


class Findings:
    """What was found out about a file: notes, which do not affect the samples, and damage.

    Args:
        name: name of the file in messages.
        tolerate: whether damage is a warning instead of an error.

    Attributes:
        name: name of the file.
        notes: the notes.
        warned: whether there was damage.
    """

    def __init__(self, name: str, tolerate: bool = False) -> None:
        self.name, self._tolerate = name, tolerate
        self.notes: list[str] = []
        self.warned = False

    def note(self, text: str) -> None:
        """Add a note."""
        if text not in self.notes:
            self.notes.append(text)

    def skipped(self, count: int, where: str, seconds: float) -> None:
        """Report bytes that were skipped, in a note, or in a warning if they might be audio.

        Args:
            count: number of bytes.
            where: where they are.
            seconds: length of so many bytes of audio.
        """
        self.note(f"{count} bytes {where} were skipped")
        if seconds > _MAX_SKIPPED_SECONDS:
            text = f"{self.name} has {count} bytes {where} that are neither audio nor a tag; they were skipped"
            warnings.warn(text, SkippedBytesWarning, stacklevel=2)

    def appended(self, count: int, what: str) -> None:
        """Warn that another file was appended, which is not read.

        Args:
            count: number of its bytes.
            what: its kind, such as `an mp3 file`.
        """
        self.note(f"{count} bytes behind the audio were skipped")
        text = f"{self.name} has {count} bytes behind its audio, which are {what}; they were not read"
        warnings.warn(text, SkippedBytesWarning, stacklevel=2)

    def extended(self, count: int) -> None:
        """Warn that there is more than a header announces, although its sizes agree with each other.

        Args:
            count: number of the additional bytes, which are read as audio.
        """
        text = f"{self.name} has {count} bytes more than its header announces; they were read as audio"
        warnings.warn(text, SkippedBytesWarning, stacklevel=2)

    def trimmed(self, start: int, end: int) -> None:
        """Warn that a header has more samples cut off than an encoder adds. It may be corrupt.

        Args:
            start: number of samples at the beginning.
            end: number of samples at the end.
        """
        text = (
            f"{self.name}: its header says that {start} samples at the beginning and {end} at the end are padding, "
            "which is more than encoders add; they are not scored"
        )
        warnings.warn(text, SkippedBytesWarning, stacklevel=2)

    def truncated(self, why: str) -> None:
        """Report that the end of the file is missing.

        Raises:
            AudioFileError: unless damage is tolerated.
        """
        self._report(f"{self.name} is truncated: {why}", "copy it again")

    def damaged(self, why: str, seconds: float) -> None:
        """Report damage inside the file.

        Args:
            why: what is wrong.
            seconds: where, from the beginning of the audio.

        Raises:
            AudioFileError: unless damage is tolerated.
        """
        self._report(f"{self.name} is damaged at {seconds:.2f} s: {why}", "copy or encode it again")

    def unreadable(self, why: str) -> AudioFileError:
        """Return the error for a file that no decoder can read."""
        return AudioFileError(
            f"{self.name} cannot be read as audio ({why}): give a wav, flac, ogg, opus or mp3 file that plays"
        )

    def _report(self, what: str, advice: str) -> None:
        if not self._tolerate:
            raise AudioFileError(f"{what}: {advice}")
        self.warned = True
        warnings.warn(f"{what}; the rest is scored", DamagedAudioWarning, stacklevel=2)
