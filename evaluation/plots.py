"""Plot of a comparison: the scores of both predictors, and a histogram of the changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..runtime.writing import putting
from .comparison import Comparison


def draw(comparison: Comparison, first: str, second: str, budget: float, path: Path) -> None:
    """Save a PNG file with a scatter plot of both scores, and a histogram of the changes with the budget.

    Args:
        comparison: the scores to draw.
        first, second: names of the two predictors.
        budget: position of the dashed lines in the histogram.
        path: the PNG file. It is written completely or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    scatter, spread = figure.subplots(1, 2)
    scatter.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    scatter.scatter(comparison.first, comparison.second, s=8, alpha=0.5, linewidths=0)
    scatter.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=first, ylabel=second, title="score")
    change = comparison.change
    span = max(float(np.abs(change).max()), budget) * 1.05
    spread.hist(change, bins=61, range=(-span, span))
    for side in (-budget, budget):
        spread.axvline(side, color="tab:red", linestyle="--", linewidth=1)
    spread.set(
        yscale="log", xlabel="change of a score", ylabel="sounds", title=f"99% within ±{budget:g} (dashed) is asked"
    )
    spread.set_ylim(bottom=0.8)
    FigureCanvasAgg(figure)
    with putting(path) as part:
        figure.savefig(part, format="png", dpi=100)
