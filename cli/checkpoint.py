"""Scoring with a checkpoint in PyTorch, as HAAQI-Net's test.py does: its commands work here too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from ..runtime.errors import OptionError
from .console import out, print_json, progress, require

if TYPE_CHECKING:
    from ..model.family import Network
    from ..runtime import Audiogram

CHECKPOINTS: Final = (".safetensors", ".pth", ".pt", ".ckpt")
"""suffixes that tell that a checkpoint is meant"""


def score_checkpoint(
    model: Path,
    config: Path | None,
    files: Sequence[Path],
    listeners: Sequence[Audiogram],
    spl: float | None,
    nal_r: bool,
    as_json: bool,
) -> None:
    """Score files with the teacher, the student or nano of a checkpoint, in windows of 10 s."""
    require("train", "torch", "safetensors")
    from ..evaluation.predictors import NetworkJudge
    from ..model.family import network_of

    network = network_of(model)
    if config is not None:
        _check(network, config)
    judge = NetworkJudge(network, model.name)
    found: list[tuple[Path, list[float]]] = []
    with progress() as bar:
        for path in bar.track(files, description="scoring"):
            found.append((path, [judge(path, listener, spl=spl, nal_r=nal_r) for listener in listeners]))
    if as_json:
        results = [
            {
                "file": str(path),
                "scores": [
                    {"audiogram": listener.name, "levels": list(listener.levels), "score": score}
                    for listener, score in zip(listeners, scores, strict=True)
                ],
            }
            for path, scores in found
        ]
        print_json({"model": str(model), "results": results})
        return
    for path, scores in found:
        told = ", ".join(f"{listener.name} {score:.3f}" for listener, score in zip(listeners, scores, strict=True))
        out.print(f"[bold]{escape(path.name)}[/]  {escape(told)}", soft_wrap=True)


def _check(network: Network, config: Path) -> None:
    """Refuse HAAQI-Net's settings where they are of another network."""
    from ..model import Nano
    from ..training.settings import from_haaqi_net, read_settings

    told = from_haaqi_net(read_settings(config))
    if told is None or isinstance(network, Nano):
        raise OptionError(
            f"{config} is not HAAQI-Net's config.yaml, or the checkpoint is of another network: leave it out"
        )
    own, asked = network.head_config, told["head"]
    if (own.width, own.hidden) != (asked["width"], asked["hidden"]):
        raise OptionError(
            f"{config} tells of a head {asked['width']} wide with {asked['hidden']} units; the checkpoint's is "
            f"{own.width} wide with {own.hidden}: give its own config, or none"
        )
