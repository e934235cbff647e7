"""FLAC: the frames, from the first to the last, and the length that they have in truth.

libFLAC stops at the length that the header announces, and fails at bytes behind the last frame. So the length is taken
from the frames' own headers.

Source: RFC 9639.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .byte_source import ByteSource, Layout
from .mpeg import CRC16_TABLE, crc16
from .parts import Findings, Part
from .sizes import report_rest
from .tags import trim_tags

_SYNC: Final = re.compile(b"\xff[\xf8\xf9]")
_BLOCK_SIZES: Final = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608} | {code: 256 << code - 8 for code in range(8, 16)}
_SAMPLE_BITS: Final = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
_RATES: Final = {
    1: 88_200, 2: 176_400, 3: 192_000, 4: 8_000, 5: 16_000, 6: 22_050, 7: 24_000, 8: 32_000, 9: 44_100, 10: 48_000,
    11: 96_000,
}  # fmt: skip
_MAX_HEADER: Final = 16
"""Maximum number of bytes of a frame header."""
_BLOCK: Final = 1 << 20
_MAX_GARBAGE: Final = 1 << 16
"""Maximum number of unknown bytes behind the last frame."""
_CHAIN: Final = 3
"""Number of frames in a row that show that frames before them are missing."""


class _StreamInfo(NamedTuple):
    max_block: int
    rate: int
    channels: int
    bits: int
    total: int


class _Frame(NamedTuple):
    """The header of a frame: its offset, number of the first sample, and number of samples."""

    at: int
    sample: int
    size: int


def _crc8_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value << 1 ^ (7 if value & 0x80 else 0)) & 0xFF
        table.append(value)
    return table


_CRC8: Final = _crc8_table()


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def inspect_flac(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the frames of a FLAC file.

    Args:
        source: the file.
        start: offset of `fLaC`.
        stop: end of the file.
        findings: takes notes and damage.

    Returns:
        One part, or several if FLAC files were joined.

    Raises:
        AudioFileError: if the header is invalid, if frames are missing, or if the end is missing.
    """
    stop = trim_tags(source, start, stop)
    info, info_bytes, first = _metadata(source, start, stop, findings)
    walk = _Walk(source, info, findings, first)
    end = walk.run(first, stop)
    if walk.count == 0:
        if info.total:
            findings.truncated(f"its header announces {info.total} samples, and there are none")
        elif first < stop and source.zeros_until(first, stop) < stop:
            raise findings.unreadable("it has no FLAC frames")
        return [Part(Layout().add_range(start, end), frames=0)]
    actual = walk.next_sample - walk.first_sample
    if walk.first_sample:
        findings.note(f"the audio begins at {walk.first_sample / info.rate:.2f} s of a longer recording")
    if info.total > actual:
        findings.truncated(f"its header announces {info.total} samples, and {actual} are there")
    elif 0 < info.total < actual:
        findings.note(f"the header announces {info.total} samples, and {actual} are there; all are read")
    assert walk.last is not None
    behind = _frame_end(source, walk.last, info, end)
    if behind is None:
        findings.truncated(f"its last frame, at {(walk.last.sample - walk.first_sample) / info.rate:.2f} s, is cut")
        actual, behind = walk.last.sample - walk.first_sample, end
    elif behind < end:
        joined = _find_file(source, behind, end)
        if joined < end:
            end = joined
        elif end - behind > _MAX_GARBAGE and source.zeros_until(behind, end) < end:
            findings.damaged(f"the last {end - behind} bytes are no frames", actual / info.rate)
        else:
            per_second = (behind - first) * info.rate / actual
            report_rest(source, behind, end, "behind the last frame", per_second, findings)
    # The last metadata block is STREAMINFO, with the number of samples that there are.
    head = b"fLaC\x80\x00\x00\x22" + info_bytes[:13] + bytes([info_bytes[13] & 0xF0 | actual >> 32])
    layout = Layout().add_bytes(head + (actual & 0xFFFFFFFF).to_bytes(4, "big") + bytes(16)).add_range(first, end)
    parts = [Part(layout, frames=actual)]
    if end < stop and source.get(end, 4) == b"fLaC":
        findings.note("several FLAC files were joined")
        parts += inspect_flac(source, end, stop, findings)
    return parts


