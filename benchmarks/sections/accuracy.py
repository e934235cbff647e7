"""Accuracy section: agreement of models with HAAQI on a label table's test split, beside the results of the paper."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Picture

from ...runtime import Audiogram, Scorer
from ...runtime.audio.reading import open_audio
from ...runtime.errors import CorpusError, HaaqiEdgeError
from ...training.card import metrics_by_group
from ...training.corpus.clips import Corpus
from ...training.data.features import rows_digest
from ...training.data.labels import read_rows, resolve_table
from ...training.data.rendering import render_row
from ...training.data.rows import Row
from ...training.degradations import EXTENDED, STUDIES
from ..context import BenchContext
from ..report.plots import create_axes, error_bars, model_colour
from ..report.published import ACCURACY
from ..report.schema import Section
from ..report.section_builder import SectionBuilder
from ..report.store import MeasurementStore

TITLE: Final = "Accuracy"
_CHUNK: Final = 25
"""number of rows that a process scores before the scores are stored"""
_QUICK_ROWS: Final = 100
"""number of rows in a quick run"""
_DIFFERENCES: Final = (
    "Differences from the paper: the music (the authors' own; here openly licensed music, mostly game and electronic, "
    f"from sources that were not used in training), the sounds (here {len(STUDIES | EXTENDED)} conditions in chains, "
    "half of them presented at other levels than 65 dB SPL, with hearing aids that fit, do not fit, or are absent) and "
    "the labels (here this project's HAAQI, within 1e-3 of pyclarity's). So the two tables are not measured on the "
    "same data. The row `comparable` (conditions of the HAAQI studies, NAL-R, 65 dB SPL) is the closest to the paper."
)


def measure(context: BenchContext) -> Section:
    """Score the rows of the test split, and compare the scores with the labels."""
    builder, options = SectionBuilder("accuracy", TITLE), context.options
    _add_published(builder)
    if options.music is None or options.table is None:
        why = "it needs a label table and the music of its rows: give --table and --music"
        builder.add_missing("agreement with HAAQI on the label table", why)
        return builder.build()
    corpus = Corpus(options.music)
    name = resolve_table(options.table, "test", corpus)
    corpus, rows = corpus.part(name), read_rows(options.table, name)
    if options.quick and len(rows) > _QUICK_ROWS:
        numbers = np.sort(np.random.default_rng(options.seed).choice(len(rows), _QUICK_ROWS, replace=False))
        rows = [rows[number] for number in numbers]
        builder.add_missing("all rows of the test split", f"a quick run takes {_QUICK_ROWS} at random")
    models = {"nano": "nano"}
    if options.quick:
        builder.add_missing("nano-int8", "a quick run has no time for it")
    else:
        models["nano-int8"] = "nano-int8"
    if options.student is not None:
        models["folded"] = str(context.folded_student.folder)
    else:
        builder.add_missing("the student on the same rows", "the authors' weights are needed: --student")
    scores = np.array(_score_rows(context, rows, tuple(models.values()), corpus.folder), dtype=np.float64)
    failed: npt.NDArray[np.bool_] = np.any(np.isnan(scores), axis=1)
    if failed.any():
        builder.add_missing(f"{failed.sum()} rows", "they could not be scored (silent, for example)")
    rows = [row for row, is_failed in zip(rows, failed, strict=True) if not is_failed]
    labels, of = np.array([row.score for row in rows]), hashlib.sha256(repr(rows).encode()).hexdigest()[:12]
    builder.add_measurements(
        "HAAQI", "mean HAAQI of the rows", labels, of=f"test rows {of}", statistic="mean", better=None
    )
    genres = {clip.path: clip.genre for clip in corpus.clips}
    for column, name in enumerate(models):
        predicted = scores[~failed, column]
        builder.add_measurements(
            name, f"{name}: mean score", predicted, of=f"test rows {of}", statistic="mean", better=None
        )
        context.on_progress(f"accuracy: {name}, intervals", 0, 0)
        _add_metrics(builder, name, metrics_by_group(rows, predicted.astype(np.float32), genres))
    lcc = builder.figures["accuracy/nano/all/lcc"]
    if lcc.value is not None and lcc.low is not None and lcc.high is not None:
        builder.statements.append(
            f"On {len(rows)} sounds of music that was not used in training, nano's LCC with HAAQI is {lcc.value:.3f} "
            f"({lcc.low:.3f} to {lcc.high:.3f}). The paper reports {ACCURACY[0].lcc:.3f} for the teacher and "
            f"{ACCURACY[3].lcc:.3f} for the student on its own test set. nano is a far smaller network and less "
            "accurate. The teacher does not score these sounds; the student does if --student gives its weights."
        )
    builder.statements.append(_DIFFERENCES)
    return builder.build()


def _add_published(builder: SectionBuilder) -> None:
    rows = [[one.model, f"{one.lcc:.4f}", f"{one.srcc:.4f}", f"{one.mse:.4f}", one.table] for one in ACCURACY]
    builder.add_table(
        "As published, on the authors' test set",
        ["", "LCC", "SRCC", "MSE", "table"],
        rows,
        "Wisnu et al., arXiv 2401.01145; no intervals are published.",
    )


def _score_rows(context: BenchContext, rows: Sequence[Row], models: tuple[str, ...], music: Path) -> list[list[float]]:
    """Score rows chunk by chunk in parallel processes; return the scores [rows][models]."""
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    work = partial(_score_chunk, context.store, models, music)
    scores = context.parallel_map(work, chunks, f"accuracy: scoring, {_CHUNK} rows a step")
    return [row for chunk in scores for row in chunk]


def _score_chunk(
    store: MeasurementStore, models: tuple[str, ...], music: Path, rows: Sequence[Row]
) -> list[list[float]]:
    """Score rows, or load their scores from the store; return the scores [rows][models]."""
    settings = (rows_digest(rows), models)
    scores: list[list[float]] = store.load_or_measure(
        "accuracy/chunk", settings, lambda: [_score_row(row, models, music) for row in rows]
    )
    return scores


def _score_row(row: Row, models: tuple[str, ...], music: Path) -> list[float]:
    """Return the scores of a row, one per model; all are NaN if the row cannot be scored."""
    _, samples, rate = render_row(row, _corpus(music))
    listener = Audiogram(row.audiogram, row.listener)
    try:
        sound = open_audio((samples.astype(np.float32), rate), presented=True)
        return [_scorer(model).score(sound, listener).score for model in models]
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


def _add_metrics(builder: SectionBuilder, name: str, metrics_by_kind: dict[str, Any]) -> None:
    """Add the metrics of all rows and of each group, and a table of them."""
    rows = []
    for kind, part in metrics_by_kind.items():
        groups = {"": part} if "lcc" in part else part
        for group, metrics in groups.items():
            key = f"{name}/{kind}/{group}" if group else f"{name}/{kind}"
            title = f"{kind}: {group}" if group else kind
            builder.add_agreement(key, f"{name}, {title}", metrics, name if key == f"{name}/all" else None)
            rows.append(
                [
                    title,
                    *(
                        f"{metrics[s]:.3f} ({metrics[f'{s}_low']:.3f} to {metrics[f'{s}_high']:.3f})"
                        for s in ("lcc", "srcc")
                    ),
                    f"{metrics['mse']:.4f} ({metrics['mse_low']:.4f} to {metrics['mse_high']:.4f})",
                    str(metrics["rows"]),
                ]
            )
    builder.add_table(
        f"{name} against HAAQI",
        ["", "LCC (95%)", "SRCC (95%)", "MSE (95%)", "sounds"],
        rows,
        "seen, unseen: conditions that training uses or not; comparable: conditions of the HAAQI studies, "
        "NAL-R, 65 dB SPL. Groups of fewer than 20 sounds are omitted.",
    )


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot scores against labels, and the LCC by group."""
    if section.figure("accuracy/nano/all/lcc") is None:
        return {}
    labels, predicted = (np.array(section.series[key].values) for key in ("HAAQI", "nano"))
    picture, (scatter, groups) = create_axes(1, 2, size=(11.0, 5.6), width_ratios=[1, 1.15])
    scatter.plot([0, 1], [0, 1], color="#8b949e", linewidth=1)
    scatter.scatter(labels, predicted, s=7, alpha=0.35, linewidths=0, color=model_colour("nano"))
    scatter.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="HAAQI", ylabel="nano", title="Every sound")
    figures = [
        f
        for f in section.figures
        if f.key.endswith("/lcc") and f.key.startswith("accuracy/nano/") and f.value is not None
        if f.key.count("/") == 3 or "/condition/" in f.key or "/level/" in f.key
    ]
    places: npt.NDArray[np.intp] = np.arange(len(figures))
    values = np.array([f.value for f in figures])
    bars = np.array([error_bars(f) for f in figures]).T
    groups.errorbar(values, places, xerr=bars, fmt="o", markersize=4, color=model_colour("nano"), lw=1.2)
    groups.set_yticks(places, [f.name.removeprefix("nano, ").removesuffix(", LCC") for f in figures], fontsize=7.5)
    groups.invert_yaxis()
    groups.set(xlabel="LCC (95%)", title="By group")
    caption = (
        "nano against HAAQI on the test split: every sound, and the linear correlation by group with 95% intervals."
    )
    return {"accuracy": (picture, caption)}
