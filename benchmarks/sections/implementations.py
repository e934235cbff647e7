"""Implementations that are timed: HAAQI, teacher, student and nano.

Each is timed from samples to the score. The networks and the front ends are also timed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import torch

from ...calibration.measurement import GraphRunner
from ...haaqi.index import Listener, Reference
from ...runtime import Bundle, Scorer
from ...runtime.audio.levels import LEVEL1
from ...runtime.bundle import ROLES
from ...runtime.features.fbank import patches as fbank_patches
from ...runtime.features.front_ends import FEATURE_EXTRACTORS
from ...runtime.features.patches import PATCH_LENGTH, PATCH_SHIFT, SAMPLE_RATE
from ...runtime.windows import window_patches
from ...training.degradations import degrade
from ..context import Array, BenchContext
from .frame_fbank import fbank_per_frame

PYCLARITY: Final = "pyclarity"
Run = Callable[[], object]
"""one timed run of an implementation"""
NAMES: Final = {
    PYCLARITY: "HAAQI, pyclarity",
    "HAAQI": "HAAQI, ours",
    "teacher": "teacher, PyTorch",
    "student": "student, PyTorch",
    "traced": "student as traced, ONNX Runtime",
    "folded": "student folded, ONNX Runtime",
    "int8": "student int8, ONNX Runtime",
    "nano": "nano",
    "nano-int8": "nano-int8",
    "fbank": "front end of teacher and student",
    "texture": "front end of nano",
    "fbank per frame": "front end of teacher and student, frame by frame",
}


def display_name(name: str) -> str:
    """Return the name of an implementation for readers of the report."""
    return NAMES.get(name, name)


def load_bundles(context: BenchContext) -> dict[str, Bundle]:
    """Return the bundles that are timed, by name: the student's, the shipped ones, and those of the options."""
    own = {"traced": context.traced_student, "folded": context.folded_student, "int8": context.int8_student}
    added = {path.name: Bundle(path) for path in context.options.bundles}
    return {**own, "nano": Bundle("nano"), "nano-int8": Bundle("nano-int8"), **added}


def iterate_implementations(
    context: BenchContext, models: dict[str, Bundle], samples: Array, threads: int
) -> Iterator[tuple[str, Run]]:
    """Yield the implementations that are timed, each with a name such as `nano/whole`.

    The part after the slash is `whole` (from samples to the score), `network` (alone) or `front end` (alone).

    Args:
        context: networks and options.
        models: bundles, by name.
        samples: float32 [n] at 16 kHz.
        threads: threads of ONNX Runtime.
    """
    listener, levels = context.listener, torch.from_numpy(context.listener.array())[None]
    haaqi_listener, clean = Listener(listener, level1=LEVEL1), samples.astype(np.float64)
    processed = degrade(clean, SAMPLE_RATE, "noise(snr=10)", context.options.seed)
    if find_spec("clarity"):
        from ..studies.haaqi import pyclarity_haaqi

        yield f"{PYCLARITY}/whole", lambda: pyclarity_haaqi(clean, processed, SAMPLE_RATE, haaqi_listener)
    yield "HAAQI/whole", lambda: Reference(clean, SAMPLE_RATE, haaqi_listener).score(processed, SAMPLE_RATE)
    teacher, student = context.teacher, context.student
    waveform = torch.from_numpy(samples)[None]
    features = torch.from_numpy(fbank_patches(samples)).flatten(0, 1)[None]
    with torch.inference_mode():
        teacher_features = teacher.fbank(waveform)

    def without_gradients(work: Callable[[], Any]) -> Run:
        def run() -> object:
            with torch.inference_mode():
                return work()

        return run

    yield "teacher/whole", without_gradients(lambda: teacher(waveform, levels))
    yield "teacher/network", without_gradients(lambda: teacher.head(teacher.encode(teacher_features), levels))
    yield (
        "student/whole",
        without_gradients(lambda: student(torch.from_numpy(fbank_patches(samples)).flatten(0, 1)[None], levels)),
    )
    yield "student/network", without_gradients(lambda: student(features, levels))
    for name, bundle in models.items():
        yield f"{name}/whole", make_scoring_run(Scorer(bundle.folder, threads=threads), samples, context)
        yield f"{name}/network", make_network_run(bundle, samples, threads, context)
    yield "fbank/front end", lambda: fbank_patches(samples)
    nano_front_end = FEATURE_EXTRACTORS[Bundle("nano").card.front_end_name]
    yield "texture/front end", lambda: nano_front_end(samples)
    yield "fbank per frame/front end", lambda: fbank_per_frame(samples)


def make_scoring_run(scorer: Scorer, samples: Array, context: BenchContext) -> Run:
    """Return a function that scores samples."""
    return lambda: scorer.score((samples, SAMPLE_RATE), context.listener)


def make_network_run(bundle: Bundle, samples: Array, threads: int, context: BenchContext) -> Run:
    """Return a function that runs encoder and head over the card's windows. Features are computed beforehand."""
    networks = GraphRunner({role: bundle.path(role).read_bytes() for role in ROLES}, threads)
    features = [
        FEATURE_EXTRACTORS[bundle.card.front_end_name](part) for part in split_windows(samples, bundle.card.window)
    ]
    audiogram = context.listener.array()[None]
    return lambda: [networks.head.run(tokens=networks.tokens(part), audiogram=audiogram) for part in features]


def split_windows(samples: Array, seconds: float) -> list[Array]:
    """Cut samples into the parts that the patches of each window read.

    The last part may be shorter. It is dropped if it is shorter than a patch.
    """
    length = window_patches(seconds)
    step = length * PATCH_SHIFT
    parts = [samples[at : at + step + PATCH_LENGTH - PATCH_SHIFT] for at in range(0, len(samples), step)]
    return [part for part in parts if len(part) >= PATCH_LENGTH]
