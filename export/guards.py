"""Guards of exported graphs: NaN where there is no score, and no input of the right rank ends the program.

ONNX has no exceptions. Without guards, a recurrent layer ends the host program if an axis is empty, and bad input gives
a plausible score. The guards are added to the traced graph: axes that are too short are padded with NaN, and the
outputs become NaN if the input is not valid. Valid inputs give the same numbers as without guards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ..runtime.audio.levels import LEVEL1, SILENCE, amplitude
from ..runtime.audio.presentation import MAX_SPL
from ..runtime.audio.reading import MAX_AMPLITUDE
from ..runtime.audiogram import MAX_HEARING_LEVEL, MIN_HEARING_LEVEL
from ..runtime.features import patches as fe

GUARD: Final = "guard/"
"""Prefix of the names of the nodes that guard a graph."""
_MAX_TOKEN: Final = 1e30
"""Absolute value up to which a token is finite."""


def guard_head(model: onnx.ModelProto, *, clips: bool = False) -> onnx.ModelProto:
    """Guard a head against empty axes, tokens that are not finite, and audiograms outside -10 to 120 dB HL.

    Args:
        model: with the inputs `tokens` and `audiogram`, changed in place.
        clips: whether the first axis of `tokens` is dynamic: the clips, one for all audiograms or one for each.

    Returns:
        The model. Its outputs are NaN for an invalid audiogram and for invalid tokens.
    """
    guards = _Guards(model)
    audiogram = guards.replace("audiogram", guards.pad("audiogram", 2, axis=0, least=1))
    tokens = guards.pad("tokens", 3, axis=1, least=1)
    if clips:
        tokens = guards.pad(tokens, 3, axis=0, least=1)
    finite = guards.within(guards.replace("tokens", tokens), _MAX_TOKEN)
    of_tokens = guards.nan_unless(finite, *((1, 2) if clips else ()))
    middle, reach = (MIN_HEARING_LEVEL + MAX_HEARING_LEVEL) / 2, (MAX_HEARING_LEVEL - MIN_HEARING_LEVEL) / 2
    centred = guards.node("Sub", audiogram, guards.constant(middle, np.float32))
    of_audiograms = guards.nan_unless(guards.within(centred, reach), 1)  # [audiograms]
    guards.finish_with(guards.node("Add", of_audiograms, of_tokens))
    return model


def guard_waveform(model: onnx.ModelProto, window: int, tokens: str) -> onnx.ModelProto:
    """Guard a graph from waveform to score against waveforms that have none.

    Args:
        model: with the input `waveform`, changed in place. Its head has guards.
        window: number of patches that a score covers.
        tokens: name of the value that the head reads as tokens. They become NaN, and so do the outputs.

    Returns:
        The model. Its outputs are NaN if the waveform is shorter than a patch, has more patches than the window, is
        silent, is not finite, or is louder than any music.
    """
    guards = _Guards(model)
    most = most_samples(window)
    padded = guards.pad("waveform", 2, axis=1, least=fe.PATCH_LENGTH)
    bounds = (guards.constant([value], np.int64) for value in (0, most, 1))
    waveform = guards.replace("waveform", guards.node("Slice", padded, *bounds))
    peak = guards.node("ReduceMax", guards.node("Abs", guards.whole_patches(waveform)), keepdims=0)
    offset = guards.nan_unless(guards.within(waveform, MAX_AMPLITUDE))
    energy = guards.node("ReduceMean", guards.node("Mul", waveform, waveform), keepdims=0)
    for condition in (
        guards.node("LessOrEqual", energy, guards.constant(amplitude(MAX_SPL - LEVEL1) ** 2, np.float32)),
        guards.node("Greater", peak, guards.constant(SILENCE, np.float32)),
        guards.at_most("waveform", 1, most),
    ):
        offset = guards.node("Add", offset, guards.nan_unless(condition))
    guards.finish_inside(tokens, offset)
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
        self._operators: Counter[str] = Counter()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._shapes: dict[str, str] = {}
        self._replaced: dict[str, str] = {}

    def constant(self, value: object, dtype: type) -> str:
        """Add a constant, and return its name. Equal constants are one."""
        array: npt.NDArray[Any] = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._name()
            self._graph.initializer.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        self._operators[operator] += 1
        count = self._operators[operator]
        name, node = self._name(), f"{GUARD}{operator}" if count == 1 else f"{GUARD}{operator}.{count}"
        self._before.append(helper.make_node(operator, list(inputs), [name], node, **attributes))
        return name

    def pad(self, name: str, rank: int, axis: int, least: int) -> str:
        """Pad an axis of a value with NaN up to a size.

        A comparison with NaN is false, so that padded input is not valid.
        """
        size = self.node("Gather", self._shape(name), self.constant([axis], np.int64))
        missing = self.node("Sub", self.constant([least], np.int64), size)
        missing = self.node("Max", missing, self.constant([0], np.int64))
        before = self.constant([0] * (rank + axis), np.int64)
        after = [self.constant([0] * (rank - axis - 1), np.int64)] if rank - axis > 1 else []
        pads = self.node("Concat", before, missing, *after, axis=0)
        return self.node("Pad", name, pads, self.constant(np.nan, np.float32))

    def replace(self, name: str, value: str) -> str:
        """Let the model read a value in place of one of its inputs, and return the value."""
        self._replaced[name] = value
        return value

    def whole_patches(self, name: str) -> str:
        """Return the samples of whole patches of a waveform [1, samples] with at least one patch."""
        size = self.node("Gather", self._shape(name), self.constant([1], np.int64))
        length, shift = (self.constant([value], np.int64) for value in (fe.PATCH_LENGTH, fe.PATCH_SHIFT))
        shifts = self.node("Div", self.node("Sub", size, length), shift)
        end = self.node("Add", self.node("Mul", shifts, shift), length)
        return self.node("Slice", name, self.constant([0], np.int64), end, self.constant([1], np.int64))

    def within(self, name: str, limit: float) -> str:
        """Return whether each value is within +-limit. It is false for NaN."""
        return self.node("LessOrEqual", self.node("Abs", name), self.constant(limit, np.float32))

    def nan_unless(self, condition: str, *axes: int) -> str:
        """Return 0 if a condition holds everywhere, otherwise NaN. It reduces some axes, by default all."""
        values = self.node("Where", condition, self.constant(0.0, np.float32), self.constant(np.nan, np.float32))
        reduced = [self.constant(axes, np.int64)] if axes else []
        return self.node("ReduceSum", values, *reduced, keepdims=0)

    def at_most(self, name: str, axis: int, most: int) -> str:
        """Return whether an axis has a maximum size, a scalar."""
        return self.node("LessOrEqual", self._size(name, axis), self.constant(most, np.int64))

    def finish_with(self, offset: str) -> None:
        """Add an offset of 0 or NaN, [audiograms], to the outputs, and put all nodes into the model."""
        column = self.node("Unsqueeze", offset, self.constant([1], np.int64))
        after = []
        for output in self._graph.output:
            unguarded = f"unguarded_{output.name}"
            for node in self._graph.node:
                node.output[:] = [unguarded if name == output.name else name for name in node.output]
                node.input[:] = [unguarded if name == output.name else name for name in node.input]
            rank = len(output.type.tensor_type.shape.dim)
            inputs = [unguarded, offset if rank == 1 else column]
            after.append(helper.make_node("Add", inputs, [output.name], f"{GUARD}{output.name}"))
        self._put(after)

    def finish_inside(self, value: str, offset: str) -> None:
        """Add a scalar offset of 0 or NaN to a value inside the model, and put all nodes into the model."""
        unguarded = f"unguarded_{value}"
        (producer,) = (node for node in self._graph.node if value in node.output)
        producer.output[:] = [unguarded if name == value else name for name in producer.output]
        self._put([helper.make_node("Add", [unguarded, offset], [value], f"{GUARD}{value}")], producer)

    def _put(self, added: Sequence[onnx.NodeProto], producer: onnx.NodeProto | None = None) -> None:
        """Put the guards into the model, and other nodes after a producer or at the end."""
        nodes = list(self._graph.node)
        place = len(nodes) if producer is None else nodes.index(producer) + 1
        for node in nodes:
            node.input[:] = [self._replaced.get(name, name) for name in node.input]
        nodes = [*self._before, *nodes[:place], *added, *nodes[place:]]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        del self._graph.value_info[:]  # sizes may differ now; they are inferred again

    def _size(self, name: str, axis: int) -> str:
        return self.node("Gather", self._shape(name), self.constant(axis, np.int64))

    def _shape(self, name: str) -> str:
        if name not in self._shapes:
            self._shapes[name] = self.node("Shape", name)
        return self._shapes[name]

    def _name(self) -> str:
        self._count += 1
        return f"guard_{self._count}"