def _metadata(source: ByteSource, start: int, stop: int, findings: Findings) -> tuple[_StreamInfo, bytes, int]:
    """Return STREAMINFO, parsed and as 34 bytes, and the offset of the first frame."""
    at, info = start + 4, b""
    while True:
        head = source.get(at, 4)
        if len(head) < 4 or at + 4 > stop:
            raise findings.unreadable("its metadata are cut")
        size = int.from_bytes(head[1:], "big")
        if not info:
            info = source.get(at + 4, min(size, 34))
            if head[0] & 0x7F or len(info) < 34:
                raise findings.unreadable("its first block of metadata is not STREAMINFO")
        at += 4 + size
        if head[0] & 0x80:
            break
    if at > stop:
        findings.truncated(f"its metadata announce {at - start} bytes, and {stop - start} are there")
    packed = int.from_bytes(info[10:18], "big")
    rate, channels, bits = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1
    if not rate:
        raise findings.unreadable("its header announces a sample rate of 0 Hz")
    parsed = _StreamInfo(int.from_bytes(info[2:4], "big"), rate, channels, bits, packed & (1 << 36) - 1)
    return parsed, info, min(at, stop)


class _Walk:
    """The walk over the headers of the frames.

    A header has a checksum of 8 bits only, and compressed data may look like a header. So a frame counts if its number
    follows that of the frame before.

    Attributes:
        count: number of frames.
        first_sample: number of the first sample.
        next_sample: number of the sample behind the last frame.
        last: the last frame.
    """

    def __init__(self, source: ByteSource, info: _StreamInfo, findings: Findings, first: int) -> None:
        self._source, self._info, self._findings, self._begin = source, info, findings, first
        self._fixed_size = 0
        self.count = self.first_sample = self.next_sample = 0
        self.last: _Frame | None = None
        self._others: list[_Frame] = []
        """Frames in a row that do not follow the last one."""

    def run(self, start: int, stop: int) -> int:
        """Walk over [start, stop), and return the end of the frames: `stop`, or the start of a joined file."""
        at = start
        while at < stop:
            block = self._source.read_at(at, min(_BLOCK + _MAX_HEADER, stop - at))
            usable = len(block) if at + len(block) >= stop else _BLOCK
            for match in _SYNC.finditer(block):
                if match.start() >= usable:
                    break
                frame = self._parse(block[match.start() : match.start() + _MAX_HEADER], at + match.start())
                if frame is not None and (end := self._add(frame)) is not None:
                    return end
            if not block:
                break
            at += usable
        self._check_rest()
        return stop

    def _parse(self, data: bytes, at: int) -> _Frame | None:
        if len(data) < 6 or data[3] & 1 or data[3] >> 4 > 10:
            return None
        size_code, rate_code = data[2] >> 4, data[2] & 15
        channels, bits_code = data[3] >> 4, data[3] >> 1 & 7
        if size_code == 0 or rate_code == 15 or bits_code == 3:
            return None
        if (channels + 1 if channels < 8 else 2) != self._info.channels:
            return None
        if bits_code and _SAMPLE_BITS[bits_code] != self._info.bits:
            return None
        if 0 < rate_code < 12 and _RATES[rate_code] != self._info.rate:
            return None
        extra = 0 if data[4] < 0x80 else 8 - (data[4] ^ 0xFF).bit_length() - 1  # bytes of the number behind its first
        if data[4] >= 0x80 and not 1 <= extra <= 6:
            return None
        number = data[4] & 0x7F if extra == 0 else data[4] & (1 << 6 - extra) - 1
        for byte in data[5 : 5 + extra]:
            if byte >> 6 != 2:
                return None
            number = number << 6 | byte & 0x3F
        end = 5 + extra
        if size_code in (6, 7):
            size = int.from_bytes(data[end : end + size_code - 5], "big") + 1
            end += size_code - 5
        else:
            size = _BLOCK_SIZES[size_code]
        end += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
        if end >= len(data) or _crc8(data[:end]) != data[end]:
            return None
        if data[1] & 1:
            return _Frame(at, number, size)
        return _Frame(at, number * (self._fixed_size or size), size)

    def _add(self, frame: _Frame) -> int | None:
        """Add a frame, and return where a joined file begins, if one does."""
        if self.count == 0:
            if frame.at != self._begin:
                # Something else lies before the first frame. It is lost audio unless the first frame has number 0.
                self._others.append(frame)
                if frame.sample == 0 or len(self._others) >= 2:
                    self._findings.damaged("the first frames are corrupt", 0.0)
                else:
                    return None
            self._fixed_size = 0 if frame.size < self._info.max_block and frame.sample else frame.size
            self.first_sample = frame.sample
            self._accept(frame)
            return None
        if frame.sample == self.next_sample:
            self._accept(frame)
            return None
        others = self._others
        if others and frame.sample != others[-1].sample + others[-1].size:
            others.clear()
        others.append(frame)
        joined = self._marker(others[0].at) if others[0].sample == 0 else None
        if joined is not None and len(others) >= 2:
            return joined
        if len(others) >= _CHAIN:
            time = (self.next_sample - self.first_sample) / self._info.rate
            missing = (others[0].sample - self.next_sample) / self._info.rate
            self._findings.damaged(
                f"{missing:.2f} s are corrupt or missing" if missing > 0 else "the numbers of the frames go back", time
            )
            self.first_sample += others[0].sample - self.next_sample
            for other in list(others):
                self._accept(other)
        return None

    def _marker(self, at: int) -> int | None:
        """Return the offset of the marker `fLaC` that precedes a frame by metadata only, if there is one."""
        assert self.last is not None
        place = self._source.find(b"fLaC", self.last.at, at)
        if place < 0:
            return None
        end = place + 4
        while end < at:
            head = self._source.get(end, 4)
            end += 4 + int.from_bytes(head[1:], "big")
            if head[0] & 0x80:
                break
        return place if end == at else None

    def _accept(self, frame: _Frame) -> None:
        self.count += 1
        self.next_sample, self.last = frame.sample + frame.size, frame
        self._others.clear()

    def _check_rest(self) -> None:
        """Report frames at the end that do not follow the others."""
        if self._others and len(self._others) >= 2 and self.count:
            time = (self.next_sample - self.first_sample) / self._info.rate
            self._findings.damaged("frames are corrupt or missing", time)


def _frame_end(source: ByteSource, frame: _Frame, info: _StreamInfo, stop: int) -> int | None:
    """Return the end of the last frame, which is where its checksum becomes 0, or None if the frame is cut."""
    longest = frame.size * info.channels * (info.bits + 1) // 8 + 1024
    data = source.read_at(frame.at, min(stop - frame.at, longest))
    if crc16(data, 0) == 0:
        return frame.at + len(data)
    value = 0
    for place, byte in enumerate(data):
        value = (value << 8 & 0xFF00) ^ CRC16_TABLE[value >> 8 ^ byte]
        if value == 0 and place >= _MAX_HEADER // 2:
            return frame.at + place + 1
    return None


def _find_file(source: ByteSource, start: int, stop: int) -> int:
    """Return the offset of the next marker `fLaC` that STREAMINFO follows, or `stop`."""
    at = start - 1
    while (at := source.find(b"fLaC", at + 1, stop)) >= 0:
        if source.get(at + 4, 4) in (b"\0\0\0\x22", b"\x80\0\0\x22"):
            return at
    return stop
