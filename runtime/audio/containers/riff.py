"""wav files: RIFF, RIFX, RF64 and BW64, and Sony Wave64.

Sources: Microsoft and IBM, Multimedia Programming Interface and Data Specifications 1.0 (1991); EBU Tech 3306 (RF64);
ITU-R BS.2088 (BW64); Sony, Wave64 File Format 2.0.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from .byte_source import ByteSource, Layout
from .mpeg import inspect_mpeg
from .parts import Findings, Part
from .sizes import audio_bytes, find_file, is_audio_tail, is_placeholder, report_rest
from .tags import skip_tags

MAGICS: Final = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_PCM, _MS_ADPCM, _FLOAT, _ALAW, _MULAW, _IMA, _GSM, _EXTENSIBLE = 1, 2, 3, 6, 7, 0x11, 0x31, 0xFFFE
_PER_SAMPLE: Final = {_PCM, _FLOAT, _ALAW, _MULAW}
_LIBSNDFILE: Final = {*_PER_SAMPLE, _MS_ADPCM, _IMA, _GSM}
_MPEG: Final = {0x50: "MPEG layer 2", 0x55: "mp3"}
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
_W64_TAIL: Final = bytes.fromhex("f3acd3118cd100c04f8edb8a")
CHUNKS: Final = frozenset(
    b"LIST,id3 ,ID3 ,bext,fact,cue ,smpl,inst,PEAK,afsp,JUNK,junk,_PMX,iXML,LGWV,ResU,acid,axml,cart,DISP,PAD ,pad ,"
    b"FLLR,umid,minf,elm1,regn,plst,labl,note,ltxt,strc,tlst,data,fmt ,chna,dbmd,levl,link,mext,qlty,INFO".split(b",")
)
"""Known chunks. They are recognized even if their size is wrong."""


class _Wave(NamedTuple):
    """What the decoder needs of a wav file."""

    byte_order: str
    fmt: bytes
    data: list[tuple[int, int]]
    fact: bytes


def inspect_riff(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of a wav file.

    Args:
        source: the file.
        start: offset of `RIFF`.
        stop: end of the file, without tags.
        findings: takes notes and damage.

    Raises:
        AudioFileError: if the file has no audio, if its header contradicts itself, or if it is truncated.
    """
    head = source.get(start, 36)
    order = ">" if head[:4] == b"RIFX" else "<"
    kind = head[8:12]
    if kind != b"WAVE":
        named = {b"AVI ": "a video (AVI)", b"RMID": "MIDI, notes without sound", b"WEBP": "a picture (WebP)"}
        raise findings.unreadable(f"it is {named.get(kind, f'a RIFF file of the kind {kind!r}')}")
    size: int = struct.unpack(order + "I", head[4:8])[0]
    data_size: int | None = None
    if head[:4] in (b"RF64", b"BW64"):
        if head[12:16] != b"ds64" or len(head) < 36:
            raise findings.unreadable("its chunk ds64, with the sizes, is missing")
        size, data_size = struct.unpack("<QQ", head[20:36])
        known = not is_placeholder(size, 64)
    else:
        known = not is_placeholder(size)
    return _Chunks(source, start, stop, order, size if known else None, data_size, findings).parts()


