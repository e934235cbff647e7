"""Plots of comparisons and evaluations: scores, changes and errors. They need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..haaqi.cochlea import RATE, centre_frequencies
from ..haaqi.index import Haaqi, Tiles
from ..haaqi.kernels import SMOOTHING
from ..runtime.writing import replace_atomically
from ..training.data.targets import PATCH, dense_targets
from ..training.statistics import agreement
from .comparison import Comparison
from .labelled_files import Evaluation


def save_plot(comparison: Comparison, first: str, second: str, budget: float, path: Path) -> None:
    """Save a PNG file with a scatter plot of both scores, and a histogram of the changes with the budget.

    Args:
        comparison: the scores to plot.
        first, second: names of the two predictors.
        budget: position of the dashed lines in the histogram.
        path: the PNG file. It is written completely or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    scatter, histogram = figure.subplots(1, 2)
    scatter.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    scatter.scatter(comparison.first, comparison.second, s=8, alpha=0.5, linewidths=0)
    scatter.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=first, ylabel=second, title="score")
    change = comparison.change
    limit = max(float(np.abs(change).max()), budget) * 1.05
    histogram.hist(change, bins=61, range=(-limit, limit))
    for bound in (-budget, budget):
        histogram.axvline(bound, color="tab:red", linestyle="--", linewidth=1)
    histogram.set(
        yscale="log", xlabel="change of a score", ylabel="sounds", title=f"budget (dashed): 99% within ±{budget:g}"
    )
    histogram.set_ylim(bottom=0.8)
    FigureCanvasAgg(figure)
    with replace_atomically(path) as part:
        figure.savefig(part, format="png", dpi=100)


def save_scatter(evaluation: Evaluation, model: str, path: Path) -> None:
    """Save a PNG file with the predictions over the labels, with prediction intervals, and the errors.

    Args:
        evaluation: the predictions and labels to plot.
        model: name of the model.
        path: the PNG file. It is written completely or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.8), layout="constrained")
    scatter, histogram = figure.subplots(1, 2)
    scatter.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    if evaluation.intervals is not None:
        low, high = np.array(evaluation.intervals).T
        scatter.vlines(
            evaluation.labels, low, high, color="tab:blue", alpha=0.15, linewidth=1, label="prediction interval"
        )
    scatter.scatter(evaluation.labels, evaluation.predicted, s=12, alpha=0.8, linewidths=0, zorder=3, clip_on=False)
    found = agreement(evaluation.predicted, evaluation.labels)
    lcc = "undefined" if np.isnan(found.lcc) else f"{found.lcc:.3f}"
    title = f"{len(evaluation.rows)} files: LCC {lcc}, RMSE {np.sqrt(found.mse):.3f}"
    scatter.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="label", ylabel=f"score of {model}", title=title)
    if evaluation.intervals is not None:
        scatter.legend(loc="upper left", fontsize=8)
    errors = evaluation.predicted - evaluation.labels
    limit = max(0.1, float(np.ceil(10 * np.abs(errors).max()) / 10))
    histogram.hist(errors, bins=40, range=(-limit, limit))
    histogram.axvline(0, color="0.5", linewidth=1)
    histogram.axvline(errors.mean(), color="tab:red", linestyle="--", linewidth=1, label=f"mean {errors.mean():+.3f}")
    histogram.legend(loc="upper right", fontsize=8)
    histogram.set(xlim=(-limit, limit), xlabel="score - label", ylabel="files", title="errors")
    FigureCanvasAgg(figure)
    with replace_atomically(path) as part:
        figure.savefig(part, format="png", dpi=100)


class HaaqiPanel(NamedTuple):
    """A comparison to plot: its title, its result, and its intermediate results by band and time."""

    title: str
    result: Haaqi
    tiles: Tiles


def save_haaqi_plot(panels: Sequence[HaaqiPanel], path: Path) -> None:
    """Save a PNG file of what HAAQI measures by band and time: envelope correlation and synchrony.

    There is a row for each comparison. A cell covers 160 ms of a band. It is empty where the reference is inaudible or,
    in the envelopes, does not change.

    Args:
        panels: at least one.
        path: the PNG file. It is written completely or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.2 + 2.6 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False, sharex=True, sharey=True)
    bands = centre_frequencies()
    ticks = [125, 250, 500, 1000, 2000, 4000, 8000]
    for axes, panel in zip(grid, panels, strict=True):
        patches = (panel.tiles.start + panel.tiles.reference.shape[1] * SMOOTHING) // PATCH + 1
        synchrony, envelope, _ = dense_targets(panel.tiles, patches)
        result = panel.result
        parts = (
            (envelope, f"envelope correlation (HAAQI's cepstral term: {result.cepstral:.3f})"),
            (synchrony, f"synchrony ({result.synchrony:.3f})"),
        )
        for axis, (values, title) in zip(axes, parts, strict=True):
            image = axis.imshow(
                values.T,
                vmin=0,
                vmax=1,
                cmap="viridis",
                aspect="auto",
                origin="lower",
                interpolation="nearest",
                extent=(0, patches * PATCH / RATE, -0.5, len(bands) - 0.5),
            )
            axis.set_title(title, fontsize=9)
            axis.set_yticks(np.interp(ticks, bands, np.arange(len(bands))), [f"{tick:g}" for tick in ticks])
        axes[0].set_ylabel(f"{panel.title}: {result.score:.3f}\nHz")
        figure.colorbar(image, ax=axes[1])
    for axis in grid[-1]:
        axis.set_xlabel("seconds")
    FigureCanvasAgg(figure)
    with replace_atomically(path) as part:
        figure.savefig(part, format="png", dpi=100)
