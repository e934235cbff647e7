"""Implementations that are timed: HAAQI, teacher, student and nano.

Each is timed from samples to the score, and the networks and front ends are timed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import torch

from ...calibration.candidate_scores import Networks
from ...calibration.quantization import ROLES
from ...haaqi.index import Ear, Reference
from ...runtime import Bundle, Scorer
from ...runtime.encoder import READINGS
from ...runtime.features.fbank import patches as fbank_patches
from ...runtime.features.patches import PATCH_LENGTH, PATCH_SHIFT, SAMPLE_RATE
from ...runtime.features.texture import textures
from ...runtime.windows import window_patches
from ...training.degradations import degrade
from ..context import Array, Workbench
from .frame_fbank import fbank_per_frame

PYCLARITY: Final = "pyclarity"
Work = Callable[[], object]
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
    "fbank per frame": "the first, written frame by frame",
}


def named(what: str) -> str:
    """Return the name of an implementation for reports."""
    return NAMES.get(what, what)


def bundles(bench: Workbench) -> dict[str, Bundle]:
    """Return the bundles that are timed, by name: the student's, the shipped ones, and those of the options."""
    own = {"traced": bench.traced, "folded": bench.folded, "int8": bench.int8}
    added = {path.name: Bundle(path) for path in bench.options.bundles}
    return {**own, "nano": Bundle("nano"), "nano-int8": Bundle("nano-int8"), **added}


def contenders_of(
    bench: Workbench, models: dict[str, Bundle], samples: Array, threads: int
) -> Iterator[tuple[str, Work]]:
    """Yield what is timed, each with a name such as `nano/whole`.

    The part after the slash is `whole` (from samples to the score), `network` (alone) or `front end` (alone).

    Args:
        bench: networks and options.
        models: bundles, by name.
        samples: float32 [n] at 16 kHz.
        threads: threads of ONNX Runtime.
    """
    listener, levels = bench.listener, torch.from_numpy(bench.listener.array())[None]
    ear, clean = Ear(listener), samples.astype(np.float64)
    processed = degrade(clean, SAMPLE_RATE, "noise(snr=10)", bench.options.seed)
    if find_spec("clarity"):
        from ..studies.haaqi import oracle

        yield f"{PYCLARITY}/whole", lambda: oracle(clean, processed, SAMPLE_RATE, ear)
    yield "HAAQI/whole", lambda: Reference(clean, SAMPLE_RATE, ear).score(processed, SAMPLE_RATE)
    teacher, student = bench.teacher, bench.student
    waveform = torch.from_numpy(samples)[None]
    features = torch.from_numpy(fbank_patches(samples)).flatten(0, 1)[None]
    with torch.inference_mode():
        seen = teacher.fbank(waveform)

    def in_torch(work: Callable[[], Any]) -> Work:
        def run() -> object:
            with torch.inference_mode():
                return work()

        return run

    yield "teacher/whole", in_torch(lambda: teacher(waveform, levels))
    yield "teacher/network", in_torch(lambda: teacher.head(teacher.encode(seen), levels))
    yield (
        "student/whole",
        in_torch(lambda: student(torch.from_numpy(fbank_patches(samples)).flatten(0, 1)[None], levels)),
    )
    yield "student/network", in_torch(lambda: student(features, levels))
    for name, bundle in models.items():
        yield f"{name}/whole", whole(Scorer(bundle.folder, threads=threads), samples, bench)
        yield f"{name}/network", network(bundle, samples, threads, bench)
    yield "fbank/front end", lambda: fbank_patches(samples)
    yield "texture/front end", lambda: textures(samples)
    yield "fbank per frame/front end", lambda: fbank_per_frame(samples)


def whole(scorer: Scorer, samples: Array, bench: Workbench) -> Work:
    """Return a function that scores samples."""
    return lambda: scorer.score((samples, SAMPLE_RATE), bench.listener)


def network(bundle: Bundle, samples: Array, threads: int, bench: Workbench) -> Work:
    """Return a function that runs encoder and head over the card's windows; features are computed beforehand."""
    networks = Networks({role: bundle.path(role).read_bytes() for role in ROLES}, threads)
    features = [READINGS[networks.reads](part) for part in windows(samples, bundle.card.window)]
    audiogram = bench.listener.array()[None]
    return lambda: [networks.head.run(tokens=networks.tokens(part), audiogram=audiogram) for part in features]


def windows(samples: Array, seconds: float) -> list[Array]:
    """Cut samples into the parts that the patches of each window read.

    The last part may be shorter. It is dropped if it is shorter than a patch.
    """
    length = window_patches(seconds)
    step = length * PATCH_SHIFT
    parts = [samples[at : at + step + PATCH_LENGTH - PATCH_SHIFT] for at in range(0, len(samples), step)]
    return [part for part in parts if len(part) >= PATCH_LENGTH]
