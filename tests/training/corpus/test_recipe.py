"""Recipes: the shipped one is understood, and what is wrong with another is told by file and key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.cutting import CutRules
from haaqi_edge.training.corpus.recipe import RECIPES, read_recipe, shipped_recipes

WHOLE = """
folders: [music, lieder]
cut: {length: 10, per_track: 2, silence: 0.2}
rendered:
  packages: [fonts, styles]
  counts: {train: 3, test: 1}
  seconds: 20
  cut: {length: 8}
speech: [prompts]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe without recorded tracks."""
    path = tmp_path / "mine.yaml"
    path.write_text(WHOLE)
    return path


# What is shipped


def test_the_shipped_recipe_is_understood() -> None:
    assert shipped_recipes() == ["haaqi-edge"]
    found = read_recipe("haaqi-edge")
    assert found.name == "haaqi-edge"
    assert {"music", "lieder"} <= set(found.folders)
    assert found.recorded is not None
    assert len(found.recorded.sources) >= 25
    assert {source.split for source in found.recorded.sources} == {"train", "valid", "test"}
    assert len({source.source for source in found.recorded.sources}) == len(found.recorded.sources)
    assert found.rendered is not None
    assert found.rendered.counts["train"] >= 800
    assert found.rendered.counts["valid"] > 0
    assert found.rendered.counts["test"] > 0
    assert 0 < found.rendered.seconds <= 90
    assert found.rendered.packages
    assert found.speech
    assert found.cut.length == found.rendered.cut.length == 12
    assert len(found.digest) == 64


def test_every_shipped_source_has_checksums() -> None:
    recorded = read_recipe("haaqi-edge").recorded
    assert recorded is not None
    assert {source.source for source in recorded.sources} <= recorded.checksums.keys()
    sums = [sum_ for source in recorded.checksums.values() for sum_ in source.values()]
    assert len(sums) >= 450
    assert all(len(sum_) == 64 and set(sum_) <= set("0123456789abcdef") for sum_ in sums)


def test_a_digest_covers_the_files_beside_a_recipe(tmp_path: Path) -> None:
    for path in RECIPES.iterdir():
        shutil.copy(path, tmp_path / path.name)
    copied = tmp_path / "haaqi-edge.yaml"
    assert read_recipe(copied).digest == read_recipe("haaqi-edge").digest
    digests = {read_recipe(copied).digest}
    for name in ("haaqi-edge.yaml", "recorded.yaml", "recorded-sha256.csv"):
        path = tmp_path / name
        before = path.read_bytes()
        path.write_bytes(before + (b"\n# changed\n" if path.suffix == ".yaml" else b"\n"))
        digests.add(read_recipe(copied).digest)
        path.write_bytes(before)
    assert len(digests) == 4


# What a recipe says


def test_a_recipe_says_what_belongs_to_a_corpus(recipe: Path) -> None:
    found = read_recipe(recipe)
    assert found.name == "mine"
    assert found.folders == ("music", "lieder")
    assert found.recorded is None
    assert found.cut == CutRules(length=10.0, per_track=2, silence=0.2)
    assert isinstance(found.cut.length, float)
    assert isinstance(found.cut.per_track, int)
    assert found.rendered is not None
    assert found.rendered.packages == ("fonts", "styles")
    assert found.rendered.counts == {"train": 3, "valid": 0, "test": 1}
    assert found.rendered.seconds == 20
    assert found.rendered.cut == CutRules(length=8.0)
    assert found.speech == ("prompts",)


def test_every_part_may_be_left_out(recipe: Path) -> None:
    recipe.write_text("folders: [music]\n")
    found = read_recipe(recipe)
    assert (found.folders, found.recorded, found.rendered, found.speech) == (("music",), None, None, ())
    assert found.cut == CutRules()


def test_recorded_tracks_lie_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("recorded: tracks.yaml\n")
    (tmp_path / "tracks.yaml").write_text(
        "recorded:\n  - source: songs\n    package: songs-data\n    split: train\n    codec: Vorbis\n"
        "    licence: CC0-1.0\n    attribution: someone\n    genre: folk\n    tracks: ['usr/*.ogg']\n"
    )
    (tmp_path / "tracks-sha256.csv").write_text(f"source,path,sha256\nsongs,usr/a.ogg,{'0' * 64}\n")
    found = read_recipe(tmp_path / "mine.yaml").recorded
    assert found is not None
    assert [source.package for source in found.sources] == ["songs-data"]
    assert found.checksums == {"songs": {"usr/a.ogg": "0" * 64}}


# What is wrong


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("speech:", "voices:", r"mine\.yaml: unknown key voices; known keys: folders, recorded, cut, rendered, speech"),
        ("folders: [music, lieder]", "folders: music", r"mine\.yaml: folders is 'music', expected a list of names"),
        ("speech: [prompts]", "speech: [3]", r"mine\.yaml: speech\[0\] is 3, expected a text"),
        ("per_track: 2", "per_song: 2", r"mine\.yaml: cut: unknown key per_song; known keys: rate, "),
        (
            "per_track: 2",
            "per_track: many",
            r"mine\.yaml: cut, per_track is 'many', expected a whole number, 1 or more",
        ),
        ("silence: 0.2", "silence: true", r"mine\.yaml: cut, silence is True, expected a number"),
        (
            "cut: {length: 10, per_track: 2, silence: 0.2}",
            "cut: 3",
            r"mine\.yaml: cut is 3, expected a mapping with the keys: rate",
        ),
        ("  packages: [fonts, styles]", "  fonts: [a]", r"mine\.yaml: rendered: unknown key fonts; known keys: "),
        ("[fonts, styles]", "{a: b}", r"mine\.yaml: rendered, packages is \{'a': 'b'\}, expected a list of names"),
        (
            "train: 3",
            "training: 3",
            r"mine\.yaml: rendered, counts: unknown key training; known keys: train, valid, test",
        ),
        ("train: 3", "train: -3", r"mine\.yaml: rendered, counts, train is -3, expected a whole number, 0 or more"),
        ("train: 3", "train: few", r"mine\.yaml: rendered, counts, train is 'few', expected a whole number"),
        ("  counts: {train: 3, test: 1}\n", "", r"mine\.yaml: rendered, counts is missing, expected a mapping"),
        ("seconds: 20", "seconds: long", r"mine\.yaml: rendered, seconds is 'long', expected a number, 0 or more"),
        ("{length: 8}", "{length: [8]}", r"mine\.yaml: rendered, cut, length is \[8\], expected a number"),
        ("length: 10", "length: -3", r"mine\.yaml: cut, length is -3, expected a number, 1 or more"),
        ("per_track: 2", "per_track: 0", r"mine\.yaml: cut, per_track is 0, expected a whole number, 1 or more"),
        ("per_track: 2", "per_track: .inf", r"mine\.yaml: cut, per_track is inf, expected a whole number"),
        ("silence: 0.2", "silence: .nan", r"mine\.yaml: cut, silence is nan, expected a number"),
        ("train: 3", "train: .nan", r"mine\.yaml: rendered, counts, train is nan, expected a whole number, 0 or more"),
        ("train: 3", "train: .inf", r"mine\.yaml: rendered, counts, train is inf, expected a whole number, 0 or more"),
        ("[prompts]", "[../../home]", r"mine\.yaml: speech\[0\]: '\.\./\.\./home' is not the name of a Debian package"),
        (
            "[fonts, styles]",
            "[/home]",
            r"mine\.yaml: rendered, packages\[0\]: '/home' is not the name of a Debian package",
        ),
        (
            "folders:",
            "recorded: /\nfolders:",
            r"mine\.yaml: recorded: '/' is not the name of a YAML file beside the recipe",
        ),
        ("folders:", "recorded: [a.yaml]\nfolders:", r"mine\.yaml: recorded is \['a\.yaml'\], expected a text"),
        ("folders:", "recorded: gone.yaml\nfolders:", r"cannot read the recipe .*gone\.yaml"),
    ],
)
def test_wrong_recipes_are_told_by_file_and_key(old: str, new: str, words: str, recipe: Path) -> None:
    assert old in WHOLE
    recipe.write_text(WHOLE.replace(old, new))
    with pytest.raises(CorpusError, match=words):
        read_recipe(recipe)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"mine\.yaml is None, expected a mapping with the keys: folders, recorded, cut, rendered, speech"),
        (b"- music\n", r"mine\.yaml is \['music'\], expected a mapping with the keys: "),
        (b"folders: [music", r"(?s)the recipe .*mine\.yaml cannot be read .*: give a YAML file, or one of haaqi-edge"),
        (b"[" * 2_000, r"the recipe .*mine\.yaml cannot be read"),
        (b"folders: \xff\xfe", r"the recipe .*mine\.yaml cannot be read"),
        (b"folders: !!python/object/apply:os.system ['true']", r"the recipe .*mine\.yaml cannot be read"),
    ],
)
def test_what_is_no_recipe_is_refused(content: bytes, words: str, recipe: Path) -> None:
    recipe.write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        read_recipe(recipe)


def test_a_recipe_of_nested_aliases_is_not_expanded(recipe: Path) -> None:
    lists = [f" - &a{depth + 1} [{', '.join([f'*a{depth}'] * 9)}]" for depth in range(12)]  # 9 ** 13 items
    recipe.write_text("\n".join(["folders:", " - &a0 [x, x, x, x, x, x, x, x, x]", *lists]))
    with pytest.raises(CorpusError, match="expected a text") as error:
        read_recipe(recipe)
    assert len(str(error.value)) < 2_000


@pytest.mark.parametrize("name", ["absent", "absent.yaml", "recorded", "."])
def test_a_recipe_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=rf"the recipe {name} cannot be read .*, or one of haaqi-edge"):
        read_recipe(name)


def test_recorded_tracks_without_checksums_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("recorded: recorded.yaml\n")
    shutil.copy(RECIPES / "recorded.yaml", tmp_path)
    with pytest.raises(CorpusError, match=r"cannot read the checksums .*recorded-sha256\.csv"):
        read_recipe(tmp_path / "mine.yaml")
