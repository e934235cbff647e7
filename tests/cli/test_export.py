"""A student filled by the golden rule: checkpoint -> `haaqi-edge export` -> `haaqi-edge score`, on all golden files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from command import run
from guarded import TOLERANCE as TOLERANCE_OF_FUSED
from guarded import check_heads, check_scores, run_program
from haaqi_edge.benchmarks.golden import Arrays
from haaqi_edge.export.bundle import load_random_student_source, load_student_source, write_bundle
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.bundle import ROLES
from torch import Tensor

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""from PyTorch; the exporter itself allows 1e-5"""


def parsed(*argv: object) -> dict[str, Any]:
    """The document that a command prints. A slow one prints its progress on standard error."""
    outcome = run(*argv, "--json")
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


@pytest.fixture(scope="module")
def checkpoint(student_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "haaqi_net_distillBEATs.pth"
    torch.save({"model": student_state}, path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with `bundle` and `fused.onnx`, and what the command reported."""
    folder = tmp_path_factory.mktemp("exported")
    argv = ["export", "student", str(checkpoint), "-o", str(folder / "bundle"), "--fused", str(folder / "fused.onnx")]
    return folder, parsed(*argv, "--name", "golden")


@pytest.fixture(scope="module")
def samples_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples") / "bundle"
    write_bundle(load_student_source(checkpoint), folder, samples=True)
    return folder


def test_the_report(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, found = exported
    assert found["name"] == "golden"
    steps = [step["parameters"] for step in found["surgery"]]
    assert steps[:3] == [24_383_744, 22_611_968, 19_055_300]
    assert steps[3] > steps[4] == found["parameters"]
    assert found["parameters"] < 17_500_000
    assert all(step["difference"] < 2e-6 for step in found["surgery"])
    assert [written["path"] for written in found["written"]] == [str(folder / "bundle"), str(folder / "fused.onnx")]
    # 6 lengths x 4 listeners, and 3 remainders of each for the fused file
    assert [written["cases"] for written in found["written"]] == [24, 48]
    assert all(written["largest_difference"] < 1e-5 for written in found["written"])
    assert {path.name for path in folder.iterdir()} == {"bundle", "fused.onnx"}
    assert {path.name for path in (folder / "bundle").iterdir()} == {"card.json", "encoder.onnx", "head.onnx"}


def test_the_graphs_hold_no_more_than_the_folded_parameters(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, found = exported
    size = sum((folder / "bundle" / f"{role}.onnx").stat().st_size for role in ("encoder", "head"))
    assert 4 * found["parameters"] <= size < 4.05 * found["parameters"]


def test_the_scorer_gives_the_golden_scores(exported: tuple[Path, dict[str, Any]], golden: dict[str, Arrays]) -> None:
    scorer = Scorer(exported[0] / "bundle", threads=1)
    for name, clip in golden.items():
        result = scorer.score((clip["waveform"], 16_000), clip["audiogram"])
        assert abs(result.score - float(np.ravel(clip["student_clip"])[0])) < TOLERANCE, name
        tokens = np.ravel(clip["student_frames"])
        np.testing.assert_allclose(result.frame_scores, tokens.reshape(-1, 8).mean(axis=1), atol=TOLERANCE)


def test_the_command_line_gives_the_golden_scores(
    exported: tuple[Path, dict[str, Any]], golden: dict[str, Arrays], tmp_path: Path
) -> None:
    for name, clip in golden.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, clip["waveform"], 16_000, subtype="PCM_16")
        audiogram = json.dumps(clip["audiogram"].tolist())
        found = parsed("score", str(path), "--hl", audiogram, "-m", str(exported[0] / "bundle"), "--threads", "1")
        assert found["model"] == "golden"
        score = found["results"][0]["scores"][0]["score"]
        assert abs(score - float(np.ravel(clip["student_clip"])[0])) < TOLERANCE, name


def test_the_bundle_with_the_front_end_inside_gives_the_golden_scores(
    samples_bundle: Path, golden: dict[str, Arrays]
) -> None:
    scorer = Scorer(samples_bundle, threads=1)
    assert scorer.card.encoder_input == "samples"
    for name, clip in golden.items():
        result = scorer.score((clip["waveform"], 16_000), clip["audiogram"])
        assert abs(result.score - float(np.ravel(clip["student_clip"])[0])) < TOLERANCE, name


def test_the_fused_file_gives_the_golden_scores(
    exported: tuple[Path, dict[str, Any]], golden: dict[str, Arrays]
) -> None:
    session = onnxruntime.InferenceSession(exported[0] / "fused.onnx")
    for name, clip in golden.items():
        waveform = clip["waveform"].astype(np.float32)[None] / 32768
        audiograms = np.stack([clip["audiogram"], np.full(8, 57, np.float32)])
        frames, scores = session.run(None, {"waveform": waveform, "audiogram": audiograms})
        assert abs(scores[0] - float(np.ravel(clip["student_clip"])[0])) < TOLERANCE, name
        np.testing.assert_allclose(frames[0], np.ravel(clip["student_frames"]), atol=TOLERANCE)
        assert abs(scores[1] - scores[0]) > TOLERANCE


def test_card_and_metadata(exported: tuple[Path, dict[str, Any]], checkpoint: Path) -> None:
    folder, found = exported
    card = Bundle(folder / "bundle").card
    assert (card.name, card.family, card.precision, card.streamable) == ("golden", "student", "fp32", True)
    assert (card.tokens_per_patch, card.width, card.parameters) == (8, 256, found["parameters"])
    assert card.source_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for path in (folder / "bundle/encoder.onnx", folder / "bundle/head.onnx", folder / "fused.onnx"):
        graph = onnx.load(path)
        metadata = {prop.key: prop.value for prop in graph.metadata_props}
        assert metadata["name"] == "golden"
        assert metadata["family"] == "student"
        assert metadata["source_sha256"] == card.source_sha256
        assert {node.op_type for node in graph.graph.node}.isdisjoint({"Loop", "Scan", "If"}), path
    head = onnx.load(folder / "bundle/head.onnx")
    assert [node.op_type for node in head.graph.node].count("LSTM") == 1


def test_strange_inputs_have_no_score_and_others_that_of_score(
    exported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    bundle = Bundle(exported[0] / "bundle")
    paths = [*(bundle.path(role) for role in ROLES), exported[0] / "fused.onnx"]
    runs, (_, heads, fused) = run_program(paths, 20, tmp_path)
    check_heads(heads, bundle.card.width)
    assert 0 < check_scores(Scorer(bundle, threads=1), fused, TOLERANCE_OF_FUSED) < runs


def test_random_weights_are_those_of_the_golden_files(student_state: dict[str, Tensor]) -> None:
    source = load_random_student_source()
    assert source.notes["limits"] == "scores mean nothing"
    found = source.original.state_dict()
    assert found.keys() == student_state.keys()
    assert all(torch.equal(found[key], value) for key, value in student_state.items())
    for argv in ([], ["checkpoint.pth", "--random"]):
        ended = run("export", "student", *argv, "-o", "out")
        assert "give the path of a checkpoint, or --random" in str(ended.errors[0])
