"""The folder of a training run: settings, metrics, curves, best weights, and the checkpoint for resuming.

config.json      the settings, a fingerprint of the data, and the provenance: command, versions, files, device
metrics.jsonl    one line per epoch
curves.png       the metrics as a plot
checkpoint.pt    networks, optimizer, schedule, random state: `loop.train` resumes from it
WEIGHTS          the best weights, in the task's format
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from ..runtime.errors import CheckpointError, OptionError
from ..runtime.writing import replace_atomically, to_json, write_file, write_json

Metrics = dict[str, float]
"""The metrics of an epoch, by name."""
CHECKPOINT: Final = "checkpoint.pt"
PLOT_INTERVAL: Final = 20.0
"""Seconds between two plots of a run."""
IGNORED_SETTINGS: Final = ("threads", "trainer.threads")
"""Settings that may differ when a run is resumed, because they do not affect the results."""
PROVENANCE: Final = "provenance"
"""Key of config.json for the record of how the run was made. It may differ when a run is resumed."""
_PACKAGES: Final = ("haaqi-edge", "torch", "numpy", "scipy", "numba", "soxr")
_MAX_HASHED: Final = 1 << 30
"""bytes of the largest file whose hash is recorded"""


class RunDirectory:
    """The folder of one training run.

    Args:
        folder: created when something is written.
        config: the settings and the data, as values that JSON can represent.

    Raises:
        OptionError: the folder is a file, or holds a run with other settings.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self._plotted = time.monotonic()
        self.config: dict[str, Any] = json.loads(json.dumps(config))
        if folder.exists() and not folder.is_dir():
            raise OptionError(f"{folder} is a file: give a folder")
        if self.has_checkpoint():
            self._check()

    def has_checkpoint(self) -> bool:
        """Return whether there is a run to resume."""
        return (self.folder / CHECKPOINT).is_file()

    def begin(self, resolved: Mapping[str, str] | None = None) -> None:
        """Write the settings and the provenance. The files of an earlier run are overwritten as this one proceeds.

        Args:
            resolved: values of settings that are `auto`, such as the device and the precision in use.
        """
        provenance = {**describe_provenance(), **(resolved or {})}
        write_json({**self.config, PROVENANCE: provenance}, self.folder / "config.json")
        self.record([])

    def record(self, history: Sequence[Metrics], last: bool = False) -> None:
        """Write the metrics of all epochs. Plot them from time to time, and always if they are the `last`."""
        lines = "".join(to_json(epoch, indent=None) + "\n" for epoch in history)
        write_file(lines.encode(), self.folder / "metrics.jsonl")
        if history and (last or time.monotonic() - self._plotted > PLOT_INTERVAL):
            plot_curves(history, self.folder / "curves.png")
            self._plotted = time.monotonic()

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint atomically."""
        with replace_atomically(self.folder / CHECKPOINT) as part:
            torch.save(dict(state), part)

    def load(self) -> dict[str, Any]:
        """Read the checkpoint. No code in it is run.

        Raises:
            CheckpointError: it is damaged.
        """
        path = self.folder / CHECKPOINT
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a malformed pickle can raise any exception
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}): remove it to start again") from error
        return state

    def _check(self) -> None:
        path = self.folder / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            known = _flat({key: value for key, value in found.items() if key != PROVENANCE})
        except (OSError, ValueError, AttributeError) as error:
            raise OptionError(
                f"{path} cannot be read ({error}), so the run there cannot be resumed: remove it"
            ) from error
        asked = _flat(self.config)
        other = {
            name: (known.get(name), asked.get(name))
            for name in (known.keys() | asked.keys()) - set(IGNORED_SETTINGS)
            if known.get(name) != asked.get(name)
        }
        if other:
            changes = "; ".join(f"{name} was {was!r} and is {now!r}" for name, (was, now) in sorted(other.items()))
            raise OptionError(
                f"{self.folder} holds a run that has other settings ({changes}): use the same settings to resume, "
                "or give another folder"
            )


def describe_provenance(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Describe how a run is made: the command, the versions, and the files that the command names.

    Args:
        command: the program's arguments. Default: those of this process.

    Returns:
        `command`, `started` (UTC), `versions` of Python and of packages, `platform`, and `files`: the files and folders
        among the arguments, with size and SHA-256 of files. The fingerprint of examples is in the settings (`data`).
    """
    arguments = list(sys.argv if command is None else command)
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    files = (_describe_path(part.rpartition("=")[2]) for part in arguments[1:])
    return {
        "command": shlex.join([Path(arguments[0]).name, *arguments[1:]]) if arguments else "",
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "platform": platform.platform(),
        "files": [file for file in files if file is not None],
    }


def _describe_path(text: str) -> dict[str, Any] | None:
    """Return the path, size and hash of a file, or the path of a folder; None for other text."""
    path = Path(text)
    try:
        if text and path.is_dir():
            return {"path": str(path.absolute())}
        if not text or not path.is_file():
            return None
        size = path.stat().st_size
        described: dict[str, Any] = {"path": str(path.absolute()), "bytes": size}
        if size <= _MAX_HASHED:
            with path.open("rb") as file:
                described["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        return described
    except (OSError, ValueError):  # an argument that is no path, or a file that only a later step can read
        return None


def _flat(config: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Flatten nested settings to names such as `trainer.seed`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, dict)
        found |= _flat(value, f"{within}{name}.") if inner else {within + name: value}
    return found


def plot_curves(history: Sequence[Metrics], path: Path) -> None:
    """Write a PNG of the metrics over epochs: losses on the left, correlations (if any) on the right."""
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
    with replace_atomically(path) as part:
        figure.savefig(part, format="png", dpi=100)
