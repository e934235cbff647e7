"""MPEG audio, layers I to III (mp3): the frames, from the first to the last, without what lies around them.

libsndfile takes the length of an mp3 file from its first frames, which fails for a variable bit rate, tags and joined
files. Here all frames are found, and libsndfile gets nothing but frames.

Sources: ISO/IEC 11172-3 and 13818-3; the Xing, Info, LAME and VBRI headers as LAME, libmpg123 and FFmpeg read them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from .byte_source import ByteSource, Layout
from .parts import Findings, Part
from .tags import skip_tag, skip_tags, trim_tags

_RATES: Final = (44_100, 48_000, 32_000)
_DIVISORS: Final = {3: 1, 2: 2, 0: 4}
"""Divisor of the sample rates by version: MPEG-1, MPEG-2, MPEG-2.5."""
_BITRATES: Final = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s by version (1, or 2 for MPEG-2 and 2.5) and layer."""
_MAX_FRAME: Final = 2_881
"""Maximum number of bytes of a frame that is not of free format."""
_MAX_FREE_FRAME: Final = 8_192
_CHAIN: Final = 4
"""Number of frames in a row that show that audio begins here."""
_SEARCH: Final = 1 << 20
"""Maximum number of bytes of garbage before the first frame."""
_MAX_GARBAGE: Final = 16_384
"""Maximum number of unknown bytes behind the last frame. More are audio that was destroyed."""
_SYNC: Final = re.compile(b"\xff[\xe2-\xff][\x00-\xef]")
_MAX_ENCODER_PADDING: Final = 3_456
"""Samples that encoders add at both ends together at most. Programs that cut mp3 files may announce more."""
_DECODER_DELAY: Final = 529
"""Samples by which a decoder of layer III delays the signal, in addition to the delay of the encoder."""
_MISSING_SECONDS: Final = 0.1
"""Encoders may announce a few frames more than there are."""


class Frame(NamedTuple):
    """The header of a frame.

    Attributes:
        version: 1, or 2 for MPEG-2 and MPEG-2.5.
        layer: 1 to 3.
        rate: Hz.
        length: bytes; 0 for free format.
        channels: 1 or 2.
        samples: samples per channel.
        crc: whether a checksum follows the header.
        padding: bytes that a frame of free format has in addition.
        key: the bits that do not change within a stream.
    """

    version: int
    layer: int
    rate: int
    length: int
    channels: int
    samples: int
    crc: bool
    padding: int
    key: int


