"""Write the results of many files as they are finished, as CSV, JSON Lines, JSON or Parquet, and resume a run.

A results file has rows with fixed columns. The suffix of its name chooses the format:

- `.csv` and `.jsonl` receive the rows of an item as soon as it is finished.
- `.json` and `.parquet` are written at the end. Until then, the rows are in `NAME.part.jsonl` beside them.

A record of the run (model, settings, listeners) makes sure that a run is resumed with the same settings. It is in
`NAME.run.json` beside the file; JSON and Parquet files that are finished contain it.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, Self, TypeAlias

from ..audiogram import Audiogram
from ..bundle import HAAQI, Card, Scale
from ..errors import DependencyError, HaaqiEdgeError, OptionError
from ..files import display_name
from ..scores import Score
from ..writing import check_file, replace_atomically, to_json, write_file

Kind: TypeAlias = Literal["text", "number", "integer", "numbers"]
Row: TypeAlias = Mapping[str, Any]

FORMAT: Final = 1
"""Version of the layout of JSON results and of the record of a run."""
SUFFIXES: Final = (".csv", ".jsonl", ".json", ".parquet")
_AS_FINISHED: Final = (".csv", ".jsonl")
"""Formats to which rows can be appended."""
_MAX_NAMES: Final = 5
"""Maximum number of listeners that a message names."""
_METADATA: Final = b"haaqi_edge"
"""Key of a Parquet file's metadata for the record of the run."""


@dataclass(frozen=True)
class Column:
    """A column of a results file.

    Attributes:
        name: name of the column.
        kind: type of its values, each of which may also be None: `text`, `number`, `integer`, or `numbers` for a list
            of numbers, which is JSON text in CSV.
    """

    name: str
    kind: Kind


def score_columns(scale: Scale = HAAQI, interval: bool = False, familiarity: bool = False) -> tuple[Column, ...]:
    """Return the columns of the rows from `score_rows`.

    Args:
        scale: scale of the model. `value` is a column if it is not that of HAAQI.
        interval: whether the model predicts intervals (`Card.interval`), whose ends are columns then.
        familiarity: whether the model measures how far a sound is from its training (`Card.familiarity`), which is a
            column then.
    """
    return (
        Column("file", "text"),
        Column("listener", "text"),
        Column("levels", "numbers"),
        Column("score", "number"),
        *((Column("interval_low", "number"), Column("interval_high", "number")) if interval else ()),
        *(() if scale == HAAQI else (Column("value", "number"),)),
        *((Column("unfamiliarity", "number"),) if familiarity else ()),
        Column("seconds", "number"),
        Column("windows", "integer"),
        Column("error", "text"),
    )


def score_rows(
    file: str | os.PathLike[str], listeners: Sequence[Audiogram], outcome: Sequence[Score] | HaaqiEdgeError
) -> list[dict[str, Any]]:
    """Return the rows of a file, one per listener.

    Args:
        file: path of the file.
        listeners: the listeners.
        outcome: one score per listener, or the error of the file.
    """
    if isinstance(outcome, HaaqiEdgeError):
        error = f"{type(outcome).__name__}: {outcome}"
        return [
            {"file": os.fspath(file), "listener": one.name, "levels": list(one.levels), "error": error}
            for one in listeners
        ]
    return [
        {
            "file": os.fspath(file),
            "listener": score.audiogram.name,
            "levels": list(score.audiogram.levels),
            "score": score.score,
            "interval_low": None if score.interval is None else score.interval[0],
            "interval_high": None if score.interval is None else score.interval[1],
            "value": score.value,
            "unfamiliarity": None if score.unfamiliarity is None else round(score.unfamiliarity, 4),
            "seconds": round(score.windows[-1].end, 4),
            "windows": len(score.windows),
        }
        for score in outcome
    ]


def describe_run(
    command: str, card: Card | None, settings: Mapping[str, Any], listeners: Iterable[Audiogram]
) -> dict[str, Any]:
    """Return the record of a run: what its results depend on, apart from the files.

    Args:
        command: the command, such as `score`.
        card: description of the model; None for HAAQI itself.
        settings: settings by name, of types that JSON has.
        listeners: the listeners.
    """
    model = None
    if card is not None:
        model = {key: getattr(card, key) for key in ("name", "precision", "source_sha256")}
    return {
        "format": FORMAT,
        "command": command,
        "model": model,
        "settings": dict(settings),
        "listeners": [{"name": one.name, "levels": [float(level) for level in one.levels]} for one in listeners],
    }


