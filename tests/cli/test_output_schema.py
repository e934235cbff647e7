"""What the commands print as JSON is what `docs/output.schema.json` describes."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from command import get_output, run
from output_schema import SCHEMA, check, flaws
from sounds import DEMO, RATE, music


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    soundfile.write(folder / "a.wav", music(1.0, start=3.0), RATE)
    (folder / "b.wav").write_bytes(b"no audio")
    (folder / "c.txt").touch()
    return folder


def test_the_check_finds_flaws() -> None:
    row = {"file": "a", "listener": "N3", "levels": [0] * 8, "score": 0.5, "seconds": 1, "windows": 1, "error": None}
    schema = SCHEMA["$defs"]["results_row"]
    assert flaws(row, schema) == []
    for change in ({"score": 1.5}, {"levels": [0] * 7}, {"file": None}, {"more": 1}, {"windows": 1.5}):
        assert len(flaws(row | change, schema)) == 1, change
    del row["error"]
    assert len(flaws(row, schema)) == 1


@pytest.mark.parametrize("options", [(), ("--frames",), ("--window", "whole"), ("--spl", "65", "--nal-r")])
def test_score(options: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    outcome = run("score", folder, "-a", "N3", "-a", "S2", *options, "--json", "--threads", "1")
    document = check(outcome.out, "score")
    assert (len(document["results"]), len(document["errors"]), len(document["left_out"])) == (1, 1, 1)
    output = tmp_path / "scores.json"
    outcome = run("score", folder, "-a", "N3", "-o", output, *options, "--json", "--threads", "1")
    assert check(outcome.out, "score")["resumed"] == 0
    assert len(check(output.read_text(encoding="utf-8"), "results_file")["results"]) == 2


def test_rows_of_results(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.jsonl"
    run("score", folder, "-a", "N3", "-o", output, "--threads", "1")
    rows = [check(line, "results_row") for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["error"] is None for row in rows] == [True, False]
    assert check(output.with_name("scores.jsonl.run.json").read_text(encoding="utf-8"), "run")["complete"]


@pytest.mark.parametrize("options", [(), ("--frames",)])
def test_stream(options: tuple[str, ...], folder: Path) -> None:
    *updates, summary = get_output(
        "stream", folder / "a.wav", "-a", "N3", "--pace", "fast", "--json", *options
    ).splitlines()
    assert len(updates) == 6
    for line in updates:
        check(line, "stream_update")
    check(summary, "stream_summary")


def test_haaqi(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name in ("a.wav", "d.wav"):
        soundfile.write(tmp_path / "more" / name, music(1.0, start=3.0, clip="degraded"), RATE)
    outcome = run("haaqi", folder, tmp_path / "more", "-a", "N3", "--json", "--jobs", "1")
    document = check(outcome.out, "haaqi")
    assert (len(document["results"]), len(document["errors"])) == (1, 2)


def test_the_demo_has_an_interval_or_none() -> None:
    document = check(get_output("score", DEMO, "-a", "N3", "--json", "--threads", "1"), "score")
    assert len(document["results"][0]["scores"][0]["windows"]) == 2


def test_haaqi_of_a_manifest(folder: Path, tmp_path: Path) -> None:
    manifest, output = tmp_path / "manifest.csv", tmp_path / "rows.jsonl"
    soundfile.write(tmp_path / "d.wav", music(1.0, start=3.0, clip="degraded"), RATE)
    lines = [f"{folder / name},d.wav,N3,{system},{name}" for name, system in (("a.wav", "x"), ("b.wav", "y"))]
    manifest.write_text("\n".join(["reference,processed,listener,system,group", *lines]), encoding="utf-8")
    outcome = run("haaqi", "--manifest", manifest, "--json", "--jobs", "1", "--output", output)
    document = check(outcome.out, "haaqi_manifest")
    assert (len(document["results"]), len(document["systems"]), len(document["errors"])) == (2, 1, 1)
    rows = [check(line, "haaqi_row") for line in output.read_text(encoding="utf-8").splitlines()]
    assert sorted(row["haaqi"] is None for row in rows) == [False, True]


def test_evaluate(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    files = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, path in enumerate(files):
        soundfile.write(path, music(1.0, start=3.0 + number), RATE)
    lines = [f"{path},N3,0.{number + 5},g" for number, path in enumerate([*files, folder / "b.wav"])]
    table.write_text("\n".join(["file,audiogram,haaqi,group", *lines]), encoding="utf-8")
    document = check(run("evaluate", table, "--json", "--jobs", "1").out, "evaluate")
    assert (document["files"], len(document["by_group"]), len(document["errors"])) == (3, 1, 1)
