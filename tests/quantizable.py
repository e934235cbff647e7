"""The shipped nano, and a few excerpts, for the tests of quantization."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import onnx
from haaqi_edge.calibration.calibration_data import Sets, composed
from haaqi_edge.calibration.candidate_scores import Material, materials
from haaqi_edge.calibration.layer_groups import Group, groups_of
from haaqi_edge.calibration.ranges import Ranges, collect
from haaqi_edge.runtime import Bundle

ROLES = ("encoder", "head")


@cache
def graphs() -> dict[str, bytes]:
    """Nano's graphs, fp32."""
    return {role: Bundle("nano").path(role).read_bytes() for role in ROLES}


@cache
def models() -> dict[str, onnx.ModelProto]:
    """The same as protos, to be left as they are."""
    return {role: onnx.load_from_string(graph) for role, graph in graphs().items()}


@cache
def groups() -> list[Group]:
    """All that can be quantized in it."""
    return [group for role in ROLES for group in groups_of(role, models()[role])]


@cache
def sets() -> Sets:
    """Few excerpts, composed."""
    return composed(12, 8)


@cache
def heard() -> Sequence[Material]:
    """Those to calibrate with."""
    return list(materials(sets().calibration, "texture"))


@cache
def ranges() -> Ranges:
    """Their extremes."""
    return collect(graphs(), groups(), heard())["minmax"]