def check_results_path(path: Path) -> None:
    """Raise an error unless results can be written to a path.

    Raises:
        OptionError: if the suffix is unknown, if the folder is missing or not writable, or if the path is no file.
        DependencyError: if the format needs pyarrow, which is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OptionError(
            f"cannot write results to {display_name(path)}: its suffix chooses the format; give one that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise DependencyError("a .parquet file needs pyarrow: run pip install 'haaqi-edge[parquet]', or write .csv")
    check_file(path)
    if path.exists() and not path.is_file():
        raise OptionError(
            f"cannot write results to {display_name(path)}, which is a pipe or a device: give a file, or use --json"
        )


class ResultsWriter:
    """A results file that is written while a run proceeds. Use it in a `with` statement.

    If the run ends with an error or is interrupted, the rows so far are kept, and another run can resume it. Rows of
    items that failed (with an `error`) are dropped then, so that these items are tried again. In text, characters that
    cannot be printed are written as escape sequences, so that a row of CSV or JSON Lines is one line.

    Args:
        path: the file. Its suffix chooses the format. The results of a complete run of the same command are replaced,
            any other existing file is not.
        columns: the columns.
        run: record of the run, from `describe_run`.
        key: columns that identify an item, such as a file.
        rows_per_item: number of rows of an item, one per listener.
        resume: whether to keep the rows that the file has.

    Attributes:
        path: the file.
        resumed: number of items that a run before has finished.
        rows: number of rows in the file.

    Raises:
        OptionError: if the file cannot be written, if it exists and holds something else, if it is from an interrupted
            run and `resume` is False, or if `resume` is True and its rows are from a run with another record.
        DependencyError: if the format needs pyarrow, which is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[Column],
        run: Mapping[str, Any],
        *,
        key: Sequence[str] = ("file",),
        rows_per_item: int = 1,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        check_results_path(self.path)
        self._suffix = self.path.suffix.lower()
        self._columns, self._key, self._rows_per_item = tuple(columns), tuple(key), rows_per_item
        self._run: dict[str, Any] = json.loads(to_json(run))
        self._run_path = self.path.with_name(f"{self.path.name}.run.json")
        appends = self._suffix in _AS_FINISHED
        self._rows_path = self.path if appends else self.path.with_name(f"{self.path.name}.part.jsonl")
        self._lines: _LineFormat = _Csv(self._columns) if self._suffix == ".csv" else _JsonLines(self._columns)
        self._done: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        self._order: dict[tuple[Any, ...], int] = {}
        self._file: IO[bytes] | None = None
        if resume:
            self._load()
        elif (unfinished := self._unfinished_rows()) is not None:
            raise OptionError(
                f"{display_name(self.path)} is from a run that was interrupted ({unfinished} rows): resume it with "
                f"--resume, or delete {display_name(self._run_path)} to start again"
            )
        elif self.path.is_file() and not self._is_own():
            raise OptionError(
                f"{display_name(self.path)} exists and is not a results file of this command: give another --output, "
                "or delete it first"
            )
        self.resumed, self.rows = len(self._done), sum(map(len, self._done.values()))

    @property
    def resumed_rows(self) -> list[dict[str, Any]]:
        """The rows of the items that a run before has finished."""
        return [row for rows in self._done.values() for row in rows]

    def is_done(self, *key: str | os.PathLike[str]) -> bool:
        """Return whether a run before has finished an item.

        Args:
            key: values of the key columns.
        """
        return tuple(display_name(value) for value in key) in self._done

    def set_order(self, keys: Iterable[Sequence[str | os.PathLike[str]]]) -> None:
        """Set the order of the items in a JSON or Parquet file. By default they are in the order of completion."""
        for place, key in enumerate(keys):
            self._order.setdefault(tuple(display_name(value) for value in key), place)

    def __enter__(self) -> Self:
        with _write_errors(self.path):
            lines = [self._lines.heading(), *(self._lines.line(row) for rows in self._done.values() for row in rows)]
            write_file("".join(lines).encode(), self._rows_path)
            self._write_record(complete=False)
            self._file = self._rows_path.open("ab")
        return self

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows of an item, all of them at once.

        Args:
            rows: values by column. A column that a row lacks is None; values without a column are left out.

        Raises:
            OptionError: if the file cannot be written, for example because the disk is full.
        """
        if self._file is None:
            raise OptionError(f"{display_name(self.path)} is not open: use the writer in a with statement")
        clean = [{column.name: _plain(row.get(column.name)) for column in self._columns} for row in rows]
        with _write_errors(self.path):
            self._file.write("".join(map(self._lines.line, clean)).encode())
            self._file.flush()
        self.rows += len(clean)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        try:
            with _write_errors(self.path):
                self._file.close()
        except OptionError:
            if error is None:
                raise
        if error is not None:
            if self.rows == 0:  # nothing to resume
                self._rows_path.unlink(missing_ok=True)
                self._run_path.unlink(missing_ok=True)
            return
        with _write_errors(self.path):
            if self._suffix in _AS_FINISHED:
                self._write_record(complete=True)
                return
            rows = self._in_order(self._lines.read(self._rows_path.read_text(encoding="utf-8")))
            if self._suffix == ".json":
                document = {"format": FORMAT, "run": self._run, "results": rows}
                write_file((to_json(document) + "\n").encode(), self.path)
            else:
                _write_parquet(rows, self._columns, self._run, self.path)
            self._rows_path.unlink()
            self._run_path.unlink()

    def _write_record(self, *, complete: bool) -> None:
        write_file((to_json({**self._run, "complete": complete}) + "\n").encode(), self._run_path)

    def _in_order(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        last = len(self._order)
        return sorted(rows, key=lambda row: self._order.get(self._key_of(row), last))

    def _key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in self._key)

    def _is_own(self) -> bool:
        """Return whether the existing file is from a run of the same command."""
        try:
            if self._suffix in _AS_FINISHED:
                run = json.loads(self._run_path.read_text(encoding="utf-8"))
            elif self._suffix == ".json":
                run = json.loads(self.path.read_text(encoding="utf-8"))["run"]
            else:
                run = _read_parquet(self.path)[0]
            return bool(run["command"] == self._run["command"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _unfinished_rows(self) -> int | None:
        """Return the number of rows of an interrupted run, or None if there is none."""
        if not self._run_path.is_file() or not self._rows_path.is_file():
            return None
        try:
            if json.loads(self._run_path.read_text(encoding="utf-8")).get("complete", True):
                return None
            text = self._rows_path.read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError, AttributeError):
            return None
        return max(0, text.count("\n") - self._lines.heading().count("\n"))

    def _load(self) -> None:
        """Read the rows of finished items from a run before.

        Raises:
            OptionError: if they are from a run with another record, or cannot be read.
        """
        try:
            found = self._read_before()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(
                f"cannot resume {display_name(self.path)}, which is not a results file of this command ({error}): "
                "give another --output, or leave out --resume"
            ) from error
        if found is None:
            return
        run, rows = found
        run.pop("complete", None)
        self._check_run(run)
        for row in rows:
            self._done.setdefault(self._key_of(row), []).append(row)
        self._done = {
            key: items
            for key, items in self._done.items()
            if len(items) % self._rows_per_item == 0 and not any(row.get("error") for row in items)
        }

    def _read_before(self) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Return the record and the rows of a run before, or None if there was none."""
        if self._rows_path.is_file():
            if not self._run_path.is_file():
                raise ValueError(f"there is no {self._run_path.name}")
            run = json.loads(self._run_path.read_text(encoding="utf-8"))
            return run, self._lines.read(self._rows_path.read_text(encoding="utf-8", errors="replace"))
        if not self.path.is_file():
            return None
        if self._suffix == ".json":
            document = json.loads(self.path.read_text(encoding="utf-8"))
            return document["run"], document["results"]
        return _read_parquet(self.path)

    def _check_run(self, before: Mapping[str, Any]) -> None:
        """Raise `OptionError` unless the record of a run before is that of this run."""
        if before == self._run:
            return
        start = f"cannot resume {display_name(self.path)}: "
        differences = [text for name in sorted({*before, *self._run}) for text in self._differences(name, before)]
        old, new = before.get("model"), self._run.get("model")
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            other = f"; also, {'; '.join(differences)}" if differences else ""
            raise OptionError(f"{start}{_describe_models(old, new)}{other}")
        raise OptionError(
            f"{start}its rows are from a run with other settings ({'; '.join(differences)}). Use the same model, "
            "options and listeners, or give another --output"
        )

    def _differences(self, name: str, before: Mapping[str, Any]) -> list[str]:
        """Describe how an entry of the record of a run before differs from that of this run, models apart."""
        old, new = before.get(name), self._run.get(name)
        if old == new:
            return []
        if isinstance(old, dict) and isinstance(new, dict):
            if name == "model":
                return []
            keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
            return [f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys]
        if name == "listeners":
            before_names, names = _list_names(old), _list_names(new)
            if before_names == names:
                return [f"the hearing levels of the listeners ({names}) were others"]
            return [f"listeners were {before_names} and are {names}"]
        return [f"{name} was {old!r}, is {new!r}"]


