"""Ogg: chains, checksums, missing pages, and what lies between and behind the pages."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from audio_files import ID3V1, encode, id3v2, pyav_decode, read_audio
from haaqi_edge.runtime.audio.containers.ogg import page_checksum
from haaqi_edge.runtime.errors import AudioFileError, DamagedAudioWarning
from sounds import music

CODECS = {"libvorbis": 44_100, "libopus": 48_000, "flac": 44_100}


def ogg(codec: str, seconds: float = 2.0, start: float = 3.0) -> bytes:
    """Return an Ogg file with many pages."""
    rate = CODECS[codec]
    sound = np.stack([music(seconds, rate, start=start), music(seconds, rate, start=start + 1)], axis=1)
    return encode(sound, rate, codec, "ogg", container_options={"page_duration": "100000"})


def pages(data: bytes) -> list[bytes]:
    """Return the pages of a file."""
    starts = [at for at in range(len(data)) if data[at : at + 5] == b"OggS\0"]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def sealed(page: bytes) -> bytes:
    """Return a page with the right checksum."""
    page = page[:22] + bytes(4) + page[26:]
    return page[:22] + struct.pack("<I", page_checksum(page)) + page[26:]


@pytest.mark.parametrize("codec", CODECS)
def test_pyav_agrees(codec: str) -> None:
    data = ogg(codec)
    assert len(pages(data)) > 10
    oracle, read = pyav_decode(data), read_audio(data)
    assert (read.rate, read.samples.shape) == (oracle.rate, oracle.samples.shape)
    # FFmpeg has a decoder of its own for Opus, whose stereo prediction differs a little from the reference decoder's.
    np.testing.assert_allclose(read.samples, oracle.samples, atol=5e-3 if codec == "libopus" else 1e-3)
    assert read.notes == []


@pytest.mark.parametrize("codec", CODECS)
def test_a_chain_is_its_links(codec: str) -> None:
    links = [ogg(codec, 1.0), ogg(codec, 1.5, start=9), ogg(codec, 0.7)]
    read = read_audio(b"".join(links))
    np.testing.assert_array_equal(read.samples, np.concatenate([read_audio(link).samples for link in links]))
    assert read.notes == ["the file is a chain of 3 streams"]


def test_a_chain_of_codecs() -> None:
    links = [ogg("libvorbis", 1.0), ogg("flac", 1.0, start=8)]
    read = read_audio(b"".join(links))
    np.testing.assert_array_equal(read.samples, np.concatenate([read_audio(link).samples for link in links]))


@pytest.mark.parametrize("codec", CODECS)
def test_streams_side_by_side(codec: str) -> None:
    """Pages of another stream, such as a video, lie between those of the audio."""
    own = pages(ogg(codec))
    other = [page[:14] + b"\x99\x99\x99\x99" + page[18:] for page in own]
    other = [sealed(page.replace(b"\x01vorbis", b"\x01thxxra").replace(b"OpusHead", b"VideHead")) for page in other]
    other[0] = sealed(other[0].replace(b"\x7fFLAC", b"\x7fVLAC"))
    mixed = b"".join(page for pair in zip(own, other, strict=True) for page in pair)
    np.testing.assert_array_equal(read_audio(mixed).samples, read_audio(b"".join(own)).samples)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("behind", [bytes(128), ID3V1, b"\xa5" * 3000, b"OggS", bytes(200_000)], ids=len)
def test_what_lies_behind(codec: str, behind: bytes) -> None:
    data = ogg(codec, 0.5)
    np.testing.assert_array_equal(read_audio(data + behind).samples, read_audio(data).samples)
    np.testing.assert_array_equal(read_audio(id3v2(bytes(99)) + data).samples, read_audio(data).samples)


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_between_pages_are_skipped(codec: str) -> None:
    parts = pages(ogg(codec, 1.0))
    read = read_audio(b"".join(parts[:6]) + b"garbage" * 30 + b"".join(parts[6:]))
    np.testing.assert_array_equal(read.samples, read_audio(b"".join(parts)).samples)
    assert read.notes == ["210 bytes between Ogg pages were skipped"]


def _flip(parts: list[bytes]) -> list[bytes]:
    damaged = bytearray(parts[8])
    damaged[len(damaged) // 2] ^= 4
    return [*parts[:8], bytes(damaged), *parts[9:]]


def _no_capture(parts: list[bytes]) -> list[bytes]:
    return [*parts[:8], b"XggS" + parts[8][4:], *parts[9:]]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip, r"the checksum of the Ogg page at byte \d+ is wrong"),
        (_no_capture, "1 Ogg pages are missing"),
        (lambda parts: parts[:8] + parts[10:], "2 Ogg pages are missing"),
        (lambda parts: [*parts[:9], *parts[8:]], "Ogg page 8 is there twice"),
    ],
    ids=["bit", "capture", "missing", "twice"],
)
def test_damage_is_an_error_with_its_time(
    codec: str, damage: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    data = b"".join(damage(pages(ogg(codec))))
    with pytest.raises(
        AudioFileError, match=rf"the file given is damaged at \d\.\d\d s: {message}: copy or encode it again"
    ):
        read_audio(data)


@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_damage_may_be_tolerated(codec: str) -> None:
    data = ogg(codec)
    parts = pages(data)
    with pytest.warns(DamagedAudioWarning, match="damaged at .* 3 Ogg pages are missing; the rest is scored"):
        read = read_audio(b"".join(parts[:8] + parts[11:]), tolerate=True)
    assert 0.7 < len(read.samples) / len(read_audio(data).samples) < 1


@pytest.mark.parametrize("codec", CODECS)
def test_the_end_must_be_there(codec: str) -> None:
    parts = pages(ogg(codec))
    for data in (b"".join(parts[:-1]), b"".join(parts)[:-10], b"".join(parts[:-1]) + parts[-1][:20]):
        with pytest.raises(AudioFileError, match="is truncated: its last Ogg page is missing or cut: copy it again"):
            read_audio(data)
    with pytest.raises(AudioFileError, match="the last pages of a part of the file are missing"):
        read_audio(b"".join(parts[:-1]) + ogg(codec, 1.0))


def test_other_streams() -> None:
    page = pages(ogg("libvorbis", 0.5))[0]
    with pytest.raises(AudioFileError, match="are no Vorbis, Opus, FLAC or Speex"):
        read_audio(sealed(page[:5] + b"\x06" + page[6:].replace(b"\x01vorbis", b"\x80theora")))


def test_the_checksum_is_that_of_the_specification() -> None:
    """Bit by bit, as the specification describes it."""
    data = np.random.default_rng(0).bytes(1000)
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    assert page_checksum(data) == value
