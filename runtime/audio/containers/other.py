"""Containers of which libsndfile needs nothing but a check that they are whole: AU, CAF, SVX and NIST."""

from __future__ import annotations

import struct
from typing import Final

from .byte_source import ByteSource, Layout
from .parts import Findings, Part
from .sizes import audio_bytes, find_file, is_placeholder, report_rest

_AU_WIDTHS: Final = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""Bytes per sample by encoding."""
_ASF_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_SEGMENT: Final = bytes.fromhex("18538067")
_MAX_ELEMENTS: Final = 8
"""Maximum number of elements up to the segment."""
_LOSSY_BYTES_PER_SECOND: Final = 16_000.0
_CAF_LIBSNDFILE: Final = {b"lpcm", b"alaw", b"ulaw", b"alac"}


def inspect_au(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of a Sun AU file. See `inspect_whole`."""
    order = ">" if source.get(start, 4) == b".snd" else "<"
    head = source.get(start, 24)
    if len(head) < 24:
        raise findings.unreadable("its header is cut")
    fields = struct.unpack(order + "5I", head[4:])
    offset, size, encoding, _, channels = fields
    frame = max(1, channels * _AU_WIDTHS.get(encoding, 1))
    available = stop - start - offset
    if offset < 24 or available < 0:
        raise findings.unreadable(f"its header announces that the audio begins at byte {offset}")
    if is_placeholder(size):
        used = available
        if used:
            findings.note("the header does not know the length; the audio is read to the end of the file")
    else:
        used = audio_bytes(size, available, frame, False, "the header", findings)
        if what := find_file(source, start + offset + used, stop):
            findings.appended(available - used, what)
        elif available - used > _MAX_TAIL:
            findings.note(f"the header announces {available - used} bytes less than there are; all are read")
            used = available
    used -= used % frame
    layout = Layout().add_bytes(head[:4] + struct.pack(order + "5I", 24, min(used, 0xFFFFFFFF), *fields[2:]))
    layout.add_range(start + offset, start + offset + used)
    return [Part(layout, frames=used // frame if encoding in _AU_WIDTHS else None)]


_MAX_TAIL: Final = 4_096
"""Bytes behind the audio that are not taken for audio."""


def inspect_caf(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of an Apple Core Audio file. See `inspect_whole`."""
    at, codec = start + 8, b""
    while at + 12 <= stop:
        head = source.get(at, 12)
        name, size = head[:4], int.from_bytes(head[4:], "big", signed=True)
        if name == b"desc":
            codec = source.get(at + 20, 4)
        if name == b"data" and size == -1:
            size = stop - at - 12
            if codec in _CAF_LIBSNDFILE:
                layout = Layout().add_range(start, at + 4).add_bytes(size.to_bytes(8, "big")).add_range(at + 12, stop)
                return [Part(layout)]
            break
        if size < 0:
            raise findings.unreadable(f"the chunk at byte {at} has a negative size")
        if at + 12 + size > stop:
            findings.truncated(f"a chunk announces {at + 12 + size - start} bytes, and {stop - start} are there")
            break
        at += 12 + size
    return [Part(Layout().add_range(start, stop), "libsndfile" if codec in _CAF_LIBSNDFILE else "ffmpeg")]


def inspect_iff(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of an IFF 8SVX or 16SV file. See `inspect_whole`."""
    size = int.from_bytes(source.get(start + 4, 4), "big")
    if not is_placeholder(size) and start + 8 + size > stop + 1:
        findings.truncated(f"its header announces {8 + size} bytes, and {stop - start} are there")
    return [Part(Layout().add_range(start, stop))]


def inspect_nist(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of a NIST SPHERE file. See `inspect_whole`."""
    text = source.get(start, 1024).decode("ascii", "replace")
    fields = {words[0]: words[2] for line in text.splitlines() if len(words := line.split()) == 3}
    lines = text.splitlines()
    try:
        header = int(lines[1])
        count, width = int(fields["sample_count"]), int(fields["sample_n_bytes"])
        channels = int(fields.get("channel_count", "1"))
    except (IndexError, KeyError, ValueError):
        raise findings.unreadable("its NIST header is incomplete") from None
    needed = header + count * width * channels
    if "shorten" not in fields.get("sample_coding", "") and stop - start < needed:
        findings.truncated(f"its header announces {needed} bytes, and {stop - start} are there")
    return [Part(Layout().add_range(start, stop))]


def inspect_asf(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Check that a Windows Media file is as long as it announces. See `inspect_whole`."""
    at = source.find(_ASF_FILE_PROPERTIES, start, min(stop, start + (1 << 20)))
    seconds = 0.0
    properties = source.get(at, 92) if at >= 0 else b""
    if len(properties) < 92:
        raise findings.unreadable("the header of the Windows Media file is incomplete")
    if not properties[88] & 1:  # not a broadcast, whose length is unknown
        size = int.from_bytes(properties[40:48], "little")
        preroll = int.from_bytes(properties[80:88], "little") / 1e3
        seconds = int.from_bytes(properties[64:72], "little") / 1e7 - preroll
        if size > stop - start:
            findings.truncated(f"its header announces {size} bytes, and {stop - start} are there")
        elif at < size:
            report_rest(source, start + size, stop, "behind the last packet", _LOSSY_BYTES_PER_SECOND, findings)
    return [Part(Layout().add_range(start, stop), "ffmpeg", seconds=seconds)]


def inspect_matroska(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Check that the segment of a Matroska or WebM file is as long as it announces. See `inspect_whole`."""
    at = start
    for _ in range(_MAX_ELEMENTS):
        name = source.get(at, 4)
        head = source.get(at + 4, 8)
        if len(head) < 8:
            break
        width = 9 - head[0].bit_length()
        size = int.from_bytes(head[:width], "big") & ((1 << 7 * width) - 1)
        if width > 8 or size == (1 << 7 * width) - 1:  # of unknown size, as programs write it into a pipe
            break
        end = at + 4 + width + size
        if name == _SEGMENT and end > stop:
            findings.truncated(f"its segment announces {end - start} bytes, and {stop - start} are there")
        if name == _SEGMENT:
            report_rest(source, end, stop, "behind the segment", _LOSSY_BYTES_PER_SECOND, findings)
            break
        at = end
    return [Part(Layout().add_range(start, stop), "ffmpeg")]


def inspect_mp4(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Check that the boxes of an MPEG-4 file are whole. See `inspect_whole`."""
    at = start
    while at + 8 <= stop:
        head = source.get(at, 16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if size == 0:  # to the end of the file
            break
        if size < 8 or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in head[4:8]):
            report_rest(source, at, stop, "behind the last box", _LOSSY_BYTES_PER_SECOND, findings)
            break
        if at + size > stop:
            findings.truncated(f"a box announces {at + size - start} bytes, and {stop - start} are there")
            break
        at += size
    return [Part(Layout().add_range(start, stop), "ffmpeg")]


def inspect_whole(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:  # noqa: ARG001
    """Leave a file of another kind to libsndfile.

    Args:
        source: the file.
        start: start of the file, behind tags.
        stop: end of the file.
        findings: takes notes and damage.

    Raises:
        AudioFileError: if the header is invalid or the file is truncated.
    """
    return [Part(Layout().add_range(start, stop))]
