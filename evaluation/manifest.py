"""HAAQI of many pairs of files that a manifest lists: read it, compare in processes, and summarize by system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from ..haaqi.clips import Convention, EarHaaqi, score_ears, score_listeners, score_one_ear
from ..haaqi.index import Haaqi
from ..runtime.audio.channels import Channel
from ..runtime.audiogram import Audiogram, EarPair, parse_audiograms, parse_ears
from ..runtime.batch.messages import Messages, collect_messages
from ..runtime.batch.parallel import parallel_map
from ..runtime.batch.results import Column
from ..runtime.errors import AudiogramError, HaaqiEdgeError, OptionError
from ..runtime.files import display_name
from ..training.statistics import Interval, bootstrap_interval
from .tables import Record, add_place, check_file_exists, read_table, resolve_file

_REQUIRED: Final = ("reference", "processed")
_OPTIONAL: Final = ("listener", "ear", "system", "group", "unamplified")
_EARS: Final = ("left", "right", "both", "mix")
_PARTS: Final = Haaqi._fields[1:]
KEY: Final = ("reference", "processed", "listener", "ear")
"""columns that identify a row of the results"""
COLUMNS: Final = (
    *(Column(name, "text") for name in (*KEY, "system", "group")),
    *(Column(name, "number") for name in ("haaqi", "left", "right", *_PARTS)),
    Column("error", "text"),
)
"""columns of the results; `haaqi` and its terms are the means of both ears if both were compared"""


@dataclass(frozen=True)
class ManifestRow:
    """A comparison that a manifest lists.

    Attributes:
        reference: path of the original.
        processed: path of the processed recording.
        listener: the listener's name in the manifest.
        ears: the audiogram, or those of both ears.
        ear: the ear that is compared; `both`, or `mix` for the mean of the channels.
        system: what made the processed recording, for the means; "" without one.
        group: what must be resampled together, such as a song. Default: the reference.
        unamplified: path of the recording whose RMS sets the level, if that is not the reference.
        place: the manifest and the line, for messages.
    """

    reference: Path
    processed: Path
    listener: str
    ears: Audiogram | EarPair
    ear: Literal["left", "right", "both", "mix"]
    system: str
    group: str
    unamplified: Path | None
    place: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The values of the columns `KEY`."""
        return str(self.reference), str(self.processed), self.listener, self.ear


def read_manifest(path: Path, listeners: Sequence[str] = ()) -> list[ManifestRow]:
    """Read a manifest.

    Args:
        path: a CSV file with a header, or JSON Lines; see `tables.read_table`. Columns: `reference` and `processed`
            (paths relative to the manifest's folder), and optionally `listener` (an audiogram, or the name of a
            listener in `listeners`), `ear` (left, right, both or mix), `system`, `group`, and `unamplified`, a
            recording whose RMS sets the level.
        listeners: texts as for `parse_audiograms`, such as the path of a `listeners.json`. A row without a listener is
            for the only one of them.

    Raises:
        OptionError: the manifest cannot be read, lacks a column, or has an invalid value or a row twice.
        AudiogramError: a listener is invalid or unknown.
    """
    find = ListenerTable(listeners)
    rows: list[ManifestRow] = []
    places: dict[tuple[str, ...], str] = {}
    for record in read_table(path, _REQUIRED, _OPTIONAL):
        row = _parse_row(record, path, find)
        if row.key in places:
            raise OptionError(
                f"{row.place}: the same reference, processed file, listener and ear as in "
                f"{places[row.key].rpartition(', ')[2]}: leave out one of them"
            )
        places[row.key] = row.place
        rows.append(row)
    if not rows:
        raise OptionError(f"{display_name(path)} has no rows: add lines below the names of the columns")
    return rows


def list_audiograms(rows: Sequence[ManifestRow]) -> list[Audiogram]:
    """Return the different audiograms of rows, in the order of their first use."""
    ears = (
        one
        for row in rows
        for one in ([row.ears.left, row.ears.right] if isinstance(row.ears, EarPair) else [row.ears])
    )
    return list(dict.fromkeys(ears))


