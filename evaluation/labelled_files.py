"""Evaluation of a model on files with labels: HAAQI, ratings, or references from which HAAQI is computed."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..haaqi.clips import Convention
from ..runtime.audio.levels import LEVEL1, check_level, decibels
from ..runtime.audio.presentation import Presentation
from ..runtime.audio.reading import open_audio
from ..runtime.audiogram import Audiogram
from ..runtime.bundle import HAAQI, Scale
from ..runtime.errors import AudioError, AudioFileNotFoundError, AudiogramError, HaaqiEdgeError, OptionError
from ..runtime.files import display_name
from ..runtime.scorer import Scorer
from ..runtime.scores import Interval
from ..runtime.writing import check_file, write_file
from ..training.pairs import Pair, score_pairs
from ..training.statistics import agreement, agreement_intervals, bootstrap_interval, members, none_if_undefined
from .manifest import ListenerTable
from .tables import Record, add_place, check_file_exists, read_table, resolve_file

Array = npt.NDArray[np.float64]
LABELS: Final = ("haaqi", "rating", "reference")
MIN_GROUP: Final = 3
"""minimum number of files of a group whose agreement is reported"""
MIN_GROUPS: Final = 10
"""number of groups from which the bootstrap intervals are useful; those of few groups are too narrow"""
_RESAMPLES: Final = 1000
_COLUMNS: Final = ("file", "audiogram", "listener", *LABELS, "group")


@dataclass(frozen=True)
class LabelledFile:
    """A file, a listener, and the label, or the reference from which HAAQI is computed.

    Attributes:
        file: path of the audio, the signal at the ear.
        listener: the audiogram.
        label: HAAQI or rating, from 0 to 1; None if it is missing.
        reference: path of the clean original; None without one.
        group: what must be resampled together. Default: the file.
        place: the table and the line, for messages.
        cells: all cells of the row, by column.
    """

    file: Path
    listener: Audiogram
    label: float | None
    reference: Path | None
    group: str
    place: str = ""
    cells: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


def read_labels(path: Path, listeners: Sequence[str] = (), scale: Scale | None = None) -> list[LabelledFile]:
    """Read files with their labels.

    Args:
        path: a CSV file with a header, or JSON Lines. Columns: `file`; `audiogram` or `listener`; `haaqi` (0 to 1),
            `rating` (on `scale`) or `reference` (the clean original, from which HAAQI is computed where the label is
            missing); optionally `group`. Paths are relative to the folder of the table.
        listeners: texts as for `parse_audiograms`, such as the path of a `listeners.json`.
        scale: scale of the ratings. Required if there are ratings.

    Raises:
        OptionError: the table cannot be read, lacks a column, or has an invalid value.
        AudiogramError: a listener is invalid or unknown.
    """
    find = ListenerTable(listeners)
    rows: list[LabelledFile] = []
    for record in read_table(path, _COLUMNS[:1], _COLUMNS[1:]):
        rows.append(_parse_row(record, path, find, scale))
    if not rows:
        raise OptionError(f"{display_name(path)} has no rows: add lines below the names of the columns")
    return rows


def _parse_row(record: Record, path: Path, find: ListenerTable, scale: Scale | None) -> LabelledFile:
    place = record.place
    values = {name: record.text(name) for name in _COLUMNS}
    if not values["file"]:
        raise OptionError(f"{place}, column file is empty: give the path of an audio file")
    if values["haaqi"] and values["rating"]:
        raise OptionError(f"{place}: haaqi and rating are both given: a file has one label")
    try:
        who = find(values["audiogram"] or values["listener"], "")
    except AudiogramError as error:
        ignored = "" if values["audiogram"] or values["listener"] else record.describe_ignored(_COLUMNS)
        raise AudiogramError(f"{place}: {error}{ignored}") from error
    if not isinstance(who, Audiogram):
        raise AudiogramError(f"{place}: {who.name} has two ears: name one, as in {values['listener']}:left")
    label: float | None = None
    if values["haaqi"]:
        label = _parse_label(values["haaqi"], HAAQI, place)
    elif values["rating"]:
        if scale is None:
            raise OptionError(
                f"{place}: ratings need a scale: give --scale with the lowest and the highest, such as 1 5"
            )
        label = _parse_label(values["rating"], scale, place)
    elif not values["reference"]:
        raise OptionError(
            f"{place}: no label: give haaqi, rating, or the reference, from which HAAQI is computed"
            f"{record.describe_ignored(_COLUMNS)}"
        )
    reference = resolve_file(path, values["reference"]) if values["reference"] else None
    return LabelledFile(
        resolve_file(path, values["file"]),
        who,
        label,
        reference,
        values["group"] or values["file"],
        place,
        {name: record.text(name) for name in record.values if name},
    )


def _parse_label(text: str, scale: Scale, place: str) -> float:
    try:
        value = float(text.replace(",", ".") if text.count(",") == 1 else text)
    except ValueError:
        value = math.nan
    if not scale.low <= value <= scale.high:
        raise OptionError(f"{place}: label {text!r} is not a number from {scale.low:g} to {scale.high:g}")
    return scale.to_score(value)


def _check_files(row: LabelledFile) -> None:
    """Raise `AudioFileNotFoundError` if a file that a row needs does not exist."""
    check_file_exists(row.file, "file")
    if row.label is None and row.reference is not None:
        check_file_exists(row.reference, "reference")


class FileError(NamedTuple):
    """A file that could not be evaluated, and the error."""

    file: Path
    error: HaaqiEdgeError


def compute_labels(
    rows: Sequence[LabelledFile], convention: Convention, jobs: int, count: Callable[[], None] = lambda: None
) -> tuple[list[LabelledFile], list[FileError]]:
    """Compute HAAQI from the references of rows without a label.

    Args:
        rows: the files.
        convention: level and amplification.
        jobs: number of processes.
        count: called after each row that is computed.

    Returns:
        The rows with labels, and the rows that failed.
    """
    labelled, errors = list(rows), list[FileError]()
    by_listener: dict[Audiogram, list[int]] = {}
    for place, row in enumerate(rows):
        if row.label is not None:
            continue
        try:
            _check_files(row)
        except AudioFileNotFoundError as error:
            errors.append(FileError(row.file, add_place(error, row.place)))
            count()
        else:
            by_listener.setdefault(row.listener, []).append(place)
    for listener, places in by_listener.items():
        pairs = []
        for place in places:
            reference = rows[place].reference
            assert reference is not None
            pairs.append(Pair(reference, rows[place].file))
        for index, outcome in score_pairs(pairs, [listener], jobs, convention):
            place = places[index]
            if isinstance(outcome, HaaqiEdgeError):
                errors.append(FileError(rows[place].file, add_place(outcome, rows[place].place)))
            else:
                labelled[place] = replace(rows[place], label=min(max(outcome[0].score, 0.0), 1.0))
            count()
    return [row for row in labelled if row.label is not None], errors


class LabelsFile:
    """A table of labels that is written: the rows of a table, with the column `haaqi` filled. It can be read again.

    Args:
        path: CSV file. Paths in it are relative to its folder.
        rows: the rows of the table, before HAAQI is computed.

    Raises:
        OptionError: the file cannot be written, or exists and is not a table of the same rows.
    """

    def __init__(self, path: Path, rows: Sequence[LabelledFile]) -> None:
        name = display_name(path)
        if path.suffix.lower() != ".csv":
            raise OptionError(f"cannot write labels to {name}: give the path of a CSV file, which ends in .csv")
        check_file(path)
        self.path = path
        self._columns = list(dict.fromkeys([*(column for row in rows for column in row.cells), "haaqi"]))
        self._rows = {row.place: self._cells(row) for row in rows}
        if path.exists() and not self._is_own():
            raise OptionError(
                f"{name} exists and is not a table of the same rows: give another file for the labels, or delete it "
                "first"
            )

    def write(self, labelled: Sequence[LabelledFile]) -> None:
        """Write the table. Rows whose HAAQI could not be computed have no label.

        Args:
            labelled: the rows with labels.
        """
        labels = {row.place: row.label for row in labelled if row.label is not None and not row.cells.get("rating")}
        rows = [
            {**cells, "haaqi": cells.get("haaqi") or (repr(float(labels[place])) if place in labels else "")}
            for place, cells in self._rows.items()
        ]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        try:
            write_file(text.getvalue().encode(), self.path)
        except OSError as error:
            raise OptionError(
                f"cannot write {display_name(self.path)} ({error.strerror}): give a path that can be written to"
            ) from error

    def _cells(self, row: LabelledFile) -> dict[str, str]:
        """Return the cells of a row, with paths relative to the folder of the file."""
        cells = dict(row.cells)
        for column, path in (("file", row.file), ("reference", row.reference)):
            if path is not None:
                cells[column] = _relative_path(path, self.path.absolute().parent)
        return cells

    def _is_own(self) -> bool:
        """Return whether the existing file has the same rows. Labels may differ."""
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file, strict=True))
        except (OSError, UnicodeError, csv.Error):
            return False
        wanted = [{name: cells.get(name, "") for name in self._columns} for cells in self._rows.values()]
        for row in (*found, *wanted):
            row.pop("haaqi", None)
        return found == wanted


def _relative_path(path: Path, folder: Path) -> str:
    absolute = path.absolute()
    try:
        return Path(os.path.relpath(absolute, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return str(absolute)


@dataclass(frozen=True)
class Evaluation:
    """Predictions of a model for files with labels.

    Attributes:
        rows: the files that could be scored.
        predicted: float64 [files], the scores, from 0 to 1.
        labels: float64 [files], from 0 to 1.
        intervals: the prediction interval of each file; None if the model predicts none.
        errors: the files that could not be scored.
    """

    rows: list[LabelledFile]
    predicted: Array
    labels: Array
    intervals: list[Interval] | None
    errors: list[FileError]

    @property
    def groups(self) -> list[str]:
        """The group of each file."""
        return [row.group for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return all results as plain values. Undefined correlations are None."""
        result: dict[str, Any] = {"files": len(self.rows), "groups": len(set(self.groups))}
        result |= _describe_agreement(self.predicted, self.labels, self.groups)
        if self.intervals is not None:
            inside = self._inside()
            interval = bootstrap_interval(_mean, inside, groups=self.groups, resamples=_RESAMPLES)
            result["coverage"] = {"value": float(inside.mean()), "interval": list(map(none_if_undefined, interval))}
            result["mean_width"] = float(np.mean([high - low for low, high in self.intervals]))
        result["by_group"] = self._describe_groups()
        return result

    def _inside(self) -> Array:
        assert self.intervals is not None
        ends = np.array(self.intervals)
        return ((ends[:, 0] <= self.labels) & (self.labels <= ends[:, 1])).astype(np.float64)

    def _describe_groups(self) -> list[dict[str, Any]]:
        """Return the agreement of each group of at least `MIN_GROUP` files."""
        found = []
        for places in members(self.groups):
            if len(places) < MIN_GROUP:
                continue
            one = agreement(self.predicted[places], self.labels[places])
            entry = {
                "group": self.rows[int(places[0])].group,
                "files": len(places),
                "lcc": none_if_undefined(one.lcc),
                "srcc": none_if_undefined(one.srcc),
                "mse": one.mse,
                "rmse": math.sqrt(one.mse),
                "bias": float(np.mean(self.predicted[places] - self.labels[places])),
            }
            if self.intervals is not None:
                entry["coverage"] = float(self._inside()[places].mean())
            found.append(entry)
        return found


