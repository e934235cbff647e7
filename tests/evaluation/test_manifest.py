"""Manifests: what they list, and the means of their systems."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import get_output, run
from haaqi_edge.evaluation.manifest import (
    read_manifest,
    result_row,
    score_manifest,
    summarize_systems,
)
from haaqi_edge.haaqi.clips import CADENZA, EarHaaqi, score_clip
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.runtime.audiogram import Audiogram, EarPair
from haaqi_edge.runtime.errors import AudioFileNotFoundError, AudiogramError, OptionError
from sounds import music

CFS = [250, 500, 1000, 2000, 4000, 8000]
RECORD = {"audiogram_cfs": CFS, "audiogram_levels_l": [10, 20, 30, 40, 50, 60], "audiogram_levels_r": [40] * 6}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stereo reference, its output for both ears, and the output for each ear in a file of its own."""
    folder = tmp_path_factory.mktemp("corpus")
    clean, degraded = (
        np.stack([music(0.5, RATE, start, clip) for start in (2.0, 6.0)], axis=1) for clip in ("clean", "degraded")
    )
    soundfile.write(folder / "song.wav", clean, RATE, subtype="FLOAT")
    soundfile.write(folder / "out.wav", degraded, RATE, subtype="FLOAT")
    for column, ear in enumerate(("left", "right")):
        soundfile.write(folder / f"out_{ear}.wav", degraded[:, column], RATE, subtype="FLOAT")
    (folder / "listeners.json").write_text(json.dumps({"L1": RECORD, "L2": {**RECORD, "audiogram_levels_l": [0] * 6}}))
    return folder


def write_csv(folder: Path, *lines: str, columns: str = "reference,processed,listener,ear,system,group") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def test_rows_of_csv_and_of_json_lines(corpus: Path) -> None:
    listeners = [str(corpus / "listeners.json")]
    path = write_csv(corpus, "song.wav,out.wav,L1,,a,s1", "song.wav,out_left.wav,L2,left,a,", "song.wav,out.wav,N3,,b,")
    rows = read_manifest(path, listeners)
    assert [(row.listener, row.ear, row.system, row.group) for row in rows] == [
        ("L1", "both", "a", "s1"),
        ("L2", "left", "a", "song.wav"),
        ("N3", "mix", "b", "song.wav"),
    ]
    assert isinstance(rows[0].ears, EarPair)
    assert rows[0].ears.right.levels == (40.0,) * 8
    assert isinstance(rows[1].ears, Audiogram)
    assert rows[1].ears.levels == (0.0,) * 8
    assert rows[0].reference == corpus / "song.wav"
    lines = corpus / "manifest.jsonl"
    records = [
        {"reference": "song.wav", "processed": "out.wav", "listener": [20, 20, 30, 40, 50, 60, 70, 70]},
        {"reference": "song.wav", "processed": "out.wav", "listener": f"{corpus}/listeners.json:L1", "ear": "both"},
    ]
    lines.write_text("\n\n".join(map(json.dumps, records)))
    first, second = read_manifest(lines)
    assert isinstance(first.ears, Audiogram)
    assert first.ears.levels[-1] == 70
    assert isinstance(second.ears, EarPair)
    (only,) = read_manifest(write_csv(corpus, "song.wav,out.wav", columns="reference,processed"), ["N3"])
    assert only.listener == "N3"


