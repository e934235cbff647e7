"""Tables of files, such as manifests and tables of labels: CSV as spreadsheets write it, and JSON Lines."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..runtime.audio.reading import is_pipe
from ..runtime.errors import AudioFileNotFoundError, HaaqiEdgeError, OptionError
from ..runtime.files import display_name, is_file, is_folder

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson")
_SEPARATORS: Final = (",", ";", "\t")
_SIMILARITY: Final = 0.75
"""Similarity of two names, from 0 to 1, from which one looks like a misspelling of the other."""
_COLUMN: Final = "column "
_MAX_NAMES: Final = 12
"""Maximum number of columns that a message names."""


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        place: the file and the line, for messages.
        values: the values by the names of the known columns.
    """

    place: str
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """Return a value as text, "" for none. In JSON Lines, audiograms may be lists and objects."""
        value = self.values.get(column)
        if value is None:
            return ""
        return json.dumps(value) if isinstance(value, list | dict) else str(value).strip()

    def describe_ignored(self, known: Sequence[str]) -> str:
        """Return a sentence with the columns that are none of the known ones, and what they may mean; "" if none.

        Args:
            known: names of the known columns.
        """
        ignored = [name for name in self.values if name and name not in known]
        absent = [name for name in known if not self.text(name)]
        texts = []
        for name in ignored[:_MAX_NAMES]:
            key = _normalize(name)
            begins = [
                column for column in absent if len(key) > 1 and (column.startswith(key) or key.startswith(column))
            ]
            meant = [*begins, *difflib.get_close_matches(key, absent, 1)]
            texts.append(display_name(name) + (f" (did you mean {meant[0]}?)" if meant else ""))
        more = ", ..." if len(ignored) > _MAX_NAMES else ""
        return f". Columns that were ignored: {', '.join(texts)}{more}" if texts else ""