def _describe_agreement(predicted: Array, labels: Array, groups: Sequence[str]) -> dict[str, Any]:
    """Return LCC, SRCC, MSE and RMSE, each with its 95% interval by resampling groups."""
    found = agreement(predicted, labels)
    intervals = agreement_intervals(predicted, labels, groups=groups, resamples=_RESAMPLES)
    values = {"lcc": found.lcc, "srcc": found.srcc, "mse": found.mse, "rmse": math.sqrt(found.mse)}
    ends = {**intervals._asdict(), "rmse": np.sqrt(intervals.mse)}
    return {
        name: {"value": none_if_undefined(value), "interval": [none_if_undefined(float(end)) for end in ends[name]]}
        for name, value in values.items()
    }


def evaluate(
    rows: Sequence[LabelledFile],
    scorer: Scorer,
    *,
    level1: float | None = None,
    spl: float | None = None,
    nal_r: bool = False,
    count: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score files with a model, and compare with their labels.

    Args:
        rows: files with labels.
        scorer: the model.
        level1: dB SPL of RMS 1.0; see `Scorer.score`.
        spl: level in dB SPL at which the reference is presented, as for HAAQI, or the file if there is no reference.
        nal_r: whether the files are unamplified music. Otherwise they are presented signals, and may be louder.
        count: called after each file.
    """
    by_file: dict[tuple[Path, Path | None], list[int]] = {}
    for place, row in enumerate(rows):
        by_file.setdefault((row.file, None if spl is None else row.reference), []).append(place)
    predicted: dict[int, tuple[float, Interval | None]] = {}
    errors: list[FileError] = []
    for (file, reference), places in by_file.items():
        try:
            _check_files(rows[places[0]])
            by_reference = None if spl is None or reference is None else _level1_of(reference, spl)
            listeners = list(dict.fromkeys(rows[place].listener for place in places))
            scores = scorer.score(
                open_audio(file, presented=not nal_r),
                listeners,
                level1=level1 if by_reference is None else by_reference,
                spl=spl if by_reference is None else None,
                nal_r=nal_r,
            )
        except OptionError:
            raise
        except HaaqiEdgeError as error:
            errors.append(FileError(file, add_place(error, rows[places[0]].place)))
        else:
            for place in places:  # rows of the same file and listener have the same score, to the last bit
                score = scores[listeners.index(rows[place].listener)]
                predicted[place] = score.score, score.interval
        count()
    scored = [place for place in range(len(rows)) if place in predicted]
    intervals = [interval for _, interval in (predicted[place] for place in scored) if interval is not None]
    labels = [rows[place].label for place in scored]
    return Evaluation(
        [rows[place] for place in scored],
        np.array([predicted[place][0] for place in scored]),
        np.array(labels, dtype=np.float64),
        intervals if scored and len(intervals) == len(scored) else None,
        errors,
    )


def _level1_of(reference: Path, spl: float) -> float:
    """Return the level of RMS 1.0 in dB SPL at which a reference has the level `spl`.

    Raises:
        AudioError: the reference cannot be read, is silent, or is too quiet for this level.
    """
    check_file_exists(reference, "reference")
    level1 = LEVEL1 + decibels(Presentation(spl=spl).gain(open_audio(reference), LEVEL1))
    try:
        return check_level("level1", level1)
    except OptionError as error:
        raise AudioError(f"{display_name(reference)} cannot be presented at {spl:g} dB SPL: {error}") from error


_mean: Callable[..., Any] = np.mean
