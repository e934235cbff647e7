"""Measure parity and speed on a GPU: `haaqi-edge bench study gpu`, or `python -m haaqi_edge.benchmarks.gpu`.

Nano, the student and the teacher on ONNX Runtime, in fp32 and fp16, are compared with PyTorch in fp32 on the same
device. The study reports the largest difference of a score over seven sounds and three listeners. It also reports the
time from the samples of one window of 10 s, or of eight, to the scores, measured in interleaved runs. Without
checkpoints, the weights of the student and the teacher are computed by a rule, which affects neither the times nor the
meaning of parity. You need the dependencies of `pip install haaqi-edge[export,haaqi]`, with onnxruntime-gpu instead of
onnxruntime, and no network. Use `--provider cpu` to try the study without a GPU.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..calibration.finalization import finalize_model
from ..calibration.measurement import describe_machine
from ..evaluation.timing import compute_speedup, summarize_times, time_interleaved
from ..export.bundle import ExportSource, load_nano_source
from ..export.fp16 import convert_to_fp16
from ..export.random_weights import golden_weights
from ..export.surgery import fold
from ..export.tensorrt.bundle import write_tensorrt
from ..export.tracing import trace_teacher
from ..export.verify import probe_signal
from ..model.student import Student
from ..model.teacher import Teacher
from ..runtime import Audiogram
from ..runtime.bundle import Bundle
from ..runtime.errors import OptionError
from ..runtime.features import patches as fe
from ..runtime.features.front_ends import FEATURE_EXTRACTORS
from ..runtime.gpu.device import first_gpu
from ..runtime.gpu.io_binding import BoundModel
from ..runtime.gpu.provider_options import resolve_provider_options
from ..runtime.head import Head
from ..runtime.onnx_backend import Encoder
from ..runtime.scores import ScoreAggregator
from ..runtime.session import CUDA, Session, provider_name
from ..runtime.window_scoring import WindowTask
from ..runtime.windows import PatchFeatures, WindowSlice
from ..runtime.writing import to_json
from .program import exit_on_error

_PATCHES: Final = 62
"""patches in a window of 10 s"""
_SAMPLES: Final = (_PATCHES - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH
_WINDOWS: Final = 8
"""number of windows that are scored together"""
_SOUNDS: Final = 7
_LISTENERS: Final = ("NH", "N3", "S2")
_PRECISIONS: Final = ("fp32", "fp16")
NAMES: Final = ("nano", "student", "teacher")

Array = npt.NDArray[np.float32]
_ScoreFunction = Callable[[Array], Array]
"""returns scores [windows, listeners] for samples float32 [windows, samples]"""


class _Implementation(NamedTuple):
    """An implementation to compare.

    Attributes:
        scores: computes the scores.
        runtime: the library and the device.
    """

    scores: _ScoreFunction
    runtime: str


@dataclass(frozen=True)
class _Model:
    """A model in PyTorch, and how it is exported to ONNX Runtime.

    Attributes:
        name: one of `NAMES`.
        network: the network.
        reads: input of the network; `waveform` for the teacher.
        weights: where the weights come from.
        source: for the export; None for the teacher.
    """

    name: str
    network: nn.Module
    reads: str
    weights: str
    source: ExportSource | None = None


def _load_model(name: str, checkpoint: Path | None) -> _Model:
    """Return one of `NAMES`, with the weights of a checkpoint if one is given."""
    weights = str(checkpoint or "computed by a rule")
    if name == "nano":
        nano = load_nano_source(None)
        return _Model("nano", nano.original, nano.network.reads, "shipped", nano)
    if name == "teacher":
        teacher = Teacher.from_checkpoint(checkpoint) if checkpoint else _with_golden_weights(Teacher())
        return _Model("teacher", teacher, "waveform", weights)
    student = Student.from_checkpoint(checkpoint) if checkpoint else _with_golden_weights(Student())
    folded = fold(student)
    width, sha256 = folded.encoder.linear0.out_features, student.checkpoint_sha256 or "0" * 64
    return _Model(
        "student", student, "fbank", weights, ExportSource("student", "student", student, folded, 8, width, sha256)
    )


_Network = TypeVar("_Network", Student, Teacher)


def _with_golden_weights(network: _Network) -> _Network:
    network.load_published(golden_weights(network))
    return network.eval()


def _torch_implementation(model: _Model, device: str) -> _Implementation:
    """Return the implementation in PyTorch: fp32 on the device, without TF32.

    The front end is the runtime's, or the teacher's own.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = model.network.to(device)
    audiograms = torch.from_numpy(_load_audiograms()).to(device)

    def scores(samples: Array) -> Array:
        with torch.inference_mode():
            features = torch.from_numpy(_features(model.reads, samples)).to(device)
            by_listener = [network(features, row.expand(len(samples), -1))[1] for row in audiograms]
            found: Array = torch.stack(by_listener, dim=1).cpu().numpy()
        return found

    return _Implementation(scores, f"torch {torch.__version__} on {device}")


