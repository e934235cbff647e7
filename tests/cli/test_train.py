"""`haaqi-edge train features` and `train nano`: small tables end in features, metrics and a bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from haaqi_edge.benchmarks.report.schema import read_report
from haaqi_edge.benchmarks.studies import sanity
from haaqi_edge.runtime import Scorer
from haaqi_edge.training import card
from haaqi_edge.training.corpus.clips import Corpus, Split
from haaqi_edge.training.data import examples
from haaqi_edge.training.data.labels import write_rows
from haaqi_edge.training.data.rows import Row, plan_rows
from haaqi_edge.training.tasks.nano import PARTS

pytestmark = pytest.mark.slow

DEMO = Path(__file__).resolve().parents[2] / "demo"
TABLES: dict[str, Split] = {
    "train": "train",
    "train-2026-11": "train",
    "valid": "valid",
    "test": "test",
    "test-2026-11": "test",
}
ROWS = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    lines = [f"{split}.flac,{split},demo-{split},acoustic,20,CC0-1.0" for split in ("train", "valid", "test")]
    lines.append("other.flac,valid,demo-other,acoustic,20,CC0-1.0")  # the other half of the sources of valid
    (folder / "CLIPS.csv").write_text("clip,split,source,genre,duration_s,licence\n" + "\n".join(lines) + "\n")
    for split in ("train", "valid", "test", "other"):
        (folder / f"{split}.flac").symlink_to(DEMO / "clean.flac")
    return folder


@pytest.fixture(scope="module")
def table(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label tables of short rows and simple conditions, with labels that were made up."""
    folder = tmp_path_factory.mktemp("labels") / "table"
    opened, rng = Corpus(corpus), np.random.default_rng(0)
    for name, split in TABLES.items():
        rows = []
        for row in plan_rows(opened.of(split), split, 0, ROWS, 0.6):
            score = round(float(rng.random()), 3)
            clip = "other" if split == "valid" and len(rows) % 2 else split
            named: dict[str, Any] = {**dict.fromkeys(PARTS, score), "score": score, "clip": f"{clip}.flac"}
            rows.append(replace(row, **named, start=1.0, variation="", chain="clip(peak=0.5)"))
        write_rows(folder / f"{name}-0000.parquet", rows, None if name.endswith("-11") else opened.digest)
    return folder


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The rows whose sound is rendered while a test runs."""
    inner, rows = examples.render_presented, list[Row]()

    def record(row: Row, *arguments: Any) -> Any:
        rows.append(row)
        return inner(row, *arguments)

    monkeypatch.setattr(examples, "render_presented", record)
    return rows


def test_features_are_computed_once(
    corpus: Path, table: Path, tmp_path: Path, rendered: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["train", "features", "--table", table, "--features", tmp_path / "kept", "--jobs", 1]
    assert run(*argv).code == 2  # no corpus
    monkeypatch.setenv("HAAQI_EDGE_CORPUS", str(corpus))
    outcome = run(*argv, "--split", "train", "--split", "test-2026-11", "--rows", 8)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"features of 8 rows of train, 8 rows of test-2026-11 in {tmp_path / 'kept'}\n"
    assert len(rendered) == 16
    found = json.loads(run(*argv, "--rows", 12, "--json").out)
    assert found == {"features": str(tmp_path / "kept"), "rows": {"train": 12}}
    assert len(rendered) == 20
    assert run(*argv, "--front-end", "fbank", "--rows", 4).code == 0
    kept = sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*.npy"))
    assert kept == ["test-2026-11/texture-2.npy", "train/clean-2.npy", "train/fbank.npy", "train/texture-2.npy"]


def test_an_interruption_says_what_is_saved(
    corpus: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from haaqi_edge.training.data import feature_cache

    inner, calls = examples.render_presented, list[Row]()

    def interrupted(row: Row, *given: Any) -> Any:
        calls.append(row)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return inner(row, *given)

    monkeypatch.setattr(examples, "render_presented", interrupted)
    monkeypatch.setattr(feature_cache, "CHUNK", 4)
    argv = ["train", "features", "--table", table, "--corpus", corpus, "--features", tmp_path / "kept", "--jobs", 1]
    outcome = run(*argv)
    assert outcome.code == 130
    assert "saved: texture-2 and clean-2 of 4 of 24 sounds" in " ".join(outcome.err.split())
    assert run(*argv).code == 0
    assert len(calls) == 6 + 20


@pytest.mark.parametrize("family", ["nano", "small"])
def test_a_training_ends_in_a_bundle(
    family: str, corpus: Path, table: Path, tmp_path: Path, rendered: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = {"figure": 0.5, "target": 0.5, "met": True}
    measured: list[Path] = []

    def measure(music: Path, _: Path, **__: Any) -> dict[str, Any]:
        measured.append(music)
        return dict.fromkeys(card._CHECKS, check)

    monkeypatch.setattr(sanity, "measure", measure)
    argv = ["train", family, "--table", table, "--corpus", corpus, "--features", tmp_path / "kept", "--jobs", 1]
    argv += ["--train-split", "train", "--train-split", "train-2026-11", "--epochs", 1, "--batch-size", 4, "--lr", 1e-3]
    outcome = run(*argv, "--device", "cpu", "--rows", 20, "-o", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["test"]["all"]["rows"] == found["test-2026-11"]["all"]["rows"] == ROWS
    assert found["valid"]["rows"] == ROWS // 2
    assert 0 <= found["test"]["all"]["coverage"] <= 1
    assert list(found["test"]["condition"]) == ["clip"]
    assert list(found["test"]["genre"]) == ["acoustic"]
    assert measured == [corpus]
    assert len(rendered) == 20 + 20 + 3 * ROWS
    asked = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (asked["batch_size"], asked["lr"], asked["trainer"]["epochs"]) == (4, 1e-3, 1)
    scorer = Scorer(found["bundle"], threads=1)
    score = scorer.score(DEMO / "clean.flac", "N3")
    assert score.interval is not None
    assert 0 <= score.interval[0] <= score.score <= score.interval[1] <= 1
    assert (scorer.card.family, scorer.card.interval) == (family, 0.9)
    data = scorer.card.notes["data"]
    assert data["rows"] == {"train": 20, "train-2026-11": 20, "valid": ROWS, "test": ROWS, "test-2026-11": ROWS}
    assert data["clips"] == 1
    assert list(data["sources"]) == ["demo-other", "demo-test", "demo-train", "demo-valid"]
    page = (tmp_path / "run" / "bundle" / "README.md").read_text()
    assert "- test-2026-11, an older test split: LCC" in page
    printed = run(*argv, "--rows", 20, "-o", tmp_path / "run")  # finished already, so only reported again
    assert printed.code == 0, printed.err
    assert [line.split(":")[0] for line in printed.out.splitlines()[:2]] == ["test", "test-2026-11"]
    assert len(rendered) == 20 + 20 + 3 * ROWS


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--train-split", "train-2026-10"], "no table train-2026-10 in"),
        (["--train-split", "train", "--train-split", "train"], "give each table once"),
        (["--batch-size", "64"], "24 rows are less than a batch of 64"),
        (["--config", "absent"], "cannot be read"),
        (["--config", "teacher"], "unknown key head, unfrozen_layers"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(
    more: list[str], said: str, corpus: Path, table: Path, tmp_path: Path
) -> None:
    argv = ["train", "nano", "--table", table, "--corpus", corpus, "-o", tmp_path / "run", "--jobs", 1]
    outcome = run(*argv, "--features", tmp_path / "kept", *more)
    assert outcome.code == 2
    assert said in " ".join(outcome.err.split())
    assert not (tmp_path / "run").exists()


def test_the_report_has_the_accuracy_on_the_table(corpus: Path, table: Path, tmp_path: Path) -> None:
    argv = ["bench", "accuracy", "--quick", "--music", corpus, "--table", table, "--jobs", 1, "-o", tmp_path / "report"]
    outcome = run(*argv)
    assert outcome.code == 0, outcome.err
    found = read_report(tmp_path / "report" / "report.json").figures()
    assert -1 < (found["accuracy/nano/all/lcc"].value or -1) < 1
    assert found["accuracy/nano/all/lcc"].count == found["accuracy/nano/condition/clip/lcc"].count == ROWS


def test_nano_needs_labels(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("{}")
    argv = ["train", "nano", "--corpus", corpus, "-o", tmp_path / "run"]
    assert 'expected {"data": [{"file_path"' in " ".join(run(*argv, "--table", tmp_path / "train.json").err.split())
    assert "no labels: give the folder of a label table" in " ".join(run(*argv).err.split())
