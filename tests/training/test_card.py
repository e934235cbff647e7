"""The model card says what was measured, and whose music it was measured on."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from haaqi_edge.runtime import Bundle, Card, shipped_models
from haaqi_edge.training.card import (
    PICTURE,
    describe_model,
    draw_card,
    is_comparable,
    metrics_by_group,
    plot_data,
    training_notes,
    write_model_card,
)
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


@pytest.mark.parametrize("name", shipped_models())
def test_the_page_of_a_shipped_model_is_made_from_its_card(name: str) -> None:
    bundle = Bundle(name)
    page = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert page == describe_model(bundle.card), "run `python -m haaqi_edge.training.card runtime/models/*`"
    assert (bundle.folder / PICTURE).is_file() == (PICTURE in page)


def with_intervals(card: Card) -> Card:
    """The card with the results that a network with intervals has, of random predictions."""
    labels = np.random.default_rng(0).random(400)
    predicted = np.clip(labels + np.random.default_rng(1).normal(0, 0.1, 400), 0, 1).astype(np.float32)
    plots = plot_data(predicted, labels, np.stack([predicted - 0.2, predicted + 0.1], axis=1))
    figures = copy.deepcopy(dict(card.figures))
    for group in (figures["test"]["all"], figures["test"]["unseen"]):
        group.update(coverage=0.907, width=0.3)
    for kind in ("seen", "comparable"):
        figures["test"].pop(kind)
    for kind in ("condition", "aid", "listener", "level", "genre"):
        for group in figures["test"][kind].values():
            group.update(coverage=0.9, width=0.3)
    figures["test"]["plots"] = plots
    return replace(card, figures=figures)


def test_data_of_the_plots() -> None:
    labels = np.linspace(0, 1, 200)
    plots = plot_data(labels.astype(np.float32), labels, np.stack([labels - 0.1, labels + 0.1], axis=1))
    counts = np.array(plots["counts"])
    assert counts.sum() == 200
    assert np.trace(counts) == 200  # perfect predictions lie on the diagonal
    assert [part["coverage"] for part in plots["ranges"]] == [1.0] * 10
    for part in plots["ranges"]:
        assert part["low"] < part["p5"] < part["p50"] < part["p95"] < part["high"]
        assert part["predicted"] == pytest.approx(part["p50"], abs=1e-3)
    assert np.array(plot_data(np.ones(30, np.float32), np.zeros(30))["counts"])[0, -1] == 30  # [label][prediction]


def test_the_page_begins_with_a_summary() -> None:
    card = with_intervals(Bundle("nano").card)
    page = describe_model(card)
    summary = page.split("<details>")[0]
    assert 8 <= summary.count("\n- ") <= 12
    assert "90.7% of the test sounds" in summary
    worst = min(card.figures["test"]["condition"].items(), key=lambda item: item[1]["lcc"])
    assert f"**Worst conditions** (LCC): {worst[0]} {worst[1]['lcc']:.2f}" in summary
    assert page.count("<details>") == page.count("</details>") == 2
    assert "| coverage | width |" in page


def test_plots_of_cards_with_and_without_predictions(tmp_path: Path) -> None:
    card = Bundle("nano").card
    for name, one in (("old.png", card), ("new.png", with_intervals(card))):
        draw_card(one, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    untrained = replace(card, figures={**card.figures, "test": {"all": card.figures["test"]["all"]}})
    draw_card(untrained, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_page_and_plots_are_written_into_the_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "nano"
    shutil.copytree(Bundle("nano").folder, bundle, ignore=shutil.ignore_patterns("*.md", "*.png"))
    write_model_card(bundle)
    assert (bundle / "README.md").read_text(encoding="utf-8") == describe_model(Bundle(bundle).card)
    assert (bundle / PICTURE).stat().st_size > 10_000
