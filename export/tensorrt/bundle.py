"""Bundles for TensorRT: strongly typed graphs that its parser supports, and optimization profiles."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import onnx

from ...calibration.finalization import finalize_model
from ...model.small import Small
from ...runtime.bundle import Bundle, Card
from ...runtime.errors import OptionError
from ...runtime.gpu.optimization_profiles import OptimizationProfile, default_profiles
from ...runtime.writing import check_folder, with_files, write_files
from ..bundle import ExportSource, create_card
from ..fp16 import convert_to_fp16
from ..guards import guard_head
from ..tracing import trace_encoder, trace_head
from ..verify import TOLERANCE, Parity, verify_bundle
from .manifest import MANIFEST, Manifest, create_manifest
from .shapes import check_profiles
from .support import check_supported, load_support

FP16_TOLERANCE: Final = 5e-3
"""Maximum difference of a score for an fp16 export: the same tolerance as for int8."""
Precision = Literal["fp32", "fp16", "int8"]
Quantizer = Callable[[Bundle, Path], tuple[Card, Mapping[str, bytes]]]
"""Returns the card and graphs of an int8 bundle, given an fp32 bundle and a work folder."""


def write_tensorrt(
    source: ExportSource,
    folder: Path,
    precision: Precision,
    profiles: Sequence[OptimizationProfile] | None = None,
    quantize: Quantizer | None = None,
) -> tuple[Card, Manifest, Parity | None]:
    """Trace, convert, check, verify and write a bundle for TensorRT. ONNX Runtime can run it too.

    The encoder includes the front end. The head accepts tokens of several clips: [clips, tokens, width], where clips is
    1 or the number of audiograms.

    Args:
        source: the network.
        folder: see `export.bundle.write_bundle`.
        precision: fp32; fp16, see `export.fp16`; or int8, with the encoder's products in explicit symmetric Q/DQ.
        profiles: None uses `default_profiles` of the card's window.
        quantize: converts the fp32 bundle to int8. Needed for int8 only.

    Returns:
        The card, the manifest, and the parity with PyTorch (None for int8, whose card holds its own measurements).

    Raises:
        OptionError: the folder holds something that is not a bundle, or the network is a small.
        ExportError: TensorRT would reject a graph, a shape stays unknown, or scores differ from the network's. Nothing
            is written then.
    """
    check_folder(folder)
    if isinstance(source.original, Small):
        raise OptionError(
            f"{source.name} is of the family small, which cannot be exported for TensorRT: it completes the last block "
            "of patches by operators whose shapes TensorRT cannot infer; use ONNX Runtime (`export small -o FOLDER`)"
        )
    card = replace(create_card(source, samples=True), precision="fp32" if precision == "int8" else precision)
    models = {"encoder": trace_encoder(source.network, samples=True), "head": trace_head(source.network, source.width)}
    make_clips_dynamic(models["head"])
    guard_head(models["head"], clips=True)
    parity: Parity | None = None
    if precision == "fp16":
        models = {role: convert_to_fp16(model) for role, model in models.items()}
    graphs: Mapping[str, bytes] = {role: finalize_model(model, card.metadata()) for role, model in models.items()}
    if precision == "int8":
        assert quantize is not None, "int8 needs a quantizer"
        card, graphs = _quantize(card, graphs, quantize)
    else:
        parity = verify_bundle(
            source.original, graphs["encoder"], graphs["head"], TOLERANCE if precision == "fp32" else FP16_TOLERANCE
        )
        results = {"largest_difference": parity.worst.difference, "cases": parity.cases}
        card = replace(card, figures={**(source.figures if precision == "fp32" else {}), "parity": results})
    models = {role: onnx.load_from_string(graph) for role, graph in graphs.items()}
    for role, model in models.items():
        check_supported(model, f"the {role} of {card.name}")
    profiles = default_profiles(card.window) if profiles is None else profiles
    check_profiles(models, card, profiles)
    precisions = {role: file.precision for role, file in card.files.items()}  # empty unless it was quantized
    card = with_files(card, graphs, precisions)
    manifest = create_manifest(card, profiles, f"{load_support().version} ({load_support().source})")
    write_files(card, graphs, folder, {MANIFEST: manifest.to_json().encode()})
    return card, manifest, parity


def make_clips_dynamic(head: onnx.ModelProto) -> None:
    """Let a head accept tokens of several clips, one per audiogram.

    Only the first axis of its input has to become dynamic, because its operators broadcast.
    """
    (tokens,) = (value for value in head.graph.input if value.name == "tokens")
    tokens.type.tensor_type.shape.dim[0].dim_param = "clips"
    del head.graph.value_info[:]


def _quantize(card: Card, graphs: Mapping[str, bytes], quantize: Quantizer) -> tuple[Card, Mapping[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        fp32 = Path(folder) / card.name
        write_files(with_files(card, graphs), graphs, fp32)
        return quantize(Bundle(fp32), Path(folder) / "work")
