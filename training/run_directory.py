"""A run's folder: what was asked, how it went, the curves, the weights so far, and what going on needs.

config.json      what was asked, and of which data
metrics.jsonl    a line an epoch
curves.png       the same as a picture
checkpoint.pt    networks, optimizer, schedule, random numbers: `loop.train` goes on from it
WEIGHTS          the best weights, as the task writes them
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from ..runtime.errors import CheckpointError, OptionError
from ..runtime.writing import putting, to_json, write_file, write_json

Metrics = dict[str, float]
"""what an epoch came to, by name"""
CHECKPOINT: Final = "checkpoint.pt"
DRAWN_EVERY: Final = 20.0
"""seconds between two pictures of a run"""
UNCOMPARED: Final = ("threads", "plan.threads")
"""settings that a run may change when it goes on: they change no number"""


class Run:
    """The folder of one training run.

    Args:
        folder: made when something is written.
        config: what was asked and of which data, as JSON takes it.

    Raises:
        OptionError: the folder is a file, or holds a run that was asked for something else.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self._drawn = time.monotonic()
        self.config: dict[str, Any] = json.loads(json.dumps(config))
        if folder.exists() and not folder.is_dir():
            raise OptionError(f"{folder} is a file: give a folder")
        if self.has_checkpoint():
            self._check()

    def has_checkpoint(self) -> bool:
        """Whether there is a run to go on with."""
        return (self.folder / CHECKPOINT).is_file()

    def begin(self) -> None:
        """Write what was asked; what an earlier run left is overwritten as this one goes."""
        write_json(self.config, self.folder / "config.json")
        self.record([])

    def record(self, history: Sequence[Metrics], last: bool = False) -> None:
        """Write the metrics of all epochs; draw them now and then, and when they are the `last`."""
        lines = "".join(to_json(epoch, indent=None) + "\n" for epoch in history)
        write_file(lines.encode(), self.folder / "metrics.jsonl")
        if history and (last or time.monotonic() - self._drawn > DRAWN_EVERY):
            draw_curves(history, self.folder / "curves.png")
            self._drawn = time.monotonic()

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint, whole or not at all."""
        with putting(self.folder / CHECKPOINT) as part:
            torch.save(dict(state), part)

    def load(self) -> dict[str, Any]:
        """Read the checkpoint; nothing in it is run.

        Raises:
            CheckpointError: it is damaged.
        """
        path = self.folder / CHECKPOINT
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a malformed pickle raises anything
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}): remove it to begin again") from error
        return state

    def _check(self) -> None:
        path = self.folder / "config.json"
        try:
            known = _flat(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise OptionError(f"{path} cannot be read ({error}), so the run there can't go on: remove it") from error
        asked = _flat(self.config)
        other = {
            name: (known.get(name), asked.get(name))
            for name in (known.keys() | asked.keys()) - set(UNCOMPARED)
            if known.get(name) != asked.get(name)
        }
        if other:
            told = "; ".join(f"{name} was {was!r} and is {now!r}" for name, (was, now) in sorted(other.items()))
            raise OptionError(
                f"{self.folder} holds a run that was asked for something else ({told}): ask for the same to go on, "
                "or give another folder"
            )


def _flat(config: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Settings within settings by names such as `plan.seed`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{within}{name}.") if inner else {within + name: value}
    return found


def draw_curves(history: Sequence[Metrics], path: Path) -> None:
    """Write a PNG of metrics over epochs: losses on the left, correlations on the right where there are any."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = [name for name in history[0] if name not in ("epoch", "rows", "seconds")]
    correlations = [name for name in names if name.endswith(("lcc", "srcc"))]
    sides = [[name for name in names if name not in correlations], correlations]
    figure = Figure(figsize=(9, 3.8))
    axes = figure.subplots(1, 2, gridspec_kw={"left": 0.07, "right": 0.98, "bottom": 0.15, "wspace": 0.15})
    epochs = [epoch["epoch"] + 1 for epoch in history]
    for axis, side, title in zip(axes, sides, ("losses", "agreement with the labels"), strict=True):
        for name in side:
            axis.plot(epochs, [epoch[name] for epoch in history], marker=".", label=name)
        axis.set(xlabel="epoch", title=title)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if side:
            axis.legend(fontsize=8)
    FigureCanvasAgg(figure)
    with putting(path) as part:
        figure.savefig(part, format="png", dpi=100)
