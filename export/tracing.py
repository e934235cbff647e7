"""Tracing of a network to ONNX graphs with the names and dynamic axes that bundles require."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..model.head import Scores
from ..model.nano import Nano
from ..model.small import Small
from ..model.teacher import Teacher
from ..runtime.audiogram import FREQUENCIES
from ..runtime.bundle import EncoderInput
from ..runtime.features import patches as fe
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..runtime.windows import MAX_WINDOW_SECONDS
from .frontend import FRONT_ENDS, GraphFbank
from .recurrent import replace_recurrents

OPSET: Final = 18
_SCOPES: Final = "pkg.torch.onnx.name_scopes"
"""Key of the modules that a node comes from in the metadata of torch's exporter. The node's own name is last."""

_MODULE: Final = re.compile(r"(?!_empty_nn_module_stack)[\w.]+")
"""Names of modules. The exporter gives other scopes to nodes that come from no module."""


class TwoPartNetwork(Protocol):
    """A network ready for export.

    `encoder` maps patches of the input that `reads` names (a key of `FEATURE_EXTRACTORS`) to tokens. `head` maps tokens
    and audiograms to scores.
    """

    @property
    def reads(self) -> str: ...

    @property
    def encoder(self) -> nn.Module: ...

    @property
    def head(self) -> nn.Module: ...


class SamplesEncoder(nn.Module):
    """An encoder with the front end before it: maps samples [patches, 2800] to tokens."""

    def __init__(self, network: TwoPartNetwork) -> None:
        super().__init__()
        self.front_end, self.encoder = FRONT_ENDS[network.reads](), network.encoder

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples [patches, 2800] to tokens."""
        return cast(Tensor, self.encoder(self.front_end(samples).squeeze(1)))


class GraphHead(nn.Module):
    """A head whose outputs are all tensors: frame scores, scores, and the intervals if it predicts them."""

    def __init__(self, network: TwoPartNetwork) -> None:
        super().__init__()
        self.head = network.head

    def forward(self, tokens: Tensor, audiogram: Tensor) -> tuple[Tensor, ...]:
        """Map tokens [1, tokens, width] and audiograms [batch, 8] to the head's outputs."""
        return output_tuple(self.head(tokens, audiogram))


def output_tuple(scores: Scores) -> tuple[Tensor, ...]:
    """Return the outputs of a network without those that it does not compute. A graph cannot have None as output."""
    return tuple(value for value in scores if value is not None)


class ClipFrontEnd(nn.Module):
    """The front end alone: maps a waveform [1, samples] to the encoder's input [patches, ...]."""

    def __init__(self, reads: str) -> None:
        super().__init__()
        self.front_end = FRONT_ENDS[reads]()

    def forward(self, waveform: Tensor) -> Tensor:
        """Map a waveform [1, samples] to features [patches, ...]."""
        return cast(Tensor, self.front_end(waveform).squeeze(0))


def encoder_input(network: TwoPartNetwork) -> EncoderInput:
    """Return the name of the encoder's input: the name of the front end, without its version."""
    if network.reads == "fbank":
        return "fbank"
    return "texture_mel" if network.reads == "texture_mel" else "texture"


def trace_encoder(network: TwoPartNetwork, *, samples: bool) -> onnx.ModelProto:
    """Trace the encoder, with a dynamic number of patches.

    Its input is `fbank` [patches, 16, 128], `texture` [patches, 16, 32] or `texture_mel` [patches, 16, 136], or
    `samples` [patches, 2800] if `samples`.
    Its output is `tokens`.
    """
    patches = Dim("patches", min=1)
    if samples:
        example = torch.zeros(3, fe.PATCH_LENGTH)
        return _trace("encoder", SamplesEncoder(network), {"samples": (example, {0: patches})}, ["tokens"])
    example = torch.from_numpy(
        FEATURE_EXTRACTORS[network.reads](np.zeros(2 * fe.PATCH_SHIFT + fe.PATCH_LENGTH, np.float32))
    )
    return _trace("encoder", network.encoder, {encoder_input(network): (example, {0: patches})}, ["tokens"])


