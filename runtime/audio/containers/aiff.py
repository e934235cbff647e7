"""AIFF and AIFF-C.

Sources: Apple, Audio Interchange File Format 1.3 (1989) and AIFF-C (1991).
"""

from __future__ import annotations

from typing import Final

from .byte_source import ByteSource, Layout
from .parts import Findings, Part
from .sizes import audio_bytes, find_file, is_audio_tail, is_placeholder

_WIDTHS: Final = {
    b"fl32": 4, b"FL32": 4, b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1,
    b"in24": 3, b"in32": 4, b"42ni": 3, b"23ni": 4,
}  # fmt: skip
"""Bytes per sample of compression types for which they do not follow from the bits."""
_PCM: Final = {b"NONE", b"sowt", b"twos", b"raw "}
_LIBSNDFILE: Final = {*_WIDTHS, *_PCM, b"ima4", b"GSM ", b"DWVW"}


def inspect_aiff(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of an AIFF file.

    Args:
        source: the file.
        start: offset of `FORM`.
        stop: end of the file.
        findings: takes notes and damage.

    Raises:
        AudioFileError: if the file has no audio, if its header contradicts itself, or if it is truncated.
    """
    head = source.get(start, 12)
    if head[8:] not in (b"AIFF", b"AIFC"):
        raise findings.unreadable(f"it is an IFF file of the kind {head[8:]!r}")
    form_size = int.from_bytes(head[4:8], "big")
    announced_end = start + 8 + form_size
    known = not is_placeholder(form_size)
    comm, data, at, size = b"", -1, start + 12, 0
    while at + 8 <= stop:
        chunk = source.get(at, 8)
        name, length = chunk[:4], int.from_bytes(chunk[4:], "big")
        if name == b"COMM":
            comm = source.get(at + 8, min(length, 1024))
        elif name == b"SSND":
            offset = int.from_bytes(source.get(at + 8, 4), "big")
            data, size = at + 16 + offset, length - 8 - offset
            if comm or is_placeholder(length) or at + 8 + length >= stop:
                break
        elif not all(0x20 <= byte < 0x7F for byte in name):
            break
        at += 8 + length + length % 2
    if not comm or data < 0 or data > stop:
        if known and announced_end > stop + 1:
            findings.truncated(f"its header announces {announced_end - start} bytes, and {stop - start} are there")
            return [Part(Layout().add_range(start, stop), frames=0)]
        raise findings.unreadable(f"the chunk {'SSND' if comm else 'COMM'} is missing")
    if len(comm) < 18:
        raise findings.unreadable(f"the chunk COMM has {len(comm)} bytes instead of 18 or more")
    channels, count = int.from_bytes(comm[:2], "big"), int.from_bytes(comm[2:6], "big")
    bits = int.from_bytes(comm[6:8], "big")
    kind = comm[18:22] if head[8:] == b"AIFC" else b"NONE"
    if kind not in _LIBSNDFILE:
        return [Part(Layout().add_range(0, source.size), "ffmpeg")]
    width = _WIDTHS.get(kind, (bits + 7) // 8 if kind in _PCM else 0)
    if not channels or (kind in _PCM and not 1 <= bits <= 32):
        raise findings.unreadable(f"the chunk COMM announces {channels} channels of {bits} bits")
    frame = max(1, channels * width)
    complete = known and abs(announced_end - stop) <= 1
    if size <= 0 or is_placeholder(size + 8):
        size = stop - data
        if size:
            findings.note("the header does not know the length; the audio is read to the end of the file")
    else:
        size = audio_bytes(size, stop - data, frame, complete, "the chunk SSND", findings)
    if not width:
        # The number of frames follows from packets of which only the decoder knows the length.
        if is_placeholder(count):
            raise findings.unreadable(f"it does not announce the length of its compressed audio ({kind!r})")
        return [Part(Layout().add_range(start, stop))]
    size = _extended(source, data, size, count * frame, stop, known, announced_end, findings)
    frames = size // frame
    # Writers into a pipe announce a length near 2^31 bytes.
    if count > frames and not is_placeholder(count) and count * frame < 0x7FFF0000 and count * frame - size >= frame:
        findings.truncated(f"its header announces {count} frames, and {frames} are there")
    comm = comm[:2] + frames.to_bytes(4, "big") + comm[6:]
    used = frames * frame
    body = b"COMM" + len(comm).to_bytes(4, "big") + comm + bytes(len(comm) % 2)
    body += b"SSND" + min(used + 8, 0xFFFFFFFF).to_bytes(4, "big") + bytes(8)
    total = min(4 + len(body) + used, 0xFFFFFFFF)
    layout = Layout().add_bytes(b"FORM" + total.to_bytes(4, "big") + head[8:] + body).add_range(data, data + used)
    return [Part(layout, frames=frames)]


def _extended(
    source: ByteSource, data: int, size: int, counted: int, stop: int, known: bool, form_end: int, findings: Findings
) -> int:
    """Return the number of bytes of audio, where the chunk SSND announces fewer than there are.

    Args:
        data: offset of the audio.
        size: its size as the chunk announces it.
        counted: its size as the number of frames in COMM announces it.
        stop: end of the file.
        known: whether the size of the whole file is announced.
        form_end: end of the file as announced.
        findings: takes notes.
    """
    end = data + size + size % 2
    following = source.get(end, 8)
    if what := find_file(source, end, stop):
        findings.appended(stop - end, what)
        return size
    is_chunk = len(following) == 8 and all(0x20 <= byte < 0x7F for byte in following[:4])
    is_chunk = is_chunk and end + 8 + int.from_bytes(following[4:], "big") <= stop + 1
    if end >= stop or is_chunk:
        return size
    if counted > size and data + counted <= stop:
        findings.note(f"the chunk SSND announces {size} bytes, and the header {counted}; the latter are read")
        return counted
    limit = min(stop, form_end) if known and form_end > end else stop
    return limit - data if is_audio_tail(source, data + size, limit, max(1, counted), findings) else size