@pytest.mark.parametrize(
    ("columns", "lines", "message"),
    [
        ("reference,listener", ["a,N3"], "lacks processed: expected the columns reference, processed"),
        ("reference,processed,listener", [], "has no rows"),
        ("reference,processed,listener", [",b,N3"], "line 2, column reference is empty"),
        (
            "reference,processed,listener,ear",
            ["a,b,N3,middle"],
            "line 2, column ear: 'middle': give left, right, both, or mix",
        ),
        ("reference,processed,listener,ear", ["a,b,N3,both"], "line 2.*N3 is of one ear"),
        ("reference,processed,listner", ["a,b,N3"], r"unknown column 'listner': did you mean listener\?"),
        ("reference,processed,listener", ["a,b,N3", "a,b,N3"], "line 3: the same reference.*as in line 2"),
        (
            "reference,processed,listener",
            ["a,b,L9"],
            "line 2, column listener: .*'L9' is not an audiogram.*give -a listeners.json",
        ),
        ("reference,processed", ["a,b"], "line 2, column listener: no listener, and -a gives 0"),
    ],
)
def test_manifests_that_cannot_be_read(columns: str, lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises((OptionError, AudiogramError), match=message):
        read_manifest(write_csv(tmp_path, *lines, columns=columns))


def test_the_mix_of_the_channels(corpus: Path) -> None:
    lines = ["song.wav;out.wav;N3;mix;a;s1", "song.wav;out.wav;L1:left;mix;b;s1", "song.wav;out.wav;L1;mix;a;s2"]
    columns = "reference;processed;listener;ear;system;group"
    listeners = [f"{corpus}/listeners.json"]
    with pytest.raises(
        AudiogramError, match=r"line 4: ear mix, but listeners:L1 has two audiograms: name .* L1:left, or"
    ):
        read_manifest(write_csv(corpus, *lines, columns=columns), listeners)
    rows = read_manifest(write_csv(corpus, *lines[:2], columns=columns), listeners)
    assert [row.ear for row in rows] == ["mix", "mix"]
    found = dict(score_manifest(list(enumerate(rows)), CADENZA["cad1"], 1))
    for place, who in enumerate(["N3", f"{corpus}/listeners.json:L1:left"]):
        assert found[place] == score_clip(corpus / "song.wav", corpus / "out.wav", who, convention=CADENZA["cad1"])


def test_errors_name_the_row_and_the_column(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    lines = [f"{corpus}/song.wav,missing.wav,", "gone.wav,text.wav,", f"{corpus}/song.wav,{tmp_path},",
             f"{corpus}/song.wav,text.wav,", f"{corpus}/song.wav,{corpus}/out.wav,lost.wav"]  # fmt: skip
    path = write_csv(tmp_path, *lines, columns="reference,processed,unamplified")
    rows = read_manifest(path, ["N3"])
    errors = [str(outcome) for _, outcome in score_manifest(list(enumerate(rows)), CADENZA["cad1"], 1)]
    expected = [
        "line 2, column processed: {d}/missing.wav does not exist",
        "line 3, column reference: {d}/gone.wav does not exist",
        "line 4, column processed: {d} is a folder: name a file",
        "line 5: {d}/text.wav cannot be read as audio",
        "line 6, column unamplified: {d}/lost.wav does not exist",
    ]
    for error, words in zip(errors, expected, strict=True):
        assert error.startswith(f"{path}, {words.replace('{d}', str(tmp_path))}")


def test_the_command_says_which_level_was_used(corpus: Path) -> None:
    path = write_csv(corpus, "song.wav,out.wav", columns="reference,processed")
    argv = ("haaqi", "--manifest", path, "-a", "N3", "--jobs", "1")
    files = ("haaqi", corpus / "song.wav", corpus / "out.wav", "-a", "N3", "--jobs", "1")
    for options in (["--cadenza", "cad1"], ["--level1", "70", "--nal-r"]):
        described = get_output(*argv, *options).splitlines()[-1]
        assert described == get_output(*files, *options).splitlines()[-1]
        assert "dB SPL of " in described
    path = write_csv(corpus, "song.wav,out.wav,song.wav", columns="reference,processed,unamplified")
    outcome = run(*argv)
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])
    assert "line 2, column unamplified: it sets the level with --spl or --cadenza" in outcome.err