def _features(reads: str, samples: Array) -> Array:
    """Return the input of a network in PyTorch, [windows, ...]."""
    if reads == "waveform":
        return samples
    features = np.stack([FEATURE_EXTRACTORS[reads](one) for one in samples])
    return features.reshape(len(samples), -1, features.shape[-1]) if reads == "fbank" else features


def _bundle_implementation(folder: Path, provider: str, cuda_graphs: bool) -> _Implementation:
    """Return the implementation of a bundle: encoder and head bound to each other, the front end in the graph."""
    bundle = Bundle(folder)
    options = resolve_provider_options(bundle, provider, cuda_graphs=cuda_graphs)
    encoder = Encoder(bundle, provider, None, options.options["encoder"])
    head = Head(bundle, provider, None, options.options["head"])
    model = BoundModel(encoder.session, head.session, bundle.card, options)
    listeners = [Audiogram.named(name) for name in _LISTENERS]

    def scores(samples: Array) -> Array:
        clips = [ScoreAggregator(listeners, "a sound", model.predicts) for _ in samples]
        silent = np.zeros(_PATCHES, dtype=np.bool_)
        tasks = []
        for one, clip in zip(samples, clips, strict=True):
            features = FEATURE_EXTRACTORS["samples"](one)
            tasks.append(
                WindowTask(features, clip, clip.add(WindowSlice(0, PatchFeatures(features, silent), _PATCHES)), silent)
            )
        count = model.windows_per_run(_PATCHES, _PATCHES * _WINDOWS)
        for start in range(0, len(tasks), count):
            model.score_windows(tasks[start : start + count])
        return np.array([[score.score for score in clip.scores()] for clip in clips], dtype=np.float32)

    return _Implementation(
        scores,
        f"{encoder.session.provider} {_describe_placement(encoder.session)} and {_describe_placement(head.session)}",
    )


def _teacher_implementation(graph: bytes, provider: str) -> _Implementation:
    """Return the implementation of the teacher: one graph, which scores one window at a time."""
    session, audiograms = Session(graph, provider, None, CUDA if provider == "cuda" else None), _load_audiograms()

    def scores(samples: Array) -> Array:
        return np.stack([session.run(waveform=one[None], audiogram=audiograms)[1] for one in samples])

    return _Implementation(scores, f"{session.provider} {_describe_placement(session)}")


def _describe_placement(session: Session) -> str:
    """Describe how many operators each provider runs."""
    counts = {name: sum(of.values()) for name, of in session.placement.items()}
    return "(" + (", ".join(f"{name} {count}" for name, count in counts.items()) or "placement unknown") + ")"


def _load_audiograms() -> Array:
    return np.stack([Audiogram.named(name).array() for name in _LISTENERS])


def _build_implementations(
    model: _Model, provider: str, cuda_graphs: bool, folder: Path
) -> Mapping[str, _Implementation]:
    """Return the implementations of a model: PyTorch first, then ONNX Runtime in both precisions."""
    found: dict[str, _Implementation] = {}
    for precision in _PRECISIONS:
        name = f"{provider} {precision}"
        if model.source is not None:
            bundle = folder / f"{model.name}-{precision}"
            write_tensorrt(model.source, bundle, "fp16" if precision == "fp16" else "fp32")
            found[name] = _bundle_implementation(bundle, provider, cuda_graphs)
        else:
            assert isinstance(model.network, Teacher)
            graph = trace_teacher(model.network, _SAMPLES)
            graph = convert_to_fp16(graph) if precision == "fp16" else graph
            found[name] = _teacher_implementation(finalize_model(graph, {}), provider)
    return {"torch fp32": _torch_implementation(model, "cpu" if provider == "cpu" else "cuda"), **found}


