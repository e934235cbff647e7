"""The description of the data: counts of a corpus and its tables, parameters as they are drawn, plots, the page."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from haaqi_edge.runtime.errors import CorpusError, OptionError
from haaqi_edge.runtime.writing import write_json
from haaqi_edge.training.corpus.clips import Clip, Corpus, Split
from haaqi_edge.training.data import description
from haaqi_edge.training.data.description import (
    PARTS,
    PLOTS,
    Description,
    conditions_table,
    describe_data,
    draw_plots,
    fill_page,
    page_parts,
    parameter_values,
    read_page_template,
)
from haaqi_edge.training.data.labels import read_rows, write_rows
from haaqi_edge.training.data.rows import Row, plan_rows
from haaqi_edge.training.degradations import DEGRADATIONS
from haaqi_edge.training.degradations.sampling import HELD_OUT, RANGES, family
from voices import write_bank

ROOT = Path(__file__).resolve().parents[3]
COUNTS: dict[Split, int] = {"train": 800, "valid": 120, "test": 480}
HEAD = "clip,split,source,track,genre,duration_s,licence,attribution,kind,origin_repo,origin_path,origin_sha256\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Path, dict[str, list[Row]]]:
    """A corpus without sounds, a folder of tables with random labels, and their rows."""
    folder = tmp_path_factory.mktemp("described")
    lines = [HEAD]
    for number in range(30):
        split = ("train", "valid", "test")[number % 3]
        kind = "rendered" if number < 6 else "recorded"
        genre = f"genre|{number % 5}"
        source = f"{kind}-{split}"
        clip = f"{source}/{number}.flac"
        lines.append(
            f"{clip},{split},{source},t{number // 6},{genre},12.000,CC0-1.0,Composer {number},{kind},us/{split},,\n"
        )
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "CLIPS.csv").write_text("".join(lines))
    write_json({"left_out": [{"name": "a", "reason": "gone"}] * 7}, corpus / "CORPUS.json")
    (corpus / ".build").mkdir()
    (corpus / ".build" / "state").write_bytes(bytes(1_000_000))
    write_bank(corpus / "speech")
    found = Corpus(corpus)
    rng = np.random.default_rng(5)
    tables = {}
    for name, count in COUNTS.items():
        rows = plan_rows(found.of(name), name, 0, count, 2.0)
        labelled = [
            dataclasses.replace(row, score=float(score)) for row, score in zip(rows, rng.random(count), strict=True)
        ]
        for shard, start in enumerate(range(0, count, 400)):
            write_rows(folder / "table" / f"{name}-{shard:04d}.parquet", labelled[start : start + 400], found.digest)
        tables[str(name)] = read_rows(folder / "table", name)
    return found, folder / "table", tables


@pytest.fixture(scope="module")
def described(made: tuple[Corpus, Path, dict[str, list[Row]]]) -> Description:
    return describe_data(*made[:2], build_time="an hour")


def test_rows_are_counted_by_what_they_are(
    described: Description, made: tuple[Corpus, Path, dict[str, list[Row]]]
) -> None:
    corpus, _, rows = made
    genres = {clip.path: clip.genre for clip in corpus.clips}
    assert [table.name for table in described.tables] == ["train", "valid", "test"]
    for table in described.tables:
        mine = rows[table.name]
        counts = {grouping: {g: found.rows for g, found in gs.items()} for grouping, gs in table.groups.items()}
        assert table.labels.rows == len(mine) == sum(table.histogram)
        assert table.hours == pytest.approx(2.0 * len(mine) / 3600)
        assert counts["family"] == Counter(family(row.chain) for row in mine)
        assert counts["conditions"] == Counter(str(len(list(filter(None, row.chain.split("|"))))) for row in mine)
        assert counts["listener"] == Counter(row.listener for row in mine)
        assert counts["genre"] == Counter(genres.get(row.clip, "synthetic") for row in mine)
        assert counts["aid"]["none"] == sum(row.aid == "none" for row in mine)
        assert counts["aid"]["NAL-R for another listener"] == sum("for=" in row.aid for row in mine)
        assert counts["level"]["65"] == sum(row.level == 65 for row in mine)
        assert counts["level"]["80 to 85"] == sum(row.level >= 80 for row in mine)
        assert sum(counts["level"].values()) == sum(counts["aid"].values()) == len(mine)
        assert counts["condition"]["tilt"] == sum("tilt(slope" in row.chain for row in mine)
        assert counts["variation"].get("speed", 0) == sum("speed(" in row.variation for row in mine)
        assert counts["variation"]["none"] == sum(row.variation == "" for row in mine)
        assert counts["kind"].get("synthetic", 0) == sum(row.clip.startswith("composed/") for row in mine)
        assert table.unseen == sum(family(row.chain) in HELD_OUT for row in mine)
    assert described.tables[2].unseen > 0
    assert described.tables[0].groups["kind"].keys() == {"recorded", "rendered", "synthetic"}


def test_labels_of_groups_are_summarized(
    described: Description, made: tuple[Corpus, Path, dict[str, list[Row]]]
) -> None:
    rows = made[2]["test"]
    scores = np.array([row.score for row in rows if row.aid == "none"], dtype=np.float64)
    found = described.tables[2].groups["aid"]["none"]
    assert found.rows == len(scores)
    assert found.mean == pytest.approx(scores.mean())
    assert found.deviation == pytest.approx(scores.std())
    assert found.percentiles == pytest.approx(np.percentile(scores, (5, 25, 50, 75, 95)))


def test_a_corpus_is_counted(described: Description, made: tuple[Corpus, Path, dict[str, list[Row]]]) -> None:
    corpus = described.corpus
    assert corpus.digest == made[0].digest
    assert (corpus.left_out, corpus.build_time) == (7, "an hour")
    files = [path for path in made[0].folder.rglob("*") if path.is_file() and ".build" not in path.parts]
    assert corpus.files == len(files)
    assert corpus.size == sum(path.stat().st_size for path in files) < 1_400_000
    assert [row[:5] for row in corpus.totals()] == [
        (split, kind, 1, tracks, clips)
        for split in ("train", "valid", "test")
        for kind, tracks, clips in (("recorded", 4, 8), ("rendered", 1, 2))
    ]
    assert sum(row[5] for row in corpus.totals()) == pytest.approx(30 * 12 / 3600)
    assert sum(sum(counts.values()) for counts in corpus.genres.values()) == 30
    assert sum(voices.voices for voices in corpus.voices) == 12
    rendered = next(source for source in corpus.sources if source.source == "rendered-test")
    assert rendered.attributions == ("Composer 2", "Composer 5")
    assert rendered.origins == ("us/test",)


def test_a_table_of_2026_11_has_the_music_that_the_corpus_includes(tmp_path: Path) -> None:
    music = tmp_path / "corpus" / "music"
    music.mkdir(parents=True)
    head = "clip,split,source,genre,duration_s\n"
    (music / "CLIPS.csv").write_text(f"{head}song.ogg,test,us,folk,12\n")
    (music.parent / "CLIPS.csv").write_text(f"{head}music/song.ogg,test,music/us,folk,12\n")
    row = plan_rows([Clip("song.ogg", "test", "us", "folk", 12.0)], "test", 0, 1, 10.0)[0]
    write_rows(tmp_path / "table" / "test-2026-11-0000.parquet", [dataclasses.replace(row, score=0.5)])
    found = describe_data(Corpus(music.parent), tmp_path / "table")
    assert found.tables[0].groups["genre"]["folk"].rows == 1
    assert found.current == list(found.tables)


def test_older_tables_follow_the_current_ones_which_alone_are_drawn(
    made: tuple[Corpus, Path, dict[str, list[Row]]], tmp_path: Path
) -> None:
    corpus, folder, rows = made
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for split in ("test", "train"):
        write_rows(tmp_path / f"{split}-2026-11-0000.parquet", rows[split])
    found = describe_data(corpus, tmp_path)
    assert [table.name for table in found.tables] == ["train", "valid", "test", "train-2026-11", "test-2026-11"]
    assert found.current == list(found.tables[:3])
    assert [t.name for t in describe_data(corpus, tmp_path, ["test-2026-11", "test"]).tables] == [
        "test-2026-11",
        "test",
    ]


def test_groups_are_ordered(described: Description) -> None:
    assert described.groups("level")[:3] == ["65", "45 to 50", "50 to 55"]
    assert described.groups("conditions") == ["0", "1", "2", "3"]
    assert described.groups("aid")[0] == "NAL-R"
    assert described.groups("listener")[0] == "NH"
    assert described.groups("listener")[-1] == "smooth"
    shares = [sum(t.share("condition", name) for t in described.tables) for name in described.groups("condition")]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("fault", ["corpus", "clip", "label", "damaged", "none", "summary", "aid"])
def test_what_cannot_be_described_is_told(
    fault: str, made: tuple[Corpus, Path, dict[str, list[Row]]], tmp_path: Path
) -> None:
    corpus, _, rows = made
    row = dataclasses.replace(rows["test"][0], aid="nal-r")
    path = tmp_path / "table" / "test-0000.parquet"
    if fault == "corpus":
        write_rows(path, [row], "0123456789abcdef")
        says = "made from the corpus 0123456789abcdef"
    elif fault == "clip":
        write_rows(path, [dataclasses.replace(row, clip="elsewhere.flac")], corpus.digest)
        says = "has no clip elsewhere.flac"
    elif fault == "label":
        write_rows(path, [dataclasses.replace(row, score=float("nan"))], corpus.digest)
        says = "rows without a label"
    elif fault == "damaged":
        path.parent.mkdir()
        path.write_bytes(b"PAR1 and nothing else")
        says = "is damaged"
    elif fault == "none":
        says = "no table train in"
    elif fault == "aid":
        write_rows(path, [dataclasses.replace(row, aid="trumpet(gain=3)")], corpus.digest)
        says = "is not an aid"
    else:
        write_rows(path, [row])
        music = tmp_path / "music"
        music.mkdir()
        (music / "CLIPS.csv").write_text((corpus.folder / "CLIPS.csv").read_text())
        (music / "CORPUS.json").write_text("{")
        corpus, says = Corpus(music), "CORPUS.json is not what"
    with pytest.raises(CorpusError, match=says):
        describe_data(corpus, tmp_path / "table")


# Conditions


@pytest.mark.parametrize("name", sorted(RANGES))
def test_what_parameters_are_drawn_from_is_found(name: str) -> None:
    rng = np.random.default_rng(3)
    for draw in RANGES[name].values():
        values, interval = parameter_values(draw)
        found = np.array([draw(rng) for _ in range(400)])
        span = values[-1] - values[0]
        assert values[0] - 1e-6 * span <= found.min() <= found.max() <= values[-1] + 1e-6 * span
        if interval:
            assert found.max() > values[-1] - 0.2 * span
        else:
            assert set(found) == set(values)


def test_ends_of_an_interval_of_either_sign() -> None:
    assert parameter_values(RANGES["tilt"]["slope"]) == ([-8.0, -0.3, 0.3, 8.0], True)
    assert parameter_values(RANGES["hum"]["hz"]) == ([50.0, 60.0], False)
    assert parameter_values(RANGES["mp3"]["kbps"])[0] == [8, 16, 24, 32, 40, 56]
    assert parameter_values(RANGES["babble"]["talkers"]) == ([4.0, 20.0], True)


def test_every_condition_is_in_the_table() -> None:
    head, rule, *rows = conditions_table().splitlines()
    cells = [re.split(r"(?<!\\) \| ", row.strip("| ")) for row in rows]
    assert [cell[0] for cell in cells] == [f"`{name}`" for name in sorted(DEGRADATIONS)]
    assert {line.count(" | ") for line in (head, rule, *rows)} == {4}
    about = {cell[0].strip("`"): cell for cell in cells}
    assert about["noise"][1:4] == ["yes", "", "`snr` -5 to 40 (-20 to 80)"]
    assert about["opus"][1:3] == ["", "yes"]
    assert about["compress"][2] == "in combinations"
    assert about["tilt"][3] == "`slope` ±0.3 to ±8 (-12 to 12)"
    assert all(cell[-1] for cell in cells)


# Plots and the page


@pytest.mark.slow
def test_plots_show_something(described: Description, tmp_path: Path) -> None:
    from matplotlib.image import imread

    paths = draw_plots(described, tmp_path / "plots")
    assert [path.name for path in paths] == [f"{name}.png" for name in PLOTS]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        picture = imread(path)[..., :3]
        assert min(picture.shape[:2]) > 200
        blue = np.abs(picture - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=2) < 0.02  # the first table's colour
        assert blue.sum() > 100, path.name


def test_parts_of_the_page_tell_what_was_counted(described: Description) -> None:
    parts = page_parts(described, "data")
    assert tuple(parts) == PARTS
    assert "Building it took an hour. 7 sources, tracks" in parts["corpus"]
    assert "| all |  | 6 | 15 | 30 | 0.1 |" in parts["corpus"]
    assert "| genre\\|0 | 2 | 2 | 2 |" in parts["corpus"]
    assert re.search(r"\| test \| human \| \d", parts["corpus"])
    assert "| recorded-valid | valid | recorded |" in parts["sources"]
    assert "Composer 29" in parts["sources"]
    assert all("![" in parts["tables"] and f"(data/{name}.png)" in parts["tables"] for name in PLOTS)
    chosen = described.tables[0].groups["listener"]["N3"].rows
    assert f"| N3 | {chosen} ({100 * chosen / 800:.1f}%) |" in parts["tables"]
    assert all(f"| {kind} |" in parts["conditions"] for kind in HELD_OUT)
    for part in parts.values():
        for block in re.findall(r"(?:^\|.*\n?)+", part, re.MULTILINE):
            columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(columns) == 1, block


def test_only_what_is_between_markers_is_replaced(described: Description) -> None:
    parts = page_parts(described, "data")
    page = read_page_template().replace("# Data\n", "# Data\n\nBy hand | 1.\n") + "\nThe end.\n"
    once = fill_page(page, parts)
    assert once.startswith("# Data\n\nBy hand | 1.\n")
    assert once.endswith("<!-- end sources -->\n\nThe end.\n")
    assert fill_page(once, parts) == once
    assert fill_page(once, dict.fromkeys(PARTS, "")) == fill_page(page, dict.fromkeys(PARTS, ""))
    assert all(part in once for part in parts.values())


@pytest.mark.parametrize(
    "page",
    [
        "# Data\n",
        read_page_template().replace("<!-- end tables -->", ""),
        "<!-- end corpus -->\n<!-- begin corpus -->\n",
    ],
)
def test_a_page_without_markers_is_refused(page: str) -> None:
    with pytest.raises(OptionError, match=r"the page has no part (corpus|tables): expected the line <!-- begin"):
        fill_page(page, dict.fromkeys(PARTS, "new"))


def test_the_documentation_s_page_takes_all_parts() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    filled = fill_page(page, {name: f"the part {name}" for name in PARTS})
    assert all(f"the part {name}" in filled for name in PARTS)


def test_the_documentation_s_page_describes_the_current_conditions() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert conditions_table() in page
    assert description._drawing_part() in page


def test_a_generator_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(AttributeError):
        parameter_values(lambda rng: float(rng.weibull(2)))  # a new distribution has to be told to `_Probe`
    assert set(dir(description._Probe)) >= {"uniform", "integers", "choice"}
