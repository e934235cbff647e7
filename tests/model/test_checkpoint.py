"""Checkpoints: what is read, what is refused and why, and that nothing in a file ever runs."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.checkpoint import load_strictly, read_checkpoint
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.model.student import Student
from haaqi_edge.model.teacher import Teacher
from haaqi_edge.runtime.errors import CheckpointError, CheckpointNotFoundError
from torch import Tensor, nn

SMALL = BeatsConfig(layers=2, width=48, heads=4, ffn=64, patch_width=32, position_groups=4)
SMALL_HEAD = HeadConfig(width=32, hidden=10, heads=4)
STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}


class RunsCode:
    """Touches a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def save_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def save_old_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=0))


Saver = Callable[[object, Path], None]


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("content", [STATE, {"model": STATE, "cfg": {"layers": 3}}], ids=["bare", "under model"])
def test_torch_formats_are_read(save: Saver, content: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.state.keys() == STATE.keys()
    assert all(torch.equal(checkpoint.state[key], STATE[key]) for key in STATE)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(STATE, path)
    assert torch.equal(read_checkpoint(str(path)).state["a"], STATE["a"])


@pytest.mark.parametrize("save", [save_zip, save_legacy, save_pickle, save_old_pickle])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(save: Saver, tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pt", tmp_path / "ran"
    save({"model": STATE, "extra": RunsCode(marker)}, path)
    with pytest.raises(CheckpointError, match=r"names .*\b(posix|nt)\.system, which is code .* refused"):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nn.Linear(2, 2), r"names torch\.nn\.modules\.linear\.Linear, .* which is code"),
        ({"model": STATE, "args": argparse.Namespace(lr=1)}, r"names argparse\.Namespace"),
        (torch.ones(3), "contains a Tensor, not a state dict"),
        ({"model": STATE, "loss": np.float64(1)}, r"names numpy\._core\.multiarray\.scalar"),
        ({}, "contains a dict, not a state dict"),
        ({"epoch": 3, **STATE}, "contains a int at 'epoch'"),
        ({"model": {"layers": STATE}}, "contains a dict at 'layers'"),
    ],
)
def test_other_contents_are_refused(content: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "save", [save_zip, save_legacy, lambda content, path: safetensors.torch.save_file(content, path)]
)
@pytest.mark.parametrize("part", [0, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(save: Saver, part: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save({"w": torch.randn(50, 50)}, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"truncated|is empty|not a checkpoint"):
        read_checkpoint(path)


def test_a_truncated_zip_is_reported_as_truncated(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"w": torch.randn(50, 50)}, path)
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(CheckpointError, match="truncated or damaged: obtain it again"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"hello world", b"\x00" * 64, b"RIFF\x24\x00\x00\x00WAVEfmt ", bytes(range(256))])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "song.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"song\.pth is not a checkpoint; expected .* tensors"):
        read_checkpoint(path)


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize(("name", "words"), [("absent.pth", "does not exist"), (".", "is a folder")])
def test_no_file(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=words) as caught:
        read_checkpoint(tmp_path / name)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    teacher = dict(Teacher(SMALL, SMALL_HEAD).state_dict())
    prefix = "beats_model."
    beats = {key.removeprefix(prefix): tensor for key, tensor in teacher.items() if key.startswith(prefix)}
    return {"teacher": teacher, "beats": beats, "student": dict(Student(SMALL, SMALL_HEAD).state_dict())}


@pytest.mark.parametrize(
    ("network", "given", "words"),
    [
        (
            Student,
            "teacher",
            r"not the student's: this is the teacher's checkpoint \(haaqi_net\.pth\): load it with Teacher",
        ),
        (Student, "beats", r"not the student's: this is BEATs's own checkpoint"),
        (Teacher, "student", r"not the teacher's: this is the student's checkpoint .*: load it with Student"),
        (Teacher, "beats", r"not the teacher's: this is BEATs's own checkpoint"),
    ],
)
def test_a_checkpoint_of_another_network_is_identified(
    network: type[Student | Teacher], given: str, words: str, states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"cfg": {}, "model": states[given]}, path)
    with pytest.raises(CheckpointError, match=words) as caught:
        network(SMALL, SMALL_HEAD).load_published(read_checkpoint(path).state, source=str(path))
    assert "missing: " in str(caught.value)
    assert "unexpected: " in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [(float("nan"), "linear1.bias holds NaN or infinity"), (float("inf"), "linear1.bias holds NaN or infinity")],
)
def test_values_that_are_not_finite_are_refused(value: float, words: str, states: dict[str, dict[str, Tensor]]) -> None:
    state = states["student"] | {"linear1.bias": torch.full((32,), value)}
    with pytest.raises(CheckpointError, match=words):
        Student(SMALL, SMALL_HEAD).load_published(state)


def test_integers_are_refused(states: dict[str, dict[str, Tensor]]) -> None:
    state = states["student"] | {"linear1.bias": torch.ones(32, dtype=torch.int64)}
    with pytest.raises(CheckpointError, match=r"linear1\.bias holds torch\.int64 values"):
        Student(SMALL, SMALL_HEAD).load_published(state)


def test_a_batch_norms_counter_may_be_an_integer() -> None:
    network = nn.BatchNorm1d(3)
    state = {key: tensor + 1 for key, tensor in network.state_dict().items()}
    load_strictly(network, state, network_name="the norm", source="a dict")
    assert torch.equal(network.weight, torch.full((3,), 2.0))
    del state["num_batches_tracked"]
    with pytest.raises(CheckpointError, match=r"a dict is not the norm's: .* missing: num_batches_tracked$"):
        load_strictly(network, state, network_name="the norm", source="a dict")
