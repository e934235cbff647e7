"""Layer groups: the parts of a graph that can be quantized independently of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

import onnx

FRONT_END: Final = "front_end"
"""name prefix of the nodes of a front end inside the graph; it stays in floating point"""
PRODUCTS: Final = ("MatMul", "Gemm")
RECURRENT: Final = ("LSTM", "GRU")
MIN_WEIGHTS: Final = 1024
"""minimum number of weights in a group; rounding fewer saves a negligible amount"""


@dataclass(frozen=True)
class LayerGroup:
    """A layer group: a part of a graph that is quantized as a whole or not at all.

    Attributes:
        role: the graph that contains it.
        node: name of its node in that graph.
        weight: name of its first weight.
        kind: `product` for a matrix product with constant weights; `recurrent` for an LSTM or GRU, of which only the
            weights are stored in int8 (unless `QuantizationSettings.lstm` is set).
        parameters: number of its weights.
    """

    role: str
    node: str
    weight: str
    kind: Literal["product", "recurrent"]
    parameters: int

    @property
    def name(self) -> str:
        """Name in reports, such as `encoder: layers.0.fc1`."""
        return f"{self.role}: {(self.node.rpartition('/')[0] or self.weight).removeprefix(f'{self.role}.')}"


def find_layer_groups(role: str, graph: onnx.ModelProto) -> list[LayerGroup]:
    """List the layer groups of a graph, in graph order.

    Products of two computed matrices, and nodes with fewer weights than `MIN_WEIGHTS`, are not included.
    """
    constants = {initializer.name: prod(initializer.dims) for initializer in graph.graph.initializer}
    groups = []
    for node in graph.graph.node:
        weights = [name for name in node.input[1:] if name in constants]
        parameters = sum(constants[name] for name in weights)
        if node.op_type in PRODUCTS + RECURRENT and parameters >= MIN_WEIGHTS and not node.name.startswith(FRONT_END):
            kind: Literal["product", "recurrent"] = "product" if node.op_type in PRODUCTS else "recurrent"
            groups.append(LayerGroup(role, node.name, weights[0], kind, parameters))
    return groups


def node_names(groups: Sequence[LayerGroup], role: str, kind: str) -> list[str]:
    """Return the node names of the groups of one kind in one graph."""
    return [group.node for group in groups if (group.role, group.kind) == (role, kind)]
