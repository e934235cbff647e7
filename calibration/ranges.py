"""Activation ranges of a model: collection on excerpts, cache, and comparison with the ranges of other sounds."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import (
    HistogramCollector,
    TensorsData,
    load_tensors_data,
    save_tensors_data,
)

from ..runtime.bundle import ROLES
from ..runtime.errors import BundleError
from ..runtime.session import Session
from .calibration_data import Array, ModelInputs
from .layer_groups import LayerGroup, node_names

Rule = Literal["minmax", "percentile", "entropy"]
_METHODS: Final[Mapping[Rule, Any]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_SIGNED: Final[dict[str, Any]] = {"symmetric": False, "scenario": "same"}
_HISTOGRAMS: Final[Mapping[Rule, dict[str, Any]]] = {
    "percentile": {"method": "percentile", "num_bins": 2048, "num_quantized_bins": 256, "percentile": 99.99, **_SIGNED},
    "entropy": {"method": "entropy", "num_bins": 1024, "num_quantized_bins": 256, "percentile": 100.0, **_SIGNED},
}
RULES: Final = tuple(_METHODS)
"""how ranges are derived from activations: the extremes (`minmax`), all but a ten-thousandth of the values
(`percentile`), or the smallest loss of information (`entropy`)"""
MAX_EXCESS: Final = 0.02
"""share of its calibrated range by which a layer may exceed the range on other sounds without being reported"""
Ranges = Mapping[str, TensorsData]
"""activation ranges of each graph, by role"""


class RangeExcess(NamedTuple):
    """A layer group whose activations exceed their calibrated range.

    Attributes:
        group: name of the layer group.
        by: how far they exceed the range, as a share of the range.
    """

    group: str
    by: float


def collect_ranges(
    graphs: Mapping[str, bytes],
    groups: Sequence[LayerGroup],
    inputs: Sequence[ModelInputs],
    rules: Sequence[Rule] = ("minmax",),
    progress: Callable[[int], None] | None = None,
) -> dict[Rule, Ranges]:
    """Collect the activation range of every input of a matrix product, once for each rule.

    Only the activations of one excerpt are in memory at a time. All rules but `minmax` need a second pass over the
    excerpts.

    Args:
        graphs: fp32 graphs, by role.
        groups: the layer groups whose inputs are observed.
        inputs: the excerpts.
        rules: see `RULES`.
        progress: called after each excerpt with the number of excerpts processed so far, counted over both passes.
    """
    observed = {role: _ObservedGraph(role, graph, groups) for role, graph in graphs.items()}
    counts = itertools.count(1)

    def activations() -> Iterator[tuple[str, str, Array]]:
        for one in inputs:
            of_encoder, tokens = observed["encoder"].run({observed["encoder"].reads: one.features})
            of_head, _ = observed["head"].run({"tokens": tokens, "audiogram": one.audiograms})
            yield from (("encoder", name, values) for name, values in of_encoder.items())
            yield from (("head", name, values) for name, values in of_head.items())
            if progress:
                progress(next(counts))

    extremes: dict[str, dict[str, tuple[Any, Any]]] = {role: {} for role in graphs}
    for role, name, values in activations():
        low, high = extremes[role].get(name, (np.float32(np.inf), np.float32(-np.inf)))
        extremes[role][name] = min(low, values.min()), max(high, values.max())
    histogram_rules = [rule for rule in rules if rule in _HISTOGRAMS]
    return {
        **({"minmax": _to_ranges("minmax", extremes)} if "minmax" in rules else {}),
        **(_collect_histograms(histogram_rules, extremes, activations()) if histogram_rules else {}),
    }


def _collect_histograms(
    rules: Sequence[Rule],
    extremes: Mapping[str, Mapping[str, tuple[Any, Any]]],
    activations: Iterable[tuple[str, str, Array]],
) -> dict[Rule, Ranges]:
    """Return ranges from histograms; the known extremes determine the bins from the start."""
    histograms = {(rule, role): HistogramCollector(**_HISTOGRAMS[rule]) for rule in rules for role in extremes}
    with contextlib.redirect_stdout(io.StringIO()):  # the collectors print progress messages
        for (_, role), histogram in histograms.items():
            for name, pair in extremes[role].items():
                histogram.collect({name: np.array(pair, dtype=np.float32)})
        for role, name, values in activations:
            for rule in rules:
                histograms[rule, role].collect({name: values})
        return {
            rule: _to_ranges(rule, {role: histograms[rule, role].compute_collection_result() for role in extremes})
            for rule in rules
        }


def _to_ranges(rule: Rule, collected: Mapping[str, Any]) -> Ranges:
    return {role: TensorsData(_METHODS[rule], ranges) for role, ranges in collected.items()}


class _ObservedGraph:
    """A graph on ONNX Runtime that also outputs the inputs of its products."""

    def __init__(self, role: str, graph: bytes, groups: Sequence[LayerGroup]) -> None:
        model = onnx.load_from_string(graph)
        nodes = set(node_names(groups, role, "product"))
        self._names = list(dict.fromkeys(node.input[0] for node in model.graph.node if node.name in nodes))
        visible = {output.name for output in model.graph.output} | {given.name for given in model.graph.input}
        for name in self._names:
            if name not in visible:
                model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self._session = Session(model.SerializeToString())
        self.reads = next(iter(self._session.inputs))

    def run(self, feed: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        """Run the graph.

        Returns:
            the inputs of the products, by tensor name, and the first output as [1, tokens, width].
        """
        outputs = self._session.run(**feed)
        values = {**feed, **dict(zip(self._session.outputs, outputs, strict=True))}
        first = outputs[0].reshape(1, -1, outputs[0].shape[-1])
        return {name: values[name] for name in self._names}, first


def load_or_collect_ranges(
    work: Path,
    key: object,
    rules: Sequence[Rule],
    collect: Callable[[Sequence[Rule]], Mapping[Rule, Ranges]],
) -> dict[Rule, Ranges]:
    """Load cached ranges from a folder; collect and save those that are missing.

    Args:
        work: the folder.
        key: everything that the ranges depend on: model and excerpts.
        rules: the rules to load.
        collect: collects the ranges of the missing rules.

    Raises:
        BundleError: a file in the folder cannot be read.
    """
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    paths = {rule: {role: work / f"ranges-{digest}-{rule}-{role}.json" for role in ROLES} for rule in rules}
    missing = [rule for rule in rules if not all(path.is_file() for path in paths[rule].values())]
    if missing:
        for rule, ranges in collect(missing).items():
            for role, path in paths[rule].items():
                save_tensors_data(ranges[role], path)
    try:
        return {rule: {role: load_tensors_data(path) for role, path in paths[rule].items()} for rule in rules}
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"the activation ranges cached in {work} cannot be read ({error}): delete that folder, then run again"
        ) from error


def find_range_excess(
    calibrated: Ranges, observed: Ranges, graphs: Mapping[str, onnx.ModelProto], groups: Sequence[LayerGroup]
) -> list[RangeExcess]:
    """List the products whose inputs exceed their calibrated range by more than `MAX_EXCESS`, the worst first.

    Args:
        calibrated: the ranges that determine the int8 formats.
        observed: the extremes on other sounds, by the rule `minmax`.
        graphs: fp32 graphs, by role.
        groups: the layer groups whose inputs are checked.
    """
    excesses = []
    for group in groups:
        if group.kind != "product":
            continue
        node = next(node for node in graphs[group.role].graph.node if node.name == group.node)
        (low, high), (min_value, max_value) = (_range(r[group.role], node.input[0]) for r in (calibrated, observed))
        by = max(low - min_value, max_value - high) / max(high - low, float(np.finfo(np.float32).tiny))
        if by > MAX_EXCESS:
            excesses.append(RangeExcess(group.name, by))
    return sorted(excesses, key=lambda one: -one.by)


def _range(data: TensorsData, tensor: str) -> tuple[float, float]:
    low, high = data[tensor].range_value
    return float(np.min(low)), float(np.max(high))
