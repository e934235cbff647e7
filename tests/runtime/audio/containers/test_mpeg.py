"""mp3: every frame is read, with PyAV as the oracle; tags and garbage are skipped; corrupt frames are errors."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pytest
from audio_files import ID3V1, ape, encode, id3v2, lyrics3, pyav_decode, read_audio
from haaqi_edge.runtime.audio.containers.byte_source import ByteSource
from haaqi_edge.runtime.audio.containers.inspection import inspect
from haaqi_edge.runtime.audio.containers.mpeg import parse_frame
from haaqi_edge.runtime.audio.containers.parts import Findings
from haaqi_edge.runtime.audio.decoding import decode
from haaqi_edge.runtime.errors import AudioFileError, DamagedAudioWarning, SkippedBytesWarning
from sounds import music

NO_XING = {"write_xing": "0", "id3v2_version": "0"}


def mp3(
    seconds: float = 2.0,
    rate: int = 44_100,
    *,
    xing: bool = False,
    vbr: bool = False,
    channels: int = 2,
    start: float = 3.0,
) -> bytes:
    """Return an mp3 file; without a Xing header and tags by default."""
    sound = music(seconds, rate, start=start)[:, None].repeat(channels, axis=1)
    # A quiet beginning: the first frames of a variable rate are short, and mislead who estimates the length from them.
    sound[: len(sound) // 4] *= 1e-3
    return encode(
        sound,
        rate,
        "libmp3lame",
        "mp3",
        bitrate=None if vbr else 64_000,
        options={"compression_level": "4", "flags": "+qscale", "global_quality": "472"} if vbr else {},
        container_options={} if xing else NO_XING,
    )


def frames(data: bytes) -> list[bytes]:
    """Return the frames of a bare mp3 file."""
    found, at = [], 0
    while at < len(data):
        frame = parse_frame(data[at : at + 4])
        assert frame is not None
        found.append(data[at : at + frame.length])
        at += frame.length
    return found


def check(data: bytes, same: bytes | None = None, **options: bool) -> None:
    """Check that a file is read as PyAV decodes it, or as PyAV decodes another one."""
    oracle, read = pyav_decode(data if same is None else same), read_audio(data, **options)
    assert read.rate == oracle.rate
    assert read.samples.shape == oracle.samples.shape
    np.testing.assert_allclose(read.samples, oracle.samples, atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate(rate: int, channels: int) -> None:
    check(mp3(1.5, rate, channels=channels))
    check(mp3(1.5, rate, channels=channels, xing=True))


@pytest.mark.parametrize("xing", [False, True])
def test_a_variable_rate(xing: bool) -> None:
    data = mp3(5, vbr=True, xing=xing)
    assert xing or len({len(frame) for frame in frames(data)}) > 5
    check(data)


def test_layer_2() -> None:
    for rate in (16_000, 44_100, 48_000):
        data = encode(music(2, rate), rate, "mp2", "mp2", bitrate=64_000)
        oracle, read = pyav_decode(data), read_audio(data)
        assert read.samples.shape == oracle.samples.shape
        np.testing.assert_allclose(read.samples, oracle.samples, atol=2e-3)


BARE = mp3()
PICTURE = b"APIC" + struct.pack(">I", 200_000) + bytes(2) + np.random.default_rng(0).bytes(200_000)
SYNCS = b"APIC" + struct.pack(">I", 40_000) + bytes(2) + b"\xff\xfb\x90\x64" * 10_000


@pytest.mark.parametrize(
    "before",
    [
        id3v2(bytes(1000)),
        id3v2(PICTURE),
        id3v2(SYNCS),
        id3v2(BARE),
        id3v2(bytes(100)) + id3v2(bytes(100)),
        ape(),
        bytes(5000),
        id3v2(bytes(100)) + bytes(417),
        np.random.default_rng(1).bytes(1000),
    ],
    ids=["ID3v2", "picture", "syncs", "mp3 within a tag", "two tags", "APE", "zeros", "tag and zeros", "garbage"],
)
@pytest.mark.filterwarnings("ignore::haaqi_edge.runtime.errors.SkippedBytesWarning")
def test_what_lies_before(before: bytes) -> None:
    check(before + BARE, BARE)


@pytest.mark.parametrize(
    "behind",
    [
        ID3V1,
        b"TAG+" + bytes(223) + ID3V1,
        ape(),
        ape(header=False),
        ape() + ID3V1,
        lyrics3() + ID3V1,
        b"LYRICSBEGIN" + b"la " * 100 + b"LYRICSEND" + ID3V1,
        bytes(3000),
        np.random.default_rng(2).bytes(3000),
        b"\x01\x02",
    ],
    ids=["ID3v1", "TAG+", "APE", "APE footer", "APE, ID3v1", "Lyrics3v2", "Lyrics3v1", "zeros", "garbage", "2 bytes"],
)
@pytest.mark.filterwarnings("ignore::haaqi_edge.runtime.errors.SkippedBytesWarning")
def test_what_lies_behind(behind: bytes) -> None:
    check(BARE + behind, BARE)
    check(id3v2(PICTURE) + BARE + behind, BARE)


def test_much_garbage_behind_is_worth_a_warning() -> None:
    """It may be audio that was destroyed."""
    for garbage in (bytes(3000), np.random.default_rng(2).bytes(3000)):
        with pytest.warns(
            SkippedBytesWarning, match="the file given has 3000 bytes behind the last frame that are neither"
        ):
            check(BARE + garbage, BARE)
    with pytest.raises(AudioFileError, match="the last 30000 bytes are no frames"):
        read_audio(BARE + np.random.default_rng(2).bytes(30_000))


def test_joined_files_are_read_to_the_end() -> None:
    second = mp3(1, start=9)
    both = frames(BARE) + frames(second)
    check(BARE + second)
    for between in (b"", ID3V1, id3v2(bytes(500)), ape() + ID3V1 + id3v2(bytes(30)), bytes(2000)):
        check(BARE + between + second, b"".join(both))


def test_joined_files_with_headers() -> None:
    """The delay at the beginning is removed, as the first header says; the headers within are no audio."""
    first, second = mp3(xing=True), mp3(1, xing=True, start=9)
    read = read_audio(first + second)
    skip = second[10:].find(b"\xff\xfb") + 10  # behind the tag
    header = parse_frame(second[skip : skip + 4])
    assert header is not None
    check(first + second, first + second[skip + header.length :])
    assert any("another file was joined" in note for note in read.notes)


def test_joined_files_of_different_formats() -> None:
    """Each format is a part of its own, which has its own decoder."""
    second = mp3(1, 22_050, channels=1)
    source, findings = ByteSource(io.BytesIO(BARE + second)), Findings("the file given")
    kind, parts = inspect(source, findings)
    assert len(parts) == 2
    for part, data, rate in zip(parts, (BARE, second), (44_100, 22_050), strict=True):
        blocks = list(decode(source, part, kind, 5.0, findings))
        assert {block.rate for block in blocks} == {rate}
        np.testing.assert_array_equal(np.concatenate([block.samples for block in blocks]), read_audio(data).samples)
    assert any("the format of the audio changes at 2.0" in note for note in findings.notes)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_a_header_that_announces_less(count: int) -> None:
    data = bytearray(mp3(xing=True))
    at = data.find(b"Info") + 8
    data[at : at + 4] = struct.pack(">I", count)
    oracle = pyav_decode(bytes(data)).samples if count == 0 else None
    read = read_audio(bytes(data))
    assert len(read.samples) >= 2 * 44_100
    if oracle is not None:
        assert len(read.samples) == len(oracle)


def test_a_header_that_announces_more() -> None:
    data = bytearray(mp3(xing=True))
    at = data.find(b"Info") + 8
    data[at : at + 4] = struct.pack(">I", 1000)
    with pytest.raises(AudioFileError, match=r"is truncated: its header announces 1000 frames, and \d+ are there"):
        read_audio(bytes(data))


@pytest.mark.parametrize("xing", [False, True])
@pytest.mark.parametrize("keep", [0.2, 0.51, 0.9, 0.99])
def test_a_truncated_file(xing: bool, keep: float) -> None:
    data = mp3(xing=xing)
    size = int(len(data) * keep)
    with pytest.raises(AudioFileError, match="is truncated: its"):
        read_audio(data[:size])
    with pytest.warns(DamagedAudioWarning, match="the rest is scored"):
        assert 0 < len(read_audio(data[:size], tolerate=True).samples) < len(read_audio(data).samples)


def test_a_corrupt_header_is_named_with_its_time() -> None:
    parts = frames(BARE)
    parts[40] = b"\0\0\0\0" + parts[40][4:]
    with pytest.raises(
        AudioFileError, match=r"the file given is damaged at 1\.04 s: 209 bytes are no frames|damaged at 1\.0\d s"
    ):
        read_audio(b"".join(parts))
    with pytest.warns(DamagedAudioWarning, match=r"damaged at 1\.0\d s"):
        read = read_audio(b"".join(parts), tolerate=True)
    assert len(read.samples) == 1152 * (len(parts) - 1)


def test_missing_bytes_are_found() -> None:
    with pytest.raises(AudioFileError, match=r"damaged at 1\.0\d s"):
        read_audio(b"".join(frames(BARE)[:40]) + frames(BARE)[40][:-100] + b"".join(frames(BARE)[41:]))


def test_corrupt_side_information() -> None:
    parts = frames(mp3(vbr=True))
    found = 0
    for number in range(10, 40):
        damaged = list(parts)
        damaged[number] = parts[number][:5] + b"\xff" * 20 + parts[number][25:]
        with pytest.raises(AudioFileError, match="a frame is corrupt"):
            read_audio(b"".join(damaged))
        found += 1
    assert found == 30


def test_corrupt_audio_data_are_an_error_and_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """libmpg123 prints a note, and puts silence in the place of the frame."""
    parts, random = frames(BARE), np.random.default_rng(0)
    errors = {}
    for number in range(20, 60):
        damaged = list(parts)
        damaged[number] = parts[number][:36] + random.bytes(len(parts[number]) - 36)
        try:
            read_audio(b"".join(damaged))
        except AudioFileError as error:
            errors[number] = str(error)
    assert len(errors) > 5  # the bits of the others are possible, too
    for number, message in errors.items():
        time = re.fullmatch(
            r"the file given is damaged at (.+) s: a frame is corrupt: copy or encode it again", message
        )
        assert time is not None
        assert float(time[1]) == pytest.approx(number * 1152 / 44_100, abs=0.08)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_mp3() -> None:
    random = np.random.default_rng(3)
    for data in (random.bytes(100_000), b"\xff\xfb\x90\x64" * 1000, b"\xff" * 10_000, b"ID3", id3v2(bytes(100))):
        with pytest.raises(AudioFileError, match="cannot be read as audio"):
            read_audio(data)


def test_more_padding_than_encoders_add() -> None:
    """Programs that cut files announce it, and so may a corrupt header: it is done, and reported."""
    data = bytearray(mp3(xing=True))
    header = max(data.find(b"Xing"), data.find(b"Info"))
    at = min(found for mark in (b"LAME", b"Lavf", b"Lavc") if (found := data.find(mark, header)) >= 0) + 21
    whole = read_audio(bytes(data))
    data[at : at + 3] = (2_500 << 12 | 2_500).to_bytes(3, "big")
    with pytest.warns(SkippedBytesWarning, match="2500 samples at the beginning and 2500 at the end are padding"):
        read = read_audio(bytes(data))
    assert len(whole.samples) - 5_000 < len(read.samples) < len(whole.samples)