def _describe_models(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say with which model a file was made, which one the run has, and what to do."""
    names = [f"{one.get('name')} ({one.get('precision')})" for one in (old, new)]
    if names[0] == names[1]:
        hashes = [str(one.get("source_sha256"))[:12] for one in (old, new)]
        return (
            f"its rows were made with another version of the model {names[0]}, trained weights {hashes[0]}, and this "
            f"run has {hashes[1]}. Use that version of the model to continue, or give another --output"
        )
    return (
        f"its rows were made with the model {names[0]}, and this run has {names[1]}. Continue with that model "
        f"(--model {old.get('name')}), or give another --output"
    )


def _list_names(listeners: Any) -> str:
    """Return the names of the first listeners of a record."""
    try:
        names = [str(one["name"]) for one in listeners]
    except (TypeError, KeyError):
        return "unknown"
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


class _LineFormat(ABC):
    """A format with one line per row."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def heading(self) -> str:
        """Return the text before the rows."""
        return ""

    @abstractmethod
    def line(self, row: Row) -> str:
        """Return a row as a line."""

    @abstractmethod
    def read(self, text: str) -> list[dict[str, Any]]:
        """Return the rows of a file. A last line that was not finished is left out.

        Raises:
            ValueError: if the text has other columns.
        """


class _JsonLines(_LineFormat):
    def line(self, row: Row) -> str:
        return to_json(row, indent=None) + "\n"

    def read(self, text: str) -> list[dict[str, Any]]:
        whole = text[: text.rfind("\n") + 1]
        rows: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines() if line]
        names = {column.name for column in self._columns}
        if any(row.keys() != names for row in rows):
            raise ValueError("its columns are others")
        return rows


