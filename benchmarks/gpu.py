"""Measure parity and speed on a GPU.

    haaqi-edge bench study gpu [--provider cuda] [--student FILE] [--teacher FILE]

Nano, the student and the teacher on ONNX Runtime, in fp32 and fp16, are compared with PyTorch in fp32 on the same
device. The program reports the largest difference of a score over seven sounds and three listeners. It also reports the
time from the samples of one window of 10 s, or of eight, to the scores, measured in interleaved runs. Without
checkpoints, the student and the teacher have made-up weights, which affects neither the times nor the meaning of
parity. You need the dependencies of `pip install haaqi-edge[export]`, with onnxruntime-gpu instead of onnxruntime, and
no network. Use `--provider cpu` to test the program without a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..calibration.finalization import sealed
from ..calibration.speed import machine
from ..evaluation.timing import ratio, taken, timing
from ..export.bundle import Source, nano_source
from ..export.graphs import teacher_graph
from ..export.half import half_graph
from ..export.surgery import fold
from ..export.tensorrt.bundle import write_tensorrt
from ..export.verify import probe_signal
from ..model.student import Student
from ..model.teacher import Teacher
from ..runtime import Audiogram
from ..runtime.bundle import Bundle
from ..runtime.encoder import READINGS, Encoder
from ..runtime.errors import OptionError
from ..runtime.features import patches as fe
from ..runtime.gpu.device import first_gpu
from ..runtime.gpu.io_binding import Pair, Task
from ..runtime.gpu.provider_options import acceleration
from ..runtime.head import Head
from ..runtime.scores import Assembly
from ..runtime.session import CUDA, Session, provider_name
from ..runtime.windows import Cut, Encoded
from .golden import filled
from .program import told_in_a_line

PATCHES: Final = 62
"""patches in a window of 10 s"""
SAMPLES: Final = (PATCHES - 1) * fe.PATCH_SHIFT + fe.PATCH_LENGTH
WINDOWS: Final = 8
"""number of windows that are scored together"""
SOUNDS: Final = 7
LISTENERS: Final = ("NH", "N3", "S2")
PRECISIONS: Final = ("fp32", "fp16")
NAMES: Final = ("nano", "student", "teacher")

Array = npt.NDArray[np.float32]
Scores = Callable[[Array], Array]
"""returns scores [windows, listeners] for samples float32 [windows, samples]"""


class Contender(NamedTuple):
    """An implementation to compare.

    Attributes:
        scores: computes the scores.
        ran: describes the library and the device.
    """

    scores: Scores
    ran: str


@dataclass(frozen=True)
class Model:
    """A model in PyTorch, and how it is exported to ONNX Runtime.

    Attributes:
        weights: where the weights come from.
        source: what is exported; None for the teacher.
    """

    name: str
    network: nn.Module
    reads: str
    """what the network in PyTorch reads; `waveform` for the teacher"""
    weights: str
    source: Source | None = None


def model_of(name: str, checkpoint: Path | None) -> Model:
    """Return one of `NAMES`, with the weights of a checkpoint if one is given."""
    weights = str(checkpoint or "made up")
    if name == "nano":
        nano = nano_source(None)
        return Model("nano", nano.original, "texture", "shipped", nano)
    if name == "teacher":
        teacher = Teacher.from_checkpoint(checkpoint) if checkpoint else _made_up(Teacher())
        return Model("teacher", teacher, "waveform", weights)
    student = Student.from_checkpoint(checkpoint) if checkpoint else _made_up(Student())
    folded = fold(student)
    width, sha256 = folded.encoder.linear0.out_features, student.checkpoint_sha256 or "0" * 64
    return Model("student", student, "fbank", weights, Source("student", "student", student, folded, 8, width, sha256))


Network = TypeVar("Network", Student, Teacher)


def _made_up(network: Network) -> Network:
    network.load_published(filled(network))
    return network.eval()


def in_torch(model: Model, device: str) -> Contender:
    """Return the implementation in PyTorch: fp32 on the device, without TF32.

    The front end is the runtime's, or the teacher's own.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = model.network.to(device)
    audiograms = torch.from_numpy(_audiograms()).to(device)

    def scores(samples: Array) -> Array:
        with torch.inference_mode():
            read = torch.from_numpy(_features(model.reads, samples)).to(device)
            found = []
            for row in audiograms:
                found.append(network(read, row.expand(len(samples), -1))[1])
            told: Array = torch.stack(found, dim=1).cpu().numpy()
        return told

    return Contender(scores, f"torch {torch.__version__} on {device}")


def _features(reads: str, samples: Array) -> Array:
    """Return the input of a network in PyTorch, [windows, ...]."""
    if reads == "waveform":
        return samples
    features = np.stack([READINGS[reads](one) for one in samples])
    return features.reshape(len(samples), -1, features.shape[-1]) if reads == "fbank" else features


