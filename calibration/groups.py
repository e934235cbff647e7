"""What can be quantized in a graph, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, Literal

import onnx

FRONT_END: Final = "front_end"
"""module of the front end where it is in the graph; it stays in floating point"""
PRODUCTS: Final = ("MatMul", "Gemm")
RECURRENT: Final = ("LSTM", "GRU")
LEAST: Final = 1024
"""weights of a group; rounding fewer saves nothing that anybody would notice"""


@dataclass(frozen=True)
class Group:
    """A part that is quantized or left, as a whole.

    Attributes:
        role: the graph that it is in.
        node: its name there.
        weight: name of its first weight.
        kind: a matrix product with constant weights, or a recurrent operator, whose weights alone are stored in int8.
        parameters: of its weights.
    """

    role: str
    node: str
    weight: str
    kind: Literal["product", "recurrent"]
    parameters: int

    @property
    def name(self) -> str:
        """What reports call it: `encoder: layers.0.fc1`."""
        return f"{self.role}: {(self.node.rpartition('/')[0] or self.weight).removeprefix(f'{self.role}.')}"


def groups_of(role: str, graph: onnx.ModelProto) -> list[Group]:
    """The groups of a graph in its order; products of two computed matrices, or with fewer weights than `LEAST`, are
    none."""
    constants = {initializer.name: prod(initializer.dims) for initializer in graph.graph.initializer}
    found = []
    for node in graph.graph.node:
        weights = [name for name in node.input[1:] if name in constants]
        parameters = sum(constants[name] for name in weights)
        if node.op_type in PRODUCTS + RECURRENT and parameters >= LEAST and not node.name.startswith(FRONT_END):
            kind: Literal["product", "recurrent"] = "product" if node.op_type in PRODUCTS else "recurrent"
            found.append(Group(role, node.name, weights[0], kind, parameters))
    return found


def names_in(groups: Sequence[Group], role: str, kind: str) -> list[str]:
    """The nodes of the groups of one kind in one graph."""
    return [group.node for group in groups if (group.role, group.kind) == (role, kind)]