class _Csv(_LineFormat):
    def heading(self) -> str:
        return self._format([column.name for column in self._columns])

    def line(self, row: Row) -> str:
        return self._format([self._cell(row[column.name]) for column in self._columns])

    def read(self, text: str) -> list[dict[str, Any]]:
        whole = text[: text.rfind("\n") + 1]
        records = list(csv.reader(whole.splitlines()))
        if not records:
            return []
        if records[0] != [column.name for column in self._columns]:
            raise ValueError("its columns are others")
        return [
            {column.name: self._value(cell, column.kind) for column, cell in zip(self._columns, record, strict=True)}
            for record in records[1:]
        ]

    @staticmethod
    def _format(cells: Sequence[str]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue()

    @staticmethod
    def _cell(value: Any) -> str:
        if value is None or value != value:  # NaN
            return ""
        return to_json(value, indent=None) if isinstance(value, list) else str(value)

    @staticmethod
    def _value(cell: str, kind: Kind) -> Any:
        if cell == "":
            return None
        if kind == "numbers":
            return json.loads(cell)
        return {"number": float, "integer": int, "text": str}[kind](cell)


def _plain(value: Any) -> Any:
    """Return a value with its text in printable characters."""
    if isinstance(value, str | os.PathLike):
        return display_name(value)
    return [float(item) for item in value] if isinstance(value, list | tuple) else value


def _write_parquet(rows: list[dict[str, Any]], columns: Sequence[Column], run: Mapping[str, Any], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {
        "text": pyarrow.string(),
        "number": pyarrow.float64(),
        "integer": pyarrow.int64(),
        "numbers": pyarrow.list_(pyarrow.float64()),
    }
    schema = pyarrow.schema(
        [(column.name, types[column.kind]) for column in columns],
        metadata={_METADATA: to_json(run, indent=None).encode()},
    )
    with replace_atomically(path) as part:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), part)


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    run: dict[str, Any] = json.loads((table.schema.metadata or {})[_METADATA])
    return run, table.to_pylist()


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Convert an `OSError` while a results file is written."""
    try:
        yield
    except OSError as error:
        raise OptionError(
            f"cannot write {display_name(path)} ({error.strerror or error}): make space or give another path; rows "
            "that were written remain, and --resume continues from them"
        ) from error
