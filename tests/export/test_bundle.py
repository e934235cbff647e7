"""Bundles: written completely and verified, or not at all; graphs that follow the contract."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from haaqi_edge.export import bundle as exporting
from haaqi_edge.export import verify
from haaqi_edge.export.bundle import ExportSource, load_nano_source, write_bundle, write_bundle_and_fused, write_fused
from haaqi_edge.export.surgery import fold
from haaqi_edge.export.tracing import encoder_input
from haaqi_edge.export.verify import Parity, probe_signal
from haaqi_edge.model import HAAQILoss, Nano, NanoConfig, Student
from haaqi_edge.model.beats import BeatsConfig
from haaqi_edge.model.head import HeadConfig
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.errors import BundleError, ExportError, HaaqiEdgeError, OptionError
from haaqi_edge.runtime.features.front_ends import FEATURE_EXTRACTORS
from numpy.typing import NDArray

pytestmark = pytest.mark.slow

LISTENERS = ["NH", "N4", "S3"]
AXES = {
    "fbank": ["patches", 16, 128],
    "texture": ["patches", 16, 32],
    "samples": ["patches", 2_800],
    "waveform": [1, "samples"],
    "audiogram": ["batch", 8],
    "frame_scores": ["batch", "tokens"],
    "score": ["batch"],
}
"""of the contract; `tokens` depends on the role and the width"""


def random_nano(folder: Path, version: int = 1) -> Path:
    """Save a nano whose weights and input statistics are far from the initial ones, and return its path."""
    torch.manual_seed(5)
    nano = Nano(NanoConfig(texture_version=version))
    state = {key: value + 0.1 * torch.randn_like(value) for key, value in nano.state_dict().items()}
    state["encoder.scale"] += 3.0
    if version != 1:
        state["encoder.texture_version"] = torch.tensor(float(version))
    path = folder / "random.safetensors"
    safetensors.torch.save_file(state, path)
    return path


def small_student() -> ExportSource:
    """Return a folded student of small sizes whose tensors are far from their initial values."""
    torch.manual_seed(3)
    config = BeatsConfig(layers=3, width=48, heads=4, ffn=64, patch_width=32)
    student = Student(config, HeadConfig(width=32, hidden=10, heads=4)).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return ExportSource("small", "student", student, fold(student), 8, 32, "0" * 64)


@dataclasses.dataclass(frozen=True)
class Exported:
    """A source, and the bundles and the fused file made from it."""

    source: ExportSource
    bundle: Path
    samples: Path
    fused: Path
    parities: tuple[Parity, Parity, Parity]


@pytest.fixture(scope="module", params=["nano", "nano of texture 2", "small student"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    source = {
        "nano": lambda: load_nano_source(random_nano(folder), "other", {"lcc": 0.5}, {"limits": "none known"}),
        "nano of texture 2": lambda: load_nano_source(random_nano(folder, 2), "second"),
        "small student": small_student,
    }[request.param]()
    _, parity, fused = write_bundle_and_fused(source, folder / "bundle", folder / "fused.onnx")
    _, samples = write_bundle(source, folder / "samples", samples=True)
    return Exported(source, folder / "bundle", folder / "samples", folder / "fused.onnx", (parity, samples, fused))


@pytest.fixture(scope="module")
def shipped() -> ExportSource:
    return load_nano_source(None)


GRAPHS = ("trace_encoder", "trace_head", "trace_front_end")


@pytest.fixture(scope="module")
def traced(shipped: ExportSource) -> dict[str, onnx.ModelProto]:
    """Return the graphs of the shipped nano, by the function that traces them."""
    return {
        "trace_encoder": exporting.trace_encoder(shipped.network, samples=False),
        "trace_head": exporting.trace_head(shipped.network, shipped.width),
        "trace_front_end": exporting.trace_front_end(shipped.network.reads),
    }


@pytest.fixture
def traced_once(traced: dict[str, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace tracing of the shipped nano by its result, which takes long to compute."""
    for name in GRAPHS:
        monkeypatch.setattr(exporting, name, lambda *_, _name=name, **__: copy.deepcopy(traced[_name]))


def files(exported: Exported) -> list[Path]:
    roles = [folder / f"{role}.onnx" for folder in (exported.bundle, exported.samples) for role in ("encoder", "head")]
    return [*roles, exported.fused]