def output_names(network: TwoPartNetwork) -> list[str]:
    """Return the names of the head's outputs: frame scores, scores, and intervals if the head predicts them."""
    interval = isinstance(network, Nano | Small) and network.config.interval
    return ["frame_scores", "score", *(["interval"] if interval else [])]


def trace_head(network: TwoPartNetwork, width: int) -> onnx.ModelProto:
    """Trace the head: `tokens` [1, tokens, width] and `audiogram` [batch, 8] to the outputs of `output_names`."""
    inputs = {
        "tokens": (torch.zeros(1, 24, width), {1: Dim("tokens", min=1)}),
        "audiogram": (torch.zeros(3, len(FREQUENCIES)), {0: Dim("batch", min=1)}),
    }
    graph = _trace("head", GraphHead(network), inputs, output_names(network))
    _remove_prefix(graph, "head.")  # of the wrapper: the names are those of the head's state dict
    return graph


def trace_front_end(reads: str) -> onnx.ModelProto:
    """Trace a front end: `waveform` [1, samples] at 16 kHz (max. 60 s) to `features` [patches, ...].

    Args:
        reads: a key of `FRONT_ENDS`.
    """
    samples = Dim("samples", min=fe.PATCH_LENGTH, max=int(MAX_WINDOW_SECONDS * fe.SAMPLE_RATE))
    example = torch.zeros(1, 5 * fe.PATCH_SHIFT + 77)
    return _trace("front_end", ClipFrontEnd(reads), {"waveform": (example, {1: samples})}, ["features"])


class TeacherClip(nn.Module):
    """The teacher with the graph's front end before it: waveform [1, samples] and audiograms [batch, 8] to scores."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.front_end, self.teacher = GraphFbank(), teacher

    def forward(self, waveform: Tensor, audiogram: Tensor) -> tuple[Tensor, ...]:
        """Map a waveform [1, samples] and audiograms [batch, 8] to frame scores and scores."""
        return output_tuple(self.teacher.head(self.teacher.encode(self.front_end(waveform)), audiogram))


def trace_teacher(teacher: Teacher, samples: int) -> onnx.ModelProto:
    """Trace the teacher for clips of one length.

    The graph maps `waveform` [1, samples] at 16 kHz and `audiogram` [batch, 8] to the head's outputs. The teacher
    attends over the whole clip. It therefore has no encoder of patches, and there is no bundle of it.
    """
    inputs: dict[str, tuple[Tensor, dict[int, Any]]] = {
        "waveform": (torch.zeros(1, samples), {}),
        "audiogram": (torch.zeros(3, len(FREQUENCIES)), {0: Dim("batch", min=1)}),
    }
    return _trace("teacher", TeacherClip(teacher), inputs, ["frame_scores", "score"])


def _trace(
    name: str, module: nn.Module, inputs: Mapping[str, tuple[Tensor, dict[int, Any]]], outputs: list[str]
) -> onnx.ModelProto:
    examples = tuple(example for example, _ in inputs.values())
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            replace_recurrents(module),
            examples,
            dynamo=True,
            dynamic_shapes=tuple(axes for _, axes in inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            opset_version=OPSET,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    graph.graph.name = name
    _name_nodes(graph)
    for node in graph.graph.node:  # metadata holds positions in the Python source, with paths of the build machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in graph.graph.value_info:
        del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    return graph


def _name_nodes(graph: onnx.ModelProto) -> None:
    """Name each node by its module and operator, such as `layers.0.fc1/MatMul`, for reports and profiles."""
    counts: Counter[str] = Counter()
    for node in graph.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
        modules = [scope for scope in ast.literal_eval(scopes)[:-1] if _MODULE.fullmatch(scope)]
        name = f"{modules[-1] if modules else ''}/{node.op_type}".lstrip("/")
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}.{counts[name]}"


def _remove_prefix(graph: onnx.ModelProto, prefix: str) -> None:
    """Remove a prefix from the names of nodes and values."""
    for node in graph.graph.node:
        node.name = node.name.removeprefix(prefix)
        for names in (node.input, node.output):
            names[:] = [name.removeprefix(prefix) for name in names]
    for value in (*graph.graph.initializer, *graph.graph.value_info):
        value.name = value.name.removeprefix(prefix)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's exporter, which writes to stdout, warnings and logs. Failures still raise exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
