"""Tags of mp3 files, which also occur at the ends of other files: ID3v1, ID3v2, APE and Lyrics3.

Sources: id3.org (ID3v1, ID3v2.2 to 2.4, Lyrics3 v1 and v2), the Hydrogenaudio wiki (APEv1 and APEv2).
"""

from __future__ import annotations

from typing import Final

from .byte_source import ByteSource

_ID3V1: Final = 128
_ID3V1_EXTENDED: Final = 227
_APE_ITEM_BYTES: Final = 32
_LYRICS3_V1_BYTES: Final = 5_100 + 20
_APE: Final = b"APETAGEX"


def skip_tag(source: ByteSource, start: int, stop: int) -> int:
    """Return the end of the tag that begins at `start`, or `start` if there is none.

    The end may lie beyond `stop` if the tag is cut.
    """
    head = source.get(start, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 0xFF and head[4] < 0xFF and max(head[6:10]) < 0x80:
        footer = 10 if head[5] & 0x10 else 0
        return start + 10 + _synchsafe(head[6:10]) + footer
    if head[:8] == _APE and len(head) == 32:
        length = int.from_bytes(head[12:16], "little")
        is_header = head[23] & 0x20  # a footer alone has no items behind it
        return start + (_APE_ITEM_BYTES + length if is_header else _APE_ITEM_BYTES)
    if head[:4] == b"TAG+":
        return start + _ID3V1_EXTENDED
    if head[:3] == b"TAG":
        return start + _ID3V1
    if head[:11] == b"LYRICSBEGIN":
        for mark in (b"LYRICS200", b"LYRICSEND"):
            end = source.find(mark, start, min(stop, start + (1 << 20)))
            if end >= 0:
                return end + len(mark)
    return start


def skip_tags(source: ByteSource, start: int, stop: int) -> int:
    """Return the offset behind all tags from `start` on, at most `stop`."""
    while start < stop:
        end = skip_tag(source, start, stop)
        if end == start:
            return start
        start = end
    return min(start, stop)


def trim_tags(source: ByteSource, start: int, stop: int) -> int:
    """Return the end of what precedes the tags at the end of [start, stop)."""
    while True:
        end = _before_tag(source, start, stop)
        if end == stop:
            return stop
        stop = max(start, end)


def _before_tag(source: ByteSource, start: int, stop: int) -> int:
    """Return the start of the tag that ends at `stop`, or `stop`."""
    if stop - start < 10:
        return stop
    tail = source.read_at(max(start, stop - 256), min(256, stop - start))
    if tail[-_ID3V1:][:3] == b"TAG" and len(tail) >= _ID3V1:
        return stop - _ID3V1
    if tail[-_ID3V1_EXTENDED:][:4] == b"TAG+" and len(tail) >= _ID3V1_EXTENDED:
        return stop - _ID3V1_EXTENDED
    if tail[-32:][:8] == _APE and len(tail) >= 32:
        footer = tail[-32:]
        has_header = footer[23] & 0x80
        return stop - int.from_bytes(footer[12:16], "little") - (_APE_ITEM_BYTES if has_header else 0)
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return stop - 15 - int(tail[-15:-9])
    if tail[-9:] == b"LYRICSEND":
        first = max(start, stop - _LYRICS3_V1_BYTES)
        at = source.read_at(first, stop - first).rfind(b"LYRICSBEGIN")
        return stop if at < 0 else first + at
    if tail[-10:][:3] == b"3DI" and max(tail[-4:]) < 0x80:
        return stop - _synchsafe(tail[-4:]) - 20
    return stop


def _synchsafe(data: bytes) -> int:
    """Return the value of four bytes of 7 bits each."""
    value = 0
    for byte in data:
        value = value << 7 | byte
    return value
