"""Weights of a network from the ONNX graphs that were exported from it, exact to the bit."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ..runtime.bundle import ROLES, Bundle
from ..runtime.errors import BundleError, DependencyError

GATE_ORDER: Final = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Index of torch's gate at each position of ONNX's order: LSTM i f g o -> i o f c, GRU r z n -> z r h."""
_DIRECTIONS: Final = ("", "_reverse")


def read_bundle_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Read the weights in the graphs of an fp32 bundle under the names of the network's state dict.

    Nodes are named by their modules, such as `layers.1/Gemm`, and buffers as in the state dict. The exporter stores
    equal tensors once, transposes the weights of products that become a MatMul, and `export.recurrent` reorders the
    gates of recurrent layers. All of this is undone here.

    Args:
        bundle: of ONNX files, without the front end in the encoder's graph.

    Returns:
        tensors by name, such as `encoder.linear.weight`, and constants of the graph that no state dict holds.

    Raises:
        BundleError: the bundle is not in fp32, or holds no ONNX files.
        DependencyError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise DependencyError(
            "reading a network's weights from its bundle needs onnx: pip install 'haaqi-edge[export]'"
        ) from error
    files = {role: bundle.card.files[role] for role in ROLES}
    if any((file.format, file.precision) != ("onnx", "fp32") for file in files.values()):
        raise BundleError(
            f"{bundle.folder} is not an fp32 bundle of ONNX files: give the bundle or the checkpoint it was made from"
        )
    return {
        f"{role}.{name}": torch.tensor(value)
        for role in files
        for name, value in _graph_weights(onnx.load(bundle.path(role)).graph).items()
    }


def _graph_weights(graph: Any) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    weights = dict(constants)
    for node in graph.node:
        module = node.name.rpartition("/")[0]
        parameters = [constants[name] for name in node.input[1:] if name in constants]
        if not module or not parameters:
            continue
        if node.op_type in ("Gemm", "LayerNormalization"):
            weights |= {f"{module}.{name}": value for name, value in zip(("weight", "bias"), parameters, strict=False)}
        elif node.op_type == "MatMul":
            weights[f"{module}.weight"] = parameters[0].T
        elif node.op_type == "Add":
            weights[f"{module}.bias"] = parameters[0]
        elif node.op_type in GATE_ORDER:
            weights |= _recurrent_weights(module, node.op_type, *parameters)
    return weights


def _recurrent_weights(
    module: str, operator: str, inputs: np.ndarray, recurrence: np.ndarray, biases: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the weights of torch's recurrent module.

    Args:
        module: its name.
        operator: `LSTM` or `GRU`.
        inputs, recurrence: [directions, gates x hidden, ...].
        biases: [directions, 2 x gates x hidden], those of the inputs first.
    """
    order = np.argsort(GATE_ORDER[operator])
    half = biases.shape[1] // 2
    parts = {"weight_ih": inputs, "weight_hh": recurrence, "bias_ih": biases[:, :half], "bias_hh": biases[:, half:]}
    weights = {}
    for name, values in parts.items():
        for suffix, rows in zip(_DIRECTIONS, values, strict=False):
            gates = np.split(rows, len(order))
            weights[f"{module}.{name}_l0{suffix}"] = np.concatenate([gates[gate] for gate in order])
    return weights
