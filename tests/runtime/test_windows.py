"""Windows: every patch once, the last one at the end, however the patches arrive."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.runtime.windows import (
    MAX_WINDOW_SECONDS,
    PatchFeatures,
    PatchTokens,
    WindowSlice,
    slice_windows,
    window_length,
    window_patches,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SPLITS = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(lambda sizes: sum(sizes) > 0)


def numbered(start: int, count: int) -> PatchTokens:
    """Patches that carry their own number; every third one is silent."""
    numbers = np.arange(start, start + count)
    return PatchTokens(numbers.astype(np.float32)[:, None, None].repeat(2, axis=2), numbers % 3 == 0)


def blocks(sizes: list[int]) -> Iterator[PatchTokens]:
    at = 0
    for size in sizes:
        yield numbered(at, size)
        at += size


def numbers(patches: PatchTokens) -> list[int]:
    assert np.array_equal(patches.silent, patches.tokens[:, 0, 0] % 3 == 0)
    return [int(number) for number in patches.tokens[:, 0, 0]]


def flat(windows: Iterator[WindowSlice[PatchTokens]]) -> list[tuple[int, list[int], int]]:
    return [(w.start, numbers(w.patches), w.added) for w in windows]


@given(sizes=SPLITS, length=st.integers(1, 80))
@settings(deadline=None)
def test_windows_cover_every_patch_once_and_end_at_the_end(sizes: list[int], length: int) -> None:
    total = sum(sizes)
    windows = flat(slice_windows(blocks(sizes), length))
    covered = [number for _, window, added in windows for number in window[len(window) - added :]]
    assert covered == list(range(total))
    assert len(windows) == math.ceil(total / length)
    for index, (start, window, added) in enumerate(windows):
        assert window == list(range(start, start + min(length, total)))
        assert 1 <= added <= len(window)
        if index < len(windows) - 1:
            assert (start, added) == (index * length, length)
    assert windows[-1][1][-1] == total - 1


@given(sizes=SPLITS, length=st.none() | st.integers(1, 80))
@settings(deadline=None)
def test_any_split_gives_the_same_windows(sizes: list[int], length: int | None) -> None:
    if length is None and sum(sizes) > 375:
        sizes = [1]
    assert flat(slice_windows(blocks(sizes), length)) == flat(slice_windows(blocks([sum(sizes)]), length))


def test_windows_of_features_are_features() -> None:
    features = np.arange(7 * 16 * 32, dtype=np.float32).reshape(7, 16, 32)
    block = PatchFeatures(features, np.arange(7) == 2)
    windows = list(slice_windows([block], 3))
    assert [type(window.patches) for window in windows] == [PatchFeatures] * 3
    assert [window.start for window in windows] == [0, 3, 4]
    assert np.array_equal(windows[2].patches.features, features[4:])
    assert windows[0].patches.silent.tolist() == [False, False, True]


def test_nothing_gives_no_window() -> None:
    assert flat(slice_windows(blocks([]), 3)) == []
    assert flat(slice_windows(blocks([0, 0]), 3)) == []
    assert flat(slice_windows(blocks([0]), None)) == []


def test_the_whole_clip_is_one_window_of_at_most_a_minute() -> None:
    assert flat(slice_windows(blocks([100, 275]), None)) == [(0, list(range(375)), 375)]
    with pytest.raises(OptionError, match="longer than 60 s"):
        list(slice_windows(blocks([100, 276]), None))


def test_a_clip_that_never_ends_is_refused_as_soon_as_it_is_too_long() -> None:
    pulled = 0

    def endless() -> Iterator[PatchTokens]:
        nonlocal pulled
        while True:
            yield numbered(pulled, 10)
            pulled += 10
            assert pulled < 1000

    with pytest.raises(OptionError):
        list(slice_windows(endless(), None))


def test_windows_come_as_soon_as_they_are_full() -> None:
    pulled: list[int] = []

    def watched() -> Iterator[PatchTokens]:
        for index, block in enumerate(blocks([10] * 20)):
            pulled.append(index)
            yield block

    windows = slice_windows(watched(), 25)
    assert next(windows).start == 0
    assert len(pulled) == 3
    assert next(windows).start == 25
    assert len(pulled) == 5


def test_an_endless_clip_takes_bounded_memory() -> None:
    bytes_of_window = 62 * 256 * 4

    def long() -> Iterator[PatchTokens]:
        for _ in range(2000):
            yield PatchTokens(np.zeros((10, 1, 256), dtype=np.float32), np.zeros(10, dtype=bool))

    tracemalloc.start()
    try:
        count = sum(1 for _ in slice_windows(long(), 62))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == math.ceil(20_000 / 62)
    # What is held and copied while a block is joined on is a few windows; the whole clip would be 300.
    assert peak < 10 * bytes_of_window


def test_ten_seconds_are_62_patches() -> None:
    assert window_patches(10.0) == 62
    assert window_patches(10) == 62
    assert window_patches(0.16) == 1
    assert window_patches(MAX_WINDOW_SECONDS) == 375


@given(patches=st.integers(1, 375))
def test_whole_patches_are_not_lost_to_rounding(patches: int) -> None:
    assert window_patches(patches * 0.16) == patches
    assert window_patches(patches * 2560 / 16000) == patches


@given(seconds=st.floats(0.16, 60))
def test_a_window_is_the_whole_patches_in_it(seconds: float) -> None:
    got = window_patches(seconds)
    assert got * 0.16 <= seconds + 1e-6 < (got + 1) * 0.16 + 1e-6


@given(seconds=st.floats(max_value=0.159) | st.floats(min_value=60.001) | st.just(math.nan))
def test_windows_that_cannot_be(seconds: float) -> None:
    with pytest.raises(OptionError, match=r"give 0\.16 to 60 s"):
        window_patches(seconds)


@pytest.mark.parametrize(
    ("window", "patches"),
    [("default", 31), ("whole", None), (10, 62), (0.5, 3), (np.float32(1.0), 6), (np.int64(2), 12)],
)
def test_windows_of_a_scorer(window: Any, patches: int | None) -> None:
    assert window_length(window, 5.0) == patches


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (None, 'window=None: write window="whole" for the whole clip;'),
        ("card", "window='card': write window=\"default\";"),
        ("10", "window='10'; a window is a number of seconds"),
        ("Whole", "window='Whole'; a window is"),
        (True, "window=True; a window is"),
        ([10.0], r"window=\[10\.0\]; a window is"),
        (61, "a window of 61 s"),
        (math.nan, "a window of nan s"),
    ],
)
def test_windows_that_a_scorer_refuses(window: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        window_length(window, 5.0)
