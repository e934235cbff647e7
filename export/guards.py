"""Guards of exported graphs: NaN where there is no score, and no input of the right rank ends the program.

ONNX has no exceptions. Without guards, a recurrent layer ends the host program if an axis is empty, and bad input gives
a plausible score. The guards are added to the traced graph: axes that are empty are padded, and the outputs become NaN
if the input is not valid. Valid inputs give the same numbers as without guards.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..runtime.audio.levels import SILENCE
from ..runtime.audio.reading import MAX_AMPLITUDE
from ..runtime.audiogram import MAX_HEARING_LEVEL, MIN_HEARING_LEVEL
from ..runtime.features import patches as fe

_MAX_TOKEN: Final = 1e30
"""Absolute value up to which a token is finite."""


def guard_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """Guard a head against empty axes, tokens that are not finite, and audiograms outside -10 to 120 dB HL.

    Args:
        model: with the inputs `tokens` and `audiogram`, changed in place.

    Returns:
        The model. Its outputs are NaN for an invalid audiogram, and for all audiograms if the tokens are invalid.
    """
    guards = _Guards(model)
    tokens = guards.pad("tokens", axis=1, least=1)
    known = guards.all_within(tokens, _MAX_TOKEN)
    guards.finish([guards.and_(known, guards.at_least("tokens", 1, 1)), guards.valid_audiograms()])
    return model


def guard_fused(model: onnx.ModelProto, window: int) -> onnx.ModelProto:
    """Guard a graph from waveform to score.

    Args:
        model: with the inputs `waveform` and `audiogram`, changed in place.
        window: number of patches that a score covers.

    Returns:
        The model. Its outputs are NaN for an invalid audiogram. They are also NaN if the waveform is shorter than a
        patch, has more patches than the window, is silent, is not finite, or is far above full scale.
    """
    guards = _Guards(model)
    most = most_samples(window)
    waveform = guards.pad("waveform", axis=1, least=fe.PATCH_LENGTH, most=most)
    loud = guards.node("Greater", guards.peak(guards.whole_patches(waveform)), guards.constant(SILENCE, np.float32))
    known = guards.and_(
        guards.all_within(waveform, MAX_AMPLITUDE),
        guards.and_(
            loud, guards.and_(guards.at_least("waveform", 1, fe.PATCH_LENGTH), guards.at_most("waveform", 1, most))
        ),
    )
    guards.finish([known, guards.valid_audiograms()])
    return model


def most_samples(window: int) -> int:
    """Return the largest number of samples that has at most `window` whole patches."""
    return window * fe.PATCH_SHIFT + fe.PATCH_LENGTH - 1


class _Guards:
    """Nodes that are put before and after the nodes of a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._before: list[onnx.NodeProto] = []
        self._count = 0
        self._replaced: dict[str, str] = {}
        self._audiogram = self.pad("audiogram", axis=0, least=1)

    def constant(self, value: object, dtype: type) -> str:
        name = self._name("constant")
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        name = self._name(operator)
        self._before.append(helper.make_node(operator, list(inputs), [name], f"guard/{name}", **attributes))
        return name

    def pad(self, name: str, axis: int, least: int, most: int | None = None) -> str:
        """Pad an input with zeros up to a size, and cut it at another one. The model then reads the result."""
        shape = self.node("Shape", name)
        size = self.node("Gather", shape, self.constant([axis], np.int64))
        missing = self.node(
            "Max", self.node("Sub", self.constant([least], np.int64), size), self.constant([0], np.int64)
        )
        rank = len(next(value for value in self._graph.input if value.name == name).type.tensor_type.shape.dim)
        parts = [
            missing if place == axis else self.node("Gather", shape, self.constant([place], np.int64))
            for place in range(rank)
        ]
        zeros = self.node("ConstantOfShape", self.node("Concat", *parts, axis=0))
        padded = self.node("Concat", name, zeros, axis=axis)
        if most is not None:
            bounds = (self.constant([value], np.int64) for value in (0, most, axis))
            padded = self.node("Slice", padded, *bounds)
        self._replaced[name] = padded
        return padded

    def whole_patches(self, name: str) -> str:
        """Return the samples of whole patches of a waveform [1, samples] with at least one patch."""
        size = self.node("Gather", self.node("Shape", name), self.constant([1], np.int64))
        length, shift = (self.constant([value], np.int64) for value in (fe.PATCH_LENGTH, fe.PATCH_SHIFT))
        shifts = self.node("Div", self.node("Sub", size, length), shift)
        end = self.node("Add", self.node("Mul", shifts, shift), length)
        return self.node("Slice", name, self.constant([0], np.int64), end, self.constant([1], np.int64))

    def peak(self, name: str) -> str:
        """Return the largest absolute value, a scalar."""
        return self.node("ReduceMax", self.node("Abs", name), keepdims=0)

    def all_within(self, name: str, limit: float) -> str:
        """Return whether all values are within +-limit, a scalar. It is false for NaN."""
        inside = self.node("LessOrEqual", self.node("Abs", name), self.constant(limit, np.float32))
        return self._all(inside)

    def at_least(self, name: str, axis: int, least: int) -> str:
        """Return whether an axis has a minimum size, a scalar."""
        return self.node("GreaterOrEqual", self._size(name, axis), self.constant(least, np.int64))

    def at_most(self, name: str, axis: int, most: int) -> str:
        """Return whether an axis has a maximum size, a scalar."""
        return self.node("LessOrEqual", self._size(name, axis), self.constant(most, np.int64))

    def and_(self, one: str, other: str) -> str:
        return self.node("And", one, other)

    def valid_audiograms(self) -> str:
        """Return whether each audiogram is valid, [audiograms]."""
        low, high = (self.constant(level, np.float32) for level in (MIN_HEARING_LEVEL, MAX_HEARING_LEVEL))
        inside = self.and_(
            self.node("GreaterOrEqual", self._audiogram, low), self.node("LessOrEqual", self._audiogram, high)
        )
        return self.and_(self._all(inside, axis=1), self.at_least("audiogram", 0, 1))

    def finish(self, conditions: list[str]) -> None:
        """Make the outputs NaN unless all conditions hold, and put all nodes into the model."""
        valid = self.and_(*conditions)
        zero, nan = (self.constant(value, np.float32) for value in (0.0, np.nan))
        offset = self.node("Where", valid, zero, nan)  # [audiograms]
        column = self.node("Unsqueeze", offset, self.constant([1], np.int64))
        after = []
        for output in self._graph.output:
            unguarded = f"unguarded_{output.name}"
            for node in self._graph.node:
                node.output[:] = [unguarded if name == output.name else name for name in node.output]
                node.input[:] = [unguarded if name == output.name else name for name in node.input]
            rank = len(output.type.tensor_type.shape.dim)
            inputs = [unguarded, offset if rank == 1 else column]
            after.append(helper.make_node("Add", inputs, [output.name], f"guard/{output.name}"))
        for node in self._graph.node:
            node.input[:] = [self._replaced.get(name, name) for name in node.input]
        nodes = [*self._before, *self._graph.node, *after]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        del self._graph.value_info[:]  # sizes may differ now; they are inferred again

    def _all(self, name: str, axis: int | None = None) -> str:
        numbers = self.node("Cast", name, to=TensorProto.FLOAT)
        if axis is None:
            least = self.node("ReduceMin", numbers, keepdims=0)
        else:
            least = self.node("ReduceMin", numbers, self.constant([axis], np.int64), keepdims=0)
        return self.node("Greater", least, self.constant(0.5, np.float32))

    def _size(self, name: str, axis: int) -> str:
        return self.node("Gather", self.node("Shape", name), self.constant(axis, np.int64))

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"guard_{kind.lower()}_{self._count}"
