"""Description of the data: counts of a corpus and of its label tables, plots of them, and a page that shows both.

Parts of the page between markers are generated (`page_parts`, `fill_page`). The text around them is written by hand.
"""

from __future__ import annotations

import csv
import inspect
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from ...runtime.audiogram import STANDARD
from ...runtime.errors import CorpusError, OptionError
from ...runtime.writing import replace_atomically
from ..corpus.build import STATE, SUMMARY, TABLE
from ..corpus.clips import SPEECH, Clip, Corpus, Split
from ..corpus.speech.bank import SpeechBank
from ..degradations import DEGRADATIONS, STUDIES
from ..degradations.distributions import Draw
from ..degradations.sampling import COUNTS, HELD_OUT, RANGES, STUDIED_SHARE, UNSEEN_FAMILIES, family
from .labels import SECONDS, read_corpus_digest, shard_paths, table_names
from .rows import GROUP, LADDERS, PRESENTATION_LEVEL, SPLITS, SYNTHETIC, SYNTHETIC_SHARE, UNSEEN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERCENTILES: Final = (5, 25, 50, 75, 95)
"""Percentiles of the labels of a group of rows."""
BINS: Final = 20
"""Number of bins of the histogram of labels, from 0 to 1."""
PARTS: Final = ("corpus", "drawing", "tables", "conditions", "sources")
"""Generated parts of the page."""
PLOTS: Final = ("labels", "label-by-condition", "conditions", "listening", "genres")
"""Names of the plots, which are PNG files."""
_COLUMNS: Final = ("clip", "duration", "variation", "chain", "aid", "level", "listener", "score")
_GROUPINGS: Final = {
    "condition": "condition (alone or with others)",
    "family": "family of the chain",
    "conditions": "number of conditions",
    "level": "level, dB SPL",
    "aid": "aid",
    "listener": "listener",
    "kind": "kind of music",
    "genre": "genre",
    "variation": "variation of the clean music",
}
"""Properties by which rows are counted, and their names on the page."""
_NAME: Final = re.compile(r"([a-z0-9_]+)\(")
"""A condition or variation in a chain."""
_AIDS: Final = {
    "nal-r": "NAL-R",
    "none": "none",
    "nal-r(gain=": "NAL-R with an error of gain and tilt",
    "nal-r(for=": "NAL-R for another listener",
}
"""Names of the hearing aids on the page, by the beginning of their name in a table."""
_SYNTHETIC: Final = "synthetic"
_STEP: Final = 5
"""Width of the bins of levels, in dB."""
_MOST_NAMES: Final = 12
"""Maximum number of attributions or genres of a source that the page lists. Otherwise, it shows only their number."""
_MOST_GENRES: Final = 40
"""Maximum number of genres in the plot."""

Array: TypeAlias = npt.NDArray[np.float64]
Groups: TypeAlias = dict[str, list[int]]
"""Indices of rows by group."""


# The corpus


@dataclass(frozen=True)
class Source:
    """A source's clips in one split, with the information needed for attribution.

    Attributes:
        source, split: as in `CLIPS.csv`.
        kind: `recorded` or `rendered`.
        tracks, clips: number of each.
        hours: total duration of the clips.
        genres, licences, attributions, origins: all values that occur, sorted. Origins are packages, repositories or
            collections of scores.
    """

    source: str
    split: str
    kind: str
    tracks: int
    clips: int
    hours: float
    genres: tuple[str, ...]
    licences: tuple[str, ...]
    attributions: tuple[str, ...]
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Voices:
    """The speech bank's voices of one kind in one split.

    Attributes:
        split: train, valid or test.
        kind: `human`, `synthetic` or `derived`.
        voices, female: number of voices, and number of those that sound like a woman or a child.
        languages: number of languages.
        minutes: total duration of speech.
        licences: all licences that occur, sorted.
    """

    split: str
    kind: str
    voices: int
    female: int
    languages: int
    minutes: float
    licences: tuple[str, ...]


