"""The one place where ONNX Runtime sessions are made: providers, threads, determinism."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from .errors import GraphError, OptionError, ProviderError

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
"""short names; ONNX Runtime's own names are understood too"""
GPU_PROVIDERS: Final = (PROVIDERS["cuda"], PROVIDERS["tensorrt"])
HEAVY: Final = frozenset({"Conv", "MatMul", "Gemm", "LSTM", "GRU"})
"""operators that must run where they were asked to; shapes and the like may be left to the CPU"""
CUDA: Final = {"use_tf32": "0"}
"""options of CUDA: fp32 products keep all bits of their factors"""
Options = Mapping[str, str]
"""a provider's own options"""

MOST_THREADS: Final = 1024
"""more than any machine's cores; tens of thousands would hang it"""


def available_cores() -> int:
    """Cores that this process may run on: its CPU affinity where the system has one."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Session:
    """An ONNX graph ready to run.

    Args:
        model: path of the graph, or the graph itself.
        provider: a key of `PROVIDERS`; None chooses the CPU.
        threads: None takes `available_cores()`.
        options: the provider's own, see `runtime.acceleration`.

    Raises:
        ProviderError: the provider is unknown, not installed, did not come up, or would leave a product to the CPU.
            There is no falling back.
        OptionError: a number of threads below 1 or above `MOST_THREADS`.
        GraphError: the graph cannot be loaded.
    """

    def __init__(
        self,
        model: Path | bytes,
        provider: str | None = None,
        threads: int | None = None,
        options: Options | None = None,
    ) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise OptionError(
                f"threads={threads}: give a number from 1 to {MOST_THREADS}, or none to use all cores this process may "
                "use"
            )
        wanted = provider_name(provider)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads or available_cores()
        settings.inter_op_num_threads = 1
        settings.use_deterministic_compute = True
        # Threads that wait sleep: spinning ones cost twice the time on a machine that does anything else.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # int8 products that would overflow on x86 without VNNI are computed exactly, some 20% slower; those whose
        # weights have 7 bits can't overflow and stay as they are.
        settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # unknown before 1.24
        settings.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        if wanted in GPU_PROVIDERS:
            _preload()
        try:
            # ONNX Runtime's own falling back, when a session is made and at every run, only prints a line.
            self._session = onnxruntime.InferenceSession(
                source, settings, providers=_chain(wanted, options or {}), enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            if wanted != PROVIDERS["cpu"]:
                Session(model, None, threads)  # an error of its own where it is the graph that is wrong
                raise ProviderError(
                    f"{wanted} is installed and cannot run {what_of(model)} ({error}): mend the installation or ask "
                    'for provider="cpu"'
                ) from error
            raise GraphError(f"onnxruntime {onnxruntime.__version__} cannot load {what_of(model)}: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        """the provider that really runs"""
        if self.provider != wanted:
            raise ProviderError(
                f"{wanted} is installed but did not start (a driver or library is missing); onnxruntime would fall "
                f'back to {self.provider}: mend the installation or ask for provider="cpu"'
            )
        self.captures: bool = "1" in (
            (options or {}).get("enable_cuda_graph"),
            (options or {}).get("trt_cuda_graph_enable"),
        )
        """whether runs that are bound may be captured as CUDA graphs"""
        self._uncaptured = _graph(-1) if self.captures else None
        self.device: str = "cuda" if self.provider in GPU_PROVIDERS else "cpu"
        """where it computes, as ONNX Runtime's bindings call it"""
        self.placement: dict[str, dict[str, int]] = _placement(self._session)
        """provider to how often each operator runs on it, as far as ONNX Runtime tells (from 1.24 on)"""
        elsewhere = {name for of, names in self.placement.items() if of != wanted for name in names} & HEAVY
        if elsewhere and self.device == "cuda" and not set(self.placement) & set(GPU_PROVIDERS) - {wanted}:
            raise ProviderError(
                f"{wanted} leaves {', '.join(sorted(elsewhere))} of {what_of(model)} to the CPU: use the fp32 or fp16 "
                'bundle, or ask for provider="cpu"'
            )
        self.threads: int = settings.intra_op_num_threads
        self.inputs: dict[str, list[Any]] = {i.name: i.shape for i in self._session.get_inputs()}
        self.outputs: dict[str, list[Any]] = {o.name: o.shape for o in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, **inputs: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """All outputs, in the graph's order, for inputs given by name."""
        return list(self._session.run(None, inputs, self._uncaptured))

    def binding(self) -> Any:
        """ONNX Runtime's own binding of inputs and outputs to places on devices, for `run_bound`."""
        return self._session.io_binding()

    def run_bound(self, binding: Any, graph: int | None = None) -> None:
        """Run with a binding; `graph` is the number of the CUDA graph that this shape is captured in, if any."""
        self._session.run_with_iobinding(binding, self._uncaptured if graph is None else _graph(graph))


def _graph(number: int) -> Any:
    """Options of a run that belongs to a CUDA graph; -1 is none."""
    run = onnxruntime.RunOptions()
    run.add_run_config_entry("gpu_graph_id", str(number))
    return run


def what_of(model: Path | bytes) -> str:
    """What messages call a graph."""
    return "the graph" if isinstance(model, bytes) else str(model)


def provider_name(name: str | None) -> str:
    """ONNX Runtime's name of a provider that is installed; None is the CPU's.

    Raises:
        ProviderError: it isn't.
    """
    name = name or "cpu"
    wanted = PROVIDERS.get(name.lower(), name)
    # Azure's provider only calls a service; a graph on this machine would run on the CPU in its name.
    installed = [name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"]
    if wanted in installed:
        return wanted
    known = [short for short, full in PROVIDERS.items() if full in installed]
    hint = ""
    if wanted not in onnxruntime.get_all_providers():
        hint = f"; the names known are {', '.join(PROVIDERS)} and ONNX Runtime's own"
    elif wanted in GPU_PROVIDERS:
        hint = '; for CUDA and TensorRT `pip uninstall onnxruntime`, then `pip install "onnxruntime-gpu[cuda,cudnn]"`'
    raise ProviderError(
        f"provider {name!r} is not available: onnxruntime {onnxruntime.__version__} here has {', '.join(known)}{hint}"
    )


def _preload() -> None:
    """Load CUDA's libraries from their wheels, where they are installed so; ONNX Runtime prints what it misses."""
    load = getattr(onnxruntime, "preload_dlls", None)
    if load is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            load()


def _chain(wanted: str, options: Options) -> list[str | tuple[str, dict[str, str]]]:
    """The provider, and behind it those for operators that it leaves."""
    cpu = PROVIDERS["cpu"]
    if wanted == cpu:
        return [cpu]
    behind: list[str | tuple[str, dict[str, str]]] = [cpu]
    if wanted == PROVIDERS["tensorrt"]:
        behind = [(PROVIDERS["cuda"], dict(CUDA)), cpu]
    return [(wanted, dict(options)), *behind]


def _placement(session: Any) -> dict[str, dict[str, int]]:
    """Provider to operator to how often it runs there; empty where this ONNX Runtime doesn't tell."""
    asked = getattr(session, "get_provider_graph_assignment_info", None)
    found: dict[str, Counter[str]] = {}
    for part in asked() if asked else []:
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}
