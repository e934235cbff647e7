"""The shipped nano and a few calibration excerpts, for the tests of quantization. Each is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import onnx
from haaqi_edge.calibration.calibration_data import CalibrationData, ModelInputs, create_synthetic_data, prepare_inputs
from haaqi_edge.calibration.layer_groups import LayerGroup, find_layer_groups
from haaqi_edge.calibration.ranges import Ranges, collect_ranges
from haaqi_edge.runtime.bundle import ROLES, Bundle


@cache
def graphs() -> dict[str, bytes]:
    """Return the fp32 graphs of nano, by role."""
    return {role: Bundle("nano").path(role).read_bytes() for role in ROLES}


@cache
def models() -> dict[str, onnx.ModelProto]:
    """Return the same graphs as protos. Do not modify them."""
    return {role: onnx.load_from_string(graph) for role, graph in graphs().items()}


@cache
def layer_groups() -> list[LayerGroup]:
    """Return all layer groups of nano."""
    return [group for role in ROLES for group in find_layer_groups(role, models()[role])]


@cache
def data() -> CalibrationData:
    """Return a small set of synthetic calibration data."""
    return create_synthetic_data(12, 8)


@cache
def inputs() -> Sequence[ModelInputs]:
    """Return the prepared calibration excerpts."""
    return list(prepare_inputs(data().calibration, "texture"))


@cache
def ranges() -> Ranges:
    """Return the extremes of the activations on them."""
    return collect_ranges(graphs(), layer_groups(), inputs())["minmax"]
