"""Parity with the published networks on golden files, for `haaqi-edge bench parity --reference FOLDER`.

The golden files contain outputs of the authors' implementation. Every tensor of the networks is filled by a rule from
its key (`_golden_tensor`).
"""

from __future__ import annotations

import json
import math
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..export.bundle import load_student_source, write_bundle
from ..model import Student, Teacher
from ..runtime import Scorer
from ..runtime.errors import CorpusError
from ..runtime.features.fbank import fbank as compute_fbank

SCORE_TOLERANCE: Final = 2e-6
LAYER_TOLERANCE: Final = 1e-4
GOLDEN_TOKENS: Final = 64
"""number of tokens of the layer outputs in the golden files"""
_BIAS_TABLE: Final = "relative_attention_bias"
_LAST_BIAS_TABLE: Final = f"beats_model.encoder.layers.11.self_attn.{_BIAS_TABLE}.weight"
"""key whose values are used for all twelve copies of the table in the teacher"""
_GAINS: Final = {
    "haaqiframe_score.weight": 0.4,
    "haaqiAtt_layer.in_proj_weight": 3.0,
    "blstm.weight_ih_l0": 0.25,
    "blstm.weight_ih_l0_reverse": 0.25,
    "linear1.weight": 3.0,
    "linear0.weight": 2.0,
}

_Shapes = Mapping[str, Sequence[int]]
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


def _golden_tensor(key: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Compute the values of a tensor of the golden networks from its key."""
    normal = np.random.default_rng([0, zlib.crc32(key.encode())]).standard_normal(shape).astype("float32")
    last = key.rsplit(".", 1)[-1]
    if _BIAS_TABLE in key:
        value = 0.5 * normal
    elif last == "grep_a":
        value = 1 + 0.1 * normal
    elif last == "weight_g":
        value = np.abs(1 + 0.1 * normal)
    elif last == "weights":
        value = 0.5 * normal
    elif last.startswith("bias") or last.endswith("bias"):
        value = 0.1 * normal
    elif len(shape) == 1:
        value = 1 + 0.1 * normal
    else:
        value = _GAINS.get(key, 1.0) * normal / math.sqrt(math.prod(shape[1:]))
    return value.astype("float32")


def golden_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a state dict for a network, with golden values."""
    return golden_state_dict({key: tuple(value.shape) for key, value in network.state_dict().items()})


def golden_state_dict(shapes: _Shapes) -> dict[str, Tensor]:
    """Return a state dict of `shapes`, with golden values.

    The teacher's copies of the bias table have the values of the last one.
    """
    return {
        key: torch.from_numpy(_golden_tensor(_LAST_BIAS_TABLE if _is_bias_copy(key) else key, shape))
        for key, shape in shapes.items()
    }


def _is_bias_copy(key: str) -> bool:
    return key.startswith("beats_model.") and _BIAS_TABLE in key


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