class _Chunks:
    """The chunks of a RIFF file.

    Args:
        size: size of the RIFF chunk; None if it is unknown.
        data_size: size of the data chunk in RF64.
    """

    def __init__(
        self,
        source: ByteSource,
        start: int,
        stop: int,
        order: str,
        size: int | None,
        data_size: int | None,
        findings: Findings,
    ) -> None:
        self._source, self._order, self._findings = source, order, findings
        self._stop, self._data_size, self._next_file = stop, data_size, stop
        self._at = start + 12
        self._end = None if size is None else start + 8 + size
        """end of the RIFF chunk as announced"""
        self._complete = self._end is not None and abs(self._end - stop) <= 1
        self._fmt, self._fact = b"", b""
        self._data: list[tuple[int, int]] = []
        self._seen_data = False

    def parts(self) -> list[Part]:
        """Return the parts of the file."""
        while self._at + 8 <= self._stop and (not self._data or self._at < min(self._end or self._stop, self._stop)):
            name, size = self._header(self._at)
            body = self._at + 8
            if name == b"data":
                self._seen_data = True
                if not self._fmt:
                    self._find_fmt(body + size + size % 2)
                self._at = self._add_data(body, size)
                continue
            if not self._data and not _is_name(name):
                break
            if self._data and name not in CHUNKS and not (_is_name(name) and body + size <= self._stop):
                break
            if name == b"fmt " and not self._fmt:
                self._fmt = self._source.get(body, min(size, 1024))
            elif name == b"fact":
                self._fact = self._source.get(body, min(size, 4))
            self._at = self._after(body + size, size)
        if not self._fmt:
            raise self._findings.unreadable("the chunk fmt, which describes the samples, is missing")
        if not self._data:
            self._refuse_without_data()
        parts = _wave_parts(_Wave(self._order, self._fmt, self._data, self._fact), self._source, self._findings)
        if self._next_file < self._stop:
            self._findings.note("several wav files were joined")
            parts += inspect_riff(self._source, self._next_file, self._stop, self._findings)
        return parts

    def _header(self, at: int) -> tuple[bytes, int]:
        head = self._source.get(at, 8)
        return head[:4], int(struct.unpack(self._order + "I", head[4:])[0])

    def _after(self, end: int, size: int) -> int:
        """Return where the next chunk begins: an odd chunk is padded, but some writers leave the padding out."""
        if size % 2 and _is_known(self._source, end) and not _is_known(self._source, end + 1):
            self._findings.note("a chunk of odd size is not padded")
            return end
        return end + size % 2

    def _find_fmt(self, at: int) -> None:
        """Find a fmt chunk behind the data."""
        while at + 8 <= self._stop:
            name, size = self._header(at)
            if name == b"fmt ":
                self._fmt = self._source.get(at + 8, min(size, 1024))
                return
            at += 8 + size + size % 2

    def _add_data(self, body: int, size: int) -> int:
        """Add a chunk of data, and return where the next chunk may begin."""
        frame, per_second = _frame_bytes(self._order, self._fmt)
        placeholder = is_placeholder(size)
        if self._data_size is not None and size == 0xFFFFFFFF:
            size, self._data_size = self._data_size, None
            placeholder = is_placeholder(size, 64)
        if placeholder and not (size == 0 and self._only_chunks(body)):
            self._data.append((body, self._stop))
            self._findings.note("the header does not know the length; the audio is read to the end of the file")
            return self._stop
        used = audio_bytes(size, self._stop - body, frame, self._complete, "the chunk data", self._findings)
        end = body + used
        if size:
            self._data.append((body, end))
        after = self._after(end, used)
        riff_end = self._stop if self._end is None else min(self._end, self._stop)
        if riff_end > after and self._only_chunks(after):
            return after
        if riff_end > after and is_audio_tail(self._source, end, riff_end, per_second, self._findings):
            self._extend(riff_end)
        elif riff_end <= after:
            self._read_tail(end, after, per_second)
        return self._stop

    def _read_tail(self, end: int, after: int, per_second: float) -> None:
        """Judge what lies behind the end of the RIFF chunk: another file, tags, garbage, or more audio."""
        for at in (end, after):
            if self._source.get(at, 4) in MAGICS and self._source.get(at + 8, 4) == b"WAVE":
                self._next_file = at
                return
        if skip_tags(self._source, end, self._stop) == self._stop:
            return
        if what := find_file(self._source, end, self._stop):
            self._findings.appended(self._stop - end, what)
            return
        if self._only_chunks(after):
            return
        if is_audio_tail(self._source, end, self._stop, per_second, self._findings):
            self._findings.extended(self._stop - end)
            self._extend(self._stop)

    def _extend(self, stop: int) -> None:
        if self._data:
            self._data[-1] = (self._data[-1][0], stop)

    def _only_chunks(self, at: int) -> bool:
        """Return whether a chunk begins at `at`: a known one, or one whose size fits."""
        head = self._source.get(at, 8)
        if len(head) < 8:
            return at >= self._stop
        size = int(struct.unpack(self._order + "I", head[4:])[0])
        return head[:4] in CHUNKS or (_is_name(head[:4]) and at + 8 + size <= self._stop)

    def _refuse_without_data(self) -> None:
        at = self._at
        announced = self._end if self._end is not None else 0
        if announced > self._stop + 1 or at > self._stop:
            self._findings.truncated(f"its header announces {max(announced, at)} bytes, and {self._stop} are there")
        if self._seen_data:
            return
        raise self._findings.unreadable(f"there is no chunk data, and no chunk at byte {at}")


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _is_known(source: ByteSource, at: int) -> bool:
    return source.get(at, 4) in CHUNKS