@dataclass(frozen=True)
class CorpusDescription:
    """The content of a corpus.

    Attributes:
        digest: see `Corpus.digest`.
        sources: by split and name.
        genres: number of clips by genre, then split.
        voices: of the speech bank. Empty if there is no bank.
        left_out: number of sources, tracks, pieces and voices that the build left out.
        files, size: number of files and bytes of the corpus, without the build's state for resuming.
        built: time and machine that the build took. Empty if unknown.
    """

    digest: str
    sources: tuple[Source, ...]
    genres: dict[str, dict[str, int]]
    voices: tuple[Voices, ...]
    left_out: int
    files: int
    size: int
    build_time: str = ""

    def totals(self) -> list[tuple[str, str, int, int, int, float]]:
        """Return split, kind, sources, tracks, clips and hours of all splits and kinds that occur."""
        found: list[tuple[str, str, int, int, int, float]] = []
        for split in SPLITS:
            for kind in sorted({source.kind for source in self.sources}):
                mine = [source for source in self.sources if (source.split, source.kind) == (split, kind)]
                if mine:
                    tracks, clips = sum(s.tracks for s in mine), sum(s.clips for s in mine)
                    found.append((split, kind, len(mine), tracks, clips, sum(s.hours for s in mine)))
        return found


@dataclass(frozen=True)
class _Line:
    """A clip, with the columns of the table that `Clip` lacks."""

    clip: Clip
    track: str
    kind: str
    attribution: str


def _lines(corpus: Corpus) -> list[_Line]:
    with (corpus.folder / TABLE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        _Line(clip, row.get("track") or clip.path, row.get("kind") or "recorded", row.get("attribution") or "")
        for clip, row in zip(corpus.clips, rows, strict=True)
    ]


def describe_corpus(corpus: Corpus, build_time: str = "") -> CorpusDescription:
    """Count the content of a corpus.

    Args:
        corpus: built by `haaqi-edge corpus build`, or any folder with a `CLIPS.csv`.
        built: time and machine that the build took, as text for the page, such as `90 minutes on 2 cores`.

    Raises:
        CorpusError: `CORPUS.json` or the speech bank is damaged.
    """
    by_source: dict[tuple[str, str], list[_Line]] = defaultdict(list)
    genres: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in _lines(corpus):
        by_source[line.clip.split, line.clip.source].append(line)
        genres[line.clip.genre][line.clip.split] += 1
    sources = [_source(lines) for lines in by_source.values()]
    sources.sort(key=lambda source: (SPLITS.index(cast(Split, source.split)), source.kind, source.source))
    sizes = [
        path.stat().st_size
        for path in corpus.folder.rglob("*")
        if STATE not in path.relative_to(corpus.folder).parts and path.is_file()
    ]
    return CorpusDescription(
        corpus.digest,
        tuple(sources),
        {genre: dict(counts) for genre, counts in sorted(genres.items())},
        _voices(corpus.folder / SPEECH),
        _left_out(corpus.folder / SUMMARY),
        len(sizes),
        sum(sizes),
        build_time,
    )


def _source(lines: Sequence[_Line]) -> Source:
    clips = [line.clip for line in lines]
    return Source(
        clips[0].source,
        clips[0].split,
        lines[0].kind,
        len({line.track for line in lines}),
        len(clips),
        sum(clip.duration for clip in clips) / 3600,
        _names(clip.genre for clip in clips),
        _names(clip.licence for clip in clips),
        _names(line.attribution for line in lines),
        _names(clip.origin for clip in clips),
    )


def _names(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values) - {""}, key=str.lower))


def _voices(folder: Path) -> tuple[Voices, ...]:
    if not folder.is_dir():
        return ()
    bank = SpeechBank(folder).voices
    found = []
    for split in get_args(Split):
        for kind in ("human", "derived", "synthetic"):
            mine = [voice for voice in bank if (voice.split, voice.kind) == (split, kind)]
            if mine:
                minutes = sum(voice.seconds for voice in mine) / 60
                languages = len({voice.language.partition("_")[0] for voice in mine})
                women = sum(voice.female for voice in mine)
                licences = _names(voice.licence for voice in mine)
                found.append(Voices(split, kind, len(mine), women, languages, minutes, licences))
    return tuple(found)


