"""Bytes of files, and streams that are put together from them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from haaqi_edge.runtime.audio.containers.byte_source import ByteSource, Layout, LayoutReader
from hypothesis import given, settings
from hypothesis import strategies as st

CONTENT = np.random.default_rng(0).bytes(3_000_000)
PIECES = st.lists(st.binary(max_size=20) | st.tuples(st.integers(0, 5000), st.integers(0, 5000)), max_size=12)


def build(pieces: list[Any]) -> tuple[Layout, bytes]:
    layout, expected = Layout(), b""
    for piece in pieces:
        if isinstance(piece, bytes):
            layout.add_bytes(piece)
            expected += piece
        else:
            layout.add_range(*piece)
            expected += CONTENT[piece[0] : piece[1]]
    return layout, expected


@given(pieces=PIECES, reads=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 3000)), max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_layout_is_its_pieces(pieces: list[Any], reads: list[tuple[int, int]]) -> None:
    layout, expected = build(pieces)
    reader = LayoutReader(ByteSource(io.BytesIO(CONTENT)), layout)
    assert layout.size == len(expected)
    assert reader.read() == expected
    for at, size in reads:
        reader.seek(at)
        assert reader.read(size) == expected[at : at + size]
    assert reader.error is None


@given(
    pieces=PIECES, outer=st.lists(st.binary(max_size=9) | st.tuples(st.integers(0, 50), st.integers(0, 90)), max_size=6)
)
@settings(max_examples=50, deadline=None)
def test_a_layout_over_another(pieces: list[Any], outer: list[Any]) -> None:
    inner, content = build(pieces)
    layout, expected = Layout(), b""
    for piece in outer:
        if isinstance(piece, bytes):
            layout.add_bytes(piece)
            expected += piece
        else:
            layout.add_range(piece[0], min(piece[1], len(content)))
            expected += content[piece[0] : piece[1]]
    assert LayoutReader(ByteSource(io.BytesIO(CONTENT)), layout.over(inner)).read() == expected


def test_neighbours_are_one_range() -> None:
    layout = Layout().add_range(0, 10).add_range(10, 20).add_range(30, 40)
    assert list(layout.pieces(0, layout.size)) == [(None, 0, 20), (None, 30, 40)]


def test_searches_cross_the_blocks() -> None:
    source = ByteSource(io.BytesIO(CONTENT))
    for at in (0, 1_048_570, 2**20 - 3, 2**20, 2_999_990):
        pattern = CONTENT[at : at + 10]
        assert source.find(pattern, 0, source.size) == at
        assert source.find(pattern, at + 1, source.size) == -1
        assert source.find(pattern, 0, at + 9) == -1
        assert source.get(at, 10) == source.read_at(at, 10) == pattern


def test_zeros_are_counted() -> None:
    source = ByteSource(io.BytesIO(b"x" + bytes(2_500_000) + b"y"))
    assert source.zeros_until(1, source.size) == 2_500_001
    assert source.zeros_until(1, 1000) == 1000
    assert source.zeros_until(0, source.size) == 0


def test_a_start_within_the_file() -> None:
    source = ByteSource(io.BytesIO(b"0123456789"), 4)
    assert source.size == 6
    assert source.read_at(0, 100) == b"456789"


def test_a_file_that_becomes_shorter() -> None:
    file = io.BytesIO(bytes(100))
    reader = LayoutReader(ByteSource(file), Layout().add_range(0, 100))
    file.truncate(50)
    assert len(reader.read()) == 50
    assert isinstance(reader.error, OSError)
