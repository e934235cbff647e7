"""`haaqi-edge inspect`: the card, the graphs and their checksums."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import Counter

import onnx
import pytest
from command import get_output, run
from haaqi_edge.cli import console
from haaqi_edge.runtime import Bundle


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no cell is folded."""
    monkeypatch.setattr(console.out, "width", 200)


@pytest.mark.parametrize("by", ["default", "name", "folder"])
def test_json(by: str) -> None:
    folder = Bundle("nano").folder
    found = json.loads(get_output("inspect", *{"default": [], "name": ["nano"], "folder": [str(folder)]}[by], "--json"))
    assert found["folder"] == str(folder)
    assert found["card"] == json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert found["files"].keys() == {"encoder", "head"}
    for role, file in found["files"].items():
        content = (folder / file["file"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["bytes"] == len(content)
        graph = onnx.load_model_from_string(content)
        assert file["operators"] == Counter(node.op_type for node in graph.graph.node), role
        assert file["metadata"] == {prop.key: prop.value for prop in graph.metadata_props}
    width = found["card"]["width"]
    assert found["files"]["encoder"]["inputs"] == {"texture": ["patches", 16, 32]}
    assert found["files"]["encoder"]["outputs"] == {"tokens": ["patches", 1, width]}
    ran = found["files"]["head"]["placement"]
    assert ran.keys() == {"CPUExecutionProvider"}
    assert ran["CPUExecutionProvider"]["GRU"] == 1
    assert found["files"]["head"]["inputs"] == {"tokens": [1, "tokens", width], "audiogram": ["batch", 8]}
    assert found["files"]["head"]["outputs"] == {
        "frame_scores": ["batch", "tokens"],
        "score": ["batch"],
        "interval": ["batch", 2],
    }


def test_for_people() -> None:
    card = Bundle("nano").card
    text = get_output("inspect", "nano")
    assert text.startswith(f"nano {card.version}, family nano, fp32, in ")
    for part in (
        f"{card.parameters:,}",
        "10 s",
        "85 dB SPL",
        card.source_sha256,
        f"SHA-256 verified {card.files['encoder'].sha256}",
        f"SHA-256 verified {card.files['head'].sha256}",
        "texture [patches, 16, 32]",
        "audiogram [batch, 8]",
        "GRU",
    ):
        assert part in text


def test_without_onnx_the_operators_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
    assert all(file["operators"] is None for file in json.loads(get_output("inspect", "--json"))["files"].values())
    assert "operators install haaqi-edge[export] to list them" in get_output("inspect")


def test_where_operators_run() -> None:
    assert "CPUExecutionProvider runs" in get_output("inspect", "nano", "--provider", "cpu")
    assert "CPUExecutionProvider runs" not in get_output("inspect", "nano")
    assert run("inspect", "nano", "--provider", "abacus").code == 2
