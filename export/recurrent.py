"""Translation of nn.LSTM and nn.GRU to one ONNX operator each, with dynamic time and batch axes.

PyTorch's own translation leaves the reordering of the gates in the graph (about 20 Slice and Concat nodes), and records
shapes without the dynamic time axis. Here, the weights are reordered once, and the shape is given explicitly.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..model.graph_weights import GATE_ORDER


class OnnxRecurrent(nn.Module):
    """A single-layer, batch-first LSTM or GRU, for tracing by torch.onnx.export(dynamo=True) only."""

    weight: Tensor
    recurrence: Tensor
    bias: Tensor

    def __init__(self, recurrent: nn.LSTM | nn.GRU) -> None:
        """Copy the weights.

        Raises:
            ValueError: several layers, projections, no biases, or batch not first.
        """
        super().__init__()
        if recurrent.num_layers != 1 or not recurrent.batch_first or not recurrent.bias or recurrent.proj_size:
            raise ValueError(f"{recurrent} was given; expected one layer, batch_first, with biases, no projections")
        self.operator = "LSTM" if isinstance(recurrent, nn.LSTM) else "GRU"
        self.hidden = recurrent.hidden_size
        self.directions = 2 if recurrent.bidirectional else 1
        self.register_buffer("weight", self._stacked(recurrent, "weight_ih"))
        self.register_buffer("recurrence", self._stacked(recurrent, "weight_hh"))
        biases = [self._stacked(recurrent, name) for name in ("bias_ih", "bias_hh")]
        self.register_buffer("bias", torch.cat(biases, dim=1))

    def _stacked(self, recurrent: nn.Module, name: str) -> Tensor:
        """Return [directions, gates x hidden, ...] with the gates in ONNX's order."""
        rows = []
        for suffix in ("_l0", "_l0_reverse")[: self.directions]:
            gates = torch.split(recurrent.get_parameter(name + suffix).detach(), self.hidden)
            rows.append(torch.cat([gates[gate] for gate in GATE_ORDER[self.operator]]))
        return torch.stack(rows)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map `x` [batch, time, inputs] to [batch, time, directions x hidden]. The returned state is None."""
        direction = "bidirectional" if self.directions == 2 else "forward"
        options = {"linear_before_reset": 1} if self.operator == "GRU" else {}
        batch, time = x.shape[:2]
        y = torch.onnx.ops.symbolic(
            self.operator,
            (x.transpose(0, 1), self.weight, self.recurrence, self.bias),
            {"hidden_size": self.hidden, "direction": direction, **options},
            dtype=x.dtype,
            shape=(time, self.directions, batch, self.hidden),
        )
        return y.permute(2, 0, 1, 3).flatten(2), None


def replace_recurrents(module: nn.Module) -> nn.Module:
    """Return a copy of `module` for tracing, in which each LSTM and GRU is replaced by its ONNX operator."""
    if isinstance(module, nn.LSTM | nn.GRU):
        return OnnxRecurrent(module)
    module = copy.deepcopy(module)
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.LSTM | nn.GRU):
            module.set_submodule(name, OnnxRecurrent(child))
    return module.eval()