def test_rows_are_compared_as_their_ears_say(corpus: Path) -> None:
    path = write_csv(
        corpus,
        "song.wav,out.wav,L1,both,a,s",
        "song.wav,out_left.wav,L1,left,b,s",
        "song.wav,out_right.wav,L1,right,b,s",
        "song.wav,missing.wav,L1,left,c,s",
    )
    rows = read_manifest(path, [str(corpus / "listeners.json")])
    found = dict(score_manifest(list(enumerate(rows)), CADENZA["cad1"], 1))
    both = score_clip(
        corpus / "song.wav", corpus / "out.wav", ears=f"{corpus}/listeners.json:L1", convention=CADENZA["cad1"]
    )
    assert isinstance(found[0], EarHaaqi)
    assert (found[0].left, found[0].right) == (both.left, both.right)
    assert (found[1], found[2]) == (both.left, both.right)
    assert isinstance(found[3], AudioFileNotFoundError)
    results = [result_row(row, found[place]) for place, row in enumerate(rows)]
    assert results[0]["haaqi"] == both.score
    assert (results[0]["left"], results[0]["right"]) == (both.left.score, both.right.score)
    assert results[0]["synchrony"] == pytest.approx((both.left.synchrony + both.right.synchrony) / 2)
    assert results[2]["right"] == results[2]["haaqi"]
    assert results[3]["error"].startswith("AudioFileNotFoundError: ")
    one, other = summarize_systems(results)
    assert (one.system, other.system) == ("a", "b")
    assert one.mean == pytest.approx(other.mean) == pytest.approx(both.score)  # both ears of a listener are averaged
    assert (one.rows, other.rows, other.groups) == (1, 2, 1)
    assert np.isnan(one.interval.low)


def test_intervals_resample_groups() -> None:
    draw = np.random.default_rng(1)
    songs = draw.normal(0.5, 0.1, 12)
    rows = [
        {"system": "a", "group": f"s{song}", "listener": f"L{who}", "haaqi": songs[song] + draw.normal(0, 0.001)}
        for song in range(12)
        for who in range(20)
    ]
    (mean,) = summarize_systems(rows)
    assert mean.mean == pytest.approx(songs.mean(), abs=0.001)
    width = mean.interval.high - mean.interval.low
    assert width == pytest.approx(2 * 1.96 * songs.std() / np.sqrt(12), rel=0.25)  # not over 240 rows


def test_the_command_resumes(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(corpus, "song.wav,out.wav,L1,,a,s1", "song.wav,missing.wav,L1,,a,s2", "song.wav,out.wav,L2,,b,s1")
    output = corpus / "results.csv"
    argv = ("haaqi", "--manifest", path, "-a", corpus / "listeners.json", "--cadenza", "cad1", "--jobs", "1")
    first = run(*argv, "--output", output)
    assert first.code == 1
    assert "missing.wav does not exist" in first.err
    assert "1 of 3 rows could not be compared" in first.err
    assert [line.split()[1] for line in first.out.splitlines() if line.startswith("│")] == ["a", "b"]
    (corpus / "missing.wav").write_bytes((corpus / "out.wav").read_bytes())
    compared: list[int] = []
    from haaqi_edge.evaluation import manifest

    score: Callable[..., object] = manifest._score_row

    def record(item: tuple[int, object], **options: object) -> object:
        compared.append(item[0])
        return score(item, **options)

    monkeypatch.setattr(manifest, "_score_row", record)
    again = run(*argv, "--output", output, "--resume", "--json")
    assert (again.code, compared) == (0, [1])
    found = json.loads(again.out)
    assert found["resumed"] == 2
    assert {one["system"]: one["rows"] for one in found["systems"]} == {"a": 2, "b": 1}
    assert found["settings"]["spl"] == 65.0
    assert len(output.read_text().splitlines()) == 4
    other = run(*argv[:-4], "--jobs", "1", "--output", output, "--resume")
    assert other.code == 2
    assert "its rows are from a run with other settings" in other.err