def _left_out(summary: Path) -> int:
    if not summary.is_file():
        return 0
    try:
        return len(json.loads(summary.read_text(encoding="utf-8"))["left_out"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{summary} is not what `haaqi-edge corpus build` writes ({error}): run it again to complete the corpus"
        ) from error


# Label tables


@dataclass(frozen=True)
class Labels:
    """The labels of a group of rows: their number, mean, standard deviation and `PERCENTILES`."""

    rows: int
    mean: float
    deviation: float
    percentiles: tuple[float, ...]


@dataclass(frozen=True)
class TableDescription:
    """The content of a label table.

    Attributes:
        name: train, valid, test or an older table.
        hours: total duration of the sounds.
        unseen: number of rows with conditions that training does not include.
        labels: of all rows.
        histogram: number of rows in `BINS` bins of the label from 0 to 1.
        groups: labels by condition, family, number of conditions, level, aid, listener, kind, genre, variation. A row
            belongs to a group of `condition` for each condition of its chain, and likewise for `variation`.
    """

    name: str
    hours: float
    unseen: int
    labels: Labels
    histogram: tuple[int, ...]
    groups: dict[str, dict[str, Labels]]

    def share(self, grouping: str, group: str) -> float:
        """Return the percentage of rows in a group."""
        found = self.groups[grouping].get(group)
        return 100 * found.rows / self.labels.rows if found else 0.0


@dataclass(frozen=True)
class Description:
    """A corpus and the label tables made from it."""

    corpus: CorpusDescription
    tables: tuple[TableDescription, ...]

    @property
    def current(self) -> list[TableDescription]:
        """The tables in plots and counts on the page: train, valid and test if there are any, otherwise all."""
        return [table for table in self.tables if table.name in SPLITS] or list(self.tables)

    def groups(self, grouping: str) -> list[str]:
        """Return the groups of a grouping in the current tables, in their natural order or by decreasing size."""
        shares: dict[str, float] = defaultdict(float)
        for table in self.current:
            for group in table.groups[grouping]:
                shares[group] += table.share(grouping, group)
        if grouping in ("conditions", "level"):
            return sorted(shares, key=lambda group: (group != f"{PRESENTATION_LEVEL:g}", float(group.split()[0])))
        order = {"aid": [*_AIDS.values()], "listener": [*STANDARD, "notched", "smooth"]}.get(grouping, [])
        return [group for group in order if group in shares] + sorted(
            shares.keys() - set(order), key=lambda group: (-shares[group], group)
        )


def describe_data(
    corpus: Corpus,
    folder: str | Path,
    names: Sequence[str] = (),
    build_time: str = "",
    report: Callable[[str, int, int], None] | None = None,
) -> Description:
    """Describe a corpus and label tables made from it.

    Args:
        corpus: see `describe_corpus`.
        folder: of the tables' shards.
        names: of tables. The default is all in the folder: train, valid and test first, then older ones.
        built: see `describe_corpus`.
        report: called with the current step, the number of finished steps, and the total number.

    Raises:
        CorpusError: there is no table, or one is damaged or was made from another corpus.
    """
    found = table_names(folder)
    # Train, valid, test, then the same of each older table.
    order = {split: number for number, split in enumerate(SPLITS)}
    found.sort(key=lambda name: (name.partition("-")[2], order.get(cast(Split, name.partition("-")[0]), len(order))))
    chosen = list(names) or found
    if not chosen:
        shard_paths(folder, SPLITS[0])  # raises an error that says what was expected
    described = []
    for number, name in enumerate(chosen):
        if report:
            report(f"reading {name}", number, len(chosen))
        described.append(describe_table(folder, name, corpus))
    if report:
        report("counting clips", len(chosen), len(chosen))
    return Description(describe_corpus(corpus, build_time), tuple(described))


def describe_table(folder: str | Path, name: str, corpus: Corpus) -> TableDescription:
    """Count the rows of a label table.

    Args:
        folder: of the shards.
        name: train, valid, test or an older table.
        corpus: the corpus from which the table was made.

    Raises:
        CorpusError: there is no such table, or it is damaged or was made from another corpus.
    """
    part = corpus.part(name)
    for shard in shard_paths(folder, name):
        if (digest := read_corpus_digest(shard)) not in {None, part.digest}:
            raise CorpusError(
                f"{shard} was made from the corpus {digest}, and {part.folder} is the corpus {part.digest}: give the "
                "corpus of this table, or leave the table out"
            )
    columns = _columns(folder, name)
    scores = np.asarray(columns["score"], dtype=np.float64)
    if not np.isfinite(scores).all():
        raise CorpusError(f"the table {name} in {folder} has rows without a label: make them with `haaqi-edge label`")
    groups = _group_rows(columns, part, name)
    return TableDescription(
        name,
        sum(columns["duration"]) / 3600,
        sum(len(rows) for kind, rows in groups["family"].items() if kind in HELD_OUT),
        _labels(scores),
        tuple(np.histogram(np.clip(scores, 0, 1), BINS, (0, 1))[0].tolist()),
        {
            grouping: {group: _labels(scores[rows]) for group, rows in found.items()}
            for grouping, found in groups.items()
        },
    )


def _columns(folder: str | Path, name: str) -> dict[str, list[Any]]:
    """Read the columns that are counted. Building rows would take ten times as long."""
    import pyarrow
    import pyarrow.parquet

    found: dict[str, list[Any]] = {column: [] for column in _COLUMNS}
    for path in shard_paths(folder, name):
        try:
            table = pyarrow.parquet.read_table(path, columns=list(_COLUMNS))
            for column, values in found.items():
                values += table[column].to_pylist()
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            raise CorpusError(f"{path} is damaged or not part of a label table ({error}): make it again") from error
    return found


def _group_rows(columns: Mapping[str, list[Any]], corpus: Corpus, name: str) -> dict[str, Groups]:
    """Return indices of rows by grouping and group."""
    music = {line.clip.path: (line.kind, line.clip.genre) for line in _lines(corpus)}
    groups: dict[str, dict[str, list[int]]] = {grouping: defaultdict(list) for grouping in _GROUPINGS}
    # Tables have few distinct levels, aids, variations and clips.
    levels, aids = {level: _level(level) for level in set(columns["level"])}, {a: _aid(a) for a in set(columns["aid"])}
    variations = {text: set(_NAME.findall(text)) or {"none"} for text in set(columns["variation"])}
    for row, chain in enumerate(columns["chain"]):
        clip = columns["clip"][row]
        kind, genre = (_SYNTHETIC, _SYNTHETIC) if clip.startswith(SYNTHETIC) else music.get(clip, ("", ""))
        if not kind:
            raise CorpusError(
                f"{corpus.folder / TABLE} has no clip {clip}, which the table {name} names: "
                "give the corpus that it was made from"
            )
        conditions = _NAME.findall(chain)
        for condition in set(conditions):
            groups["condition"][condition].append(row)
        for variation in variations[columns["variation"][row]]:
            groups["variation"][variation].append(row)
        groups["family"][family(chain)].append(row)
        groups["conditions"][str(len(conditions))].append(row)
        groups["level"][levels[columns["level"][row]]].append(row)
        groups["aid"][aids[columns["aid"][row]]].append(row)
        groups["listener"][columns["listener"][row]].append(row)
        groups["kind"][kind].append(row)
        groups["genre"][genre].append(row)
    return {grouping: dict(found) for grouping, found in groups.items()}


def _level(level: float) -> str:
    low = int(min(level, 84.9) // _STEP * _STEP)
    return f"{PRESENTATION_LEVEL:g}" if level == PRESENTATION_LEVEL else f"{low} to {low + _STEP}"


def _aid(aid: str) -> str:
    begin, bracket, inner = aid.partition("(")
    name = _AIDS.get(begin + bracket + inner.partition("=")[0] + "=" if bracket else aid)
    if name is None:
        raise CorpusError(f"{aid!r} is not an aid of a label table: expected one of {', '.join(_AIDS)}")
    return name


def _labels(scores: Array) -> Labels:
    return Labels(
        len(scores),
        float(scores.mean()),
        float(scores.std()),
        tuple(float(value) for value in np.percentile(scores, PERCENTILES)),
    )


# Conditions, as they are registered and drawn


class _Probe:
    """A substitute for a random generator that returns the ends of distributions instead of random values.

    Args:
        end: 0 for the lower end, 1 for the upper.
        place: index of the option that `choice` returns.
    """

    def __init__(self, end: int, place: int) -> None:
        self.end, self.place = end, place
        self.intervals, self.options = 0, 1

    def uniform(self, low: float, high: float) -> float:
        self.intervals += 1
        return (low, high)[self.end]

    def integers(self, low: int, high: int) -> int:
        self.intervals += 1
        return (low, high - 1)[self.end]

    def choice(self, values: Sequence[float]) -> float:
        self.options = len(values)
        return values[self.place]


def parameter_values(draw: Draw) -> tuple[list[float], bool]:
    """Return the values from which a parameter is drawn.

    Returns:
        values, whole: all values in order, and False. For an interval, its two ends, and True. An interval with either
        sign has four ends.
    """
    probe = _Probe(0, 0)
    draw(cast(np.random.Generator, probe))
    ends = (0, 1) if probe.intervals else (0,)
    probes = [_Probe(end, place) for end in ends for place in range(probe.options)]
    return sorted({draw(cast(np.random.Generator, each)) for each in probes}), bool(probe.intervals)


def _drawn_text(draw: Draw) -> str:
    values, interval = parameter_values(draw)
    if not interval:
        return ", ".join(map(_number, values))
    if len(values) == 4:
        return f"±{_number(values[2])} to ±{_number(values[3])}"
    return f"{_number(values[0])} to {_number(values[-1])}"


def _number(value: float) -> str:
    return f"{float(f'{value:.4g}'):,g}"


def conditions_table() -> str:
    """Return a Markdown table of all conditions: name, use in the studies, held out, parameters, description."""
    together = {name for kind, names in HELD_OUT.items() if kind not in UNSEEN_FAMILIES for name in names}
    rows = []
    for name in sorted(DEGRADATIONS):
        entry = DEGRADATIONS[name]
        parameters = []
        for parameter, limits in entry.limits.items():
            draw = RANGES.get(name, {}).get(parameter)
            text = f"`{parameter}` {_drawn_text(draw)}" if draw else f"`{parameter}`"
            parameters.append(f"{text} ({_number(limits[0])} to {_number(limits[1])})")
        held_out = "yes" if name in UNSEEN_FAMILIES else "in combinations" if name in together else ""
        about = " ".join((inspect.getdoc(entry.function) or "").partition("\n\n")[0].split())
        rows.append((f"`{name}`", "yes" if name in STUDIES else "", held_out, "; ".join(parameters), about))
    head = ("condition", "in the HAAQI studies", "held out", "parameters: drawn (allowed)", "what it does")
    return _table(head, rows, "lllll")


# Plots


def draw_plots(description: Description, folder: Path) -> list[Path]:
    """Draw the plots of a description.

    Args:
        description: the data to show.
        folder: destination of one PNG file for each of `PLOTS`.

    Returns:
        The files, which are written atomically.
    """
    functions = (_draw_labels, _draw_by_condition, _draw_conditions, _draw_listening, _draw_genres)
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, function in zip(PLOTS, functions, strict=True):
        paths.append(folder / f"{name}.png")
        figure = function(description)
        with replace_atomically(paths[-1]) as part:
            figure.savefig(part, format="png", dpi=100)
    return paths


# The colours of Okabe & Ito, which colour-blind readers can distinguish.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_INK: Final = "#30363d"
_UNSEEN_COLOUR: Final = "#D55E00"


def _axes(columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = list(figure.subplots(1, columns, squeeze=False, **options)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#d0d7de", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=9)
    return figure, axes


def _draw_labels(description: Description) -> Figure:
    figure, (left, right) = _axes(2, (9.6, 3.8))
    edges = np.linspace(0, 1, BINS + 1)
    for table, colour in zip(description.current, _colour_cycle(), strict=False):
        shares = 100 * np.array(table.histogram) / table.labels.rows
        left.stairs(shares, edges, color=colour, linewidth=1.8, label=f"{table.name}, {table.labels.rows:,} rows")
    left.set(xlabel="label (HAAQI)", ylabel=f"rows, % in {1 / BINS:g}", xlim=(0, 1), title="distribution of labels")
    left.legend(frameon=False, fontsize=9)
    numbers = description.groups("conditions")
    tables = description.current
    for offset, table, colour in zip(_offsets(len(tables)), tables, _colour_cycle(), strict=False):
        for place, number in enumerate(numbers):
            if number in table.groups["conditions"]:
                _box(right, table.groups["conditions"][number], place + offset, 0.8 / len(tables), colour)
    right.set_yticks(range(len(numbers)), numbers)
    right.invert_yaxis()
    right.set(
        xlabel="label (HAAQI)", ylabel="conditions in the chain", xlim=(0, 1), title="label by number of conditions"
    )
    return figure


def _draw_by_condition(description: Description) -> Figure:
    """Draw boxes of the labels by family of chains, each from the largest table that includes the family."""
    found: dict[str, Labels] = {}
    for table in description.current:
        for name, labels in table.groups["family"].items():
            if name not in found or labels.rows > found[name].rows:
                found[name] = labels
    names = sorted(found, key=lambda name: -found[name].percentiles[2])
    figure, (axis,) = _axes(1, (8.6, 1.1 + 0.21 * len(names)))
    for place, name in enumerate(names):
        _box(axis, found[name], place, 0.66, _UNSEEN_COLOUR if name in HELD_OUT else _COLOURS[0])
    axis.set_yticks(range(len(names)), [f"{name}  ({found[name].rows:,})" for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set(xlabel="label (HAAQI): median, quartiles, 5th and 95th percentile", xlim=(0, 1))
    axis.set_title("label by condition alone, and by kind of combination (orange: held out)", loc="left", fontsize=10)
    return figure


def _draw_conditions(description: Description) -> Figure:
    names = description.groups("condition")
    figure, (axis,) = _axes(1, (8.6, 1.1 + 0.21 * len(names)))
    _dots(axis, description, "condition", names)
    axis.set(xlabel="rows with the condition, alone or with others, %", title="rows by condition")
    return figure


def _draw_listening(description: Description) -> Figure:
    figure, axes = _axes(4, (13.0, 4.2))
    for axis, grouping in zip(axes, ("level", "aid", "listener", "kind"), strict=True):
        names = description.groups(grouping)
        tables = description.current
        for offset, table, colour in zip(_offsets(len(tables)), tables, _colour_cycle(), strict=False):
            shares = [table.share(grouping, name) for name in names]
            places = np.arange(len(names)) + offset
            axis.barh(places, shares, 0.8 / len(tables), color=colour, label=table.name)
        axis.set_yticks(range(len(names)), [_fold_name(name) for name in names])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set(xlabel="rows, %", title=_GROUPINGS[grouping])
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def _draw_genres(description: Description) -> Figure:
    genres = description.groups("genre")
    shown = genres[:_MOST_GENRES]
    figure, (axis,) = _axes(1, (8.6, 1.1 + 0.21 * len(shown)))
    _dots(axis, description, "genre", shown)
    more = f" ({len(genres) - len(shown)} smaller ones not shown)" if len(genres) > len(shown) else ""
    axis.set(xlabel="rows, %", title=f"rows by genre{more}")
    return figure


def _colour_cycle() -> list[str]:
    return [*_COLOURS, *_COLOURS]


def _offsets(tables: int) -> Array:
    """Return the offset of each table's bar in a group of bars, centred on 0, [tables]."""
    return np.asarray((np.arange(tables) - (tables - 1) / 2) * 0.8 / tables)


def _fold_name(name: str) -> str:
    return name.replace(" with ", "\nwith ").replace(" for ", "\nfor ")


def _box(axis: Axes, labels: Labels, place: float, width: float, colour: str) -> None:
    """Draw a horizontal box of the quartiles, whiskers to the outer percentiles, and the median."""
    low, first, middle, third, high = labels.percentiles
    axis.hlines(place, low, high, color=colour, linewidth=1)
    axis.barh(place, third - first, width, first, color=colour, alpha=0.55)
    axis.vlines(middle, place - width / 2, place + width / 2, color=_INK, linewidth=1.6)


def _dots(axis: Axes, description: Description, grouping: str, names: Sequence[str]) -> None:
    """Draw a line for each group, with a dot for the share of each table."""
    for table, colour in zip(description.current, _colour_cycle(), strict=False):
        shares = np.array([table.share(grouping, name) for name in names])
        places = np.flatnonzero(shares)
        axis.scatter(shares[places], places, s=26, color=colour, label=table.name, zorder=3)
    axis.set_yticks(range(len(names)), list(names))
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(left=0)
    axis.legend(frameon=False, fontsize=9, loc="lower right")


# The page


def page_parts(description: Description, plots: str) -> dict[str, str]:
    """Return the generated parts of the page, as Markdown by name.

    Args:
        description: the data to show.
        plots: folder of the plots, as in the page's links.
    """
    return {
        "corpus": _corpus_part(description.corpus),
        "drawing": _drawing_part(),
        "tables": _tables_part(description, plots),
        "conditions": conditions_table() + "\n\n" + _held_out_part(),
        "sources": _sources_part(description.corpus),
    }


def fill_page(page: str, parts: Mapping[str, str]) -> str:
    """Replace the generated parts of a page.

    Args:
        page: Markdown with a line `<!-- begin NAME ... -->` and a line `<!-- end NAME -->` around each part.
        parts: Markdown by name.

    Raises:
        OptionError: a part has no markers.
    """
    for name, text in parts.items():
        begin = re.search(rf"^<!-- begin {name}\b.*-->$", page, re.MULTILINE)
        end = re.search(rf"^<!-- end {name} -->$", page, re.MULTILINE)
        if begin is None or end is None or end.start() < begin.end():
            raise OptionError(
                f"the page has no part {name}: expected the line <!-- begin {name} --> and after it <!-- end {name} -->"
                " where it belongs; delete the page to have a new one written"
            )
        page = f"{page[: begin.end()]}\n\n{text}\n\n{page[end.start() :]}"
    return page


def read_page_template() -> str:
    """Return a page with headings and empty parts, for `fill_page`."""
    marked = [f"## {name.capitalize()}\n\n<!-- begin {name} -->\n<!-- end {name} -->\n" for name in PARTS]
    return "\n".join(["# Data\n", *marked])


def _corpus_part(corpus: CorpusDescription) -> str:
    totals = corpus.totals()
    counts = [sum(row[2] for row in totals), sum(row[3] for row in totals), sum(row[4] for row in totals)]
    overall = ("all", "", counts[0], counts[1], counts[2], sum(row[5] for row in totals))
    rows = [
        (split, kind, f"{sources:,}", f"{tracks:,}", f"{clips:,}", f"{hours:.1f}")
        for split, kind, sources, tracks, clips, hours in [*totals, overall]
    ]
    size = f"The corpus `{corpus.digest}` takes {corpus.size / 1e9:.2f} GB in {corpus.files:,} files."
    build_time = f" Building it took {corpus.build_time}." if corpus.build_time else ""
    left_out = f" {corpus.left_out:,} sources, tracks, pieces and voices were left out; `{SUMMARY}` says why."
    parts = [
        size + build_time + (left_out if corpus.left_out else ""),
        _table(("split", "kind", "sources", "tracks", "clips", "hours"), rows, "llrrrr"),
    ]
    if corpus.voices:
        voices = [
            (v.split, v.kind, v.voices, v.female, v.languages, f"{v.minutes:.0f}", ", ".join(v.licences))
            for v in corpus.voices
        ]
        head = ("split", "voices", "number", "female", "languages", "minutes", "licences")
        parts += ["The speech bank:", _table(head, voices, "llrrrrl")]
    genres = [(genre, *(f"{found.get(split, 0) or ''}" for split in SPLITS)) for genre, found in corpus.genres.items()]
    parts.append(_details(f"Clips by genre ({len(genres)})", _table(("genre", *SPLITS), genres, "lrrr")))
    return "\n\n".join(parts)


def _drawing_part() -> str:
    """Describe how rows are drawn, with the numbers from the code."""
    lengths = [
        f"{share:.0%} with {number}" if number else f"{share:.0%} without" for number, share in enumerate(COUNTS)
    ]
    seconds = ", ".join(f"{seconds:g} s in {split}" for split, seconds in SECONDS.items())
    return (
        f"A row's sound lasts {seconds}. {GROUP} rows form a group that shares music, level and listener. "
        f"Half of the groups are at {PRESENTATION_LEVEL:g} dB SPL, the others at random levels. Of the groups of "
        f"train, {SYNTHETIC_SHARE:.0%} have synthetic music, and {LADDERS:.0%} have the same conditions in {GROUP} "
        f"strengths. {UNSEEN:.0%} of the groups of test have held-out conditions. Shares of the rows by number of "
        f"conditions: {', '.join(lengths)}. {STUDIED_SHARE:.0%} of the rows draw from the conditions of "
        "the HAAQI studies alone."
    )


def _tables_part(description: Description, plots: str) -> str:
    rows = [
        (
            f"`{table.name}`",
            f"{table.labels.rows:,}",
            f"{table.hours:.1f}",
            f"{table.unseen:,}",
            f"{table.labels.mean:.3f}",
            f"{table.labels.deviation:.3f}",
            *(f"{value:.3f}" for value in table.labels.percentiles),
        )
        for table in description.tables
    ]
    percentiles = [f"{percentile}%" for percentile in PERCENTILES]
    head = ("table", "rows", "hours", "held-out conditions", "mean label", "standard deviation", *percentiles)
    image = partial(_image, plots)
    parts = [
        _table(head, rows, "l" + "r" * (len(head) - 1)),
        image("labels", "Distribution of labels, and labels by number of conditions"),
        image("label-by-condition", "Labels by condition"),
        image("conditions", "Rows by condition"),
        image("listening", "Rows by level, aid, listener and kind of music"),
        image("genres", "Rows by genre"),
    ]
    for grouping, title in _GROUPINGS.items():
        groups = description.groups(grouping)
        counts = [(group, *(_share(table, grouping, group) for table in description.current)) for group in groups]
        inner = _table((title, *(table.name for table in description.current)), counts, "l" + "r" * len(rows))
        parts.append(_details(f"Rows by {title}", inner))
    return "\n\n".join(parts)


def _share(table: TableDescription, grouping: str, group: str) -> str:
    found = table.groups[grouping].get(group)
    return f"{found.rows:,} ({table.share(grouping, group):.1f}%)" if found else ""


def _held_out_part() -> str:
    """Return a table of the held-out kinds and their conditions."""
    rows = [(kind, " then ".join(f"`{name}`" for name in names)) for kind, names in HELD_OUT.items()]
    head = ("held-out kind", "conditions")
    return _table(head, rows, "ll")


def _sources_part(corpus: CorpusDescription) -> str:
    rows = [
        (
            source.source,
            source.split,
            source.kind,
            _format_list(source.genres, "genres"),
            source.tracks,
            source.clips,
            f"{60 * source.hours:.0f}",
            _format_list(source.licences, "licences"),
            _format_list(source.attributions, "names") if source.kind == "rendered" else "; ".join(source.attributions),
            ", ".join(source.origins),
        )
        for source in corpus.sources
    ]
    head = ("source", "split", "kind", "genres", "tracks", "clips", "minutes", "licence", "attribution", "from")
    return _table(head, rows, "llllrrrlll")


def _format_list(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}, see `{TABLE}`" if len(names) > _MOST_NAMES else "; ".join(names)


def _image(folder: str, name: str, title: str) -> str:
    return f"![{title}]({folder}/{name}.png)"


def _details(title: str, inner: str) -> str:
    """Return Markdown that is collapsed until a reader opens it."""
    return f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], align: str) -> str:
    """Return a Markdown table. `align` has `l` or `r` for each column."""
    lines = [head, ["---:" if side == "r" else "---" for side in align[: len(head)]], *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