@lru_cache(maxsize=4096)
def _parse(second: int, third: int, mode: int) -> Frame | None:
    """Parse bytes 1 and 2 of a header, and the mode of the channels."""
    if second & 0xE0 != 0xE0:
        return None
    version_bits, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    bitrate_index, rate_index, padded = third >> 4, third >> 2 & 3, third >> 1 & 1
    if version_bits == 1 or layer == 4 or bitrate_index == 15 or rate_index == 3:
        return None
    version = 1 if version_bits == 3 else 2
    rate = _RATES[rate_index] // _DIVISORS[version_bits]
    bitrate = 1000 * _BITRATES[version, layer][bitrate_index]
    samples = 384 if layer == 1 else 576 if layer == 3 and version == 2 else 1152
    padding = padded * (4 if layer == 1 else 1)
    length = 0
    if bitrate:
        length = (12 * bitrate // rate + padded) * 4 if layer == 1 else samples // 8 * bitrate // rate + padded
    key = (second & 0xFE) << 8 | (third & 0x0C) | (mode == 3)
    return Frame(version, layer, rate, length, 1 if mode == 3 else 2, samples, not second & 1, padding, key)


def parse_frame(header: bytes) -> Frame | None:
    """Parse the first four bytes of a frame, and return None if they are none."""
    if len(header) < 4 or header[0] != 0xFF:
        return None
    return _parse(header[1], header[2], header[3] >> 6)


class _SideInfo(NamedTuple):
    """The part of a frame of layer III that locates its audio data.

    Attributes:
        back: number of bytes by which the audio data begin before this frame.
        valid: whether the values are possible.
    """

    back: int
    valid: bool


def _side_info_bytes(frame: Frame) -> int:
    """Return the length of the side information of layer III."""
    if frame.version == 1:
        return 17 if frame.channels == 1 else 32
    return 9 if frame.channels == 1 else 17


def _side_info(data: bytes, frame: Frame) -> _SideInfo:
    """Parse the side information, which follows the header and the checksum.

    Args:
        data: as many bytes as `_side_info_bytes` says.
        frame: the header.
    """
    bits, width = int.from_bytes(data, "big"), len(data) * 8
    mpeg1, mono = frame.version == 1, frame.channels == 1
    if mpeg1:
        back = bits >> width - 9
        at = 9 + (5 + 4 if mono else 3 + 8)
        count, size = 2 * frame.channels, 59
    else:
        back = bits >> width - 8
        at = 8 + (1 if mono else 2)
        count, size = frame.channels, 63
    needed = 0
    for _ in range(count):
        part = bits >> width - at - size & (1 << size) - 1
        at += size
        needed += part >> size - 12
        if part >> size - 21 & 0x1FF > 288:
            return _SideInfo(back, False)
        # behind global_gain (8) and scalefac_compress (4 or 9): window_switching_flag (1) and block_type (2)
        switching = size - 21 - 8 - (4 if mpeg1 else 9) - 1
        if part >> switching & 1 and not part >> switching - 2 & 3:
            return _SideInfo(back, False)
    own = max(0, frame.length - 4 - 2 * frame.crc - len(data)) if frame.length else _MAX_FREE_FRAME
    return _SideInfo(back, needed <= 8 * (back + own))


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
        table.append(value)
    return table


CRC16_TABLE: Final = _crc_table()


def crc16(data: bytes, value: int = 0xFFFF) -> int:
    """Compute the CRC-16 of polynomial 0x8005, without reflection, that MPEG audio and FLAC use."""
    for byte in data:
        value = (value << 8 & 0xFF00) ^ CRC16_TABLE[value >> 8 ^ byte]
    return value


class _Header(NamedTuple):
    """A Xing, Info or VBRI header, which takes the place of the first frame.

    Attributes:
        frames: number of frames that follow; 0 if it is unknown.
        delay: samples that the encoder added at the beginning; None if it is unknown.
        padding: samples that it added at the end.
    """

    frames: int
    delay: int | None
    padding: int


def _vbr_header(data: bytes, frame: Frame) -> _Header | None:
    """Return the header that a frame of layer III holds instead of audio, or None if it holds audio."""
    if frame.layer != 3:
        return None
    at = 4 + _side_info_bytes(frame)
    if data[36:40] == b"VBRI" and len(data) >= 54:
        return _Header(int.from_bytes(data[50:54], "big"), None, 0)
    if data[at : at + 4] not in (b"Xing", b"Info"):
        at += 2 * frame.crc
        if data[at : at + 4] not in (b"Xing", b"Info"):
            return None
    flags, at = int.from_bytes(data[at + 4 : at + 8], "big"), at + 8
    frames = int.from_bytes(data[at : at + 4], "big") if flags & 1 else 0
    at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    lame = data[at : at + 24]
    if lame[:4] in (b"LAME", b"Lavf", b"Lavc") and len(lame) == 24:
        both = int.from_bytes(lame[21:24], "big")
        return _Header(frames, both >> 12, both & 0xFFF)
    return _Header(frames, None, 0)


class _Run(NamedTuple):
    """The frames of one format, in order."""

    layout: Layout
    first: bytes
    frame: Frame
    free_length: int


class _Walk:
    """The walk from frame to frame.

    Attributes:
        parts: the parts found, one per format.
    """

    def __init__(self, source: ByteSource, start: int, stop: int, findings: Findings) -> None:
        self._source, self._start, self._stop, self._findings = source, start, stop, findings
        self._seconds = 0.0  # of the parts before
        self._checksums = self._bad_checksums = 0
        self._first_bad = 0.0
        self.parts: list[Part] = []
        self._reset(None, 0)

    def _reset(self, frame: Frame | None, free_length: int) -> None:
        self._frame, self._free_length = frame, free_length
        self._layout, self._count, self._first = Layout(), 0, b""
        self._header: _Header | None = None
        self._reservoir = 0

    def run(self) -> None:
        """Walk from the start to the stop."""
        at = self._start
        while at < self._stop:
            frame = self._frame_at(at)
            if frame is None:
                at = self._skip(at)
                continue
            length = frame.length or self._free_length + frame.padding
            if at + length > self._stop:
                self._cut(at, length)
                break
            self._add(at, length, frame)
            at += length
        self._finish_part()
        if self._bad_checksums and self._bad_checksums * 4 < self._checksums:
            self._findings.damaged(f"{self._bad_checksums} frames have a wrong checksum", self._first_bad)

    def _time(self) -> float:
        return self._seconds + self._count_seconds()

    def _count_seconds(self) -> float:
        return self._count * self._frame.samples / self._frame.rate if self._frame else 0.0

    def _seconds_per_byte(self, at: int) -> float:
        """Return the length of a byte of the frame at an offset."""
        frame = parse_frame(self._source.get(at, 4))
        return frame.samples / frame.rate / frame.length if frame and frame.length else 0.0

    def _frame_at(self, at: int) -> Frame | None:
        """Return the frame at an offset, if it is one of the present format, or the first of another."""
        frame = parse_frame(self._source.get(at, 4))
        if frame is None:
            return None
        present = self._frame
        if present is not None and frame.key == present.key and bool(frame.length) == bool(present.length):
            return frame
        free_length = _chain(self._source, at, self._stop)
        if free_length is None:
            return None
        if present is not None:
            self._findings.note(f"the format of the audio changes at {self._time():.2f} s")
            self._finish_part()
        self._reset(frame, free_length)
        return frame

    def _add(self, at: int, length: int, frame: Frame) -> None:
        data = self._source.get(at, min(length, 256))
        header = _vbr_header(data, frame)
        if header is not None:
            if self._count == 0:
                self._header = header
            else:
                self._findings.note(f"another file was joined at {self._time():.2f} s")
            return
        if frame.layer == 3:
            skip = 6 if frame.crc else 4
            end = skip + _side_info_bytes(frame)
            info = _side_info(data[skip:end], frame)
            if end > length or not info.valid:
                self._findings.damaged("a frame is corrupt", self._time())
                return
            if frame.crc:
                self._checksums += 1
                if crc16(data[2:4] + data[6:end]) != int.from_bytes(data[4:6], "big"):
                    self._first_bad = self._first_bad if self._bad_checksums else self._time()
                    self._bad_checksums += 1
        if self._count == 0:
            self._first = data[:4]
        self._layout.add_range(at, at + length)
        self._count += 1

    def _cut(self, at: int, length: int) -> None:
        """Handle a last frame that is longer than what is left."""
        if self._header is not None and 0 < self._header.frames <= self._count:
            self._findings.note(f"{self._stop - at} bytes behind the last frame were skipped")
            return
        self._findings.truncated(
            f"its last frame, at {self._time():.2f} s, announces {length} bytes and {self._stop - at} are there"
        )

    def _skip(self, at: int) -> int:
        """Return the offset of the next frame behind what is no frame, and judge what is skipped."""
        begin, explained, unknown = at, True, 0
        while at < self._stop:
            end = skip_tags(self._source, at, self._stop)
            if end > at:
                at = end
                continue
            end = self._source.zeros_until(at, self._stop)
            if end == at:
                if self._frame_at_chain(at):
                    break
                explained = False
                end = _find_chain(self._source, at + 1, self._stop)
            unknown += end - at
            at = end
        skipped = at - begin
        if at >= self._stop:
            if skipped < 4 and self._frame is not None and self._source.get(begin, 2) in (b"\xff", self._first[:2]):
                self._cut(begin, 4)
                return self._stop
            if not explained and unknown > _MAX_GARBAGE:
                self._findings.damaged(f"the last {skipped} bytes are no frames", self._time())
            if unknown:
                per_byte = self._count_seconds() / max(1, self._layout.size)
                self._findings.skipped(unknown, "behind the last frame", unknown * per_byte)
            return self._stop
        if explained and (self._starts_afresh(at) or self._count == 0):
            if self._count:
                self._findings.note(f"{skipped} bytes of tags or zeros at {self._time():.2f} s were skipped")
            elif unknown:
                self._findings.skipped(unknown, "before the first frame", unknown * self._seconds_per_byte(at))
        elif self._count == 0 and not self.parts and (skipped < _MAX_FRAME or self._starts_afresh(at)):
            self._findings.skipped(unknown, "before the first frame", unknown * self._seconds_per_byte(at))
        else:
            self._findings.damaged(f"{skipped} bytes are no frames", self._time())
        return at

    def _frame_at_chain(self, at: int) -> bool:
        return parse_frame(self._source.get(at, 4)) is not None and _chain(self._source, at, self._stop) is not None

    def _starts_afresh(self, at: int) -> bool:
        """Return whether the frame at an offset needs no data from frames before, as the first of a file."""
        data = self._source.get(at, 256)
        frame = parse_frame(data)
        if frame is None or frame.layer != 3 or _vbr_header(data, frame) is not None:
            return frame is not None
        skip = 6 if frame.crc else 4
        return _side_info(data[skip : skip + _side_info_bytes(frame)], frame).back == 0

    def _finish_part(self) -> None:
        frame, header = self._frame, self._header
        if frame is None or self._count == 0:
            return
        count, samples = self._count, frame.samples
        delay, stop = 0, None
        if header is not None:
            missing = header.frames - count
            if missing * samples > _MISSING_SECONDS * frame.rate:
                self._findings.truncated(f"its header announces {header.frames} frames, and {count} are there")
            if header.delay is not None:
                delay = header.delay + _DECODER_DELAY
                if header.delay + header.padding > _MAX_ENCODER_PADDING:
                    self._findings.trimmed(header.delay, header.padding)
                if missing >= 0 and header.frames:  # else another file follows, or the count is unknown
                    stop = min(header.frames * samples - header.padding + _DECODER_DELAY, count * samples)
            if 0 < header.frames < count:
                self._findings.note(f"the header announces {header.frames} frames, and {count} are there; all are read")
        lead = 0
        layout = Layout()
        if not self._free_length:
            # libsndfile estimates the length from the first frame, and reads no further. A first frame of the lowest
            # bit rate makes the estimate too long. These frames are silent, and dropped. They have a multiple of
            # 16 x 32 samples, the period of the decoder's filter bank, so that what follows is rounded as without them.
            silent = 8 if samples == 576 else 4
            layout.add_bytes(_silent_frame(self._first) * silent)
            lead = silent * samples
        layout.add_layout(self._layout)
        total = lead + count * samples
        start = min(lead + delay, total)
        end = total if stop is None else max(start, lead + stop)
        self.parts.append(Part(layout, "libmpg123", start=start, stop=end, frames=total))
        self._seconds += count * samples / frame.rate
        self._reset(None, 0)


def _silent_frame(header: bytes) -> bytes:
    """Return a silent frame of the lowest bit rate, without a checksum, in the format of another frame's header."""
    head = bytes([header[0], header[1] | 1, 0x10 | header[2] & 0x0C, header[3]])
    frame = parse_frame(head)
    assert frame is not None
    return head + bytes(frame.length - 4)


def _chain(source: ByteSource, at: int, stop: int) -> int | None:
    """Return whether frames of one format follow each other from an offset on.

    Returns:
        0, or the length of the frames of free format without padding; None if there are not enough frames in a row.
    """
    first = parse_frame(source.get(at, 4))
    if first is None:
        return None
    free_length = 0
    if first.length == 0:
        free_length = _free_length(source, at, stop, first)
        if free_length == 0:
            return None
    frame: Frame | None = first
    for _ in range(_CHAIN):
        if frame is None or frame.key != first.key or bool(frame.length) != bool(first.length):
            return None
        at += frame.length or free_length + frame.padding
        if at >= stop:
            return free_length if at == stop else None
        if skip_tag(source, at, stop) > at:
            return free_length
        frame = parse_frame(source.get(at, 4))
    return free_length


def _free_length(source: ByteSource, at: int, stop: int, first: Frame) -> int:
    """Return the length of a frame of free format without padding, or 0."""
    data = source.get(at, min(_MAX_FREE_FRAME, stop - at))
    place = data.find(0xFF, 24)
    while place >= 0:
        frame = parse_frame(data[place : place + 4])
        if frame is not None and frame.key == first.key and frame.length == 0:
            length = place - first.padding
            after = parse_frame(source.get(at + place + length + frame.padding, 4))
            if after is not None and after.key == first.key and after.length == 0:
                return length
        place = data.find(0xFF, place + 1)
    return 0


def _find_chain(source: ByteSource, start: int, stop: int) -> int:
    """Return the offset of the next frame from which a chain of frames starts, or of the next tag, or `stop`."""
    block_size = 1 << 16
    while start < stop:
        block = source.read_at(start, min(block_size, stop - start))
        for match in _SYNC.finditer(block):
            at = start + match.start()
            if parse_frame(source.get(at, 4)) is not None and _chain(source, at, stop) is not None:
                return at
        if len(block) < 3:
            break
        start += len(block) - 2
    return stop


def find_first_frame(source: ByteSource, start: int, stop: int) -> int | None:
    """Return the offset of the first MPEG audio frame, behind tags, zeros and up to 1 MiB of garbage; None without."""
    at = skip_tags(source, start, stop)
    at = source.zeros_until(at, stop)
    at = skip_tags(source, at, stop)
    if parse_frame(source.get(at, 4)) is not None and _chain(source, at, stop) is not None:
        return at
    end = min(stop, at + _SEARCH)
    found = _find_chain(source, at, end)
    return found if found < end else None


def inspect_mpeg(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the frames of MPEG audio.

    Args:
        source: the file.
        start: start of the frames, or of what lies before them.
        stop: end of the file.
        findings: takes notes and damage.

    Returns:
        One part per format: joined files may differ in rate and channels.

    Raises:
        AudioFileError: if a frame is corrupt or the end is missing.
    """
    walk = _Walk(source, start, trim_tags(source, start, stop), findings)
    walk.run()
    if not walk.parts:
        raise findings.unreadable("it has no MPEG audio frames")
    return walk.parts
