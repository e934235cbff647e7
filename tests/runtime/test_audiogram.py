"""The audiogram: every way of writing one down, and every way of getting it wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clarity.utils.audiogram import Audiogram as Oracle
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audiogram import FREQUENCIES, STANDARD, as_audiogram, as_audiograms
from haaqi_edge.runtime.errors import AudiogramError, HaaqiEdgeError
from hypothesis import given, settings
from hypothesis import strategies as st

# Bisgaard et al. 2010, copied from the issue.
BISGAARD_HZ = (250, 375, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000)
BISGAARD = """
N1 10 10 10 10 10 10 15 20 30 40; N2 20 20 20 22.5 25 30 35 40 45 50; N3 35 35 35 35 40 45 50 55 60 65;
N4 55 55 55 55 55 60 65 70 75 80; N5 65 67.5 70 72.5 75 80 80 80 80 80; N6 75 77.5 80 82.5 85 90 90 95 100 100;
N7 90 92.5 95 100 105 105 105 105 105 105; S1 10 10 10 10 10 10 15 30 55 70; S2 20 20 20 22.5 25 35 55 75 95 95;
S3 30 30 35 47.5 60 70 75 80 80 85
"""
TABLE = {
    name: dict(zip(BISGAARD_HZ, map(float, levels), strict=True))
    for name, *levels in (entry.split() for entry in BISGAARD.split(";"))
}
EXAMPLE = (20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 70.0, 70.0)
LEVEL = st.floats(-10, 120)
LEVELS = st.lists(LEVEL, min_size=8, max_size=8).map(tuple)
PAIRS = st.dictionaries(st.floats(20, 20_000), LEVEL, min_size=2, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5) | st.just("levels"), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("name", TABLE)
def test_the_standard_audiograms(name: str) -> None:
    row = TABLE[name]
    assert Audiogram.named(name).levels == tuple(row[min(hz, 6000)] for hz in FREQUENCIES)
    assert len(row) == 10


def test_there_are_eleven_standard_audiograms() -> None:
    assert set(STANDARD) == {"NH", *TABLE}
    assert Audiogram.named("NH").levels == (0.0,) * 8
    assert FREQUENCIES == (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)


@pytest.mark.parametrize("name", STANDARD)
def test_a_name_in_any_case(name: str) -> None:
    for letters in itertools.product(*((c.lower(), c.upper()) for c in name)):
        for text in ("".join(letters), f"  {''.join(letters)}\n"):
            got = Audiogram.parse(text)
            assert got == Audiogram.named(text) == as_audiogram(text)
            assert (got.name, got.levels) == (name, tuple(map(float, STANDARD[name])))


@given(levels=LEVELS)
def test_eight_numbers_in_every_form(levels: tuple[float, ...]) -> None:
    expected = Audiogram(levels)
    assert expected.levels == levels
    comma = ",".join(map(repr, levels))
    for text in (json.dumps(levels), comma, comma.replace(",", " , "), f" {json.dumps(levels, indent=1)} "):
        assert Audiogram.parse(text) == expected
    for value in (list(levels), np.array(levels), [np.float64(level) for level in levels]):
        assert as_audiogram(value) == expected
    assert expected.array().dtype == np.float32
    assert np.array_equal(expected.array(), np.array(levels, dtype=np.float32))


def test_the_form_of_haaqi_net() -> None:
    assert Audiogram.parse("[20, 30, 40, 50, 60, 70, 70, 70]").levels == EXAMPLE
    assert Audiogram.parse("20,30,40,50,60,70,70,70").levels == EXAMPLE
    assert Audiogram.parse("20,30,40,50,60,70,70,70").name == "[20, 30, 40, 50, 60, 70, 70, 70]"
    assert as_audiogram((20, 30, 40, 50, 60, 70, 70, 70)).levels == EXAMPLE


@given(pairs=PAIRS, shuffled=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_pairs_are_interpolated_as_pyclarity_does(pairs: dict[float, float], shuffled: Any) -> None:
    hz = sorted(pairs)
    oracle = Oracle(levels=np.array([pairs[f] for f in hz]), frequencies=np.array(hz))
    expected = oracle.resample(np.array(FREQUENCIES)).levels
    items = list(pairs.items())
    shuffled.shuffle(items)
    got = Audiogram.from_pairs([f for f, _ in items], [level for _, level in items])
    np.testing.assert_allclose(got.levels, expected, rtol=0, atol=1e-9)


@given(levels=LEVELS, hz=st.lists(st.floats(20, 20_000), min_size=1, max_size=10, unique=True).map(sorted))
@settings(deadline=None)
def test_levels_elsewhere_are_pyclaritys(levels: tuple[float, ...], hz: list[float]) -> None:
    expected = Oracle(levels=np.array(levels)).resample(np.array(hz)).levels
    np.testing.assert_allclose(Audiogram(levels).at(hz), expected, rtol=0, atol=1e-9)


def test_interpolation_worked_by_hand() -> None:
    got = Audiogram.from_pairs([500, 4000], [10, 40])
    # Three octaves from 500 to 4000 Hz, 10 dB each; the ends held.
    assert got.levels == pytest.approx((10, 10, 20, 30, 10 + 10 * math.log2(6), 40, 40, 40))


def test_measured_at_our_own_frequencies_nothing_changes() -> None:
    assert Audiogram.from_pairs(FREQUENCIES, EXAMPLE).levels == pytest.approx(EXAMPLE, abs=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_files_of_pairs(name: str, tmp_path: Path) -> None:
    row = TABLE[name]
    expected = Audiogram.from_pairs(row.keys(), row.values(), "left-ear")
    assert expected.levels == pytest.approx(STANDARD[name], abs=1e-9)
    lines = "".join(f"{hz},{level}\n" for hz, level in row.items())
    reversed_lines = "\r\n".join(f" {hz} , {level:g} " for hz, level in reversed(row.items()))
    files = {
        "left-ear.csv": [lines, "frequency,level\n" + lines, "\ufeffHz,dB HL\r\n\r\n" + reversed_lines, "\n" + lines],
        "left-ear.txt": [lines],
        "left-ear.json": [
            json.dumps(row),
            json.dumps(list(row.items())),
            json.dumps({"frequencies": list(row), "levels": list(row.values())}),
            "\ufeff" + json.dumps({f"{hz}.0": level for hz, level in row.items()}, indent=2),
        ],
    }
    for file, texts in files.items():
        for text in texts:
            path = tmp_path / file
            path.write_text(text, encoding="utf-8", newline="")
            for got in (Audiogram.from_file(path), Audiogram.parse(str(path)), as_audiogram(path)):
                assert got.levels == pytest.approx(expected.levels, abs=1e-9), text
                assert got.name == "left-ear"


def test_json_of_eight_levels_in_a_file_and_pairs_typed(tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.write_text(json.dumps(EXAMPLE))
    assert Audiogram.parse(str(path)) == Audiogram(EXAMPLE, "me")
    assert Audiogram.parse('{"500": 10, "4000": 40}') == Audiogram.from_pairs([500, 4000], [10, 40])
    assert Audiogram.parse("[[500, 10], [4000, 40]]") == Audiogram.from_pairs([500, 4000], [10, 40])


def test_a_file_without_a_known_suffix_is_read_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "audiogram"
    path.write_text("500,10\n4000,40\n")
    assert Audiogram.parse(str(path)).levels == Audiogram.from_pairs([500, 4000], [10, 40]).levels


def test_one_and_many() -> None:
    n3 = Audiogram.named("N3")
    for one in ("N3", "n3", n3, list(n3.levels), n3.levels, n3.array(), np.array(n3.levels, dtype=int)):
        got, several = as_audiograms(one)
        assert not several
        assert [a.levels for a in got] == [n3.levels]
    for many in (["N3"], ("N3",), [n3], [n3.levels], np.array([n3.levels]), [n3.array()]):
        got, several = as_audiograms(many)
        assert several
        assert [a.levels for a in got] == [n3.levels]
    mixed = ["nh", n3, EXAMPLE, list(EXAMPLE), np.array(EXAMPLE, dtype=np.float32), "20,30,40,50,60,70,70,70"]
    got, several = as_audiograms(mixed)
    assert several
    assert [a.levels for a in got] == [(0.0,) * 8, n3.levels, EXAMPLE, EXAMPLE, EXAMPLE, EXAMPLE]
    pairs = dict(zip(FREQUENCIES, n3.levels, strict=True))
    for mapping in (pairs, {"frequencies": FREQUENCIES, "levels": n3.array()}, dict(list(pairs.items())[::-1])):
        for value, is_list in ((mapping, False), ([mapping], True)):
            got, several = as_audiograms(value)
            assert several == is_list
            np.testing.assert_allclose([a.levels for a in got], [n3.levels])
    table = np.arange(24, dtype=np.float64).reshape(3, 8)
    assert [a.levels for a in as_audiograms(table)[0]] == [tuple(row) for row in table.tolist()]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("N8", "'N8' is not an audiogram: give a name"),
        ("", "'' is not an audiogram"),
        (",", "is not an audiogram"),
        ("5", "'5' is not an audiogram"),
        ('"N3"', "is not an audiogram"),
        ("20;30;40;50;60;70;70;70", "is not an audiogram"),
        ("x" * 5000, "is not an audiogram"),
        ("a\0b", "is not an audiogram"),
        ("a\0b.csv", "cannot read the audiogram"),
        ("no/such/file.csv", r"cannot read the audiogram no/such/file\.csv.*Give a name"),
        ("1,2,3,4,5,6,7", "an audiogram has 8 hearing levels, got 7"),
        ("1,2,3,4,5,6,7,8,9", "got 9"),
        ("[1, 2, 3, 4, 5, 6, 7]", "got 7"),
        ("[]", "got 0"),
        ("[1, 2, 3", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[" + "1" * 5000 + "]", "is not JSON"),
        ("[1" + "0" * 400 + ", 1, 1, 1, 1, 1, 1, 1]", "is not a number in an audiogram"),
        ("[1, 2, 3, 4, 5, 6, 7, null]", "None is not a number"),
        ("[1, 2, 3, 4, 5, 6, 7, true]", "True is not a number"),
        ('[1, 2, 3, 4, 5, 6, 7, "loud"]', "'loud' is not a number"),
        ("[1, 2, 3, 4, 5, 6, 7, NaN]", r"level nan dB HL at 8000 Hz is outside -10 to 120"),
        ("1,2,3,4,5,6,7,inf", "level inf dB HL at 8000 Hz is outside"),
        ("-10.5,2,3,4,5,6,7,8", r"level -10\.5 dB HL at 250 Hz is outside"),
        ("1,2,121,4,5,6,7,8", "level 121 dB HL at 1000 Hz is outside"),
        ('{"250": 20}', "got 1 frequencies and 1 levels: give at least two pairs"),
        ("{}", "got 0 frequencies"),
        ('{"loud": 20, "500": 1}', "'loud' is not a number"),
        ('{"250": 20, "250.0": 30}', "must be above 0 Hz, each once"),
        ('{"0": 20, "250": 30}', "must be above 0 Hz"),
        ('{"-250": 20, "250": 30}', "must be above 0 Hz"),
        ('{"NaN": 20, "250": 30}', "must be above 0 Hz"),
        ('{"Infinity": 20, "250": 30}', "must be above 0 Hz"),
        ('{"250": 121, "500": 30}', "level 121 dB HL at 250 Hz is outside"),
        ('{"250": [1], "500": 2}', r"\[1\] is not a number"),
        ('{"frequencies": [250, 500], "levels": [10]}', "got 2 frequencies and 1 levels"),
        ('{"frequencies": 5, "levels": 3}', "is not a number"),
        ('{"frequencies": [250, 500], "levels": null}', "is not a number"),
        ("[[250, 20], [500, 30, 40]]", r"\[250, 20\] is not a number"),
        (Path("no-such-audiogram"), "'no-such-audiogram' is not an audiogram"),
        (Path(), "is not an audiogram"),
        ([], "no audiogram was given"),
        (np.zeros((0, 8)), "no audiogram was given"),
        ([[]], "got 0"),
        ([1, 2], "got 2"),
        (np.zeros((2, 7)), "got 7"),
        (np.zeros((2, 2, 8)), "is not a number"),
        ([1, 2, 3, 4, 5, 6, 7, "x"], "'x' is not a number"),
        ([True] * 8, "True is not a number"),
        ([1 + 2j] * 8, "is not an audiogram"),
        (["N3", "N9"], "'N9' is not an audiogram"),
        (["N3", None], "None is not an audiogram"),
        (["N3", 5], "5 is not an audiogram"),
        (None, "None is not an audiogram"),
        (5, "5 is not an audiogram"),
        (np.float32(5), "is not an audiogram"),
        (np.array(5.0), "is not an audiogram"),
        (True, "True is not an audiogram"),
        ({}, "got 0 frequencies"),
        ({"N9": 1, "N8": 2}, "'N9' is not a number"),
        ({250: 20}, "at least two pairs"),
        ({250: 20, 500: 300}, "level 300 dB HL at 500 Hz is outside"),
        ([{250: 20}], "at least two pairs"),
        (b"N3", "got 2"),
    ],
)
def test_what_is_not_an_audiogram(value: Any, message: str) -> None:
    with pytest.raises(AudiogramError, match=message) as info:
        as_audiograms(value)
    assert isinstance(info.value, HaaqiEdgeError)
    assert isinstance(info.value, ValueError)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "expected lines of 'frequency in Hz, level in dB HL'"),
        ("a.csv", b"frequency,level\n", "expected lines of"),
        ("a.csv", b"250,20,30\n500,30,40\n", "expected lines of"),
        ("a.csv", b"250;20\n500;30\n", "expected lines of"),
        ("a.csv", b"250,20\n500,loud\n", "'loud' is not a number"),
        ("a.csv", b"250,20\n500,\n", "'' is not a number"),
        ("a.csv", b"250,20\n", "at least two pairs"),
        ("a.csv", b"250,20\n250,30\n", "each once"),
        ("a.csv", b"250,20\n500,200\n", "200 dB HL at 500 Hz is outside"),
        ("a.csv", b"\xff\xfe\x00\x01", "cannot read the audiogram"),
        ("a.csv", b"1," + b"2" * 200_000 + b"\n", "is not CSV"),
        ("a.json", b"", "is not JSON"),
        ("a.json", b"20", "does not hold an audiogram"),
        ("a.json", b'"N3"', "does not hold an audiogram"),
        ("a.json", b"null", "does not hold an audiogram"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[20, 30]", "got 2"),
        ("a.json", b"\x80", "cannot read the audiogram"),
    ],
)
def test_files_that_hold_none(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudiogramError, match=message):
        Audiogram.parse(str(path))


@given(value=JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_an_audiogram_or_a_typed_error(value: Any) -> None:
    for attempt in (lambda: as_audiograms(value), lambda: Audiogram.parse(json.dumps(value))):
        with contextlib.suppress(AudiogramError):
            attempt()


@given(text=st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_audiogram_or_a_typed_error(text: str) -> None:
    try:
        got = Audiogram.parse(text)
    except AudiogramError:
        return
    assert len(got.levels) == 8
    assert all(-10 <= level <= 120 for level in got.levels)


@given(levels=st.lists(st.floats() | st.integers(-1000, 1000), max_size=12))
def test_only_eight_levels_in_range_make_one(levels: list[float]) -> None:
    if len(levels) == 8 and all(-10 <= level <= 120 for level in levels):
        assert Audiogram(tuple(levels)).levels == tuple(levels)
    else:
        with pytest.raises(AudiogramError):
            Audiogram(tuple(levels))


def test_equal_levels_and_name_are_equal() -> None:
    assert Audiogram(EXAMPLE, "me") == Audiogram(tuple(map(int, EXAMPLE)), "me")
    assert hash(Audiogram(EXAMPLE, "me")) == hash(Audiogram(tuple(map(int, EXAMPLE)), "me"))
    assert Audiogram(EXAMPLE, "me") != Audiogram(EXAMPLE)
