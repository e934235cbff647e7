"""Common style of all plots: axes, bars, bands, and a colour for each model.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from ...runtime.writing import replace_atomically
from .schema import Figure

COLOURS: Final = {
    "pyclarity": "#999999",
    "HAAQI": "#000000",
    "teacher": "#D55E00",
    "student": "#E69F00",
    "traced": "#F0E442",
    "folded": "#56B4E9",
    "int8": "#0072B2",
    "nano": "#009E73",
    "nano-int8": "#CC79A7",
}
_OTHER_COLOURS: Final = ("#8C564B", "#7F7F00", "#5B5B9F", "#B04080")
"""colours of bundles that a user adds"""
_INK: Final = "#30363d"
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": "#8b949e",
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#d0d7de",
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.dpi": 110,
    "lines.linewidth": 1.8,
}
rcParams.update(_STYLE)


def model_colour(name: str) -> str:
    """Return the colour of a model."""
    return COLOURS.get(name, _OTHER_COLOURS[sum(map(ord, name)) % len(_OTHER_COLOURS)])


def create_axes(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (9.0, 4.4), **options: Any
) -> tuple[Picture, Any]:
    """Create a picture in the common style; return it with its axes, as `Figure.subplots` returns them."""
    picture = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(picture)
    return picture, picture.subplots(rows, columns, **options)


def draw_bars(
    values: Mapping[str, float], colours: Sequence[str], label: str, text: Callable[[float], str], *, log: bool = False
) -> Picture:
    """Draw horizontal bars, each with its value.

    On a logarithmic scale the length of a bar has no meaning, so dots are drawn instead.

    Args:
        values: value of each bar, by its label.
        colours: colour of each bar.
        label: label of the axis.
        text: formats a value.
        log: whether the scale is logarithmic.
    """
    picture, ax = create_axes(size=(9.0, 0.9 + 0.42 * len(values)))
    places = range(len(values))
    if log:
        ax.scatter(list(values.values()), places, color=list(colours), s=90, zorder=3, edgecolor=_INK, linewidth=0.6)
    else:
        ax.barh(places, list(values.values()), color=list(colours), height=0.68)
    ax.set_yticks(places, list(values))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=log)
    ax.set_xlabel(label)
    if log:
        ax.set_xscale("log")
    for place, value in enumerate(values.values()):
        ax.annotate(
            text(value),
            (value, place),
            (9, 0) if log else (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=_INK,
        )
    ax.margins(x=0.16)
    return picture


def draw_band(ax: Axes, x: Sequence[float], figures: Sequence[Figure | None], name: str, colour: str) -> None:
    """Draw a line through results, with a band for their intervals."""
    known = [
        (place, figure, figure.value)
        for place, figure in zip(x, figures, strict=True)
        if figure is not None and figure.value is not None
    ]
    if not known:
        return
    places = [place for place, *_ in known]
    values = [value for *_, value in known]
    ax.plot(places, values, color=colour, marker="o", markersize=4, label=name)
    low = [value - error_bars(figure)[0] for _, figure, value in known]
    high = [value + error_bars(figure)[1] for _, figure, value in known]
    ax.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def error_bars(figure: Figure | None) -> tuple[float, float]:
    """Return how far the interval of a result extends below and above its value."""
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return 0.0, 0.0
    return figure.value - figure.low, figure.high - figure.value


def save_picture(picture: Picture, path: Path) -> None:
    """Save a picture as a PNG file. It is written completely or not at all."""
    with replace_atomically(path) as part:
        picture.savefig(part, format="png", dpi=110)
