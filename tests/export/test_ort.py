"""Bundles as .ort files: the same scores, the operators that a minimal build needs, sizes that keep what int8 saved."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import get_output, run
from haaqi_edge.calibration.quantization import check_quantizable
from haaqi_edge.export import ort as converting
from haaqi_edge.export.ort import CONFIGS, OrtExport, write_ort
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.errors import BundleError, ExportError, OptionError
from sounds import RATE, music

LISTENERS = ["NH", "N4", "S3"]
FUSED = {"com.microsoft", "com.microsoft.nchwc"}
"""domains of what ONNX Runtime makes of several operators"""


Converted = tuple[Bundle, Bundle, OrtExport]
"""a bundle, what was made of it, and what was told of that"""


@pytest.fixture(scope="module", params=["nano", "nano-int8"])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    folder = tmp_path_factory.mktemp("ort") / "ort"
    made = write_ort(Bundle(request.param), folder)
    return Bundle(request.param), Bundle(folder), made


def operators(bundle: Bundle, role: str = "operators") -> dict[str, set[str]]:
    """Return the operators by domain, as ONNX Runtime's build reads them."""
    found: dict[str, set[str]] = {}
    for line in bundle.path(role).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        domain, opset, names = line.split(";")
        assert int(opset) >= 1
        found.setdefault(domain, set()).update(re.sub(r"\{.*?\}\}", "", names).split(","))
    return found


def test_scores_do_not_change(converted: Converted) -> None:
    before, after, made = converted
    assert made.parity.cases == 24  # 6 lengths, 4 listeners
    sound = (music(12.0), RATE)
    expected, got = (Scorer(one.folder, threads=1).score(sound, LISTENERS) for one in (before, after))
    assert np.ptp([one.score for one in expected]) > 1e-3
    np.testing.assert_allclose([one.score for one in got], [one.score for one in expected], atol=1e-5)
    np.testing.assert_allclose([one.frame_scores for one in got], [one.frame_scores for one in expected], atol=1e-5)


def test_streamed_scores_do_not_change(converted: Converted) -> None:
    before, after, _ = converted
    sound = music(2.0)
    scores = []
    for one in (before, after):
        with Scorer(one.folder, threads=1).stream("N3", RATE) as stream:
            scores.append([update.score for update in stream.updates(np.array_split(sound, 7))])
    np.testing.assert_allclose(*np.array(scores, dtype=float), atol=1e-5)


def test_the_card_names_every_file(converted: Converted) -> None:
    before, after, made = converted
    assert after.card == made.card  # opened: all checksums are right
    assert {role: file.format for role, file in after.card.files.items()} == {
        "encoder": "ort",
        "head": "ort",
        "operators": "config",
        "types": "config",
    }
    assert {path.name for path in after.folder.iterdir()} == {
        "card.json",
        "encoder.ort",
        "head.ort",
        *CONFIGS.values(),
    }
    assert (after.card.name, after.card.precision) == (before.card.name, before.card.precision)
    assert after.path("head").read_bytes()[4:8] == b"ORTM"


def test_int8_weights_stay_int8(converted: Converted) -> None:
    before, after, _ = converted
    for role in ("encoder", "head"):
        # Shapes and names take some space whatever the network's size; int8 kept
        # as fp32 would take four times theirs.
        assert after.path(role).stat().st_size < 1.05 * before.path(role).stat().st_size + 20_000


def test_the_configuration_lists_exactly_the_operators(converted: Converted) -> None:
    before, after, _ = converted
    graphs = [onnx.load(before.path(role)).graph for role in ("encoder", "head")]
    known = {node.op_type for graph in graphs for node in graph.node}
    needed = operators(after)
    assert set(needed) <= {"ai.onnx", *FUSED}
    assert needed["ai.onnx"] <= known
    assert {"GRU", "LayerNormalization", "Softmax"} <= needed["ai.onnx"]
    assert operators(after, "types") == needed
    types = after.path("types").read_text(encoding="utf-8")
    assert 'Softmax{"inputs": {"0": ["float"]}}' in types
    for role in CONFIGS:
        text = after.path(role).read_text(encoding="utf-8")
        assert text.startswith(f"# encoder.ort, head.ort of {after.card.name} {after.card.version}\n")
        assert "/" not in text  # no path of the machine that made it


def test_bundles_without_onnx_files_are_refused(converted: Converted, tmp_path: Path) -> None:
    before, after, _ = converted
    with pytest.raises(BundleError, match="of ONNX files"):
        write_ort(after, tmp_path / "again")
    if before.card.precision == "fp32":
        with pytest.raises(BundleError, match="no ONNX files"):
            check_quantizable(after)
    (tmp_path / "other").write_text("")
    with pytest.raises(OptionError, match="not a bundle"):
        write_ort(before, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_files_with_wrong_scores_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = converting._convert

    def of_another(source: Path, target: Path) -> None:
        convert(Bundle("nano-int8").path(source.stem), target)

    monkeypatch.setattr(converting, "_convert", of_another)
    with pytest.raises(ExportError, match=r"the \.ort and the ONNX files differ"):
        write_ort(Bundle("nano"), tmp_path / "ort")
    assert not (tmp_path / "ort").exists()


def test_inspect_describes_the_bundle(converted: Converted) -> None:
    _, after, _ = converted
    text = get_output("inspect", after.folder)
    assert "encoder.ort" in text
    assert "required_operators_and_types.config, config" in text
    assert run("inspect", after.folder, "--json").code == 0
