"""The audiogram: every accepted form, and every way to get it wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haaqi_edge.runtime import Audiogram
from haaqi_edge.runtime.audiogram import (
    FREQUENCIES,
    STANDARD,
    AudiogramWarning,
    EarPair,
    as_audiogram,
    as_audiograms,
    as_ears,
    load_listeners,
    parse_audiograms,
    parse_ears,
)
from haaqi_edge.runtime.errors import AudiogramError, HaaqiEdgeError
from hypothesis import assume, given, settings
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
PAIRS = st.dictionaries(st.floats(100, 20_000), LEVEL, min_size=2, max_size=12).filter(
    lambda pairs: sum(250 <= f <= 8000 for f in pairs) >= 2
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5) | st.just("levels"), inner),
    max_leaves=12,
)


HELD = pytest.mark.filterwarnings("ignore::haaqi_edge.runtime.audiogram.AudiogramWarning")
"""For tests of audiograms that do not reach from 250 to 8000 Hz."""


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


def oracle_audiogram(**arrays: np.ndarray) -> Any:
    """Return pyclarity's audiogram. Skip the test if pyclarity is not installed."""
    return pytest.importorskip("clarity.utils.audiogram").Audiogram(**arrays)


@pytest.mark.slow
@given(pairs=PAIRS, shuffled=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_pairs_are_interpolated_as_pyclarity_does(pairs: dict[float, float], shuffled: Any) -> None:
    hz = sorted(pairs)
    oracle = oracle_audiogram(levels=np.array([pairs[f] for f in hz]), frequencies=np.array(hz))
    expected = oracle.resample(np.array(FREQUENCIES)).levels
    items = list(pairs.items())
    shuffled.shuffle(items)
    with warnings.catch_warnings(action="ignore", category=AudiogramWarning):
        got = Audiogram.from_pairs([f for f, _ in items], [level for _, level in items])
    np.testing.assert_allclose(got.levels, expected, rtol=0, atol=1e-9)


@given(levels=LEVELS, hz=st.lists(st.floats(20, 20_000), min_size=1, max_size=10, unique=True).map(sorted))
@settings(deadline=None)
def test_levels_elsewhere_are_pyclaritys(levels: tuple[float, ...], hz: list[float]) -> None:
    expected = oracle_audiogram(levels=np.array(levels)).resample(np.array(hz)).levels
    np.testing.assert_allclose(Audiogram(levels).at(hz), expected, rtol=0, atol=1e-9)


def test_interpolation_worked_by_hand() -> None:
    with pytest.warns(AudiogramWarning) as issued:
        got = Audiogram.from_pairs([500, 4000], [10, 40])
    assert [str(one.message) for one in issued] == [
        "no level at 250 Hz: the level at 500 Hz is used there",
        "no level at 6000, 8000 Hz: the level at 4000 Hz is used there",
    ]
    # Three octaves from 500 to 4000 Hz, 10 dB each; the ends held.
    assert got.levels == pytest.approx((10, 10, 20, 30, 10 + 10 * math.log2(6), 40, 40, 40))


def test_measured_at_our_own_frequencies_nothing_changes() -> None:
    assert Audiogram.from_pairs(FREQUENCIES, EXAMPLE).levels == EXAMPLE


@HELD
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


@HELD
def test_json_of_eight_levels_in_a_file_and_pairs_typed(tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.write_text(json.dumps(EXAMPLE))
    assert Audiogram.parse(str(path)) == Audiogram(EXAMPLE, "me")
    assert Audiogram.parse('{"500": 10, "4000": 40}') == Audiogram.from_pairs([500, 4000], [10, 40])
    assert Audiogram.parse("[[500, 10], [4000, 40]]") == Audiogram.from_pairs([500, 4000], [10, 40])


@HELD
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
        ('{"NaN": 20, "250": 30}', "'NaN' is not a number in an audiogram: give a frequency"),
        ('{"1e999": 20, "250": 30}', "must be above 0 Hz"),
        ('{"250": 121, "500": 30}', "level 121 dB HL at 250 Hz is outside"),
        ('{"250": [1], "500": 2}', r"\[1\] is not a number"),
        ('{"frequencies": [250, 500], "levels": [10]}', "got 2 frequencies and 1 levels"),
        ('{"frequencies": 5, "levels": 3}', "must be lists of numbers"),
        ('{"frequencies": [250, 500], "levels": null}', "must be lists of numbers"),
        ("[[250, 20], [500, 30, 40]]", "got 2"),
        (Path("no-such-audiogram"), "'no-such-audiogram' is not an audiogram"),
        (Path(), "is not an audiogram"),
        ([], "no audiogram was given"),
        (np.zeros((0, 8)), "no audiogram was given"),
        ([[]], "got 0"),
        ([1, 2], "got 2"),
        (np.zeros((2, 7)), "got 7"),
        (np.zeros((2, 2, 8)), "got 2"),
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
        ({"N9": 1, "N8": 2}, "'N9' is not a number in an audiogram: give a frequency"),
        ({250: 20}, "at least two pairs"),
        ({250: 20, 500: 300}, "level 300 dB HL at 500 Hz is outside"),
        ([{250: 20}], "at least two pairs"),
        (b"N3", "is not an audiogram"),
        (b"abcdefgh", "is not an audiogram"),
        ({10, 20, 30, 40, 50, 60, 70, 80}, "is not an audiogram"),
        ({250: 20, "250 Hz": 30, 500: 40}, "each once: 250 Hz occurs twice"),
        ({250: 20, 500: None}, "None is not a number in an audiogram: the level at 500 Hz is missing"),
        ({250: 20, 500: math.nan}, "leave out a frequency that was not measured"),
        ({250: 20, 500: "110+"}, "or NR for no response"),
        ({20: 250, 30: 500}, "frequencies and levels are swapped: got frequency 20 with level 250"),
        ({0.25: 1, 0.5: 2}, "may be frequencies in kHz"),
        ({5: 0.25, 6: 0.5}, "may be frequencies in kHz"),
        ({0.25: 20, 500: 30}, "frequency 0.25 is in kHz, others are in Hz or have a unit"),
        ({50: 20, 500: 30}, r"frequency 50 is neither in Hz \(100 to 20000\) nor in kHz \(0\.1 to 20\)"),
        ({125: 20, 12_000: 30}, "give at least two from 250 to 8000 Hz"),
        (dict.fromkeys(range(1, 9), 20), "frequencies 1 to 8 look like row numbers"),
        ({"audiogram": {"audiogram": [0] * 8}}, "an audiogram within an audiogram"),
        ({"audiogram": [0] * 8, "levels": [0] * 8}, "are of more than one audiogram"),
        ({"left": [0] * 8, "right": [0] * 8}, r"got levels \['left', 'right'\] of several ears"),
        ([{"frequency": 250}, {"frequency": 500}], "must be lists of numbers"),
        ('[{"frequency": 250}, {"frequency": 500}]', "is not a frequency with its level: give"),
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
        ("a.csv", b"250,20,30\n500,30,40\n", "expected lines of .* got '250,20,30' in line 1.*need a header line"),
        ("a.csv", b"250,20\n500,loud\n", "a.csv, line 2: 'loud' is not a number .* give the level at 500 Hz"),
        ("a.csv", b"250,20\n500,\n", "a.csv, line 2: '' is not a number .* the level at 500 Hz is missing"),
        ("a.csv", b"250,20\n", "at least two pairs"),
        ("a.csv", b"# me\n250,20\n250,30\n", "a.csv, line 3: .*each once: 250 Hz is also in line 2"),
        ("a.csv", b"250,20\r\r500,200\r", "a.csv, line 3: hearing level 200 dB HL at 500 Hz is outside"),
        ("a.csv", b"\xff\xfe\x00\x01\x02", "cannot read the audiogram .*Save it as text in UTF-8"),
        ("a.csv", "250,20\n500,30\n".encode("utf-16-le"), "cannot read the audiogram .* null bytes"),
        ("a.csv", b"250,20\n" * 200_000, "cannot read the audiogram .* more than 1048576 bytes"),
        ("a.csv", b'""\n', "expected lines of .* got no line"),
        ("a.csv", b"loud,20\n500,30\n", "a.csv, line 1: 'loud' is not a number"),
        ("a.csv", b"25O,2O\n500,30\n1000,40\n", "a.csv, line 1: '25O' is not a number"),
        ("a.csv", b"250,20,5\n500,30,0\n", "Separate columns by semicolons if commas are decimal"),
        ("a.csv", b"frequency,level\n250,20,5\n500,30,0\n", "got '250,20,5' in line 2"),
        ("a.csv", b"250;20\n500,30\n", "expected lines of|line 1"),
        ("a.csv", b"20,25,30,40,50,60,65\n", "a.csv, line 1: an audiogram has 8 hearing levels, got 7"),
        ("a.csv", b"20,25,30,40,,60,65,70\n", "a.csv, line 1: '' is not a number .* at 3000 Hz is missing"),
        ("a.csv", b"0.25,0.5\n1,2\n", "frequencies may be in the first column or in the first line"),
        ("a.csv", b"0.25,20\n500,30\n", "a.csv, line 1: frequency 0.25 is in kHz, others are in Hz"),
        ("a.csv", b",250,500,1000\n1,20,30,40\n2,30,40,50\n", "has 2 lines of levels .names: '1', '2'."),
        ("a.csv", b"name,250,500\nme,20,30\nyou,30,40\n", "has 2 lines of levels .*select one, such as .*a.csv:me'"),
        ("a.csv", b"Hz,left,left\n250,20,25\n500,30,35\n", "has 2 columns of levels"),
        ("a.csv", b'"","x"\n"1",20\n"2",25\n"3",30\n"4",30\n"5",30\n', "look like row numbers"),
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


# The cases of people who score audio: what a file holds, and its audiogram, warning or error.
CFS = [250, 500, 1000, 2000, 3000, 4000, 6000, 8000]
HL = [20, 25, 30, 40, 50, 60, 65, 70]
EARS = {"name": "L5001", "audiogram_cfs": CFS, "audiogram_levels_l": HL, "audiogram_levels_r": HL[::-1]}
TWO = [20, 30, 30, 30, 30, 30, 30, 30]
FLAT_FROM_500 = "no level at 1000, 2000, 3000, 4000, 6000, 8000 Hz: the level at 500 Hz is used there"
CASES: list[tuple[str, str | bytes, list[float] | str, str | None]] = [
    ("listeners.json", json.dumps({"L5001": EARS}), "give the audiogram of one listener", None),
    ("listeners.json:L5001", json.dumps({"L5001": EARS}), "select one, such as .*listeners.json:L5001:left'", None),
    ("listeners.json:L5001:left", json.dumps({"L5001": EARS}), HL, None),
    ("listeners.json:l5001:R", json.dumps({"L5000": {}, "L5001": EARS}), HL[::-1], None),
    ("listeners.json:1:right", json.dumps({"1": EARS, "2": {}}), HL[::-1], None),
    ("listeners.json:L7:left", json.dumps({"L5001": EARS}), "no listener named 'L7' among 1: select one of L50", None),
    ("one_listener.json", json.dumps(EARS), "select one, such as .*one_listener.json:left'", None),
    ("one_listener.json:left", json.dumps(EARS), HL, None),
    ("one_listener.json:R", json.dumps(EARS), HL[::-1], None),
    ("one_listener.json:both", json.dumps(EARS), "select one, such as", None),
    ("ears.json:right", json.dumps({"left": HL, "right": dict(zip(CFS, HL[::-1], strict=True))}), HL[::-1], None),
    ("field.json", json.dumps({"name": "me", "audiogram": HL}), HL, None),
    ("field.json", json.dumps({"audiogram": {"cfs": CFS, "levels": HL}}), HL, None),
    ("result.json", json.dumps({"audiogram": "me", "levels": HL}), HL, None),
    ("result.json:left", json.dumps({"audiogram": "me", "levels": HL}), "leave out 'left'", None),
    ("cfs_hl.json", json.dumps({"cfs": CFS, "hl": HL}), HL, None),
    ("freq_thresholds.json", json.dumps({"frequencies": CFS, "thresholds": HL}), HL, None),
    ("null.json", json.dumps(dict(zip(CFS, [*HL[:-1], None], strict=True))), "the level at 8000 Hz is missing", None),
    ("hzkeys.json", json.dumps({f"{c} Hz": level for c, level in zip(CFS, HL, strict=True)}), HL, None),
    ("inf.json", '{"250": 20, "500": Infinity}', "level inf dB HL at 500 Hz is outside", None),
    ("dupkeys.json", '{"250": 20, "250": 90, "500": 30}', "dupkeys.json: key '250' occurs twice", None),
    ("objects.json", json.dumps([{"frequency": c, "level": x} for c, x in zip(CFS, HL, strict=True)]), HL, None),
    ("bom.json", "\ufeff" + '{"250": 20, "500": 30}', TWO, FLAT_FROM_500),
    ("nr.json", json.dumps([*HL[:-1], "NR"]), [*HL[:-1], 120], "nr.json: no response at 8000 Hz: 120 dB HL is used"),
    (
        "nr.csv",
        "250,20\n500,30\n1000,50\n2000,80\n3000,90\n4000,NR\n6000,n.r.\n8000,120+\n",
        [20, 30, 50, 80, 90, 120, 120, 120],
        "nr.csv, line 6: no response at 4000, 6000, 8000 Hz: 120 dB HL is used there",
    ),
    ("empty_cell.csv", "250,20\n500,30\n1000,\n2000,50\n", "line 3: '' is not .* at 1000 Hz is missing", None),
    ("semicolon.csv", "Frequenz;HL\n250;20\n500;30\n", TWO, FLAT_FROM_500),
    (
        "french.csv",
        "Fréquence (Hz);Perte (dB)\n250;20,5\n1 000;30\n8 000;40\n",
        [20.5, 25.25, 30, 33.333, 35.283, 36.667, 38.617, 40],
        None,
    ),
    (
        "narrow.csv",
        "250;20,5\n1\u202f000 Hz;30\n8\u00a0000;40\n",
        [20.5, 25.25, 30, 33.333, 35.283, 36.667, 38.617, 40],
        None,
    ),
    (
        "fullwidth.csv",
        "２５０,２０.5\n１０００,３０\n８０００,４０\n",
        [20.5, 25.25, 30, 33.333, 35.283, 36.667, 38.617, 40],
        None,
    ),
    (
        "decimal.csv",
        "250;20,5\n500;30,0\n8000;40,5\n",
        [20.5, 30, 32.625, 35.25, 36.785, 37.875, 39.41, 40.5],
        None,
    ),
    ("tab.tsv", "250\t20\n500\t30\n", TWO, FLAT_FROM_500),
    ("tab.csv", "250\t20,0\n500\t30,0\n", TWO, FLAT_FROM_500),
    ("space.txt", "250 20\n500 30\n", TWO, FLAT_FROM_500),
    ("comments.csv", "# audiogram\n250,20\n500,30\n", TWO, FLAT_FROM_500),
    ("excel.csv", "sep=;\r\n250;20\r\n500;30\r\n", TWO, FLAT_FROM_500),
    ("three_cols.csv", "freq,left,right\n250,20,25\n500,30,35\n", "select one, such as .*three_cols.csv:left'", None),
    ("german.csv:left", "Frequenz;Links;Rechts\n250;20;25\n500;30;35\n", TWO, FLAT_FROM_500),
    ("french.csv:right", "Fréquence;oreille gauche;oreille droite\n250;25;20\n500;35;30\n", TWO, FLAT_FROM_500),
    ("three_cols.csv:left", "freq,left,right\n250,20,25\n500,30,35\n", TWO, FLAT_FROM_500),
    ("three_cols.csv:RIGHT", "freq,HL_L,HL_R\n250,20,20\n500,30,30\n", TWO, FLAT_FROM_500),
    ("three_cols.csv:up", "freq,left,right\n250,20,25\n500,30,35\n", "no columns named 'up'", None),
    ("one_col.csv:left", "freq,level\n250,20\n500,30\n", "no columns named 'left'", None),
    ("names.csv:me", "listener,250,500\nyou,0,0\nme,20,30\n", TWO, FLAT_FROM_500),
    ("names.csv:me:left", "listener,ear,250,500\nme,L,20,30\nme,R,0,0\n", TWO, FLAT_FROM_500),
    ("names.csv:me", "listener,ear,250,500\nme,L,20,30\nme,R,0,0\n", "2 lines named 'me'", None),
    ("onerow8.csv", "20,25,30,40,50,60,65,70\n", HL, None),
    ("onerow8.csv:left", "20,25,30,40,50,60,65,70\n", "has one audiogram: leave out ':left'", None),
    ("column8.txt", "20\n25\n30\n40\n50\n60\n65\n70\n", HL, None),
    ("two_cols_wide.csv", "250,500\n20,30\n", TWO, FLAT_FROM_500),
    ("two_cols_wide.csv", "250 Hz;500 Hz\n20;30\n", TWO, FLAT_FROM_500),
    ("wide.csv", ",".join(map(str, CFS)) + "\n" + ",".join(map(str, HL)), HL, None),
    ("wide_khz.csv", "0.25;0.5;1;2;3;4;6;8\n5;5;10;20;30;40;50;60", [5, 5, 10, 20, 30, 40, 50, 60], None),
    ("rows.csv", "frequency,250,500\nlevel,20,30\n", TWO, FLAT_FROM_500),
    ("swapped.csv", "20,250\n30,500\n40,1000\n", "line 1: frequencies and levels are swapped: .*'20' .*'250'", None),
    ("khz.csv", "0.25,20\n0.5,30\n1,30\n2,30\n3,30\n4,30\n6,30\n8,30\n", TWO, None),
    ("k.csv", "250,20\n500,30\n1k,30\n2 kHz,30\n3000 Hz,30\n4k,30\n6k,30\n8k,30 dB HL\n", TWO, None),
    ("quoted.csv", '"250","20"\n"500", "30"\n', TWO, FLAT_FROM_500),
    ("trailing.csv", "250,20,\n500,30,\n", TWO, FLAT_FROM_500),
    ("cr.csv", "250,20\r500,30\r", TWO, FLAT_FROM_500),
    ("spaces.csv", " 250 , 20 \n 500 , 30 \n", TWO, FLAT_FROM_500),
    ("pandas.csv", ",0\n250,20\n500,30\n", TWO, FLAT_FROM_500),
    ("125_12k.csv", "125,10\n250,20\n500,30\n1000,30\n12000,30\n", TWO, None),
    ("unicode_minus.csv", "250,\u22125\n500,10\n", [-5, 10, 10, 10, 10, 10, 10, 10], FLAT_FROM_500),
    ("utf16.csv", "250,20\n500,30\n".encode("utf-16"), TWO, FLAT_FROM_500),
    ("utf16.json", json.dumps(HL).encode("utf-16"), HL, None),
    ("bom.csv", "250,20\n500,30\n".encode("utf-8-sig"), TWO, FLAT_FROM_500),
    ("latin.csv", "Fréquence,dB\n250,20\n500,30\n".encode("latin-1"), "latin.csv.*Save it as text in UTF-8", None),
    ("with:colon.csv", "250,20\n500,30\n", TWO, FLAT_FROM_500),
    (
        "above.csv:left",
        "Patient;Meier\nDate;2026-01-05\n\nFrequency (Hz);Right (dB HL);Left (dB HL)\n250;25;20\n500;35;30\n",
        TWO,
        FLAT_FROM_500,
    ),
    ("above_ears.csv:R", "Clinic,Bern,\nHz or kHz?,Left,Right\n250,0,20\n500,0,30\n", TWO, FLAT_FROM_500),
    ("above_wide.csv:me", "Patients;2 of them;\nname;250;500\nme;20;30\nyou;0;0\n", TWO, FLAT_FROM_500),
    ("above_units.csv", "Patient;Meier;\nname;0.25 kHz;0.5 kHz\nme;20;30\n", TWO, FLAT_FROM_500),
    (
        "above_numbers.csv:left",
        "Patient;Meier\nAge;54\n\nFrequency;Right;Left\n250;25;20\n500;35;30\n",
        "above_numbers.csv: lines 1-2 are before the header in line 4, with numbers: delete them",
        None,
    ),
    (
        "above_number.csv",
        "Born;1954;;\nname;250;500;1000\nme;25;20;30\n",
        "line 1 is before the header in line 2, with numbers: delete it",
        None,
    ),
    (
        "header_right.csv",
        "Patient;Meier\nFrequency;Right;Left\n250;25;20\nabout 500;35;30\n",
        "line 4: 'about 500' is not a number in an audiogram: give a frequency in Hz",
        None,
    ),
    (
        "more_cells.csv",
        "Frequency;Right;Left\n250;25;20\n500;35;30;40\n",
        "got '500;35;30;40' in line 3. The header in line 1 has 3 columns: give each line as many",
        None,
    ),
    ("no_header.csv", "250;20;30\n500;30;40\n", "got '250;20;30' in line 1. Several columns of levels need a", None),
    (
        "missing_wide.csv:Right",
        "ear,250,500,1000\nRight,20,,30\nLeft,20,30,40\n",
        "line 2: '' is not .* at 500 Hz is missing.*If the other ears have this level, write this ear into a file of",
        None,
    ),
    ("missing_column.csv:left", "Hz,left,right\n250,20,25\n500,,30\n", "line 3, column 'left': '' is not", None),
]


@pytest.mark.parametrize(("name", "content", "expected", "warning"), CASES, ids=lambda value: str(value)[:40])
def test_files_of_people(
    name: str, content: str | bytes, expected: list[float] | str, warning: str | None, tmp_path: Path
) -> None:
    file, selection = name, ""
    if not name.endswith((".csv", ".json", ".tsv", ".txt")):
        file, selection = name.split(":", 1)
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with warnings.catch_warnings(record=True, action="always") as issued:
        if isinstance(expected, str):
            with pytest.raises(AudiogramError, match=expected):
                Audiogram.parse(str(tmp_path / name))
            return
        for given_as in (str(tmp_path / name), tmp_path / name):
            got = as_audiogram(given_as)
            assert got.levels == pytest.approx(expected, abs=0.01)
            assert got.name == Path(file).stem + (f":{selection}" if selection else "")
    messages = [str(one.message) for one in issued if one.category is AudiogramWarning]
    assert messages == ([] if warning is None else [messages[0]] * 2)
    assert warning is None or warning in messages[0]


@pytest.mark.skipif(os.name == "nt", reason="the name stands for a path with a drive")
def test_windows_drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(r"C:\me.csv").write_text("Hz,left,right\n250,20,0\n8000,30,0\n")
    assert Audiogram.parse(r"C:\me.csv:left").levels[-1] == 30
    with pytest.raises(AudiogramError, match=r"cannot read the audiogram D:\\me.csv"):
        Audiogram.parse(r"D:\me.csv:left")
    Path("N3").write_text("250,20\n8000,30\n")
    assert Audiogram.parse("N3") == Audiogram.named("N3")
    assert Audiogram.parse("./N3").levels[-1] == 30


LAYOUTS = (
    "pairs",
    "header",
    "wide",
    "row",
    "column",
    "ears",
    "json",
    "json pairs",
    "json lists",
    "json list",
    "objects",
)


def write_audiogram(layout: str, levels: tuple[float, ...], khz: bool, comma: bool, mark: str) -> tuple[str, str, str]:
    """Return the suffix, the text and the selection of a file."""

    def number(value: float) -> str:
        return repr(value).replace(".", "," if comma and mark != "," else ".")

    hz = [f / 1000 if khz else f for f in FREQUENCIES]
    cells = [[number(f), number(level)] for f, level in zip(hz, levels, strict=True)]
    ears = [[f, "NR", level] for f, level in cells]
    tables = {
        "pairs": cells,
        "header": [["Hz", "HL"], *cells],
        "wide": [[f for f, _ in cells], [level for _, level in cells]],
        "row": [[level for _, level in cells]],
        "column": [[repr(level)] for level in levels],
        "ears": [["frequency", "left", "right"], *ears],
    }
    if layout in tables:
        return ".csv", "\n".join(mark.join(row) for row in tables[layout]), ":right" if layout == "ears" else ""
    pairs = list(zip(hz, levels, strict=True))
    values: dict[str, object] = {
        "json": dict(pairs),
        "json pairs": pairs,
        "json lists": {"frequencies": hz, "levels": levels},
        "json list": levels,
        "objects": [{"frequency": f, "level": level} for f, level in pairs],
    }
    return ".json", json.dumps(values[layout]), ""


@pytest.mark.slow
@given(
    layout=st.sampled_from(LAYOUTS),
    levels=LEVELS | st.lists(st.integers(-10, 120).map(float), min_size=8, max_size=8).map(tuple),
    khz=st.booleans(),
    comma=st.booleans(),
    mark=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(deadline=None, max_examples=300)
def test_every_form_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    levels: tuple[float, ...],
    khz: bool,
    comma: bool,
    mark: str,
    encoding: str,
    newline: str,
) -> None:
    assume(not khz or not {*levels} <= {0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8})
    suffix, text, selection = write_audiogram(layout, levels, khz, comma, mark)
    path = tmp_path_factory.getbasetemp() / f"form{suffix}"
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    with warnings.catch_warnings(action="error", category=AudiogramWarning):
        assert Audiogram.parse(f"{path}{selection}").levels == levels


@pytest.mark.slow
@given(data=st.data())
@settings(deadline=None, max_examples=250)
def test_a_damaged_file_is_an_audiogram_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name, content, _, _ = data.draw(st.sampled_from(CASES))
    file, _, selection = name.partition(":")
    damaged = bytearray(content if isinstance(content, bytes) else content.encode())
    alphabet = st.sampled_from(list(b'0159.,;:\t \n\r"#{}[]+-kNRHz\x00\xff\xfe\xef'))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 3))] = bytes(data.draw(st.lists(alphabet, max_size=3)))
    path = tmp_path_factory.getbasetemp() / f"damaged{Path(file).suffix}"
    path.write_bytes(damaged)
    with warnings.catch_warnings(action="ignore", category=AudiogramWarning), contextlib.suppress(AudiogramError):
        got = Audiogram.from_file(path, selection or None)
        assert len(got.levels) == 8
        assert all(-10 <= level <= 120 for level in got.levels)