def _measure_model(model: _Model, provider: str, runs: int, cuda_graphs: bool = False) -> dict[str, Any]:
    """Measure the parity and the times of a model.

    Args:
        model: the model.
        provider: `cuda`, `tensorrt` or `cpu`.
        runs: number of interleaved runs.
        cuda_graphs: whether to use CUDA graphs.

    Returns:
        where the weights come from, and for each implementation: the runtime, the largest difference of a score from
        PyTorch, and the times for one window and for eight.
    """
    sounds = np.stack([probe_signal(_SAMPLES, seed) for seed in range(max(_SOUNDS, _WINDOWS))])
    with tempfile.TemporaryDirectory() as folder:
        implementations = _build_implementations(model, provider, cuda_graphs, Path(folder))
        scores = {name: one.scores(sounds[:_SOUNDS]) for name, one in implementations.items()}
        seconds = {
            windows: time_interleaved(
                {name: partial(one.scores, sounds[:windows]) for name, one in implementations.items()}, runs
            )
            for windows in (1, _WINDOWS)
        }
    baseline = next(iter(implementations))
    return {
        "weights": model.weights,
        "implementations": {
            name: {
                "runtime": one.runtime,
                "largest_difference": float(np.abs(scores[name] - scores[baseline]).max()),
                "windows": {
                    windows: {
                        "ms": 1e3 * summarize_times(times[name]).median,
                        "times_torch": compute_speedup(times[baseline], times[name])._asdict(),
                    }
                    for windows, times in seconds.items()
                },
            }
            for name, one in implementations.items()
        },
    }


def measure_models(
    names: Sequence[str],
    checkpoints: Mapping[str, Path | None],
    provider: str,
    runs: int,
    cuda_graphs: bool,
    print_line: Callable[[str], None],
) -> dict[str, Any]:
    """Measure models one after another.

    Args:
        names: some of `NAMES`.
        checkpoints: of the student and the teacher; None or nothing for weights computed by a rule.
        provider: `cuda`, `tensorrt` or `cpu`.
        runs: number of interleaved runs.
        cuda_graphs: whether to use CUDA graphs.
        print_line: called with each result as text, as soon as it is known.

    Returns:
        the machine, the number of listeners, and the results of each model.

    Raises:
        OptionError: a name is unknown, or options contradict each other.
        ProviderError: the provider is not available.
    """
    for name in names:
        if name not in NAMES:
            raise OptionError(f"--only {name!r}: expected one of {', '.join(NAMES)}")
    if cuda_graphs and provider == "cpu":
        raise OptionError("--cuda-graphs needs --provider cuda or tensorrt, and --provider is cpu")
    if runs < 1:
        raise OptionError(f"--runs {runs}: give 1 or more")
    provider_name(provider)  # raises an error before anything is traced
    gpu = None if provider == "cpu" else first_gpu()
    machine = {**describe_machine(), "gpu": gpu and gpu._asdict(), "torch": torch.__version__}
    print_line(f"{machine}; {len(_LISTENERS)} listeners")
    results = {}
    for name in names:
        model = _load_model(name, checkpoints.get(name))
        results[name] = result = _measure_model(model, provider, runs, cuda_graphs)
        for implementation, one in result["implementations"].items():
            times = ", ".join(
                f"{windows} x 10 s: {of['ms']:.2f} ms, {of['times_torch']['median']:.2f} times as fast as torch"
                for windows, of in one["windows"].items()
            )
            print_line(
                f"{name:<8} {implementation:<14} {times}; largest difference {one['largest_difference']:.2g}; "
                f"{one['runtime']}; weights {result['weights']}"
            )
    return {"machine": machine, "listeners": len(_LISTENERS), "models": results}


def main() -> None:
    """Run without typer and rich: `python -m haaqi_edge.benchmarks.gpu`."""
    parser = argparse.ArgumentParser(
        prog="python -m haaqi_edge.benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--provider", default="cuda", choices=("cuda", "tensorrt", "cpu"), help="execution provider (default: cuda)"
    )
    parser.add_argument("--student", type=Path, help="haaqi_net_distillBEATs.pth; default: weights by a rule")
    parser.add_argument("--teacher", type=Path, help="haaqi_net.pth; default: weights by a rule")
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this model only; can be repeated")
    parser.add_argument("--cuda-graphs", action="store_true", help="use CUDA graphs")
    parser.add_argument("--runs", type=int, default=20, help="number of timed runs (default: 20)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()

    def print_line(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    with exit_on_error():
        results = measure_models(
            options.only or NAMES,
            {"student": options.student, "teacher": options.teacher},
            options.provider,
            options.runs,
            options.cuda_graphs,
            print_line,
        )
    if options.json:
        print(to_json(results))


if __name__ == "__main__":
    main()
