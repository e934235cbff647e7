"""Finalization of an ONNX graph: metadata, checks and serialization. Quantized and exported graphs go through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import onnx

from ..runtime.errors import ExportError

PRODUCER: Final = "haaqi-edge"
ONNX_DOMAINS: Final = ("", "ai.onnx")
"""domains of ONNX's own operators"""


def finalize_model(graph: onnx.ModelProto, metadata: Mapping[str, str], domains: Sequence[str] = ONNX_DOMAINS) -> bytes:
    """Set the metadata of a graph, check the graph, and return it as the bytes of one file.

    Args:
        graph: it is modified in place.
        metadata: see `Card.metadata`.
        domains: domains of the operators that the graph may use.

    Raises:
        ExportError: the graph is invalid, or uses an operator of another domain.
    """
    foreign = sorted({node.domain for node in graph.graph.node if node.domain not in domains})
    if foreign:
        raise ExportError(
            f"the graph uses operators of the domains {foreign}; expected {list(domains)}, which are portable"
        )
    graph.producer_name = PRODUCER
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, dict(metadata))
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph is not valid ONNX: {error}") from error
    content: bytes = graph.SerializeToString(deterministic=True)
    return content