class ListenerTable:
    """The listeners that a manifest may name.

    Args:
        texts: as for `parse_audiograms`.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._named: dict[str, Audiogram | EarPair] = {}
        self._all: list[Audiogram | EarPair] = []
        for text in texts:
            found: list[Audiogram | EarPair]
            try:
                found = list(parse_ears([text]))
            except AudiogramError:
                found = list(parse_audiograms([text]))
            for one in found:
                self._named |= {one.name: one, one.name.rpartition(":")[2]: one}
            self._all += found

    def __call__(self, text: str, ear: str) -> Audiogram | EarPair:
        """Return a listener by name, one ear as in `L5001:left`, or an audiogram; without text, the only listener."""
        if not text:
            if len(self._all) != 1:
                raise AudiogramError(
                    f"no listener, and -a gives {len(self._all)}: name one in the column `listener`, or give one by -a"
                )
            return self._all[0]
        if text in self._named:
            return self._named[text]
        name, _, side = text.rpartition(":")
        if side in ("left", "right") and isinstance(both := self._named.get(name), EarPair):
            return both.left if side == "left" else both.right
        try:
            if ear == "both":
                return parse_ears([text])[0]
            found = parse_audiograms([text])
        except AudiogramError as error:
            known = f", and none of the listeners of -a ({', '.join(list(self._named)[:8])})" if self._named else ""
            raise AudiogramError(f"{error}{known}; for listeners by name, give -a listeners.json") from error
        return found[0] if len(found) == 1 else EarPair(found[0], found[1], text)


def _parse_row(record: Record, path: Path, find: ListenerTable) -> ManifestRow:
    place = record.place
    values = {name: record.text(name) for name in (*_REQUIRED, *_OPTIONAL)}
    for name in _REQUIRED:
        if not values[name]:
            raise OptionError(f"{place}, column {name} is empty: give the path of an audio file")
    ear = values["ear"].lower()
    if ear not in (*_EARS, ""):
        raise OptionError(
            f"{place}, column ear: {display_name(values['ear'])!r}: give left, right, both, or mix for the mean of the "
            "channels, or leave it empty"
        )
    try:
        who = find(values["listener"], ear)
    except AudiogramError as error:
        raise AudiogramError(f"{place}, column listener: {error}") from error
    if isinstance(who, Audiogram) and ear == "both":
        raise AudiogramError(f"{place}: ear both, but {who.name} is the audiogram of one ear: give left or right")
    if isinstance(who, EarPair) and ear == "mix":
        raise AudiogramError(
            f"{place}: ear mix, but {who.name} has two audiograms: name one as the listener, as in "
            f"{values['listener'] or who.name}:left, or give left, right or both"
        )
    name = values["listener"] or who.name
    if isinstance(who, EarPair) and ear in ("left", "right"):
        who = who.left if ear == "left" else who.right
    chosen: Any = ear or ("both" if isinstance(who, EarPair) else "mix")
    return ManifestRow(
        resolve_file(path, values["reference"]),
        resolve_file(path, values["processed"]),
        name,
        who,
        chosen,
        values["system"],
        values["group"] or values["reference"],
        resolve_file(path, values["unamplified"]) if values["unamplified"] else None,
        place,
    )


class RowResult(NamedTuple):
    """The result of a row: HAAQI of one ear or of both, or the error."""

    place: int
    outcome: Haaqi | EarHaaqi | HaaqiEdgeError


def score_manifest(
    rows: Sequence[tuple[int, ManifestRow]], convention: Convention, jobs: int, channel: Channel = "mix"
) -> Iterator[RowResult]:
    """Compute HAAQI of rows in `jobs` processes, and yield the results in the order of completion.

    Args:
        rows: pairs of an index and a row.
        convention: level, amplification and resampling.
        jobs: number of processes.
        channel: the channel of rows without ears.

    Raises:
        WorkerError: a process was terminated from outside.
    """
    results = parallel_map(
        partial(_score_row, convention=convention, channel=channel),
        list(rows),
        jobs,
        advice="use fewer jobs, or shorter excerpts (a second of a pair takes 20 MB)",
    )
    for result, messages in results:
        messages.repeat()
        yield result


def _score_row(item: tuple[int, ManifestRow], convention: Convention, channel: Channel) -> tuple[RowResult, Messages]:
    place, row = item
    files = row.reference, row.processed
    outcome: Haaqi | EarHaaqi | HaaqiEdgeError
    with collect_messages() as messages:
        try:
            for column in ("reference", "processed", "unamplified"):
                if (path := getattr(row, column)) is not None:
                    check_file_exists(path, column)
            if isinstance(row.ears, EarPair):
                outcome = score_ears(*files, [row.ears], convention, row.unamplified)[0]
            elif row.ear == "left" or row.ear == "right":
                outcome = score_one_ear(*files, [row.ears], row.ear, convention, row.unamplified)[0]
            else:
                outcome = score_listeners(*files, [row.ears], convention, channel, row.unamplified)[0]
        except HaaqiEdgeError as error:
            outcome = add_place(error, row.place)
    return RowResult(place, outcome), messages


def result_row(row: ManifestRow, outcome: Haaqi | EarHaaqi | HaaqiEdgeError) -> dict[str, Any]:
    """Return the values of a row of the results, by the names of `COLUMNS`."""
    values: dict[str, Any] = {**dict(zip(KEY, row.key, strict=True)), "system": row.system, "group": row.group}
    if isinstance(outcome, HaaqiEdgeError):
        return {**values, "error": f"{type(outcome).__name__}: {outcome}"}
    ears = [outcome.left, outcome.right] if isinstance(outcome, EarHaaqi) else [outcome]
    means = {name: float(np.mean([getattr(one, name) for one in ears])) for name in _PARTS}
    if isinstance(outcome, EarHaaqi):
        values |= {"left": outcome.left.score, "right": outcome.right.score}
    elif row.ear in ("left", "right"):
        values[row.ear] = outcome.score
    return {**values, "haaqi": outcome.score, **means}


class SystemMean(NamedTuple):
    """The mean of a system.

    Attributes:
        system: name of the system, "" if the manifest names none.
        mean: mean HAAQI of its rows, the rows of the same group and listener averaged first.
        interval: 95% bootstrap interval of the mean. Whole groups are resampled.
        rows: number of rows.
        groups: number of groups.
    """

    system: str
    mean: float
    interval: Interval
    rows: int
    groups: int


def summarize_systems(results: Sequence[Mapping[str, Any]], resamples: int = 1000) -> list[SystemMean]:
    """Return the mean of each system, in alphabetical order, with its bootstrap interval.

    Rows of the same group and listener are averaged first, as the challenge CAD1 averages eight stems (four
    instruments, two ears) of a song for a listener.

    Args:
        results: rows by the names of `COLUMNS`. Rows without a value are left out.
        resamples: number of bootstrap resamples.
    """
    systems: dict[str, list[Mapping[str, Any]]] = {}
    for row in results:
        if row.get("haaqi") is not None:
            systems.setdefault(str(row.get("system") or ""), []).append(row)
    means = []
    for system in sorted(systems):
        cells: dict[tuple[str, str], list[float]] = {}
        for row in systems[system]:
            cells.setdefault((str(row["group"]), str(row["listener"])), []).append(float(row["haaqi"]))
        values = [float(np.mean(cell)) for cell in cells.values()]
        groups = [group for group, _ in cells]
        interval = bootstrap_interval(_mean, values, groups=groups, resamples=resamples)
        means.append(SystemMean(system, float(np.mean(values)), interval, len(systems[system]), len(set(groups))))
    return means


_mean: Callable[..., Any] = np.mean
