"""Tables of files: separators, encodings, names of columns, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from haaqi_edge.evaluation.tables import Record, check_file_exists, read_table, resolve_file
from haaqi_edge.runtime.errors import AudioFileNotFoundError, OptionError

REQUIRED, OPTIONAL = ("reference", "processed"), ("listener", "ear", "system", "group")
HEADER = "reference,processed,listener"


def read(path: Path, data: str | bytes) -> list[Record]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_table(path, REQUIRED, OPTIONAL))


def texts(records: list[Record]) -> list[list[str]]:
    return [[record.text(name) for name in (*REQUIRED, "listener")] for record in records]


ROWS = f"{HEADER}\na.wav,b.wav,N3\nc.wav,d.wav,N5\n"
EXPECTED = [["a.wav", "b.wav", "N3"], ["c.wav", "d.wav", "N5"]]


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
        b"\xef\xbb\xbf" + ROWS.encode(),
        ROWS.replace(",", "\t").encode("utf-16"),
        "sep=;\r\n" + ROWS.replace(",", ";"),
        "\n\n" + ROWS.replace("\n", "\n\n"),
        ROWS.replace("reference", " Reference ").replace("listener", "LISTENER"),
        ROWS.replace("a.wav", '"a.wav"').replace("N5", ' "N5"'.strip()),
        ROWS.replace("\n", ",,\n"),
        ROWS + ",,\n;;\n"[:3],
        "processed,listener,reference\nb.wav,N3,a.wav\nd.wav,N5,c.wav\n",
        "reference,processed,listener,remark\na.wav,b.wav,N3,good\nc.wav,d.wav,N5,\n",
    ],
)
def test_csv_as_programs_write_it(data: str | bytes, tmp_path: Path) -> None:
    assert texts(read(tmp_path / "a.csv", data)) == EXPECTED


def test_names_with_separators_and_newlines(tmp_path: Path) -> None:
    (one,) = read(tmp_path / "a.csv", f'{HEADER}\n"a,\n""b"".wav",c.wav,N3\n')
    assert one.text("reference") == 'a,\n"b".wav'
    (one,) = read(tmp_path / "a.csv", "reference;processed;listener\na,b.wav;c.wav;20,25,30,40,50,60,70,70\n")
    assert (one.text("reference"), one.text("listener")) == ("a,b.wav", "20,25,30,40,50,60,70,70")
    (one,) = read(tmp_path / "a.tsv", "reference\tprocessed\nx\u2028y.wav\tc.wav\n")
    assert one.text("reference") == "x\u2028y.wav"


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert [one.place for one in read(path, f"sep=,\n{HEADER}\n\na,b,N3\nc,d,N3\n")] == [
        f"{path}, line 4", f"{path}, line 5"
    ]  # fmt: skip
    path = tmp_path / "a.jsonl"
    assert [one.place for one in read(path, '\n{"reference": "a", "processed": "b"}\n')] == [f"{path}, line 2"]


def test_values_of_json_lines(tmp_path: Path) -> None:
    line = '{"Reference": "a", "processed": "b", "listener": {"250": 20, "8000": [1]}, "ear": null, "year": 1999}'
    (one,) = read(tmp_path / "a.jsonl", line)
    assert [one.text(name) for name in (*REQUIRED, *OPTIONAL)] == ["a", "b", '{"250": 20, "8000": [1]}', "", "", ""]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "refrence,processed\na,b\n", r"unknown column 'refrence': did you mean reference\?"),
        ("a.csv", "reference,procesed\na,b\n", r"unknown column 'procesed': did you mean processed\?"),
        ("a.csv", "reference;processed;Listner\na;b;N3\n", r"unknown column 'Listner': did you mean listener\?"),
        ("a.csv", "reference\tprocessed\tears\na\tb\tleft\n", r"unknown column 'ears': did you mean ear\?"),
        ("a.csv", "reference,processed,groups\na,b,c\n", r"unknown column 'groups': did you mean group\?"),
        ("a.csv", "reference,processed,sytem\na,b,c\n", r"unknown column 'sytem': did you mean system\?"),
        ("a.jsonl", '{"reference": "a", "processed": "b", "sistem": "c"}', r"line 1: unknown column 'sistem'"),
        ("a.csv", "reference,Reference,processed\na,b,c\n", "has the column reference twice"),
        ("a.jsonl", '{"reference": "a", "reference": "b", "processed": "c"}', "line 1 has the column reference twice"),
        ("a.csv", "clean,aided\na,b\n", "lacks reference, processed: expected the columns .*; got clean, aided"),
        ("a.csv", "", "lacks reference, processed: .*; got none"),
        ("a.csv", f"{HEADER}\na,b,N3,left\n", r"line 2 has 4 cells, and the line of names has 3: put a cell"),
        ("a.csv", "reference,processed,\na,b,c\n", "line 2: 'c' is in a column without a name"),
        ("a.csv", f'{HEADER}\n"a,b,N3\nc,d,N3\n', "is not CSV .*check its quotes"),
        ("a.csv", f"{HEADER}\n".encode() + b"\xe4.wav,b,N3\n", 'save it as UTF-8, in Excel as "CSV UTF-8"'),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", "[1]", "line 1 is no JSON object"),
        ("a.xlsx", "PK", r"is no table of files: give one that ends in \.csv, \.tsv, \.jsonl"),
    ],
)
def test_tables_that_are_refused(name: str, data: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        read(tmp_path / name, data)


def test_other_columns_are_ignored(tmp_path: Path) -> None:
    for column in ("year", "song", "title", "listener_age", "remark"):
        header = f"reference,processed,listener,system,group,{column}"
        (one,) = read(tmp_path / "a.csv", f"{header}\na,b,N3,c,d,e\n")
        assert one.text("system") == "c"


def test_tables_that_are_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path / "folder.csv"):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        with pytest.raises(OptionError, match="cannot be read"):
            list(read_table(path, REQUIRED, OPTIONAL))


def test_paths_of_windows(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").touch()
    assert resolve_file(tmp_path / "t.csv", "clips\\a.wav") == tmp_path / "clips" / "a.wav"
    (tmp_path / "clips\\a.wav").touch()
    assert resolve_file(tmp_path / "t.csv", "clips\\a.wav") == tmp_path / "clips\\a.wav"
    check_file_exists(tmp_path / "clips" / "a.wav", "file")
    with pytest.raises(AudioFileNotFoundError, match=r"column file: .*clips is a folder: name a file"):
        check_file_exists(tmp_path / "clips", "file")
