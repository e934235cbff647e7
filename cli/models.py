"""Open the model of `--model`: a shipped model, a bundle, or a checkpoint in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.bundle import CARD, Bundle, Card
from ..runtime.errors import OptionError
from ..runtime.files import is_checkpoint, is_file, is_folder, is_graph
from ..runtime.session import available_cores
from .console import print_warning, require

if TYPE_CHECKING:
    from ..model.backend import CheckpointBackend
    from ..model.family import Network

_DEVICES = {None: "cpu", "cpu": "cpu", "cuda": "cuda"}
"""PyTorch's device by execution provider"""


@dataclass(frozen=True)
class OpenModel:
    """A model, and the options with which `Scorer` runs it.

    Attributes:
        model: name, folder of a bundle, or backend.
        card: description of the model.
        options: provider, threads and CUDA graphs of a bundle; empty for a backend.
    """

    model: str | CheckpointBackend
    card: Card
    options: dict[str, Any]


def open_model(
    model: str,
    *,
    provider: str | None = None,
    threads: int | None = None,
    cuda_graphs: bool = False,
    jobs: int = 1,
    config: Path | None = None,
) -> OpenModel:
    """Open a model.

    Args:
        model: name of a shipped model, folder of a bundle, fused file, or file of a checkpoint.
        provider: execution provider. A checkpoint runs on the CPU or, with `cuda`, on a GPU.
        threads: number of threads per process, None for the available cores.
        cuda_graphs: whether to record the encoder as a CUDA graph.
        jobs: number of processes that share the cores.
        config: HAAQI-Net's config.yaml, to check a checkpoint against.

    Raises:
        OptionError: an option does not fit the kind of model.
        DependencyError: a checkpoint needs an extra that is not installed.
        BundleError, CheckpointError: the model cannot be loaded.
    """
    if threads is None and jobs > 1:
        threads = max(1, available_cores() // jobs)
    path = Path(model)
    if is_graph(model):
        if config is not None or cuda_graphs:
            raise OptionError("--config and --cuda-graphs cannot be used with a fused file: leave them out")
        from ..runtime.onnx_backend import FusedBackend

        card = FusedBackend(path, provider=provider, threads=1).card
        _warn_of_random_weights(card)
        return OpenModel(model, card, {"provider": provider, "threads": threads})
    if not is_checkpoint(model) or is_folder(path):
        if config is not None:
            raise OptionError("--config needs a checkpoint as --model: leave it out, the card describes a bundle")
        _check_run_directory(path)
        options = {"provider": provider, "threads": threads, "cuda_graphs": cuda_graphs}
        card = Bundle(model).card
        _warn_of_random_weights(card)
        return OpenModel(model, card, options)
    if cuda_graphs:
        raise OptionError("--cuda-graphs cannot be used with a checkpoint: leave it out, or export a bundle")
    if provider not in _DEVICES:
        raise OptionError(f"--provider {provider} cannot run a checkpoint: use cpu or cuda, or export a bundle")
    require("export", "torch", "safetensors")
    from ..model.backend import load_backend

    backend = load_backend(path, device=_DEVICES[provider], threads=threads or available_cores())
    if config is not None:
        _check_config(backend.network, config)
    return OpenModel(backend, backend.card, {})


def _warn_of_random_weights(card: Card) -> None:
    if card.has_random_weights:
        print_warning(f"{card.name} has random weights: its scores mean nothing")


def _check_run_directory(path: Path) -> None:
    """Raise OptionError if the path is a run directory of a training."""
    if not is_folder(path) or is_file(path / CARD):
        return
    weights = [file for file in sorted(path.iterdir()) if is_checkpoint(file) and file.stem != "checkpoint"]
    if weights:
        bundle = path / "bundle"
        alternative = (
            f"its bundle, {bundle}" if is_folder(bundle) else "a bundle that `haaqi-edge export` makes of them"
        )
        raise OptionError(f"{path} is a run directory, not a bundle: give its weights, {weights[0]}, or {alternative}")


def _check_config(network: Network, config: Path) -> None:
    """Raise OptionError unless HAAQI-Net's config.yaml describes the network."""
    from ..model import Nano, Small
    from ..training.settings import from_haaqi_net, read_settings

    settings = from_haaqi_net(read_settings(config))
    if settings is None or isinstance(network, Nano | Small):
        raise OptionError(
            f"{config} is not HAAQI-Net's config.yaml, or the checkpoint is another network: leave out --config"
        )
    head, expected = network.head_config, settings["head"]
    if (head.width, head.hidden) != (expected["width"], expected["hidden"]):
        raise OptionError(
            f"{config} describes a head of width {expected['width']} with {expected['hidden']} units, and the "
            f"checkpoint's head has width {head.width} with {head.hidden} units: give the matching config.yaml, or "
            "leave out --config"
        )
