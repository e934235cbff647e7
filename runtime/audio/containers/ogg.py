"""Ogg: the pages of the audio stream of each link of a chain, all of them and intact.

libsndfile decodes the first link of a chain only, and what a damaged page held is missing from what it decodes.

Sources: RFC 3533 (Ogg), RFC 7845 (Opus), the Vorbis I specification, the FLAC-to-Ogg mapping 1.0, the Speex manual.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from .byte_source import ByteSource, Layout, LayoutReader
from .flac import inspect_flac
from .parts import Findings, Part
from .sizes import report_rest
from .tags import skip_tags, trim_tags

_HEADER: Final = 27
_FIRST, _LAST = 2, 4
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CODECS: Final = {
    b"\x01vorbis": "Vorbis",
    b"OpusHead": "Opus",
    b"\x7fFLAC": "FLAC",
    b"Speex   ": "Speex",
}
_MAX_GARBAGE: Final = 1 << 16
"""Maximum number of unknown bytes behind the last page."""
_NO_GRANULE: Final = 2**64 - 1


class _Page(NamedTuple):
    at: int
    flags: int
    granule: int
    serial: int
    number: int
    body: int
    """offset of the body"""
    end: int


def page_checksum(page: bytes) -> int:
    """Compute the checksum of a page whose checksum field is 0: CRC-32 of polynomial 0x04c11db7, without reflection.

    zlib computes the reflected one, so bits are reversed before and after.
    """
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


class _Stream:
    """A logical stream: the pages of one serial number within a link."""

    def __init__(self, page: _Page, head: bytes) -> None:
        self.head, self.codec = head, next((name for magic, name in _CODECS.items() if head.startswith(magic)), "")
        self.pages, self.bodies = Layout(), Layout()
        self.number = page.number - 1
        self.granule = 0
        self.ended = False
        self.rate, self._skip = 0, 0
        if self.codec == "Vorbis":
            self.rate = int.from_bytes(head[12:16], "little")
        elif self.codec == "Opus":
            self.rate, self._skip = 48_000, int.from_bytes(head[10:12], "little")
        elif self.codec == "Speex":
            self.rate = int.from_bytes(head[36:40], "little")
        elif self.codec == "FLAC":
            self.rate = int.from_bytes(head[27:30], "big") >> 4

    def time(self) -> float:
        """Return how many seconds precede the next page."""
        return max(0, self.granule - self._skip) / self.rate if self.rate else 0.0

    def add(self, page: _Page) -> None:
        self.pages.add_range(page.at, page.end)
        self.bodies.add_range(page.body, page.end)
        if page.granule != _NO_GRANULE:
            self.granule = page.granule
        self.number = page.number
        self.ended = self.ended or bool(page.flags & _LAST)


class _Reader:
    """The pages of a file, sorted into links and streams."""

    def __init__(self, source: ByteSource, findings: Findings) -> None:
        self._source, self._findings = source, findings
        self.links: list[dict[int, _Stream]] = []
        self._open = False  # whether further first pages belong to the present link
        self._seconds = 0.0

    def run(self, at: int, stop: int) -> None:
        """Read all pages in [at, stop)."""
        while at < stop:
            page = self._page(at, stop)
            if page is None:
                at = self._skip(at, stop)
            else:
                self._add(page)
                at = page.end

    def _page(self, at: int, stop: int) -> _Page | None:
        """Return the page at an offset, or None if there is none or only the beginning of one."""
        head = self._source.get(at, _HEADER)
        if head[:5] != b"OggS\0" or len(head) < _HEADER:
            return None
        lengths = self._source.get(at + _HEADER, head[26])
        body = at + _HEADER + head[26]
        end = body + sum(lengths)
        if len(lengths) < head[26] or end > stop:
            return None
        granule, serial = int.from_bytes(head[6:14], "little"), int.from_bytes(head[14:18], "little")
        return _Page(at, head[5], granule, serial, int.from_bytes(head[18:22], "little"), body, end)

    def _add(self, page: _Page) -> None:
        data = self._source.get(page.at, page.end - page.at)
        intact = page_checksum(data[:22] + bytes(4) + data[26:]) == int.from_bytes(data[22:26], "little")
        if not intact:
            self._findings.damaged(f"the checksum of the Ogg page at byte {page.at} is wrong", self._time())
            return
        if page.flags & _FIRST:
            if not self._open:
                self._finish_link()
                self.links.append({})
                self._open = True
            self.links[-1][page.serial] = _Stream(page, data[page.body - page.at :][:64])
        elif not self.links or page.serial not in self.links[-1]:
            self._findings.damaged(
                f"the Ogg page at byte {page.at} belongs to a stream that has not begun", self._time()
            )
            return
        else:
            self._open = False
        stream = self.links[-1][page.serial]
        missing = page.number - stream.number - 1
        if missing and stream.codec:
            self._findings.damaged(
                f"{missing} Ogg pages are missing" if missing > 0 else f"Ogg page {page.number} is there twice",
                self._time(stream),
            )
            if missing < 0:
                return
        stream.add(page)

    def _time(self, stream: _Stream | None = None) -> float:
        """Return the time of the present page."""
        if stream is None and self.links:
            stream = audio_stream(self.links[-1])
        return self._seconds + (stream.time() if stream else 0.0)

    def _finish_link(self) -> None:
        if not self.links:
            return
        stream = audio_stream(self.links[-1])
        if stream is not None and not stream.ended:
            self._findings.damaged("the last pages of a part of the file are missing", self._time())
        self._seconds = self._time()

    def _skip(self, at: int, stop: int) -> int:
        """Return the offset of the next page behind what is no page, and judge what is skipped."""
        start, place = at, at
        while True:
            place = self._source.find(b"OggS", place + 1, stop)
            if place < 0 or self._page(place, stop) is not None:
                break
        ended = self.links and all(stream.ended for stream in self.links[-1].values())
        if place >= 0:
            if self._source.get(start, 4) == b"OggS":
                self._findings.damaged(f"the Ogg page at byte {start} is corrupt", self._time())
            self._findings.note(f"{place - start} bytes between Ogg pages were skipped")
            return place
        if ended:
            rest = skip_tags(self._source, start, stop)
            if stop - rest > _MAX_GARBAGE and self._source.zeros_until(rest, stop) < stop:
                self._findings.damaged(f"the last {stop - rest} bytes are no Ogg pages", self._time())
            per_second = start / (self._time() or 1.0)
            report_rest(self._source, start, stop, "behind the last Ogg page", per_second, self._findings)
        return stop  # the stream has not ended: the end is missing


def audio_stream(link: dict[int, _Stream]) -> _Stream | None:
    """Return the first audio stream of a link."""
    return next((stream for stream in link.values() if stream.codec), None)


def inspect_ogg(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of an Ogg file.

    Args:
        source: the file.
        start: offset of the first page.
        stop: end of the file.
        findings: takes notes and damage.

    Returns:
        One part per link of the chain.

    Raises:
        AudioFileError: if there is no audio, if a page is missing or corrupt, or if the end is missing.
    """
    reader = _Reader(source, findings)
    reader.run(start, trim_tags(source, start, stop))
    if not reader.links:
        findings.truncated("its last Ogg page is missing or cut")
        raise findings.unreadable("it has no complete Ogg page")
    parts = []
    for number, link in enumerate(reader.links):
        stream = audio_stream(link)
        if stream is None:
            kinds = ", ".join(sorted({repr(other.head[:8]) for other in link.values()}))
            raise findings.unreadable(f"its Ogg streams {kinds} are no Vorbis, Opus, FLAC or Speex")
        if number == len(reader.links) - 1 and not stream.ended:
            findings.truncated("its last Ogg page is missing or cut")
        if sum(bool(other.codec) for other in link.values()) > 1:
            findings.note("only the first of several audio streams is read")
        parts += _link_parts(source, stream, findings)
    if len(reader.links) > 1:
        findings.note(f"the file is a chain of {len(reader.links)} streams")
    return parts


def _link_parts(source: ByteSource, stream: _Stream, findings: Findings) -> list[Part]:
    if stream.codec == "FLAC":
        # The packets are the metadata blocks and frames of a FLAC file; 9 bytes precede the marker `fLaC`.
        inner = Layout().add_layout(stream.bodies, 9)
        content = ByteSource(LayoutReader(source, inner))
        return [part.over(inner) for part in inspect_flac(content, 0, content.size, findings)]
    if stream.codec == "Speex":
        return [Part(stream.pages, "ffmpeg", seconds=stream.time())]
    return [Part(stream.pages)]
