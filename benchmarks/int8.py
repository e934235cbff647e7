"""What int8 saves: python -m haaqi_edge.benchmarks.int8 FP32_BUNDLE INT8_BUNDLE... [--checkpoint FILE]

All in one run on one thread: the fp32 network in PyTorch (where its checkpoint is given), the bundles on ONNX Runtime,
and the rates at which this machine multiplies matrices in fp32 and int8, of which each bundle's products take so much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ..calibration.groups import groups_of
from ..calibration.judges import NetworkJudge, judge_of
from ..calibration.quantizers import static_graph
from ..calibration.speed import SECONDS, machine
from ..calibration.targets import native_target
from ..calibration.timing import compare, ratio, taken, timing
from ..calibration.trial import Networks
from ..runtime import Audiogram, Bundle
from ..runtime.encoder import READINGS
from ..runtime.sessions import Session
from ..training.composition import RATE, piece
from ..training.features import at_front_end

SHAPE: Final = (496, 768, 3072)
"""of the product that the machine's rates are measured with: the student's largest, for 10 s of audio"""
RUNS: Final = 15
ROLES: Final = ("encoder", "head")
Array = npt.NDArray[np.float32]


def product_rates(runs: int = RUNS) -> dict[str, float]:
    """Billions of operations a second of one large product, a multiplication and an addition counted as two: fp32, and
    int8 in the formats of this machine, from floating-point input to floating-point output."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorsData

    rows, inner, outer = SHAPE
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((inner, outer)).astype(np.float32)
    given = rng.standard_normal((rows, inner)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", inner])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", outer])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    limits = TensorsData(CalibrationMethod.MinMax, {"x": (given.min(), given.max())})
    quantized = static_graph(model, ["product"], limits, native_target())
    sessions = {name: Session(one.SerializeToString(), None, 1) for name, one in (("fp32", model), ("int8", quantized))}
    times = compare({name: lambda one=one: one.run(x=given) for name, one in sessions.items()}, runs)  # type: ignore[misc]
    return {name: 2e-9 * rows * inner * outer / one.median for name, one in times.items()}


def operations(bundle: Bundle, features: Array) -> float:
    """Billions of operations in the products with constant weights of encoder and head for these patches, as above."""
    total = 0
    networks = Networks({role: bundle.path(role).read_bytes() for role in ROLES})
    count = {"encoder": len(features) * bundle.card.tokens_per_patch, "head": networks.tokens(features).shape[1]}
    for role in ROLES:
        for group in groups_of(role, onnx.load(bundle.path(role))):
            total += 2 * group.parameters * count[role]
    return 1e-9 * total


def measure(fp32: Bundle, others: list[Bundle], checkpoint: Path | None, runs: int = RUNS) -> dict[str, Any]:
    """All figures of one run, see the module."""
    samples = at_front_end(piece(0, SECONDS), RATE, SECONDS)
    listener = Audiogram.named("N3")
    audiogram = listener.array()[None]
    contenders: dict[str, Callable[[], object]] = {}
    if checkpoint is not None:
        torch.set_num_threads(1)
        judge = judge_of(checkpoint)
        assert isinstance(judge, NetworkJudge)
        network = judge.network
        read = torch.from_numpy(READINGS[network.reads](samples))
        read = (read.flatten(0, 1) if network.reads == "fbank" else read)[None]
        heard = torch.from_numpy(audiogram)

        def in_torch() -> object:
            with torch.inference_mode():
                return network(read, heard)

        contenders["PyTorch fp32"] = in_torch
    sizes: dict[str, int] = {}
    for bundle in (fp32, *others):
        graphs = {role: bundle.path(role).read_bytes() for role in ROLES}
        networks = Networks(graphs, threads=1)
        features = READINGS[networks.reads](samples)
        name = f"{bundle.folder.name} ({bundle.card.precision}{'' if bundle.card.streamable else ', dynamic'})"
        sizes[name] = sum(map(len, graphs.values()))

        def on_runtime(one: Networks = networks, seen: Array = features) -> object:
            return one.head.run(tokens=one.tokens(seen), audiogram=audiogram)

        contenders[name] = on_runtime
    seconds = taken(contenders, runs)
    rates = product_rates(runs)
    work = operations(fp32, READINGS[Networks({r: fp32.path(r).read_bytes() for r in ROLES}).reads](samples))
    first = next(iter(contenders))
    rows = {
        name: {
            "ms": 1e3 * timing(times).median,
            "low_ms": 1e3 * timing(times).low,
            "high_ms": 1e3 * timing(times).high,
            "times_faster": ratio(seconds[first], times)._asdict(),
            "gops": work / timing(times).median,
            "bytes": sizes.get(name),
        }
        for name, times in seconds.items()
    }
    return {
        "machine": machine(),
        "target": native_target().name,
        "audio_seconds": SECONDS,
        "operations_g": work,
        "product_rates_gops": rates,
        "rows": rows,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fp32", help="bundle or shipped name")
    parser.add_argument("others", nargs="+", help="bundles or shipped names to compare")
    parser.add_argument("--checkpoint", type=Path, help="the network in PyTorch, with which all are then compared")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(Bundle(given.fp32), [Bundle(one) for one in given.others], given.checkpoint)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    rates = found["product_rates_gops"]
    print(f"{found['audio_seconds']:g} s of audio, one thread, this machine is {found['target']}, {found['machine']}")
    print(f"one large product: fp32 {rates['fp32']:.0f}, int8 {rates['int8']:.0f} billion operations a second")
    for name, row in found["rows"].items():
        times = row["times_faster"]
        peak = rates["int8"] if "int8" in name else rates["fp32"]
        size = "" if row["bytes"] is None else f", {row['bytes'] / 1e6:.2f} MB"
        print(
            f"{name:<40} {row['ms']:8.2f} ms ({row['low_ms']:.2f} to {row['high_ms']:.2f}), "
            f"{times['median']:.2f} times as fast as the first ({times['low']:.2f} to {times['high']:.2f}), "
            f"{100 * row['gops'] / peak:.0f}% of the product's rate{size}"
        )


if __name__ == "__main__":
    main()