def _frame_bytes(order: str, fmt: bytes) -> tuple[int, float]:
    """Return the bytes per frame, or per block of a compressed format, and the bytes per second."""
    if len(fmt) < 16:
        return 1, 1.0
    _, _, _, per_second, align, _ = struct.unpack(order + "HHIIHH", fmt[:16])
    return max(1, align), float(max(1, per_second))


class WaveFormat(NamedTuple):
    """The format of the samples of a wav file.

    Attributes:
        codec: format tag; that of the extension for WAVE_FORMAT_EXTENSIBLE.
        channels: number of channels.
        rate: Hz.
        align: bytes per frame, or per block of a compressed format.
        bits: bits per sample, of the container.
        frames: frames per block: 1 for samples that are stored one by one, 0 if it is unknown.
        fmt: the chunk, with the bits of the container.
    """

    codec: int
    channels: int
    rate: int
    align: int
    bits: int
    frames: int
    fmt: bytes


def parse_format(order: str, fmt: bytes, findings: Findings) -> WaveFormat:
    """Parse the chunk fmt of a wav file.

    Args:
        order: byte order, as in `struct`.
        fmt: the content of the chunk.
        findings: names the file in errors.

    Raises:
        AudioFileError: if the chunk is incomplete or contradicts itself.
    """
    if len(fmt) < 16:
        raise findings.unreadable(f"the chunk fmt has {len(fmt)} bytes instead of 16 or more")
    tag, channels, rate, per_second, align, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    codec, frames = tag, 0
    if tag == _EXTENSIBLE:
        if len(fmt) < 40:
            raise findings.unreadable("the chunk fmt announces an extension (WAVE_FORMAT_EXTENSIBLE) and has none")
        codec = struct.unpack(order + "H", fmt[24:26])[0]
        if fmt[26:40] != _GUID_TAIL and codec not in _PER_SAMPLE:
            raise findings.unreadable("its samples are of an unknown type (WAVE_FORMAT_EXTENSIBLE)")
    if not channels or not rate:
        raise findings.unreadable(f"the chunk fmt announces {channels} channels at {rate} Hz")
    if codec in _PER_SAMPLE:
        width, frames = (bits + 7) // 8, 1
        if not width:
            raise findings.unreadable(f"the chunk fmt announces samples of {bits} bits")
        if align != channels * width:
            # 24 bits in 32, for example. The rate of bytes decides whether the alignment or the bits are right.
            if (
                align % channels
                or not 0 < width < align // channels <= 4
                or codec != _PCM
                or per_second != rate * align
            ):
                raise findings.unreadable(
                    f"the chunk fmt contradicts itself: {channels} channels of {bits} bits in {align} bytes"
                )
            bits = align // channels * 8
            fmt = fmt[:14] + struct.pack(order + "H", bits) + fmt[16:]
    elif codec in _LIBSNDFILE:
        frames = {_IMA: (align // channels - 4) * 2 + 1, _MS_ADPCM: (align // channels - 7) * 2 + 2, _GSM: 320}[codec]
        announced = struct.unpack(order + "H", fmt[18:20])[0] if len(fmt) >= 20 else 0
        if announced != frames or not align:
            raise findings.unreadable(f"the chunk fmt contradicts itself: {announced} samples in {align} bytes")
    return WaveFormat(codec, channels, rate, align, bits, frames, fmt)


def _wave_parts(wave: _Wave, source: ByteSource, findings: Findings) -> list[Part]:
    """Return the part of a wav file, with a header that holds."""
    form = parse_format(wave.byte_order, wave.fmt, findings)
    if form.codec in _MPEG:
        return [part for start, stop in wave.data for part in inspect_mpeg(source, start, stop, findings)]
    if form.codec not in _LIBSNDFILE:
        return [Part(Layout().add_range(0, source.size), "ffmpeg")]
    used = sum(stop - start for start, stop in wave.data)
    frames, fact = None, b""
    if form.codec in _PER_SAMPLE:
        frames = used // form.align
        if used % form.align:
            findings.note("an incomplete frame at the end was skipped")
        used = frames * form.align
    elif wave.fact:
        fact = b"fact" + struct.pack(wave.byte_order + "I", 4) + wave.fact
    layout = Layout().add_bytes(_wave_header(wave.byte_order, form.fmt, fact, used))
    left = used
    for start, stop in wave.data:
        layout.add_range(start, min(stop, start + left))
        left -= min(stop - start, left)
    return [Part(layout, frames=frames)]


def _wave_header(order: str, fmt: bytes, fact: bytes, size: int) -> bytes:
    """Return the beginning of a wav file up to its data."""
    chunks = b"fmt " + struct.pack(order + "I", len(fmt)) + fmt + bytes(len(fmt) % 2) + fact
    total = 4 + len(chunks) + 8 + size
    if total < 2**32 - 1 or order == ">":
        magic = b"RIFX" if order == ">" else b"RIFF"
        head = magic + struct.pack(order + "I", min(total, 0xFFFFFFFF))
        return head + b"WAVE" + chunks + b"data" + struct.pack(order + "I", min(size, 0xFFFFFFFF))
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, total + 36, size, 0, 0)
    unknown = b"\xff" * 4
    return b"RF64" + unknown + b"WAVE" + ds64 + chunks + b"data" + unknown


def inspect_wave64(source: ByteSource, start: int, stop: int, findings: Findings) -> list[Part]:
    """Find the audio of a Sony Wave64 file.

    Raises:
        AudioFileError: as for `inspect_riff`.
    """
    at, fmt, fact = start + 40, b"", b""
    while at + 24 <= stop:
        head = source.get(at, 24)
        name, size = head[:4], int.from_bytes(head[16:24], "little") - 24
        body = at + 24
        if head[4:16] != _W64_TAIL or (size < 0 and (size != -24 or name != b"data")):
            raise findings.unreadable(f"there is no chunk at byte {at}")
        if name == b"fmt ":
            fmt = source.get(body, min(size, 1024))
        elif name == b"fact":
            fact = source.get(body, 4)
        elif name == b"data":
            frame, per_second = _frame_bytes("<", fmt)
            announced = int.from_bytes(source.get(start + 16, 8), "little")
            if size == -24 or is_placeholder(size + 24, 64):
                findings.note("the header does not know the length; the audio is read to the end of the file")
                used = stop - body
            else:
                used = audio_bytes(size, stop - body, frame, announced == stop - start, "the chunk data", findings)
                if body + used <= start + announced < stop and not is_placeholder(announced, 64):
                    report_rest(source, start + announced, stop, "behind the last chunk", per_second, findings)
            return _wave_parts(_Wave("<", fmt, [(body, body + used)], fact), source, findings)
        at = body + -(-size // 8) * 8
    findings.truncated(f"its header announces {max(at, stop)} bytes or more, and {stop} are there")
    return []
