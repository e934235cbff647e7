"""Networks that are small enough to train in a test, and segments of the demo to train them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from haaqi_edge.model.beats import Beats, BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.training.data.examples import load_json_examples
from haaqi_edge.training.data.feature_cache import FeatureCache
from haaqi_edge.training.tasks.pipelines import TrainingData
from sounds import music, write

BEATS: Final = BeatsConfig(
    layers=12, width=16, heads=2, ffn=24, patch_width=8, norm_layers=12, position_kernel=8, position_groups=2, buckets=8
)
HEAD: Final = HeadConfig(width=16, hidden=6, heads=2)
PIECES: Final = 10
AUDIOGRAMS: Final = ("[0, 0, 0, 0, 0, 0, 0, 0]", [35, 35, 40, 50, 55, 60, 65, 65])


def save_beats_checkpoint(folder: Path, config: BeatsConfig = BEATS) -> Path:
    """Save a BEATs checkpoint in the published form, and return its path."""
    torch.manual_seed(1)
    path = folder / "beats.pt"
    torch.save({"cfg": config.to_published(), "model": Beats(config).state_dict()}, path)
    return path


def write_train_json(folder: Path) -> Path:
    """Write HAAQI-Net's train.json for segments of the demo. One segment is longer than the others."""
    entries = []
    for number in range(PIECES):
        clip = "clean" if number % 2 else "degraded"
        sound = music(0.7 if number else 0.9, start=1.5 * number, clip=clip)
        path = write(folder / f"{number}.wav", sound, 16_000, "wav")
        audiogram = AUDIOGRAMS[number % 3 // 2]
        entries.append({"file_path": path.name, "audiogram": audiogram, "haaqi_score": 0.9 if number % 2 else 0.3})
    path = folder / "train.json"
    path.write_text(json.dumps({"data": entries}))
    return path


def load_training_data(folder: Path) -> TrainingData:
    """Return training data: seven segments to train on, and three to choose the epoch on."""
    examples = load_json_examples(write_train_json(folder))
    return TrainingData(examples[:7], examples[7:], FeatureCache(folder / "features"))