def test_audiograms_of_pyclarity() -> None:
    clarity = pytest.importorskip("clarity.utils.audiogram")
    eight = clarity.Audiogram(levels=np.array(HL))
    wide = clarity.AUDIOGRAM_MODERATE_SEVERE
    expected = tuple(float(wide.levels[list(wide.frequencies).index(f)]) for f in FREQUENCIES)
    for one, levels in ((eight, tuple(HL)), (wide, expected)):
        assert as_audiogram(one).levels == levels
        got, several = as_audiograms(one)
        assert ([got[0].levels], several) == ([levels], False)
    got, several = as_audiograms([eight, wide])
    assert ([one.levels for one in got], several) == ([tuple(HL), expected], True)
    with pytest.raises(AudiogramError, match="give its audiogram_left or its audiogram_right"):
        as_audiograms(clarity.Listener(eight, wide))
    with pytest.raises(AudiogramError, match="the level at 8000 Hz is missing"):
        as_audiogram(clarity.Audiogram(levels=[*HL[:-1], None]))


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(HL, index=FREQUENCIES, name="me")
    frame = pandas.DataFrame([HL, HL[::-1]], columns=FREQUENCIES, index=["me", "you"])
    pairs = pandas.DataFrame({"frequency": FREQUENCIES, "level": HL})
    for value in (
        series,
        series / 1,
        frame.loc["me"],
        frame.loc[["me"]],
        frame.loc[["me"]].T,
        pairs,
        pandas.Series(HL),
    ):
        got, several = as_audiograms(value)
        assert ([one.levels for one in got], several) == ([tuple(HL)], False)
    assert as_audiogram(frame.loc["you"]) == Audiogram(tuple(HL[::-1]), "you")
    assert [one.name for one in as_audiograms([series, frame.loc["you"]])[0]] == ["me", "you"]
    assert as_audiogram(pandas.Series(HL, index=[f / 1000 for f in FREQUENCIES])).levels == tuple(HL)
    for value, message in (
        (frame, "give one row or column of levels, such as"),
        (pandas.Series([20, 30, 40], index=[250, 500, 250]), "250 Hz occurs twice"),
        (pandas.Series([20.0, math.nan], index=[250, 8000]), "leave out a frequency that was not measured"),
        (pandas.Series(["N1", "N2"]), "'N1'|is neither in Hz|above 0"),
    ):
        with pytest.raises(AudiogramError, match=message):
            as_audiograms(value)