def expected_scores(source: ExportSource, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return frame scores, scores, and intervals if there are any, of the original network in PyTorch."""
    audiograms = torch.from_numpy(np.stack([Audiogram.named(name).array() for name in LISTENERS]))
    features = torch.from_numpy(FEATURE_EXTRACTORS[source.network.reads](samples))
    if source.network.reads == "fbank":
        features = features.flatten(0, 1)
    with torch.inference_mode():
        found = source.original(features.expand(len(LISTENERS), *features.shape), audiograms)
    return [value.numpy() for value in found if value is not None]


def test_verification_covers_all_lengths_and_listeners(exported: Exported) -> None:
    assert [parity.cases for parity in exported.parities] == [24, 24, 48]  # fused: lengths up to a window
    assert all(0 <= parity.worst.difference < 1e-5 for parity in exported.parities)


def test_the_scorer_equals_the_network(exported: Exported) -> None:
    samples = probe_signal(16_000 * 9 + 123, seed=9)
    frames, scores = expected_scores(exported.source, samples)[:2]
    assert np.ptp(scores) > 1e-3
    for folder in (exported.bundle, exported.samples):
        results = Scorer(folder, threads=1).score((samples, 16_000), LISTENERS, window="whole")
        np.testing.assert_allclose([result.score for result in results], scores, atol=1e-5)
        per_patch = frames.reshape(len(LISTENERS), len(results[0].frame_scores), -1).mean(axis=2)
        np.testing.assert_allclose([result.frame_scores for result in results], per_patch, atol=1e-5)


@pytest.mark.parametrize("length", [2_800, 2_801, 5_359, 5_360, 40_000, 10 * 16_000])
def test_the_fused_file_equals_the_network(exported: Exported, length: int) -> None:
    samples = probe_signal(length, seed=4)
    session = onnxruntime.InferenceSession(exported.fused)
    audiograms = np.stack([Audiogram.named(name).array() for name in LISTENERS])
    got = session.run(None, {"waveform": samples[None], "audiogram": audiograms})
    for a, b in zip(got, expected_scores(exported.source, samples), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_every_file_follows_the_contract(exported: Exported) -> None:
    for path in files(exported):
        graph = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(graph, full_check=True)
        assert [(opset.domain, opset.version >= 17) for opset in graph.opset_import] == [("", True)], path
        assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
        assert not graph.functions
        assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer)
        assert all(tensor.data_type in (1, 7) for tensor in graph.graph.initializer)  # float32, int64
        assert str(Path.cwd()) not in str(graph)


def test_names_and_axes(exported: Exported) -> None:
    per_patch, width = exported.source.tokens_per_patch, exported.source.width

    def values(path: Path) -> tuple[dict[str, list[object]], dict[str, list[object]]]:
        session = onnxruntime.InferenceSession(path)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        assert {value.type for value in (*inputs, *outputs)} == {"tensor(float)"}
        return {value.name: value.shape for value in inputs}, {value.name: value.shape for value in outputs}

    results = {name: AXES[name] for name in ("frame_scores", "score")}
    if Bundle(exported.bundle).card.interval is not None:
        results["interval"] = ["batch", 2]
    for folder, given in ((exported.bundle, encoder_input(exported.source.network)), (exported.samples, "samples")):
        assert values(folder / "encoder.onnx") == ({given: AXES[given]}, {"tokens": ["patches", per_patch, width]})
        tokens = {"tokens": [1, "tokens", width], "audiogram": AXES["audiogram"]}
        assert values(folder / "head.onnx") == (tokens, results)
    assert values(exported.fused) == ({name: AXES[name] for name in ("waveform", "audiogram")}, results)


def test_every_file_has_the_metadata(exported: Exported) -> None:
    card = Bundle(exported.bundle).card
    version = {"texture_version": "2"} if exported.source.network.reads == "texture-2" else {}
    for path in files(exported):
        metadata = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
        limits = {}
        if path == exported.fused:
            limits = {"window": "10", "min_samples": "2800", "max_samples": "161519"}
            limits |= {f"precision_{part}": "fp32" for part in ("front_end", "encoder", "head")}
            limits["parameters"] = str(card.parameters)
        interval = {} if card.interval is None else {"interval": "0.9"}
        assert metadata == {
            **limits,
            **interval,
            "name": exported.source.name,
            "version": card.version,
            "family": exported.source.family,
            "precision": "fp32",
            "sample_rate": "16000",
            "hop": "160",
            "patch": "16",
            "level1": "85",
            "audiogram_frequencies": "250,500,1000,2000,3000,4000,6000,8000",
            "source_sha256": exported.source.sha256,
            **version,
        }


def test_the_card(exported: Exported) -> None:
    second = exported.source.network.reads == "texture-2"
    for folder, given in ((exported.bundle, encoder_input(exported.source.network)), (exported.samples, "samples")):
        assert {path.name for path in folder.iterdir()} == {"card.json", "encoder.onnx", "head.onnx"}
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        assert card["encoder_input"] == given
        assert card["front_end"].get("texture_version") == (2 if second else None)
        assert card["parameters"] == sum(p.numel() for p in exported.source.network.parameters())
        assert card["figures"].keys() == {*exported.source.figures, "parity"}
        assert card["notes"] == exported.source.notes
        for role, entry in card["files"].items():
            content = (folder / f"{role}.onnx").read_bytes()
            assert entry == {
                "file": f"{role}.onnx",
                "format": "onnx",
                "precision": "fp32",
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        assert folder.stat().st_mode & 0o777 == 0o755


def test_tokens_depend_on_their_patch_only(exported: Exported) -> None:
    reads = encoder_input(exported.source.network)
    features = FEATURE_EXTRACTORS[exported.source.network.reads](probe_signal(2_560 * 8 + 2_800))
    session = onnxruntime.InferenceSession(exported.bundle / "encoder.onnx")
    (together,) = session.run(None, {reads: features})
    alone = np.concatenate([session.run(None, {reads: features[i : i + 1]})[0] for i in range(len(features))])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    altered = features.copy()
    altered[3] = 1.0
    (after,) = session.run(None, {reads: altered})
    changed = np.abs(after - together).max(axis=(1, 2)) > 1e-4
    assert changed.tolist() == [i == 3 for i in range(len(features))]


@pytest.mark.parametrize("exported", ["nano", "nano of texture 2"], indirect=True)
@pytest.mark.parametrize("form", ["bundle", "samples"])
def test_streamed_scores_equal_offline_scores(exported: Exported, form: str) -> None:
    scorer = Scorer(getattr(exported, form), threads=1)
    sound = probe_signal(16_000 * 4, seed=6) + np.float32(0.1)
    whole = scorer.score((sound, 16_000), "N3")
    (many,) = scorer.score_many([(sound, 16_000)], "N3")
    assert not isinstance(many, HaaqiEdgeError)
    assert many[0].score == whole.score
    for sizes in ([1] * 50 + [7, 2_559, 2_561, 5_000], [16_000], [2_560] * 20):
        with scorer.stream("N3", 16_000, window=10.0) as stream:
            for chunk in np.split(sound, np.cumsum(sizes)[np.cumsum(sizes) < len(sound)]):
                stream.accept_waveform(chunk)
            stream.input_finished()
            assert stream.summary().score == pytest.approx(whole.score, abs=1e-6)


@pytest.mark.parametrize("exported", ["nano", "nano of texture 2"], indirect=True)
def test_texture_2_ignores_an_offset(exported: Exported) -> None:
    second = exported.source.network.reads == "texture-2"
    sound = probe_signal(16_000 * 3, seed=8)
    assert isinstance(exported.source.original, Nano)
    loss = HAAQILoss(exported.source.original, "N3")
    for score in (
        lambda x: Scorer(exported.bundle, threads=1).score((x, 16_000), "N3").score,
        lambda x: Scorer(exported.samples, threads=1).score((x, 16_000), "N3").score,
        lambda x: loss.score(torch.from_numpy(x)[None]).item(),
    ):
        change = abs(score(sound + np.float32(0.5)) - score(sound))
        assert change < 1e-4 if second else change > 1e-3


def test_a_card_of_another_version_is_refused(exported: Exported, tmp_path: Path) -> None:
    for folder in (exported.bundle, exported.samples):
        copied = shutil.copytree(folder, tmp_path / folder.name)
        card = json.loads((copied / "card.json").read_text(encoding="utf-8"))
        if card["front_end"].pop("texture_version", 1) == 1:
            card["front_end"]["texture_version"] = 2
        (copied / "card.json").write_text(json.dumps(card), encoding="utf-8")
        with pytest.raises(BundleError, match=r"disagrees with its card on \['texture_version'\]"):
            Scorer(copied, threads=1)


def test_the_shipped_bundle_equals_the_shipped_network(shipped: ExportSource) -> None:
    card = Bundle("nano").card
    assert card.source_sha256 == shipped.sha256
    samples = probe_signal(60_000, seed=2)
    results = Scorer("nano", threads=1).score((samples, 16_000), LISTENERS)
    np.testing.assert_allclose([result.score for result in results], expected_scores(shipped, samples)[1], atol=1e-5)


# Errors


def disturbed(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the values of its largest weight changed by 10% up or down."""
    largest = max(
        (tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT),
        key=lambda tensor: int(np.prod(tensor.dims)),
    )
    values = onnx.numpy_helper.to_array(largest)
    off = 1 + 0.1 * np.random.default_rng(0).choice([-1.0, 1.0], values.shape)
    largest.CopyFrom(onnx.numpy_helper.from_array((values * off).astype(np.float32), largest.name))
    return graph


WORST = (
    r"scores of ONNX Runtime and PyTorch differ by [\d.e-]+ \(more than 1e-05\) at (\d+) samples "
    r"\((\d+) patches\), (NH|N3|N7|S2); nothing was written"
)


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("graph", ["trace_encoder", "trace_head"])
def test_a_bundle_with_wrong_scores_is_not_written(
    graph: str, shipped: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: Callable[..., onnx.ModelProto] = getattr(exporting, graph)
    monkeypatch.setattr(exporting, graph, lambda *args, **kwargs: disturbed(trace(*args, **kwargs)))
    with pytest.raises(ExportError, match=WORST) as caught:
        write_bundle(shipped, tmp_path / "bundle")
    assert caught.value.exit_code == 1
    found = re.search(WORST, str(caught.value))
    assert found
    assert int(found[2]) in (1, 2, 7, 62, 63, 188)
    assert int(found[1]) == (int(found[2]) - 1) * 2_560 + 2_800
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_once")
def test_a_fused_file_with_wrong_scores_is_not_written_nor_its_bundle(
    shipped: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: Callable[..., onnx.ModelProto] = exporting.trace_front_end
    monkeypatch.setattr(exporting, "trace_front_end", lambda reads: disturbed(trace(reads)))
    with pytest.raises(ExportError, match=WORST):
        write_fused(shipped, tmp_path / "fused.onnx")
    with pytest.raises(ExportError, match=WORST):
        write_bundle_and_fused(shipped, tmp_path / "bundle", tmp_path / "fused.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [float("nan"), 1.1e-5, float("inf")])
def test_the_worst_case_is_reported_even_if_it_is_nan(bad: float) -> None:
    cases = [verify.Difference("here", 1e-7), verify.Difference("there", bad), verify.Difference("yonder", 9e-6)]
    with pytest.raises(ExportError, match="at there; nothing was written"):
        verify.check_parity(iter(cases))
    assert verify.check_parity(iter([cases[0], cases[2]])) == Parity(cases[2], 2)


@pytest.mark.usefixtures("traced_once")
def test_a_bundle_is_replaced_completely_or_not_at_all(
    shipped: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "card.json").write_text("an older card")
    (folder / "older.onnx").write_text("an older graph")
    with monkeypatch.context() as patch:
        patch.setattr(verify, "_compare", lambda *_: iter([verify.Difference("here", 1.0)]))
        with pytest.raises(ExportError):
            write_bundle(shipped, folder)
    assert {path.name for path in folder.iterdir()} == {"card.json", "older.onnx"}
    with monkeypatch.context() as patch:
        patch.setattr(exporting.Card, "to_json", lambda _: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            write_bundle(shipped, folder)
    assert {path.name for path in folder.iterdir()} == {"card.json", "older.onnx"}
    write_bundle(shipped, folder)
    assert {path.name for path in folder.iterdir()} == {"card.json", "encoder.onnx", "head.onnx"}
    assert Bundle(folder).card.source_sha256 == shipped.sha256
    assert list(tmp_path.iterdir()) == [folder]


def test_other_folders_are_not_touched(shipped: ExportSource, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("years of work")
    for folder in (taken, taken / "thesis.tex", taken / "thesis.tex" / "bundle"):
        with pytest.raises(OptionError, match="exists and is not a bundle"):
            write_bundle(shipped, folder)
    for path in (taken, tmp_path / "absent" / "fused.onnx"):
        with pytest.raises(OptionError, match=r"cannot write .*: give the path of a file in a folder that exists"):
            write_fused(shipped, path)
        with pytest.raises(OptionError, match="cannot write"):
            write_bundle_and_fused(shipped, tmp_path / "bundle", path)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["taken", "thesis.tex"]
    assert (taken / "thesis.tex").read_text() == "years of work"
