"""`haaqi-edge corpus describe`: the page of the data, its plots, and JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from command import get_output, run
from haaqi_edge.cli import console
from haaqi_edge.runtime.errors import CorpusError, OptionError
from haaqi_edge.training.corpus.clips import Corpus
from haaqi_edge.training.data.description import PLOTS
from haaqi_edge.training.data.labels import write_rows
from haaqi_edge.training.data.rows import plan_rows


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "width", 200)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus of one clip, and a label table of 24 rows of it."""
    folder = tmp_path_factory.mktemp("data")
    corpus, table = folder / "corpus", folder / "table"
    corpus.mkdir()
    (corpus / "CLIPS.csv").write_text("clip,split,source,genre,duration_s\nsong.flac,test,demo,acoustic,20\n")
    rows = plan_rows(Corpus(corpus).of("test"), "test", 0, 24, 2.0)
    labelled = [dataclasses.replace(row, score=k / 24) for k, row in enumerate(rows)]
    write_rows(table / "test-0000.parquet", labelled, Corpus(corpus).digest)
    return corpus, table


@pytest.mark.slow
def test_page_and_plots_are_written_and_replaced(data: tuple[Path, Path], tmp_path: Path) -> None:
    corpus, table = data
    options = ("corpus", "describe", "--corpus", corpus, "--table", table, "-o", tmp_path / "docs" / "data")
    (tmp_path / "docs").mkdir()
    outcome = run(*options)
    assert outcome.code == 0, outcome.err
    assert "test" in outcome.out
    assert str(tmp_path / "docs" / "data.md") in outcome.out
    page = tmp_path / "docs" / "data.md"
    first = page.read_text(encoding="utf-8")
    assert "| acoustic |" in first
    assert "Building it" not in first
    assert sorted(path.stem for path in (tmp_path / "docs" / "data").iterdir()) == sorted(PLOTS)
    assert all((tmp_path / "docs" / f"data/{name}.png").stat().st_size > 1_000 for name in PLOTS)

    page.write_text(first.replace("# Data\n", "# What there is\n"), encoding="utf-8")
    found = json.loads(run(*options, "--build-time", "two hours", "--json").out)
    assert found["tables"][0]["labels"]["rows"] == 24
    assert found["tables"][0]["labels"]["mean"] == pytest.approx(sum(range(24)) / 24 / 24, abs=1e-6)
    assert found["corpus"]["sources"][0]["genres"] == ["acoustic"]
    assert len(found["plots"]) == len(PLOTS)
    second = page.read_text(encoding="utf-8")
    assert second.startswith("# What there is\n")
    assert "Building it took two hours." in second


def test_bad_input_is_told_before_anything_is_written(data: tuple[Path, Path], tmp_path: Path) -> None:
    corpus, table = data
    outcome = run("corpus", "describe", "--corpus", table, "--table", table, "-o", tmp_path / "data")
    assert (outcome.code, type(outcome.errors[0])) == (2, CorpusError)
    outcome = run("corpus", "describe", "--corpus", corpus, "--table", corpus, "-o", tmp_path / "data")
    assert (outcome.code, type(outcome.errors[0])) == (2, CorpusError)
    outcome = run(
        "corpus", "describe", "--corpus", corpus, "--table", table, "--split", "train", "-o", tmp_path / "data"
    )
    assert "no table train" in outcome.err
    assert not list(tmp_path.iterdir())
    (tmp_path / "data.md").write_text("# By hand\n")
    outcome = run("corpus", "describe", "--corpus", corpus, "--table", table, "-o", tmp_path / "data")
    assert (outcome.code, type(outcome.errors[0])) == (2, OptionError)
    assert (tmp_path / "data.md").read_text() == "# By hand\n"
    (tmp_path / "file").write_text("")
    outcome = run("corpus", "describe", "--corpus", corpus, "--table", table, "-o", tmp_path / "file")
    assert "is a file" in outcome.err


def test_help_names_the_page() -> None:
    assert "--build-time" in get_output("corpus", "describe", "--help")
