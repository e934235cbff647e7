"""Provider options of CUDA and TensorRT for a bundle: precision, shapes, CUDA graphs and the engine cache."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..bundle import Bundle, Card
from ..errors import OptionError, ProviderError
from ..files import is_file
from ..session import CUDA, GPU_PROVIDERS, PROVIDERS, Options, onnx_runtime, provider_name
from ..windows import window_patches
from ..writing import write_file
from .device import Gpu, first_gpu
from .optimization_profiles import MAX_PATCHES, OptimizationProfile, Shape

_CACHE_VARIABLE: Final = "HAAQI_EDGE_CACHE"
"""Environment variable that sets the folder of engines and timing caches. Default: the user's cache folder."""
_RECORD_FILE: Final = "cache.json"
"""Name of the file in an engine folder that records what the engines were built from."""


@dataclass(frozen=True)
class ProviderOptions:
    """Provider options for the encoder and the head of a bundle, and the limits of the provider.

    Attributes:
        options: provider options by role (`encoder`, `head`).
        patches: maximum number of patches in one run of the encoder; None for no limit.
        listeners: maximum number of listeners in one run of the head; None for no limit.
    """

    options: Mapping[str, Options]
    patches: int | None = None
    listeners: int | None = None


def resolve_provider_options(bundle: Bundle, provider: str | None, *, cuda_graphs: bool = False) -> ProviderOptions:
    """Return the provider options and limits for a bundle. The CPU needs no options.

    Args:
        bundle: the model.
        provider: a key of `PROVIDERS`, or None for the CPU.
        cuda_graphs: replay the encoder's kernels as CUDA graphs for shapes that recur. The head is excluded: it
            computes shapes on the CPU, which a CUDA graph does not support.

    Raises:
        OptionError: if `cuda_graphs` is set for a provider other than CUDA and TensorRT.
        ProviderError: if the provider is not installed, if there is no GPU, or if the cache folder holds engines that
            were built from something else.
    """
    name = provider_name(provider)
    if cuda_graphs and name not in GPU_PROVIDERS:
        raise OptionError(f"CUDA graphs on {name}: only the providers cuda and tensorrt support them (--provider cuda)")
    if name == PROVIDERS["cuda"]:
        return ProviderOptions({"encoder": {**CUDA, "enable_cuda_graph": str(int(cuda_graphs))}, "head": CUDA})
    if name != PROVIDERS["tensorrt"]:
        return ProviderOptions({"encoder": {}, "head": {}})
    patches = window_patches(bundle.card.window)
    profile = OptimizationProfile(1, patches, MAX_PATCHES)
    facts = _cache_facts(bundle, first_gpu(), profile)
    folder = _prepare_cache(_cache_folder(), facts)
    # The profile must fit the head: only the loaded graph shows whether it accepts several clips.
    shapes = profile.shapes(bundle.card, several_clips=_several_clips(bundle))
    options = {
        role: {**_engines(role, folder), **_profile(shapes[role]), **({"trt_cuda_graph_enable": "1"} if graph else {})}
        for role, graph in (("encoder", cuda_graphs), ("head", False))
    }
    return ProviderOptions(options, MAX_PATCHES, profile.listeners(bundle.card))


def _cache_folder() -> Path:
    """Return the folder that stores engines and timing caches."""
    given = os.environ.get(_CACHE_VARIABLE)
    if given:
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "haaqi-edge"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haaqi-edge"


def _cache_facts(bundle: Bundle, gpu: Gpu, profile: OptimizationProfile) -> dict[str, str]:
    """Return the properties that an engine of ONNX Runtime depends on."""
    card: Card = bundle.card
    files = {role: entry.sha256 for role, entry in sorted(card.files.items())}
    return {
        "model": card.name,
        **files,
        "onnxruntime": onnx_runtime().__version__,
        "gpu": gpu.name,
        "capability": gpu.capability,
        "driver": gpu.driver,
        "profile": str(profile),
    }


def _prepare_cache(root: Path, facts: Mapping[str, str]) -> Path:
    """Return the folder for engines that are built from `facts`. Create the folder if it does not exist.

    The name of the folder contains a hash of `facts`. A new folder records them in a file.

    Args:
        root: cache folder, see `_cache_folder`.
        facts: see `_cache_facts`.

    Raises:
        ProviderError: if the folder holds engines and its record is missing or differs from `facts`.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / "tensorrt" / f"{facts['model']}-{digest}"
    path = folder / _RECORD_FILE
    if is_file(path):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known != facts:
            raise ProviderError(
                f"{folder} holds engines that were not built from this bundle, GPU and ONNX Runtime (see its "
                f"{_RECORD_FILE}): delete the folder; the engines are then built again"
            )
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise ProviderError(f"{folder} holds engines, but no {_RECORD_FILE} that describes them: delete the folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(json.dumps(facts, indent=2).encode(), path)
    return folder


def _engines(role: str, folder: Path) -> dict[str, str]:
    """Return the options of TensorRT's engine and timing caches for a role.

    TensorRT's precision flags stay off, so that it uses the types that are written in the graph.
    """
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_engine_cache_prefix": role,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _profile(shapes: Mapping[str, tuple[Shape, Shape, Shape]]) -> dict[str, str]:
    """Format shapes as ONNX Runtime expects them, for example `samples:1x2800`."""
    return {
        f"trt_profile_{name}_shapes": ",".join(f"{key}:{'x'.join(map(str, of[place]))}" for key, of in shapes.items())
        for place, name in enumerate(("min", "opt", "max"))
    }


def _several_clips(bundle: Bundle) -> bool:
    """Return whether the head accepts tokens of several clips in one run, as heads built for TensorRT do."""
    from ..session import Session

    return not isinstance(Session(bundle.path("head"), threads=1).inputs["tokens"][0], int)