def read_table(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[Record]:
    """Read a table: CSV with a header, or JSON Lines.

    Cells of CSV are separated by commas, semicolons or tabs. Names of columns may have capitals, and spaces around
    them. Other columns are ignored, except those that look like a misspelling of a column that is absent.

    Args:
        path: the file; its suffix tells the format.
        required: columns that it must have.
        optional: other known columns.

    Raises:
        OptionError: the file cannot be read, lacks a column, has one twice, or has one that is misspelt.
    """
    name = display_name(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{name} is no table of files: give one that ends in {', '.join(SUFFIXES)}")
    text = _read_text(path, name)
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _read_csv(text, name, required, optional)
    else:
        yield from _read_json_lines(text, name, required, optional)


def resolve_file(table: Path, text: str) -> Path:
    r"""Return the path of a file that a table names, relative to the folder of the table.

    A path that is written with `\` and is no file is read as Windows does.
    """
    path = table.parent / text
    if "\\" in text and not is_file(path) and is_file(other := table.parent / text.replace("\\", "/")):
        return other
    return path


def check_file_exists(path: Path, column: str) -> None:
    """Raise `AudioFileNotFoundError` unless the path of a column is a file, or a pipe."""
    if is_file(path) or is_pipe(path):
        return
    problem = "is a folder: name a file" if is_folder(path) else "does not exist"
    raise AudioFileNotFoundError(
        f"{_COLUMN}{column}: {display_name(path)} {problem}. Paths are relative to the folder of the table"
    )


def add_place(error: HaaqiEdgeError, place: str) -> HaaqiEdgeError:
    """Put the place of a row before the message of an error, and return the error."""
    if place:
        separator = ", " if str(error).startswith(_COLUMN) else ": "
        error.args = (f"{place}{separator}{error}",)
    return error


def _read_text(path: Path, name: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OptionError(f"{name} cannot be read ({error.strerror or error}): give a table of files") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        raise OptionError(f'{name} cannot be read ({error}): save it as UTF-8, in Excel as "CSV UTF-8"') from error


def _read_csv(text: str, name: str, required: Sequence[str], optional: Sequence[str]) -> Iterator[Record]:
    first, _, rest = text.partition("\n")
    skipped, separator = 0, ""
    if first.strip().lower().startswith("sep=") and len(first.strip("\r")) == 5:  # Excel
        text, skipped, separator = rest, 1, first[4]
    separator = separator or _choose_separator(text, {*required, *optional})
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: list[str] | None = None
    try:
        for cells in reader:
            place = f"{name}, line {reader.line_num + skipped}"
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _check_columns(cells, name, required, optional)
                continue
            while len(cells) > len(columns) and not cells[-1].strip():
                cells.pop()
            if len(cells) > len(columns):
                raise OptionError(
                    f"{place} has {len(cells)} cells, and the line of names has {len(columns)}: put a cell that "
                    f'contains a separator into quotes, as in "a{separator}b.wav"'
                )
            if unnamed := [cell for cell, column in zip(cells, columns, strict=False) if not column and cell.strip()]:
                raise OptionError(f"{place}: {display_name(unnamed[0])!r} is in a column without a name: add one")
            yield Record(place, dict(zip(columns, cells, strict=False)))
    except csv.Error as error:
        place = f"{name}, line {reader.line_num + skipped}"
        raise OptionError(f"{place} is not CSV ({error}): check its quotes") from error
    if columns is None:
        _check_columns([], name, required, optional)


def _choose_separator(text: str, known: set[str]) -> str:
    """Return the separator by which the line of names has the most known columns, then the most columns."""
    line = next((line for line in text.splitlines() if line.strip()), "")

    def rank(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([line], delimiter=separator), [])
        return len({_normalize(cell) for cell in cells} & known), len(cells)

    return max(_SEPARATORS, key=rank)


def _read_json_lines(text: str, name: str, required: Sequence[str], optional: Sequence[str]) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), 1):
        place = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"{place} is not JSON ({error}): give one object per line") from error
        if not isinstance(pairs, _Pairs):
            raise OptionError(f"{place} is no JSON object: give one object per line")
        columns = _check_columns([key for key, _ in pairs], place, required, optional)
        values = [_to_plain(value) for _, value in pairs]
        yield Record(place, dict(zip(columns, values, strict=True)))


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, of which a key may occur twice."""


def _to_plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {key: _to_plain(one) for key, one in value}
    return [_to_plain(one) for one in value] if isinstance(value, list) else value


def _normalize(name: str) -> str:
    return name.strip().lower()


def _check_columns(names: Sequence[str], place: str, required: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Return the names of the columns as they are known.

    Raises:
        OptionError: a column is missing, occurs twice, or looks like a misspelling of a column that is absent.
    """
    known = [*required, *optional]
    columns = [_normalize(name) if _normalize(name) in known else name.strip() for name in names]
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"{place} has the column {display_name(twice)} twice: leave out one of them")
    absent = [name for name in known if name not in columns]
    for column in columns:
        if column and column not in known and (meant := _find_meant(_normalize(column), absent)):
            raise OptionError(
                f"{place}: unknown column {display_name(column)!r}: did you mean {meant}? The columns are "
                f"{_list_columns(required, optional)}; rename a column that is none of them"
            )
    if missing := [name for name in required if name not in columns]:
        found = ", ".join(display_name(name) for name in columns[:_MAX_NAMES] if name) or "none"
        raise OptionError(
            f"{place} lacks {', '.join(missing)}: expected the columns {_list_columns(required, optional)}; got {found}"
        )
    return columns


def _find_meant(name: str, absent: Sequence[str]) -> str | None:
    """Return the absent column of which a name looks like a misspelling. The first letter is rarely wrong."""
    found = difflib.get_close_matches(name, absent, 1, _SIMILARITY)
    return found[0] if found and found[0][0] == name[0] else None


def _list_columns(required: Sequence[str], optional: Sequence[str]) -> str:
    return f"{', '.join(required)}, and optionally {', '.join(optional)}"