def test_no_response_in_python_and_typed() -> None:
    for value in ([*HL[:-1], "NR"], "20,25,30,40,50,60,65,NR", dict(zip(CFS, [*HL[:-1], "≥120"], strict=True))):
        with pytest.warns(AudiogramWarning, match="no response at 8000 Hz: 120 dB HL is used there"):
            assert as_audiogram(value).levels == (*HL[:-1], 120)


@pytest.mark.slow
@HELD
@given(value=JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_an_audiogram_or_a_typed_error(value: Any) -> None:
    for attempt in (lambda: as_audiograms(value), lambda: Audiogram.parse(json.dumps(value))):
        with contextlib.suppress(AudiogramError):
            attempt()


@HELD
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


# Files of listeners, as the Clarity and Cadenza challenges distribute them


@pytest.fixture
def listeners(tmp_path: Path) -> Path:
    path = tmp_path / "listeners.json"
    records = {
        name: {
            "name": name,
            "audiogram_cfs": CFS,
            "audiogram_levels_l": [shift + level for level in HL],
            "audiogram_levels_r": [shift + level for level in HL[::-1]],
        }
        for name, shift in (("L5001", 0), ("L5002", 5), ("L5003", -5))
    }
    path.write_text(json.dumps(records))
    return path


def test_listeners_of_the_challenges(listeners: Path) -> None:
    pairs = load_listeners(listeners)
    assert [pair.name for pair in pairs] == ["listeners:L5001", "listeners:L5002", "listeners:L5003"]
    assert pairs[1].left.levels == tuple(5 + level for level in HL)
    assert pairs[1].right == Audiogram.parse(f"{listeners}:L5002:right")

    both = parse_audiograms([f"{listeners}:L5002", "N3"])
    assert both == [pairs[1].left, pairs[1].right, Audiogram.named("N3")]
    assert parse_audiograms([str(listeners)]) == [ear for pair in pairs for ear in (pair.left, pair.right)]
    assert parse_ears([f"{listeners}:L5002"]) == [pairs[1]]
    assert parse_ears([str(listeners), "N1", "N2"]) == [*pairs, EarPair(Audiogram.named("N1"), Audiogram.named("N2"))]
    assert as_ears(pairs) == (pairs, True)
    with pytest.raises(AudiogramError, match="has 3 listeners: give one of them"):
        as_ears(listeners)
    assert as_ears([f"{listeners}:L5001", ("N1", "N2")])[0][0] == pairs[0]
    assert as_ears(f"{listeners}:L5003") == ([pairs[2]], False)
    with pytest.raises(AudiogramError, match=r"select one of L5001, L5002, L5003, such as .*listeners.json:L5001' for"):
        parse_ears([f"{listeners}:L5009"])


def test_listeners_are_those_of_pyclarity(listeners: Path) -> None:
    clarity = pytest.importorskip("clarity.utils.audiogram")
    expected = clarity.Listener.load_listener_dict(listeners)
    for pair, (name, listener) in zip(load_listeners(listeners), expected.items(), strict=True):
        assert pair.left.levels == pytest.approx(listener.audiogram_left.levels)
        assert pair.right.levels == pytest.approx(listener.audiogram_right.levels)
        (converted,), several = as_ears(listener)
        assert not several
        assert (converted.name, converted.left.name) == (name, f"{name}:left")
        assert converted.right.levels == pair.right.levels
    with pytest.raises(AudiogramError, match=r"two ears: give its audiogram_left .* ears=listener"):
        as_audiogram(next(iter(expected.values())))


def test_pairs_of_ears(tmp_path: Path) -> None:
    n1, n2 = Audiogram.named("N1"), Audiogram.named("N2")
    pair = EarPair(n1, n2)
    assert pair.name == "N1, N2"
    assert as_ears(("N1", "N2")) == as_ears([n1, "n2"]) == as_ears(pair) == ([pair], False)
    assert as_ears([("N1", "N2"), pair]) == ([pair, pair], True)
    assert as_ears((list(n1.levels), np.array(n2.levels)))[0][0].right.levels == n2.levels
    table = tmp_path / "ears.csv"
    table.write_text("frequency,left,right\n250,20,25\n8000,70,75\n")
    (from_table,) = parse_ears([str(table)])
    assert (from_table.name, from_table.left.levels[0], from_table.right.levels[-1]) == ("ears", 20, 75)
    clinic = tmp_path / "clinic.csv"
    clinic.write_text("listener,ear,250,8000\nanna,left,20,70\nanna,right,25,75\nben,left,0,0\nben,right,1,1\n")
    (anna,) = parse_ears([f"{clinic}:anna"])
    assert (anna.name, anna.right.levels[0]) == ("clinic:anna", 25)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("wide.csv", "ear,250,500,1000\nRight,20,30,40\nLeft,20,,40\n", "line 3: '' is not .* at 500 Hz is missing"),
        ("columns.csv", "Hz,left,right\n250,20,25\n500,30,-\n", "line 3, column 'right': '-' is not a number"),
        ("range.csv", "Hz,left,right\n250,20,25\n500,30,200\n", "column 'right': hearing level 200 dB HL at 500 Hz"),
        ("ears.json", '{"left": {"250": 20, "500": null}, "right": {"250": 20, "500": 30}}', "at 500 Hz is missing"),
        ("names.csv", "name,250,500\nme,20,\nyou,30,40\n", "has 2 lines of levels .*select one"),
    ],
)
def test_an_invalid_level_of_an_ear_is_reported_before_a_selection_is_asked_for(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    for parse in (parse_audiograms, parse_ears):
        with pytest.raises(AudiogramError, match=message):
            parse([str(tmp_path / name)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_ears(["N2"]), "the audiogram N2 is of one ear.*-a N2 -a N3"),
        (lambda: parse_ears(["N2", "N3", "N4"]), "the audiogram N4 is of one ear"),
        (lambda: as_ears("N3"), "N3 is of one ear"),
        (lambda: as_ears(EXAMPLE), r"give \(left, right\)"),  # type: ignore[arg-type]
        (lambda: as_ears([]), r"give \(left, right\)"),
        (lambda: as_ears(("N1", "N99")), "'N99' is not an audiogram"),
        (lambda: load_listeners("missing.json"), "cannot read the audiogram missing.json"),
    ],
)
def test_what_is_no_pair_of_ears(call: Any, message: str) -> None:
    with pytest.raises(AudiogramError, match=message):
        call()


def test_a_file_of_one_listener_is_no_file_of_listeners(tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.write_text(json.dumps(EARS))
    with pytest.raises(AudiogramError, match="no file of listeners: expected a record for each"):
        load_listeners(path)
    assert [ear.name for ear in parse_audiograms([str(path)])] == ["me:left", "me:right"]
