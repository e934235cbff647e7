"""The model card says what was measured, and whose music it was measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.runtime import Bundle
from haaqi_edge.training.card import describe_model, is_comparable, metrics_by_group, training_notes
from haaqi_edge.training.corpus.clips import Clip, Corpus, Split
from haaqi_edge.training.data.rows import Row, plan_rows
from haaqi_edge.training.degradations.sampling import family


def rows_and_labels() -> tuple[list[Row], npt.NDArray[np.float64]]:
    clips = [Clip(f"{i}.flac", "test", "s", "g", 10.0) for i in range(5)]
    labels = np.random.default_rng(0).random(300)
    rows = plan_rows(clips, "test", 0, 300, 4.0)
    return [replace(row, score=float(label)) for row, label in zip(rows, labels, strict=True)], labels


@pytest.mark.slow
def test_perfect_predictions_and_opposite_ones() -> None:
    rows, labels = rows_and_labels()
    perfect = metrics_by_group(rows, labels.astype(np.float32))
    assert perfect["all"]["lcc"] == pytest.approx(1.0)
    assert perfect["all"]["srcc"] == pytest.approx(1.0)
    assert perfect["all"]["mse"] == pytest.approx(0.0, abs=1e-6)
    assert metrics_by_group(rows, (1 - labels).astype(np.float32))["all"]["lcc"] == pytest.approx(-1.0)


@pytest.mark.slow
def test_groups_share_the_rows_out() -> None:
    rows, labels = rows_and_labels()
    figures = metrics_by_group(rows, labels.astype(np.float32))
    assert sum(group["rows"] for group in figures["level"].values()) == figures["all"]["rows"] == len(rows)
    assert set(figures["listener"]) <= {row.listener for row in rows}
    for name, group in figures["condition"].items():
        assert group["rows"] == sum(family(row.chain) == name for row in rows)
    assert figures["comparable"]["rows"] == sum(is_comparable(row) for row in rows)
    by_genre = metrics_by_group(
        rows, labels.astype(np.float32), {f"{i}.flac": "jazz" if i < 2 else "folk" for i in range(5)}
    )
    assert by_genre["genre"].keys() == {"jazz", "folk"}


def test_what_compares_with_the_paper() -> None:
    rows, _ = rows_and_labels()
    row = replace(rows[0], chain="noise(snr=10)", aid="nal-r", level=65.0)
    assert is_comparable(row)
    for other in ({"chain": "reverb(t60=1,wet=1)"}, {"aid": "none"}, {"aid": "nal-r(for=N3)"}, {"level": 65.1}):
        assert not is_comparable(replace(row, **other))  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_interval_holds_the_correlation_and_shrinks_with_rows() -> None:
    rows, labels = rows_and_labels()
    noisy = (labels + np.random.default_rng(1).normal(0, 0.2, len(labels))).astype(np.float32)
    few, many = metrics_by_group(rows[:60], noisy[:60])["all"], metrics_by_group(rows, noisy)["all"]
    for found in (few, many):
        assert found["lcc_low"] < found["lcc"] < found["lcc_high"]
    assert many["lcc_high"] - many["lcc_low"] < few["lcc_high"] - few["lcc_low"]


def test_every_source_is_named_with_its_licences(tmp_path: Path) -> None:
    (tmp_path / "CLIPS.csv").write_text(
        "clip,split,source,genre,duration_s,licence,origin_repo\n"
        "a.flac,train,one,g,10,CC0-1.0,us/one\nb.flac,train,one,g,10,CC-BY-4.0,us/one\nc.flac,test,two,g,10,GPL-2.0,us/two\n"
        "d.flac,valid,unused,g,10,GPL-2.0,us/unused\n"
    )
    corpus = Corpus(tmp_path)
    splits: tuple[Split, ...] = ("train", "test")
    rows = {split: plan_rows(corpus.of(split), split, 0, 40, 4.0) for split in splits}
    notes = training_notes(corpus, rows, {"epochs": 1})
    assert notes["data"]["sources"] == {
        "one": {"origin": "us/one", "licences": "CC-BY-4.0; CC0-1.0"},
        "two": {"origin": "us/two", "licences": "GPL-2.0"},
    }


def test_the_shipped_models_page_is_its_cards() -> None:
    bundle = Bundle("nano")
    assert (bundle.folder / "README.md").read_text(encoding="utf-8") == describe_model(bundle.card)
