"""What CUDA and TensorRT are told of a bundle: precision, shapes, CUDA graphs, and where engines are kept."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnxruntime

from .bundle import Bundle, Card
from .errors import OptionError, ProviderError
from .files import is_file
from .gpu import Gpu, first_gpu
from .profiles import MOST, Profile, Shape
from .sessions import CUDA, GPU_PROVIDERS, PROVIDERS, Options, provider_name
from .windows import window_patches
from .writing import write_file

CACHE: Final = "HAAQI_EDGE_CACHE"
"""environment variable: the folder of engines and timings, by default the user's cache folder"""
FACTS: Final = "cache.json"
"""what a folder of engines was made from"""


@dataclass(frozen=True)
class Acceleration:
    """How a bundle runs on a provider.

    Attributes:
        options: of the provider, by role.
        patches: the most that the encoder takes in one run; None: any number.
        listeners: the most that the head takes in one run; None: any number.
    """

    options: Mapping[str, Options]
    patches: int | None = None
    listeners: int | None = None


def acceleration(bundle: Bundle, provider: str | None, *, cuda_graphs: bool = False) -> Acceleration:
    """The options of a provider for a bundle's encoder and head; the CPU's are none.

    Args:
        bundle: the model.
        provider: a key of `PROVIDERS`.
        cuda_graphs: replay the encoder's kernels for the shapes that recur. The head computes shapes on the CPU, which
            a CUDA graph can't.

    Raises:
        OptionError: CUDA graphs on another provider.
        ProviderError: the provider is not installed, there is no GPU, or the cache is not what its name says.
    """
    name = provider_name(provider)
    if cuda_graphs and name not in GPU_PROVIDERS:
        raise OptionError(f"CUDA graphs on {name}: they go with the provider cuda or tensorrt alone (--provider cuda)")
    if name == PROVIDERS["cuda"]:
        return Acceleration({"encoder": {**CUDA, "enable_cuda_graph": str(int(cuda_graphs))}, "head": CUDA})
    if name != PROVIDERS["tensorrt"]:
        return Acceleration({"encoder": {}, "head": {}})
    patches = window_patches(bundle.card.window)
    assert patches is not None
    profile = Profile(1, patches, MOST)
    facts = cache_facts(bundle, first_gpu(), profile)
    folder = checked_cache(cache_folder(), facts)
    # No head is known to take several clips before it is loaded: its profile has both.
    shapes = profile.shapes(bundle.card, several_clips=_several_clips(bundle))
    options = {
        role: {**_engines(role, folder), **_profile(shapes[role]), **({"trt_cuda_graph_enable": "1"} if graph else {})}
        for role, graph in (("encoder", cuda_graphs), ("head", False))
    }
    return Acceleration(options, MOST, profile.listeners(bundle.card))


def cache_folder() -> Path:
    """Where engines and timings are kept."""
    given = os.environ.get(CACHE)
    if given:
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "haaqi-edge"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haaqi-edge"


def cache_facts(bundle: Bundle, gpu: Gpu, profile: Profile) -> dict[str, str]:
    """All that an engine of ONNX Runtime depends on."""
    card: Card = bundle.card
    files = {role: entry.sha256 for role, entry in sorted(card.files.items())}
    return {
        "model": card.name,
        **files,
        "onnxruntime": onnxruntime.__version__,
        "gpu": gpu.name,
        "capability": gpu.capability,
        "driver": gpu.driver,
        "profile": str(profile),
    }


def checked_cache(root: Path, facts: Mapping[str, str]) -> Path:
    """The folder for engines made from `facts`, named by them; a new one says what it is for.

    Raises:
        ProviderError: the folder of that name holds engines made from something else.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / "tensorrt" / f"{facts['model']}-{digest}"
    path = folder / FACTS
    if is_file(path):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known != facts:
            raise ProviderError(
                f"{folder} holds engines that were made from something else than this bundle, GPU and ONNX Runtime "
                f"(see its {FACTS}): delete the folder, and they are made anew"
            )
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise ProviderError(f"{folder} holds engines, and no {FACTS} that says of what: delete the folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(json.dumps(facts, indent=2).encode(), path)
    return folder


def _engines(role: str, folder: Path) -> dict[str, str]:
    """TensorRT's caches. Its precision flags stay off: then it takes the types that are written in the graph."""
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_engine_cache_prefix": role,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _profile(shapes: Mapping[str, tuple[Shape, Shape, Shape]]) -> dict[str, str]:
    """Shapes as ONNX Runtime is told of them, `samples:1x2800`."""
    return {
        f"trt_profile_{name}_shapes": ",".join(f"{key}:{'x'.join(map(str, of[place]))}" for key, of in shapes.items())
        for place, name in enumerate(("min", "opt", "max"))
    }


def _several_clips(bundle: Bundle) -> bool:
    """Whether a bundle's head takes tokens of several clips: those made for TensorRT do."""
    from .sessions import Session

    return not isinstance(Session(bundle.path("head"), threads=1).inputs["tokens"][0], int)
