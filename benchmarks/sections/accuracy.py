"""Accuracy section: agreement of models with HAAQI on a label table's test split, beside the results of the paper."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Picture

from ...runtime import Audiogram, Scorer
from ...runtime.errors import CorpusError, HaaqiEdgeError
from ...training.card import split_figures
from ...training.corpus.clips import Corpus
from ...training.data.features import digest
from ...training.data.labels import read, table_for
from ...training.data.rendering import present
from ...training.data.rows import Row
from ...training.degradations import BEYOND, STUDIES
from ..context import Workbench
from ..parallel import spread
from ..report.plots import axes, colour, reach
from ..report.published import ACCURACY
from ..report.schema import Section
from ..report.section_builder import Sheet
from ..report.store import Store

TITLE: Final = "Accuracy"
CHUNK: Final = 25
"""number of rows that a process scores before the scores are stored"""
QUICK: Final = 100
"""number of rows in a quick run"""
DIFFERS: Final = (
    "What differs from the paper: the music (the authors' own; here openly licensed music, mostly game and "
    f"electronic, of sources that training never heard), the sounds (here {len(STUDIES | BEYOND)} conditions in "
    "chains, half of them presented at other levels than 65 dB SPL, for aids fitted right, wrong or not at all) "
    "and the labels (here this project's HAAQI, within 1e-3 of pyclarity's). So the two tables are not measured "
    "on one thing; the row `comparable` (conditions of the HAAQI studies, NAL-R, 65 dB SPL) is the nearest that "
    "there is."
)


def measure(bench: Workbench) -> Section:
    """Score the rows of the test split, and compare the scores with the labels."""
    sheet, options = Sheet("accuracy", TITLE), bench.options
    _published(sheet)
    if options.music is None or options.table is None:
        why = "it needs a label table and the music that its rows are cut from: give --table and --music"
        sheet.lacks("agreement with HAAQI on the label table", why)
        return sheet.section()
    corpus = Corpus(options.music)
    name = table_for(options.table, "test", corpus)
    corpus, rows = corpus.part(name), read(options.table, name)
    if options.quick and len(rows) > QUICK:
        chosen = np.sort(np.random.default_rng(options.seed).choice(len(rows), QUICK, replace=False))
        rows = [rows[place] for place in chosen]
        sheet.lacks("all rows of the test split", f"a quick run draws {QUICK} by chance")
    models = {"nano": "nano"}
    if options.quick:
        sheet.lacks("nano-int8", "a quick run has no time for it")
    else:
        models["nano-int8"] = "nano-int8"
    if options.student is not None:
        models["folded"] = str(bench.folded.folder)
    else:
        sheet.lacks("the student on the same rows", "the authors' weights are needed: --student")
    table = np.array(_scores(bench, rows, tuple(models.values()), corpus.folder), dtype=np.float64)
    failed: npt.NDArray[np.bool_] = np.isnan(table).max(axis=1)
    if failed.any():
        sheet.lacks(f"{failed.sum()} rows", "they could not be scored (silent, for example)")
    kept = [row for row, gone in zip(rows, failed, strict=True) if not gone]
    labels, of = np.array([row.score for row in kept]), hashlib.sha256(repr(kept).encode()).hexdigest()[:12]
    sheet.sampled("HAAQI", "mean HAAQI of the rows", labels, of=f"test rows {of}", statistic="mean", better=None)
    genres = {clip.path: clip.genre for clip in corpus.clips}
    for column, name in enumerate(models):
        predicted = table[~failed, column]
        sheet.sampled(name, f"{name}: mean score", predicted, of=f"test rows {of}", statistic="mean", better=None)
        bench.told(f"accuracy: {name}, intervals", 0, 0)
        found = split_figures(kept, predicted.astype(np.float32), genres)
        _told(sheet, name, found)
    main = sheet.figures["accuracy/nano/all/lcc"]
    assert main.value is not None
    assert main.low is not None
    assert main.high is not None
    sheet.said.append(
        f"nano follows HAAQI on {len(kept)} sounds of unheard music with LCC {main.value:.3f} ({main.low:.3f} to "
        f"{main.high:.3f}); the paper reports {ACCURACY[0].lcc:.3f} for the teacher and {ACCURACY[3].lcc:.3f} for "
        "the student on its own test set. nano is a far smaller network and follows HAAQI less. The teacher is "
        "not scored on these sounds, the student where --student gives its weights."
    )
    sheet.said.append(DIFFERS)
    return sheet.section()


def _published(sheet: Sheet) -> None:
    rows = [[one.model, f"{one.lcc:.4f}", f"{one.srcc:.4f}", f"{one.mse:.4f}", one.table] for one in ACCURACY]
    sheet.table(
        "As published, on the authors' test set",
        ["", "LCC", "SRCC", "MSE", "table"],
        rows,
        "Wisnu et al., arXiv 2401.01145; no intervals are published.",
    )


def _scores(bench: Workbench, rows: Sequence[Row], models: tuple[str, ...], music: Path) -> list[list[float]]:
    """Score rows chunk by chunk in parallel processes; return the scores [rows][models]."""
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    calls = [(bench.store, chunk, models, music) for chunk in chunks]
    found = spread(
        _chunk,
        calls,
        bench.options.jobs,
        lambda done: bench.told("accuracy: scoring", min(done * CHUNK, len(rows)), len(rows)),
    )
    return [row for chunk in found for row in chunk]


def _chunk(store: Store, rows: Sequence[Row], models: tuple[str, ...], music: Path) -> Any:
    settings = (digest(rows), models)
    return store.cell("accuracy/chunk", settings, lambda: [_row(row, models, music) for row in rows])


def _row(row: Row, models: tuple[str, ...], music: Path) -> list[float]:
    """Return the scores of a row, one per model; all are NaN if the row cannot be scored."""
    _, heard, rate = present(row, _corpus(music))
    listener = Audiogram(row.audiogram, row.listener)
    try:
        return [_scorer(model).score((heard.astype(np.float32), rate), listener).score for model in models]
    except CorpusError:
        raise
    except HaaqiEdgeError:
        return [float("nan")] * len(models)


@cache
def _corpus(music: Path) -> Corpus:
    return Corpus(music)


@cache
def _scorer(model: str) -> Scorer:
    return Scorer(model, threads=1)


def _told(sheet: Sheet, name: str, found: dict[str, Any]) -> None:
    """Add the metrics of all rows and of each group, and a table of them."""
    rows = []
    for kind, part in found.items():
        groups = {"": part} if "lcc" in part else part
        for group, figures in groups.items():
            key = f"{name}/{kind}/{group}" if group else f"{name}/{kind}"
            title = f"{kind}: {group}" if group else kind
            sheet.judged(key, f"{name}, {title}", figures, name if key == f"{name}/all" else None)
            rows.append(
                [
                    title,
                    *(
                        f"{figures[s]:.3f} ({figures[f'{s}_low']:.3f} to {figures[f'{s}_high']:.3f})"
                        for s in ("lcc", "srcc")
                    ),
                    f"{figures['mse']:.4f} ({figures['mse_low']:.4f} to {figures['mse_high']:.4f})",
                    str(figures["rows"]),
                ]
            )
    sheet.table(
        f"{name} against HAAQI",
        ["", "LCC (95%)", "SRCC (95%)", "MSE (95%)", "sounds"],
        rows,
        "seen, unseen: conditions that training holds or not; comparable: conditions of the HAAQI studies, "
        "NAL-R, 65 dB SPL. Groups of fewer than 20 sounds are left out.",
    )


def draw(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot scores against labels, and the LCC by group."""
    if section.figure("accuracy/nano/all/lcc") is None:
        return {}
    labels, predicted = (np.array(section.series[key].values) for key in ("HAAQI", "nano"))
    picture, (scatter, groups) = axes(1, 2, size=(11.0, 5.6), width_ratios=[1, 1.15])
    scatter.plot([0, 1], [0, 1], color="#8b949e", linewidth=1)
    scatter.scatter(labels, predicted, s=7, alpha=0.35, linewidths=0, color=colour("nano"))
    scatter.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="HAAQI", ylabel="nano", title="Every sound")
    found = [
        f
        for f in section.figures
        if f.key.endswith("/lcc") and f.key.startswith("accuracy/nano/") and f.value is not None
    ]
    found = [f for f in found if f.key.count("/") == 3 or "/condition/" in f.key or "/level/" in f.key]
    places: npt.NDArray[np.intp] = np.arange(len(found))
    values = np.array([f.value for f in found])
    ends = np.array([reach(f) for f in found]).T
    groups.errorbar(values, places, xerr=ends, fmt="o", markersize=4, color=colour("nano"), lw=1.2)
    groups.set_yticks(places, [f.name.removeprefix("nano, ").removesuffix(", LCC") for f in found], fontsize=7.5)
    groups.invert_yaxis()
    groups.set(xlabel="LCC (95%)", title="By group")
    caption = (
        "nano against HAAQI on the test split: every sound, and the linear correlation by group with 95% intervals."
    )
    return {"accuracy": (picture, caption)}
