"""The folder of a training run: its settings, and how it was made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from haaqi_edge.runtime.errors import OptionError
from haaqi_edge.training.run_directory import CHECKPOINT, RunDirectory, describe_provenance


def test_the_provenance_names_files_versions_and_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "labels.csv"
    data.write_text("file,label\n")
    argv = ["/usr/bin/haaqi-edge", "train", "nano", f"--table={data}", "--corpus", str(tmp_path), "--name", "a b"]
    monkeypatch.setattr("sys.argv", argv)
    run = RunDirectory(tmp_path / "run", {"seed": 1, "data": ["abc"]})
    run.begin({"device": "cpu", "precision": "float32"})
    config = json.loads((run.folder / "config.json").read_text())
    assert {key: config[key] for key in ("seed", "data")} == {"seed": 1, "data": ["abc"]}
    made = config["provenance"]
    assert made["command"] == f"haaqi-edge train nano --table={data} --corpus {tmp_path} --name 'a b'"
    assert (made["device"], made["precision"]) == ("cpu", "float32")
    assert {"python", "haaqi-edge", "torch", "numpy"} <= made["versions"].keys()
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    assert made["files"] == [{"path": str(data), "bytes": 11, "sha256": digest}, {"path": str(tmp_path)}]
    assert made["started"].endswith("+00:00")


def test_arguments_that_are_no_paths() -> None:
    assert describe_provenance(["x", "", "\0", "a" * 5000, "--seed", "3"])["files"] == []
    assert describe_provenance([])["command"] == ""


def test_a_run_resumes_whatever_its_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(tmp_path, {"seed": 1})
    run.begin({"device": "cpu"})
    (tmp_path / CHECKPOINT).write_bytes(b"")
    monkeypatch.setattr("sys.argv", ["another", "command"])
    assert RunDirectory(tmp_path, {"seed": 1}).has_checkpoint()
    with pytest.raises(OptionError, match="seed was 1 and is 2"):
        RunDirectory(tmp_path, {"seed": 2})
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(OptionError, match="cannot be read"):
        RunDirectory(tmp_path, {"seed": 1})
