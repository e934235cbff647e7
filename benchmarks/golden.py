"""Parity with the published networks on golden files, for `haaqi-edge bench parity --reference FOLDER`.

The golden files contain outputs of the authors' implementation. Every tensor of the networks is filled by a rule from
its key (`export.random_weights`).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..export.bundle import load_student_source, write_bundle
from ..export.random_weights import golden_state_dict
from ..model import Student, Teacher
from ..runtime import Scorer
from ..runtime.errors import CorpusError
from ..runtime.features.fbank import fbank as compute_fbank

SCORE_TOLERANCE: Final = 2e-6
LAYER_TOLERANCE: Final = 1e-4
GOLDEN_TOKENS: Final = 64
"""number of tokens of the layer outputs in the golden files"""
Arrays = dict[str, npt.NDArray[Any]]


def load_published_shapes(reference: Path, network: Literal["haaqinet", "haaqinet_student"]) -> dict[str, list[int]]:
    """Read every key and shape of a published state dict."""
    shapes: dict[str, list[int]] = json.loads((reference / "reference/state_dicts.json").read_text())[network]
    return shapes


def load_golden_files(reference: Path) -> dict[str, Arrays]:
    """Load the golden arrays by clip, the shortest clip first.

    Raises:
        CorpusError: the folder contains no golden files.
    """
    files = sorted((reference / "reference/golden").glob("*.npz"), key=lambda file: file.stat().st_size)
    if not files:
        raise CorpusError(
            f"no golden files in {reference}/reference/golden: give the folder that contains reference/golden"
        )
    clips = {}
    for file in files:
        with np.load(file) as arrays:
            clips[file.stem] = dict(arrays)
    return clips


def waveform(clip: Arrays) -> Tensor:
    """Return the waveform of a clip in [-1, 1], [1, samples]."""
    return torch.from_numpy(clip["waveform"].astype("float32") / 32768)[None]


def fbank(clip: Arrays) -> Tensor:
    """Return the fbank of a clip, [1, frames, 128]."""
    return torch.from_numpy(clip["fbank"])[None]


def audiogram(clip: Arrays) -> Tensor:
    """Return the audiogram of a clip, [1, 8]."""
    return torch.from_numpy(clip["audiogram"])[None]


def max_difference(output: Tensor, expected: npt.NDArray[Any]) -> float:
    """Return the largest absolute difference."""
    return float(np.abs(output.detach().numpy() - expected).max())


def export_golden_student(reference: Path, folder: Path) -> Path:
    """Export the golden student to a bundle, and return the folder of the bundle.

    Args:
        reference: folder of the reference material.
        folder: where the checkpoint and the bundle are written.
    """
    checkpoint = folder / "student.pth"
    torch.save({"model": golden_state_dict(load_published_shapes(reference, "haaqinet_student"))}, checkpoint)
    write_bundle(load_student_source(checkpoint), folder / "bundle")
    return folder / "bundle"


def measure(reference: Path) -> dict[str, float]:
    """Return the largest difference from all golden files, for each quantity that is compared.

    Args:
        reference: folder of the reference material (`reference/golden`, `reference/state_dicts.json`).
    """
    found: dict[str, float] = {}

    def record(name: str, difference: float) -> None:
        found[name] = max(found.get(name, 0.0), difference)

    clips = load_golden_files(reference)
    student, teacher = Student(), Teacher()
    student.load_published(golden_state_dict(load_published_shapes(reference, "haaqinet_student")))
    teacher.load_published(golden_state_dict(load_published_shapes(reference, "haaqinet")))
    student.eval()
    teacher.eval()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for clip in clips.values():
            difference = np.abs(compute_fbank(waveform(clip).numpy()[0]) - clip["fbank"])
            record("fbank, mean", float(difference.mean()))
            record("fbank, largest", float(difference.max()))
            for name, scores in (
                ("student", student(fbank(clip), audiogram(clip))),
                ("teacher", teacher(waveform(clip), audiogram(clip))),
            ):
                record(f"{name}, frame scores", max_difference(scores.frame_scores[0], clip[f"{name}_frames"]))
                record(f"{name}, clip score", max_difference(scores.score, clip[f"{name}_clip"]))
        scorer = Scorer(export_golden_student(reference, Path(folder)))
        for clip in clips.values():
            result = scorer.score((clip["waveform"], 16_000), clip["audiogram"].tolist(), window="whole")
            record(
                "student, checkpoint to bundle to Scorer, clip score",
                abs(result.score - float(clip["student_clip"][0])),
            )
    return found
