"""Rules for the sizes that headers announce.

A writer that cannot seek back, as in a pipe, leaves a placeholder: the data then extend to the end of the file. Any
other size that exceeds the file means that its end is missing. A size that is smaller than the file is too small.
"""

from __future__ import annotations

from typing import Final

from .byte_source import ByteSource
from .parts import Findings
from .signatures import name_of_file
from .tags import skip_tags

_PLACEHOLDERS: Final = (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Sizes that ffmpeg, sox and arecord write into pipes."""
HEADER_SLACK: Final = 256
"""Maximum size of the headers that writers add to a placeholder, or subtract from it; also the maximum error of a size
if another size shows that the file is whole."""
_RECOGNIZED: Final = 1 << 14
"""Bytes by which an audio file is recognized. Several frames of MPEG audio fit into them."""
MIN_TAIL_SECONDS: Final = 0.25
"""Shorter tails without structure are garbage rather than audio."""


def is_placeholder(size: int, bits: int = 32) -> bool:
    """Return whether a size stands for an unknown one.

    Args:
        size: what a header announces.
        bits: width of the field.
    """
    if bits == 64:
        return size == 0 or size >= 2**63 - HEADER_SLACK
    return size == 0 or any(abs(size - value) <= HEADER_SLACK for value in _PLACEHOLDERS[1:])


def audio_bytes(announced: int, available: int, frame: int, complete: bool, what: str, findings: Findings) -> int:
    """Return how many bytes of audio there are.

    Args:
        announced: number of bytes that the header announces. It is not a placeholder.
        available: number of bytes from the start of the audio to the end of the file.
        frame: number of bytes per frame.
        complete: whether the size of the whole file, announced elsewhere, is that of the file.
        what: name of the header, for messages.
        findings: takes a note or the truncation.
    """
    missing = announced - available
    if missing <= 0:
        return announced
    if missing < frame:
        findings.note(f"the last frame is cut: {what} announces {announced} bytes, {available} are there")
    elif complete and missing <= HEADER_SLACK:
        findings.note(f"{what} announces {missing} bytes more than there are; the size of the file is right")
    else:
        findings.truncated(f"{what} announces {announced} bytes and {available} are there")
    return available


def is_audio_tail(source: ByteSource, start: int, stop: int, bytes_per_second: float, findings: Findings) -> bool:
    """Return whether the bytes [start, stop), behind all that headers announce, continue the audio.

    Zeros, a few bytes and other files do not.
    """
    if start >= stop:
        return False
    if what := find_file(source, start, stop):
        findings.appended(stop - start, what)
        return False
    if stop - start < MIN_TAIL_SECONDS * bytes_per_second or source.zeros_until(start, stop) == stop:
        findings.note(f"{stop - start} bytes behind the audio were skipped")
        return False
    findings.note(f"the header announces {stop - start} bytes less than there are; all are read")
    return True


def find_file(source: ByteSource, start: int, stop: int) -> str:
    """Return what audio file begins at `start`, such as `an mp3 file`; empty if none is recognized."""
    head = source.get(start, min(_RECOGNIZED, stop - start))
    if head[:3] == b"ID3" and not 2 <= head[3] <= 4:  # a chunk of wav or aiff has this name, too
        return ""
    return name_of_file(head) or ""


def report_rest(
    source: ByteSource, start: int, stop: int, where: str, bytes_per_second: float, findings: Findings
) -> None:
    """Report the bytes [start, stop), which follow the audio and are not read.

    Args:
        source: the file.
        start: end of the audio.
        stop: end of the file.
        where: place of the bytes, for messages.
        bytes_per_second: of the audio, to tell whether the bytes may have been much of it.
        findings: takes a note, or a warning if the bytes are another file, or may be audio.
    """
    rest = skip_tags(source, start, stop)
    if rest >= stop or source.zeros_until(rest, stop) == stop:
        if stop > start:
            findings.note(f"{stop - start} bytes {where} were skipped")
    elif what := find_file(source, rest, stop):
        findings.appended(stop - rest, what)
    else:
        findings.skipped(stop - rest, where, (stop - rest) / max(1.0, bytes_per_second))
