"""Tags: where they begin and end."""

from __future__ import annotations

import io

import pytest
from audio_files import ID3V1, ape, id3v2, lyrics3
from haaqi_edge.runtime.audio.containers.byte_source import ByteSource
from haaqi_edge.runtime.audio.containers.tags import skip_tag, skip_tags, trim_tags

AUDIO = b"audio" * 50
FOOTED = b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI\x04\0\x10\0\0\0\x0a"


@pytest.mark.parametrize(
    "tag", [id3v2(b""), id3v2(bytes(300)), FOOTED, ape(), ID3V1, b"TAG+" + bytes(223), lyrics3()], ids=lambda t: t[:8]
)
def test_tags_before(tag: bytes) -> None:
    source = ByteSource(io.BytesIO(tag + AUDIO))
    assert skip_tag(source, 0, source.size) == len(tag)
    twice = ByteSource(io.BytesIO(tag + tag + AUDIO))
    assert skip_tags(twice, 0, twice.size) == 2 * len(tag)


@pytest.mark.parametrize(
    "tags",
    [
        ID3V1,
        b"TAG+" + bytes(223) + ID3V1,
        ape(),
        ape(header=False),
        ape() + ID3V1,
        lyrics3() + ID3V1,
        b"LYRICSBEGIN" + b"x" * 400 + b"LYRICSEND" + ID3V1,
        FOOTED,
        ID3V1 + ID3V1,
    ],
    ids=len,
)
def test_tags_behind(tags: bytes) -> None:
    source = ByteSource(io.BytesIO(AUDIO + tags))
    assert trim_tags(source, 0, source.size) == len(AUDIO)
    assert trim_tags(source, 0, len(AUDIO)) == len(AUDIO)


@pytest.mark.parametrize("data", [b"", b"ID3", b"TAX" + bytes(200), b"ID3\xff\0\0\0\0\0\0", b"APETAGEX", AUDIO])
def test_what_is_no_tag(data: bytes) -> None:
    source = ByteSource(io.BytesIO(data))
    assert skip_tag(source, 0, source.size) == 0
    assert trim_tags(source, 0, source.size) == source.size


def test_sizes_beyond_the_file_do_no_harm() -> None:
    huge = ape()[:-20] + b"\xff\xff\xff\x7f" + ape()[-16:]
    for data in (b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + AUDIO, AUDIO + huge, AUDIO + b"999999LYRICS200" + ID3V1):
        source = ByteSource(io.BytesIO(data))
        assert 0 <= skip_tags(source, 0, source.size) <= source.size
        assert 0 <= trim_tags(source, 0, source.size) <= source.size
