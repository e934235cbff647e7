"""FLAC: the length is that of the frames, whatever the header announces; nothing behind them matters."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import ID3V1, ape, encode, id3v2, pyav_decode, read_audio
from haaqi_edge.runtime.errors import AudioFileError
from sounds import music

RATE = 44_100


def flac(seconds: float = 2.0, pipe: bool = False, start: float = 3.0, rate: int = RATE) -> bytes:
    """Return a FLAC file of two channels."""
    sound = np.stack([music(seconds, rate, start=start), music(seconds, rate, start=start + 1)], axis=1)
    return encode(sound, rate, "flac", "flac", pipe=pipe)


WHOLE = flac()


def total(data: bytes, samples: int) -> bytes:
    """Return a file whose header announces a number of samples."""
    return data[:21] + bytes([data[21] & 0xF0 | samples >> 32]) + (samples & 0xFFFFFFFF).to_bytes(4, "big") + data[26:]


def check(data: bytes) -> list[str]:
    read = read_audio(data)
    np.testing.assert_array_equal(read.samples, pyav_decode(WHOLE).samples.astype(np.float32))
    return read.notes


def test_pyav_agrees() -> None:
    assert check(WHOLE) == []
    assert check(flac(pipe=True)) == []


def test_the_length_is_that_of_the_frames() -> None:
    assert check(total(WHOLE, 0)) == []
    assert check(total(WHOLE, 44_100)) == ["the header announces 44100 samples, and 88200 are there; all are read"]
    for announced in (88_201, 10**7, 2**36 - 1):
        with pytest.raises(AudioFileError, match=f"its header announces {announced} samples, and 88200 are there"):
            read_audio(total(WHOLE, announced))


@pytest.mark.parametrize("announced", [0, 88_200])
@pytest.mark.parametrize(
    "behind", [ID3V1, ape() + ID3V1, bytes(5000), b"\xa5" * 5000, b"\xff\xf8\xff\xf8" * 100], ids=len
)
def test_what_lies_behind(announced: int, behind: bytes) -> None:
    check(total(WHOLE, announced) + behind)


def test_a_tag_before() -> None:
    check(id3v2(bytes(500)) + WHOLE)


def test_a_wrong_md5_is_not_looked_at() -> None:
    check(WHOLE[:26] + bytes(range(16)) + WHOLE[42:])


def test_joined_files() -> None:
    second = flac(1.0, start=9)
    for data in (WHOLE + second, WHOLE + ID3V1 + second, WHOLE + id3v2(bytes(100)) + second):
        read = read_audio(data)
        expected = np.concatenate([read_audio(WHOLE).samples, read_audio(second).samples])
        np.testing.assert_array_equal(read.samples, expected)
        assert "several FLAC files were joined" in read.notes


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("announced", [0, 88_200])
def test_a_truncated_file(keep: float, announced: int) -> None:
    with pytest.raises(AudioFileError, match="is truncated"):
        read_audio(total(WHOLE, announced)[: int(len(WHOLE) * keep)])


def test_damage_is_named_with_its_time() -> None:
    middle = len(WHOLE) // 2
    data = WHOLE[:middle] + np.random.default_rng(0).bytes(40) + WHOLE[middle + 40 :]
    with pytest.raises(AudioFileError, match=r"damaged or truncated after (0\.9\d|1\.0\d) s"):
        read_audio(data)


def test_missing_frames_are_named_with_their_time() -> None:
    starts = [
        at for at in range(len(WHOLE)) if WHOLE[at : at + 2] == b"\xff\xf8" and WHOLE[at + 2] >> 4 == WHOLE[at + 2] >> 4
    ]
    frame = [at for at in starts if WHOLE[at + 4] in (5, 9)]
    assert len(frame) >= 2
    with pytest.raises(AudioFileError, match=r"damaged at 0\.\d\d s: 0\.\d\d s are corrupt or missing"):
        read_audio(WHOLE[: frame[0]] + WHOLE[frame[-1] :])


def test_what_is_no_flac() -> None:
    for data in (b"fLaC", WHOLE[:30], b"fLaC" + bytes(38), b"fLaC\x84\0\0\x22" + WHOLE[8:]):
        with pytest.raises(AudioFileError):
            read_audio(data)
