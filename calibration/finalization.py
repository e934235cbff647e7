"""Finalization of an ONNX graph: metadata, checks and serialization. Quantized and exported graphs go through it."""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from ..runtime.errors import ExportError

PRODUCER: Final = "haaqi-edge"
DESCRIPTIONS: Final[Mapping[str, str]] = {
    "waveform": "Presented signal at 16 kHz, [1, samples]; RMS 1.0 has the level `level1` of the metadata, dB SPL",
    "samples": "Samples that each patch reads, 16 kHz, [patches, 2800]",
    "texture": "Texture of each patch, [patches, 16, 32]; see the front end in the documentation",
    "texture_mel": "Texture and log-mel spectrum of each patch, [patches, 16, 136]; consecutive patches of one signal",
    "fbank": "Normalized fbank of each patch, [patches, 16, 128]",
    "tokens": "Tokens of the patches; a patch is 160 ms",
    "audiogram": "Hearing levels in dB HL, -10 to 120, at the `audiogram_frequencies` of the metadata, [listeners, 8]",
    "frame_scores": "Score of each token, 0 to 1; NaN if there is no score",
    "score": "Score of the window, 0 to 1; NaN if there is no score",
    "interval": "Lower and upper end of the prediction interval of the score; see `interval` in the metadata",
}
"""Descriptions of the inputs and outputs of graphs, by name."""
ONNX_DOMAINS: Final = ("", "ai.onnx")
"""domains of ONNX's own operators"""
_EXPORTERS_NAME: Final = re.compile(
    r"(val|guard|view|reshape|expand|clone)_\d+(/\w+)?|(scalar_tensor|new_full|lift|_tensor)\w*|\w+_cast"
)
"""names that torch's exporter and the guards give to constants"""


def finalize_model(graph: onnx.ModelProto, metadata: Mapping[str, str], domains: Sequence[str] = ONNX_DOMAINS) -> bytes:
    """Set the metadata of a graph, check the graph, and return it as the bytes of one file.

    Args:
        graph: it is modified in place.
        metadata: see `Card.metadata`.
        domains: domains of the operators that the graph may use.

    Names are those of `name_values`. Descriptions that the exporter leaves behind are removed.

    Raises:
        ExportError: the graph is invalid, or uses an operator of another domain.
    """
    foreign = sorted({node.domain for node in graph.graph.node if node.domain not in domains})
    if foreign:
        raise ExportError(
            f"the graph uses operators of the domains {foreign}; expected {list(domains)}, which are portable"
        )
    graph.producer_name, graph.producer_version = PRODUCER, importlib.metadata.version(PRODUCER)
    for value in (*graph.graph.input, *graph.graph.output):
        value.doc_string = DESCRIPTIONS.get(value.name, value.doc_string)
    name_values(graph)
    values = (*graph.graph.input, *graph.graph.output, *graph.graph.value_info)
    for entry in (graph, graph.graph, *graph.graph.node, *values):
        del entry.metadata_props[:]
    for node in graph.graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(graph, dict(metadata))
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph is not valid ONNX: {error}") from error
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def name_values(graph: onnx.ModelProto) -> None:
    """Name values by the node that computes them. Repetition changes nothing.

    A constant without a name of its own gets the name of the first node that reads it, and its position there. Inputs,
    outputs and weights keep their names, and so do values and constants of nodes without a name of their own.

    Args:
        graph: it is modified in place.
    """
    fixed = {value.name for value in (*graph.graph.input, *graph.graph.output)}
    constants = {constant.name for constant in graph.graph.initializer}
    names: dict[str, str] = {}
    counts = Counter(node.name for node in graph.graph.node)
    for node in graph.graph.node:
        if not node.name or counts[node.name] > 1:
            continue
        for index, name in enumerate(node.input):
            if name in constants and name not in names and _EXPORTERS_NAME.fullmatch(name):
                names[name] = f"{node.name}_{index}"
        outputs = [name for name in node.output if name and name not in fixed]
        for index, name in enumerate(outputs):
            names[name] = node.name if len(node.output) == 1 else f"{node.name}_out{index}"
    used = [*names.values(), *constants.difference(names), *fixed]
    assert len(set(used)) == len(used), "names of nodes are unique"
    for node in graph.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.graph.initializer, *graph.graph.value_info):
        value.name = names.get(value.name, value.name)
