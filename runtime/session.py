"""Create ONNX Runtime sessions for inference, with their providers, threads and deterministic settings."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .errors import DependencyError, GraphError, OptionError, ProviderError

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
"""ONNX Runtime's names of providers by short name. Both are accepted."""
GPU_PROVIDERS: Final = (PROVIDERS["cuda"], PROVIDERS["tensorrt"])
_COMPUTE_OPERATORS: Final = frozenset({"Conv", "MatMul", "Gemm", "LSTM", "GRU"})
"""Operators that must run on the requested provider. Others, such as shape operators, may run on the CPU."""
CUDA: Final = {"use_tf32": "0"}
"""Provider options of CUDA. Without TF32, products of fp32 numbers have full precision."""
Options = Mapping[str, str]
"""Options of a provider, by name."""

MAX_THREADS: Final = 1024
"""Maximum number of threads: more than the cores of any machine. Tens of thousands would make it hang."""


@cache
def onnx_runtime() -> Any:
    """Import ONNX Runtime at its first use.

    Raises:
        DependencyError: if it is not installed. The base installation does not include it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "ONNX Runtime is not installed: run pip install 'haaqi-edge[cpu]', or pip install 'haaqi-edge[gpu]' on a "
            f"machine with an NVIDIA GPU ({error})"
        ) from error
    return onnxruntime


def available_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity, if the system supports it."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Session:
    """An ONNX graph that is loaded and ready to run.

    Args:
        model: path of the graph, or its bytes.
        provider: a key of `PROVIDERS`. Default: the CPU.
        threads: number of CPU threads. Default: `available_cores()`.
        options: options of the provider, see `gpu.provider_options.resolve_provider_options`.

    Raises:
        ProviderError: if the provider is unknown, not installed or does not start, or if it would run an operator of
            `_COMPUTE_OPERATORS` on the CPU. There is no fallback.
        OptionError: if `threads` is not from 1 to `MAX_THREADS`.
        GraphError: if the graph cannot be loaded.
    """

    def __init__(
        self,
        model: Path | bytes,
        provider: str | None = None,
        threads: int | None = None,
        options: Options | None = None,
    ) -> None:
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise OptionError(
                f"threads={threads}: give a number from 1 to {MAX_THREADS}, or none to use all cores this process may "
                "use"
            )
        wanted = provider_name(provider)
        settings = onnx_runtime().SessionOptions()
        settings.intra_op_num_threads = threads or available_cores()
        settings.inter_op_num_threads = 1
        settings.use_deterministic_compute = True
        # Waiting threads sleep. Spinning threads would take twice as long on a machine that also does other work.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # On x86 without VNNI, int8 products that could overflow are computed exactly, about 20% slower. Products with
        # 7-bit weights cannot overflow and are not affected.
        settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # from 1.24 on
        settings.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        if wanted in GPU_PROVIDERS:
            _preload()
        try:
            # ONNX Runtime's own fallback, at creation and in every run, would only print a line.
            self._session = onnx_runtime().InferenceSession(
                source, settings, providers=_chain(wanted, options or {}), enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            if wanted != PROVIDERS["cpu"]:
                Session(model, None, threads)  # raises GraphError if the graph is invalid
                raise ProviderError(
                    f"{wanted} is installed and cannot run {_graph_name(model)} ({error}): repair the installation or "
                    'set provider="cpu"'
                ) from error
            version = onnx_runtime().__version__
            raise GraphError(f"onnxruntime {version} cannot load {_graph_name(model)}: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        """ONNX Runtime's name of the provider in use."""
        if self.provider != wanted:
            raise ProviderError(
                f"{wanted} is installed but did not start (a driver or library is missing); onnxruntime would fall "
                f'back to {self.provider}: repair the installation or set provider="cpu"'
            )
        self.captures: bool = "1" in (
            (options or {}).get("enable_cuda_graph"),
            (options or {}).get("trt_cuda_graph_enable"),
        )
        """Whether runs with I/O binding may be captured as CUDA graphs."""
        self._uncaptured = _run_options(-1) if self.captures else None
        self.device: str = "cuda" if self.provider in GPU_PROVIDERS else "cpu"
        """Device of the computation, as I/O binding names it."""
        self.placement: dict[str, dict[str, int]] = _placement(self._session)
        """For each provider, how often each operator runs on it. Empty before ONNX Runtime 1.24."""
        elsewhere = {
            name for of, names in self.placement.items() if of != wanted for name in names
        } & _COMPUTE_OPERATORS
        if elsewhere and self.device == "cuda" and not set(self.placement) & set(GPU_PROVIDERS) - {wanted}:
            raise ProviderError(
                f"{wanted} leaves {', '.join(sorted(elsewhere))} of {_graph_name(model)} to the CPU: use the fp32 or "
                'fp16 bundle, or set provider="cpu"'
            )
        self.threads: int = settings.intra_op_num_threads
        self.inputs: dict[str, list[Any]] = {i.name: i.shape for i in self._session.get_inputs()}
        self.outputs: dict[str, list[Any]] = {o.name: o.shape for o in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, **inputs: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """Run the graph.

        Args:
            inputs: the inputs, by name.

        Returns:
            All outputs, in the graph's order.
        """
        return list(self._session.run(None, inputs, self._uncaptured))

    def binding(self) -> Any:
        """Return a new I/O binding for `run_bound`."""
        return self._session.io_binding()

    def run_bound(self, binding: Any, graph: int | None = None) -> None:
        """Run the graph with an I/O binding.

        Args:
            binding: inputs and outputs on their devices, see `binding`.
            graph: ID of the CUDA graph for this shape; None to run without one.
        """
        self._session.run_with_iobinding(binding, self._uncaptured if graph is None else _run_options(graph))


def _run_options(number: int) -> Any:
    """Return the options of a run with this CUDA graph ID; -1 means no CUDA graph."""
    run = onnx_runtime().RunOptions()
    run.add_run_config_entry("gpu_graph_id", str(number))
    return run


def _graph_name(model: Path | bytes) -> str:
    """Return the name of a graph in error messages."""
    return "the graph" if isinstance(model, bytes) else str(model)


def provider_name(name: str | None) -> str:
    """Return ONNX Runtime's name of a provider.

    Args:
        name: short name or ONNX Runtime's name. Default: the CPU.

    Raises:
        ProviderError: if the provider is not installed.
    """
    name = name or "cpu"
    wanted = PROVIDERS.get(name.lower(), name)
    # Azure's provider only calls a remote service. A local graph would run on the CPU under its name.
    installed = [name for name in onnx_runtime().get_available_providers() if name != "AzureExecutionProvider"]
    if wanted in installed:
        return wanted
    known = [short for short, full in PROVIDERS.items() if full in installed]
    hint = ""
    if wanted not in onnx_runtime().get_all_providers():
        hint = f"; the names known are {', '.join(PROVIDERS)} and ONNX Runtime's own"
    elif wanted in GPU_PROVIDERS:
        hint = '; for CUDA and TensorRT `pip uninstall onnxruntime`, then `pip install "onnxruntime-gpu[cuda,cudnn]"`'
    elif wanted == PROVIDERS["openvino"]:
        hint = "; for OpenVINO `pip uninstall onnxruntime`, then `pip install onnxruntime-openvino`"
    version = onnx_runtime().__version__
    raise ProviderError(f"provider {name!r} is not available: onnxruntime {version} here has {', '.join(known)}{hint}")


def _preload() -> None:
    """Load CUDA's libraries from their wheels, if they are installed in this way.

    ONNX Runtime prints the names of missing libraries; this output is discarded.
    """
    load = getattr(onnx_runtime(), "preload_dlls", None)
    if load is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            load()


def _chain(wanted: str, options: Options) -> list[str | tuple[str, dict[str, str]]]:
    """Return the provider, followed by the providers for operators that it does not support."""
    cpu = PROVIDERS["cpu"]
    if wanted == cpu:
        return [cpu]
    behind: list[str | tuple[str, dict[str, str]]] = [cpu]
    if wanted == PROVIDERS["tensorrt"]:
        behind = [(PROVIDERS["cuda"], dict(CUDA)), cpu]
    return [(wanted, dict(options)), *behind]


def _placement(session: Any) -> dict[str, dict[str, int]]:
    """Return how often each operator runs on each provider.

    Returns:
        Provider to operator to count. Empty if this version of ONNX Runtime does not report it.
    """
    report = getattr(session, "get_provider_graph_assignment_info", None)
    found: dict[str, Counter[str]] = {}
    for part in report() if report else []:
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}
