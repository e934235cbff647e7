"""The one place where ONNX Runtime sessions are made: providers, threads, determinism."""

from __future__ import annotations

import os
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

    Raises:
        ProviderError: the provider is unknown, not installed, or did not come up. There is no falling back.
        OptionError: a number of threads below 1 or above `MOST_THREADS`.
        GraphError: the graph cannot be loaded.
    """

    def __init__(self, model: Path | bytes, provider: str | None = None, threads: int | None = None) -> None:
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise OptionError(
                f"threads={threads}: give a number from 1 to {MOST_THREADS}, or none to use all cores this process may "
                "use"
            )
        wanted = _provider(provider)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        # Threads that wait sleep: spinning ones cost twice the time on a machine that does anything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # int8 products that would overflow on x86 without VNNI are computed exactly, some 20% slower; those whose
        # weights have 7 bits can't overflow and stay as they are.
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=_chain(wanted))
        except Exception as error:  # onnxruntime's exceptions share no base class
            what = "the graph" if isinstance(model, bytes) else str(model)
            raise GraphError(f"onnxruntime {onnxruntime.__version__} cannot load {what}: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        """the provider that really runs"""
        if self.provider != wanted:
            raise ProviderError(
                f"{wanted} is installed but did not start (a driver or library is missing); onnxruntime would fall "
                f'back to {self.provider}: mend the installation or ask for provider="cpu"'
            )
        self.threads: int = options.intra_op_num_threads
        self.inputs: dict[str, list[Any]] = {i.name: i.shape for i in self._session.get_inputs()}
        self.outputs: dict[str, list[Any]] = {o.name: o.shape for o in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, **inputs: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """All outputs, in the graph's order, for inputs given by name."""
        return list(self._session.run(None, inputs))


def _provider(name: str | None) -> str:
    name = name or "cpu"
    wanted = PROVIDERS.get(name.lower(), name)
    # Azure's provider only calls a service; a graph on this machine would run on the CPU in its name.
    installed = [name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"]
    if wanted not in installed:
        known = [short for short, full in PROVIDERS.items() if full in installed]
        hint = "; for CUDA or TensorRT replace onnxruntime by onnxruntime-gpu" if "cpu" in known else ""
        raise ProviderError(
            f"provider {name!r} is not available: onnxruntime {onnxruntime.__version__} here has "
            f"{', '.join(known)}{hint}"
        )
    return wanted


def _chain(wanted: str) -> list[str]:
    """The provider, and the CPU behind it for operators that it leaves."""
    cpu = PROVIDERS["cpu"]
    return [wanted] if wanted == cpu else [wanted, cpu]
