"""THE TABLE of wav headers that real programs write: shared by the tests of Python, of the page and of the C example.

Each case is a file with 16-bit samples and the number of its frames that are scored, or the reason for which it is
refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from audio_files import ID3V1, chunk, fmt, riff

Pcm = npt.NDArray[np.int16]

TRUNCATED: Final = "is truncated"
EMPTY: Final = "holds no samples"
UNREADABLE: Final = "cannot be read as audio"


class WavCase(NamedTuple):
    """A wav file.

    Attributes:
        name: what is special about it.
        build: returns the file, from int16 [n, channels] and the rate in Hz.
        frames: returns the number of frames that are scored, from n; or the reason for which the file is refused.
    """

    name: str
    build: Callable[[Pcm, int], bytes]
    frames: Callable[[int], int] | str


def _all(frames: int) -> int:
    return frames


def _wav(
    pcm: Pcm,
    rate: int,
    *,
    data_size: Callable[[int], int] = int,
    riff_size: Callable[[int], int] | None = int,
    before: bytes = b"",
    after: bytes = b"",
    behind: bytes = b"",
    cut: int = 0,
) -> bytes:
    """Return a wav file.

    Args:
        pcm: the samples.
        rate: Hz.
        data_size: what the chunk `data` announces, from its right size.
        riff_size: what the file announces, from its right size.
        before: chunks before `data`.
        after: chunks behind `data`.
        behind: bytes behind the end of the RIFF chunk.
        cut: number of bytes to remove at the end, without `behind`.
    """
    data = pcm.astype("<i2").tobytes()
    body = b"WAVE" + fmt(rate, pcm.shape[1]) + before + chunk(b"data", data, data_size(len(data))) + after
    whole = b"RIFF" + struct.pack("<I", riff_size(len(body)) if riff_size else len(body)) + body
    return whole[: len(whole) - cut] + behind


def _sized(data: int, size: int | None = None) -> Callable[[Pcm, int], bytes]:
    """Return a builder for sizes that do not depend on the samples."""
    return lambda pcm, rate: _wav(
        pcm, rate, data_size=lambda _: data, riff_size=int if size is None else (lambda _: size)
    )


CASES: Final = (
    WavCase("plain", _wav, _all),
    # The length was not known
    WavCase("0", _sized(0, 0), _all),
    WavCase("0 in data alone", _sized(0), _all),
    WavCase("ffffffff (ffmpeg)", _sized(0xFFFFFFFF, 0xFFFFFFFF), _all),
    WavCase("ffffffff in data alone", _sized(0xFFFFFFFF), _all),
    WavCase("7fffffff", _sized(0x7FFFFFFF, 0x7FFFFFFF), _all),
    WavCase("7fffffff less the header", _sized(0x7FFFFFFF - 44, 0x7FFFFFFF - 8), _all),
    WavCase("7ffff000 (sox)", _sized(0x7FFFF000, 0x7FFFF024), _all),
    WavCase("80000000 (arecord)", _sized(0x80000000, 0x80000024), _all),
    WavCase("0 in RIFF alone", lambda p, r: _wav(p, r, riff_size=lambda _: 0), _all),
    WavCase("ffffffff in RIFF alone", lambda p, r: _wav(p, r, riff_size=lambda _: 0xFFFFFFFF), _all),
    # The length is wrong, and the file is whole
    WavCase("RIFF counts its own 8 bytes", lambda p, r: _wav(p, r, riff_size=lambda n: n + 8), _all),
    WavCase("RIFF counts the header alone", lambda p, r: _wav(p, r, riff_size=lambda _: 36), _all),
    WavCase("data claims 16 bytes too many", lambda p, r: _wav(p, r, data_size=lambda n: n + 16), _all),
    WavCase("data claims the size of the file", lambda p, r: _wav(p, r, data_size=lambda n: n + 44), _all),
    WavCase("data claims half", lambda p, r: _wav(p, r, data_size=lambda n: n // 8 * 4), _all),
    WavCase(
        "data and RIFF claim half",
        lambda p, r: _wav(p, r, data_size=lambda n: n // 8 * 4, riff_size=lambda n: 36 + (n - 36) // 8 * 4),
        _all,
    ),
    WavCase("half a frame is missing", lambda p, r: _wav(p, r, cut=1), lambda n: n - 1),
    # The end is missing
    WavCase("a tenth is missing", lambda p, r: _wav(p, r, cut=p.nbytes // 10), TRUNCATED),
    WavCase("10 bytes are missing", lambda p, r: _wav(p, r, cut=10), TRUNCATED),
    WavCase(
        "a tenth is missing, RIFF unknown",
        lambda p, r: _wav(p, r, cut=p.nbytes // 10, riff_size=lambda _: 0xFFFFFFFF),
        TRUNCATED,
    ),
    WavCase("data claims twice as much, RIFF is right", lambda p, r: _wav(p, r, data_size=lambda n: 2 * n), TRUNCATED),
    WavCase("the header alone is there", lambda p, r: _wav(p, r, cut=p.nbytes), TRUNCATED),
    WavCase("the header is cut", lambda p, r: _wav(p, r)[:30], TRUNCATED),
    # No samples
    WavCase("no samples", lambda p, r: _wav(p[:0], r), EMPTY),
    WavCase("no samples, and a chunk", lambda p, r: _wav(p[:0], r, after=_INFO), EMPTY),
    # Other chunks, and bytes that are no audio
    WavCase("a chunk before", lambda p, r: _wav(p, r, before=_INFO), _all),
    WavCase("JUNK before", lambda p, r: _wav(p, r, before=chunk(b"JUNK", bytes(28))), _all),
    WavCase("130 kB of padding before", lambda p, r: _wav(p, r, before=chunk(b"pad ", bytes(130_308))), _all),
    WavCase("an odd chunk before", lambda p, r: _wav(p, r, before=chunk(b"LIST", b"INFOISFT\x03\0\0\0abc")), _all),
    WavCase(
        "an odd chunk without padding",
        lambda p, r: _wav(p, r, before=b"LIST" + struct.pack("<I", 15) + b"INFOISFT\x03\0\0\0abc"),
        _all,
    ),
    WavCase("a chunk behind", lambda p, r: _wav(p, r, after=_INFO), _all),
    WavCase("an unknown chunk behind", lambda p, r: _wav(p, r, after=chunk(b"LGWX", bytes(100))), _all),
    WavCase("a cut chunk behind", lambda p, r: _wav(p, r, after=b"_PMX\x40\x9c\0\0<x:xmpmeta/>"), _all),
    WavCase("3 bytes behind", lambda p, r: _wav(p, r, behind=bytes(3)), _all),
    WavCase("an ID3v1 tag behind", lambda p, r: _wav(p, r, behind=ID3V1), _all),
    WavCase("300 bytes of garbage behind", lambda p, r: _wav(p, r, behind=b"\xfa\x0b\xcc" * 100), _all),
    WavCase("100 kB of zeros behind", lambda p, r: _wav(p, r, behind=bytes(100_000)), _all),
)
_INFO: Final = chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf57.56.101\0")

PYTHON_CASES: Final = (
    WavCase(
        "two chunks of data", lambda p, r: _wav(p, r, after=chunk(b"data", p.astype("<i2").tobytes())), lambda n: 2 * n
    ),
    WavCase("two files joined", lambda p, r: 2 * _wav(p, r), lambda n: 2 * n),
    WavCase("fmt behind the data", lambda p, r: riff(chunk(b"data", p.tobytes()), fmt(r, p.shape[1])), _all),
    WavCase("no data", lambda p, r: riff(fmt(r, p.shape[1]), _INFO), UNREADABLE),
    WavCase("no fmt", lambda p, _: riff(chunk(b"data", p.tobytes())), UNREADABLE),
    WavCase("2 bytes for 2 channels", lambda p, r: riff(fmt(r, 2, align=2), chunk(b"data", p.tobytes())), UNREADABLE),
    WavCase(
        "extensible without its extension",
        lambda p, r: riff(fmt(r, tag=0xFFFE), chunk(b"data", p.tobytes())),
        UNREADABLE,
    ),
    WavCase("no channels", lambda p, r: riff(fmt(r, 0), chunk(b"data", p.tobytes())), UNREADABLE),
)
"""Cases that the page and the C example need not follow: they may refuse what Python reads."""