def of_bundle(folder: Path, provider: str, cuda_graphs: bool) -> Contender:
    """Return the implementation of a bundle: encoder and head bound to each other, the front end in the graph."""
    bundle = Bundle(folder)
    limits = acceleration(bundle, provider, cuda_graphs=cuda_graphs)
    encoder = Encoder(bundle, provider, None, limits.options["encoder"])
    head = Head(bundle, provider, None, limits.options["head"])
    pair = Pair(encoder.session, head.session, bundle.card, limits)
    listeners = [Audiogram.named(name) for name in LISTENERS]

    def scores(samples: Array) -> Array:
        clips = [Assembly(listeners, "a sound", pair.predicts) for _ in samples]
        nothing = np.zeros(PATCHES, dtype=np.bool_)
        tasks = []
        for one, clip in zip(samples, clips, strict=True):
            features = READINGS["samples"](one)
            tasks.append(Task(features, clip, clip.add(Cut(0, Encoded(features, nothing), PATCHES))))
        most = pair.together(PATCHES, PATCHES * WINDOWS)
        for start in range(0, len(tasks), most):
            pair.hear(tasks[start : start + most])
        return np.array([[score.score for score in clip.scores()] for clip in clips], dtype=np.float32)

    return Contender(scores, f"{encoder.session.provider} {_placed(encoder.session)} and {_placed(head.session)}")


def of_teacher(graph: bytes, provider: str) -> Contender:
    """Return the implementation of the teacher: one graph, which scores one window at a time."""
    session, audiograms = Session(graph, provider, None, CUDA if provider == "cuda" else None), _audiograms()

    def scores(samples: Array) -> Array:
        return np.stack([session.run(waveform=one[None], audiogram=audiograms)[1] for one in samples])

    return Contender(scores, f"{session.provider} {_placed(session)}")


def _placed(session: Session) -> str:
    """Describe how many operators each provider runs."""
    counts = {name: sum(of.values()) for name, of in session.placement.items()}
    return "(" + (", ".join(f"{name} {count}" for name, count in counts.items()) or "placement not told") + ")"


def _audiograms() -> Array:
    return np.stack([Audiogram.named(name).array() for name in LISTENERS])


def contenders(model: Model, provider: str, cuda_graphs: bool, folder: Path) -> Mapping[str, Contender]:
    """Return the implementations of a model: PyTorch first, then ONNX Runtime in both precisions."""
    found: dict[str, Contender] = {}
    for precision in PRECISIONS:
        name = f"{provider} {precision}"
        if model.source is not None:
            target = folder / f"{model.name}-{precision}"
            write_tensorrt(model.source, target, "fp16" if precision == "fp16" else "fp32")
            found[name] = of_bundle(target, provider, cuda_graphs)
        else:
            assert isinstance(model.network, Teacher)
            graph = teacher_graph(model.network, SAMPLES)
            graph = half_graph(graph) if precision == "fp16" else graph
            found[name] = of_teacher(sealed(graph, {}), provider)
    return {"torch fp32": in_torch(model, "cpu" if provider == "cpu" else "cuda"), **found}


def measure(model: Model, provider: str, runs: int, cuda_graphs: bool = False) -> dict[str, Any]:
    """Measure the parity and the times of a model."""
    sounds = np.stack([probe_signal(SAMPLES, seed) for seed in range(max(SOUNDS, WINDOWS))])
    with tempfile.TemporaryDirectory() as folder:
        rivals = contenders(model, provider, cuda_graphs, Path(folder))
        known = {name: rival.scores(sounds[:SOUNDS]) for name, rival in rivals.items()}
        times = {
            count: taken({name: lambda r=rival, n=count: r.scores(sounds[:n]) for name, rival in rivals.items()}, runs)  # type: ignore[misc]
            for count in (1, WINDOWS)
        }
    first = next(iter(rivals))
    return {
        "weights": model.weights,
        "rivals": {
            name: {
                "ran": rival.ran,
                "largest_difference": float(np.abs(known[name] - known[first]).max()),
                "windows": {
                    count: {
                        "ms": 1e3 * timing(taken_[name]).median,
                        "times_torch": ratio(taken_[first], taken_[name])._asdict(),
                    }
                    for count, taken_ in times.items()
                },
            }
            for name, rival in rivals.items()
        },
    }


def main() -> None:
    """Print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", default="cuda", choices=("cuda", "tensorrt", "cpu"))
    parser.add_argument("--student", type=Path, help="haaqi_net_distillBEATs.pth")
    parser.add_argument("--teacher", type=Path, help="haaqi_net.pth")
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--cuda-graphs", action="store_true")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    with told_in_a_line():
        _print(parser.parse_args())


def _print(given: argparse.Namespace) -> None:
    if given.cuda_graphs and given.provider == "cpu":
        raise OptionError("--cuda-graphs goes with --provider cuda or tensorrt")
    if given.runs < 1:
        raise OptionError(f"--runs {given.runs}: give 1 or more")
    provider_name(given.provider)  # raises an error before anything is traced
    gpu = None if given.provider == "cpu" else first_gpu()
    about = {
        **machine(),
        "gpu": gpu and gpu._asdict(),
        "torch": torch.__version__,
    }
    found: dict[str, Any] = {"machine": about, "listeners": len(LISTENERS), "models": {}}
    if not given.json:
        print(f"{about}; {len(LISTENERS)} listeners")
    for name_ in given.only or NAMES:
        model = model_of(name_, getattr(given, name_, None))
        found["models"][model.name] = told = measure(model, given.provider, given.runs, given.cuda_graphs)
        if given.json:
            continue
        for name, rival in told["rivals"].items():
            times = ", ".join(
                f"{count} x 10 s: {of['ms']:.2f} ms, {of['times_torch']['median']:.2f} times torch"
                for count, of in rival["windows"].items()
            )
            print(
                f"{model.name:<8} {name:<14} {times}; largest difference {rival['largest_difference']:.2g}; "
                f"{rival['ran']}; weights {told['weights']}"
            )
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
