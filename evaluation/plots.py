"""Plot of a comparison: the scores of both predictors, and a histogram of the changes. It needs matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..runtime.writing import replace_atomically
from .comparison import Comparison


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
