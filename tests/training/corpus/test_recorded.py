"""Recorded sources: what the recipe tells, the tracks of an unpacked package, and files that are no longer the same."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path

import pytest
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus import recorded
from haaqi_edge.training.corpus.recorded import (
    Match,
    Track,
    find_tracks,
    load_recorded,
    parse_recorded,
    read_checksums,
    sort_by_priority,
)

ENTRY = {
    "source": "game",
    "package": "game-data",
    "split": "train",
    "codec": "Vorbis",
    "licence": "GPL-2.0",
    "attribution": "Someone",
    "genre": "folk",
    "tracks": ["usr/share/*/music/*.ogg", "usr/share/game/all.zip!music/**.ogg"],
    "files": [
        {"match": ["theme.ogg"], "licence": "CC-BY-3.0"},
        {"match": ["**/deep/*.ogg", "th*.ogg"], "genre": "jazz", "licence": "CC0-1.0"},
    ],
    "leave_out": [{"match": ["jingle*.ogg"], "reason": "too short"}],
}


def recipe(**changes: object) -> dict[str, object]:
    return {"recorded": [{**ENTRY, **changes}]}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An unpacked package: music as files and in a zip file."""
    music = tmp_path / "usr/share/game/music"
    music.mkdir(parents=True)
    for name in ("theme", "walk", "jingle-1"):
        (music / f"{name}.ogg").write_bytes(name.encode())
    (music / "link.ogg").symlink_to(music / "walk.ogg")
    with zipfile.ZipFile(tmp_path / "usr/share/game/all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("music/walk.ogg", "another walk")
        archive.writestr("music/deep/cave.ogg", "cave")
        archive.writestr("sounds/step.ogg", "step")
    return tmp_path


def found(root: Path, **changes: object) -> list[Track]:
    return find_tracks(parse_recorded(recipe(**changes), "recipe").sources[0], root)


CHECKSUMS = {
    "usr/share/game/all.zip!music/deep/cave.ogg": digest(b"cave"),
    "usr/share/game/all.zip!music/walk.ogg": digest(b"another walk"),
    "usr/share/game/music/theme.ogg": digest(b"theme"),
    "usr/share/game/music/walk.ogg": digest(b"walk"),
}


def test_tracks_are_found_in_folders_and_zip_files(root: Path) -> None:
    assert {track.origin_path: track.sha256 for track in found(root)} == CHECKSUMS


def test_a_track_tells_what_the_recipe_says_of_it(root: Path) -> None:
    by_name = {track.name: track for track in found(root)}
    theme, cave = by_name["theme"], by_name["cave"]
    assert (theme.source, theme.package, theme.split) == ("game", "game-data", "train")
    # Of what matches, the first entry that tells something counts, each for itself.
    assert (theme.licence, theme.genre, theme.attribution) == ("CC-BY-3.0", "jazz", "Someone")
    assert (cave.licence, cave.genre, cave.attribution) == ("CC0-1.0", "jazz", "Someone")
    assert cave.member == "music/deep/cave.ogg"
    assert theme.member is None


def test_names_are_unique(root: Path) -> None:
    names = {track.origin_path: track.name for track in found(root)}
    assert names == {
        "usr/share/game/all.zip!music/deep/cave.ogg": "cave",
        "usr/share/game/all.zip!music/walk.ogg": "all-zip-music-walk",
        "usr/share/game/music/theme.ogg": "theme",
        "usr/share/game/music/walk.ogg": "game-music-walk",
    }


def test_a_track_is_opened_wherever_it_lies(root: Path) -> None:
    for track in found(root):
        with track.open() as file:
            assert digest(file.read()) == track.sha256
            assert file.seek(0) == 0


def test_the_same_audio_elsewhere_is_accepted(root: Path) -> None:
    source = parse_recorded(recipe(), "recipe").sources[0]
    (root / "usr/share/game/music").rename(root / "usr/share/moved")
    (root / "usr/share/game-2/music").mkdir(parents=True)
    (root / "usr/share/moved/theme.ogg").rename(root / "usr/share/game-2/music/title.ogg")
    (root / "usr/share/moved/walk.ogg").rename(root / "usr/share/game-2/music/walk.ogg")
    kept = find_tracks(source, root, CHECKSUMS)
    assert {track.sha256 for track in kept} == set(CHECKSUMS.values())


def test_other_audio_is_reported_and_left_out(root: Path) -> None:
    source = parse_recorded(recipe(), "recipe").sources[0]
    (root / "usr/share/game/music/theme.ogg").write_bytes(b"remix")
    problems: list[CorpusError] = []
    kept = find_tracks(source, root, CHECKSUMS, problems.append)
    assert {track.origin_path for track in kept} == CHECKSUMS.keys() - {"usr/share/game/music/theme.ogg"}
    (problem,) = problems
    assert "usr/share/game/music/theme.ogg" in str(problem)
    assert digest(b"remix") in str(problem)
    assert f"expected {digest(b'theme')}" in str(problem)
    with pytest.raises(CorpusError, match="theme"):
        find_tracks(source, root, CHECKSUMS)


def test_audio_that_is_not_in_the_table_is_reported_and_left_out(root: Path) -> None:
    source = parse_recorded(recipe(), "recipe").sources[0]
    (root / "usr/share/game/music/new.ogg").write_bytes(b"new")
    problems: list[CorpusError] = []
    assert len(find_tracks(source, root, CHECKSUMS, problems.append)) == 4
    assert [("new.ogg" in str(problem), "not in the table" in str(problem)) for problem in problems] == [(True, True)]


def test_audio_that_is_gone_is_reported(root: Path) -> None:
    source = parse_recorded(recipe(), "recipe").sources[0]
    (root / "usr/share/game/music/theme.ogg").unlink()
    problems: list[CorpusError] = []
    assert len(find_tracks(source, root, CHECKSUMS, problems.append)) == 3
    (problem,) = problems
    assert re.search(r"theme\.ogg is missing", str(problem))


def test_a_package_without_music_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"game: no file below .* the package game-data unpacked"):
        found(tmp_path)


def test_a_damaged_zip_file_is_named(root: Path) -> None:
    (root / "usr/share/game/all.zip").write_bytes(b"PK no zip file")
    with pytest.raises(CorpusError, match=r"all\.zip"):
        found(root)


def test_a_damaged_member_is_named(root: Path) -> None:
    path = root / "usr/share/game/all.zip"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("music/deep/cave.ogg").header_offset + 30 + len("music/deep/cave.ogg")
    path.write_bytes(content[:place] + b"\xff\xff" + content[place + 2 :])
    with pytest.raises(CorpusError, match=r"all\.zip!music/deep/cave\.ogg"):
        found(root)


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 77)], ids=["encrypted", "unknown compression"])
def test_a_member_that_cannot_be_unpacked_is_named(root: Path, place: int, value: int) -> None:
    path = root / "usr/share/game/all.zip"
    content = bytearray(path.read_bytes())
    content[place] = content[content.index(b"PK\1\2") + place + 2] = value  # walk.ogg comes first
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"all\.zip!music/walk\.ogg"):
        found(root)


def test_a_member_that_is_too_large_for_memory_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_MAX_MEMBER", 8)
    with pytest.raises(CorpusError, match=r"all\.zip!music/walk\.ogg: .* are not read into memory"):
        found(root)


def test_file_names_that_are_long_or_not_utf8_give_usable_ones(root: Path) -> None:
    music = root / "usr/share/game/music"
    (music / ("n" * 240 + ".ogg")).write_bytes(b"long")
    Path(os.fsdecode(os.fsencode(music) + b"/caf\xe9.ogg")).write_bytes(b"latin")
    found_ = found(root)
    assert all(len(track.name) < 220 for track in found_)
    assert {"caf"} <= {track.name for track in found_}
    "".join(track.origin_path for track in found_).encode()  # no lone surrogates


@pytest.mark.parametrize("missing", ["licence", "attribution", "genre"])
def test_each_track_needs_licence_attribution_and_genre(root: Path, missing: str) -> None:
    entry = {key: value for key, value in ENTRY.items() if key not in {missing, "files"}}
    with pytest.raises(CorpusError, match=f"has no {missing} for usr/share"):
        find_tracks(parse_recorded({"recorded": [entry]}, "recipe").sources[0], root)


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("*.ogg", "a/b/c.ogg", True),
        ("a/*.ogg", "a/b/c.ogg", False),
        ("a/**.ogg", "a/b/c.ogg", True),
        ("a/*/c.ogg", "a/b/c.ogg", True),
        ("**/c.ogg", "x.zip!a/c.ogg", True),
        ("c.ogg", "x.zip!c.ogg", True),
        ("c[12].ogg", "a/c2.ogg", True),
        ("c[!12].ogg", "a/c2.ogg", False),
        ("c?.ogg", "c+.ogg", True),
        ("c.ogg", "cxogg", False),
        ("c.ogg", "c.ogg.bak", False),
    ],
)
def test_patterns(pattern: str, path: str, matched: bool) -> None:
    assert Match((pattern,))(path) is matched


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"split": "dev"}, r"\[0\] \(game\), split is 'dev', expected one of train, valid, test"),
        ({"tracks": []}, "tracks is \\[\\], expected a list of names that is not empty"),
        ({"tracks": "music/*.ogg"}, "tracks is 'music.*expected a list of names"),
        ({"package": None}, "package is None, expected a text"),
        ({"source": "A Game"}, "is not a name of lower-case letters, digits and hyphens"),
        ({"source": "speech"}, "'speech' is a folder that every corpus has"),
        ({"source": "a" * 300}, "is not a name of lower-case letters, digits and hyphens"),
        ({"package": "../debs/game"}, "'../debs/game' is not the name of a Debian package"),
        ({"package": "-oDir=x"}, "'-oDir=x' is not the name of a Debian package"),
        ({"tracks": ["usr/../../*.ogg"]}, r"tracks\[0\]: 'usr/\.\./\.\./\*\.ogg' leads outside the package"),
        ({"tracks": ["usr/[z-a]*.ogg"]}, r"tracks\[0\]: 'usr/\[z-a\]\*\.ogg' is not a pattern"),
        ({"licence": "CC-BY-NC-3.0"}, "non-commercial"),
        ({"licence": "CC-BY-ND-4.0"}, "no-derivatives"),
        ({"genres": "folk"}, "unknown key genres; known keys: source, package"),
        (
            {"files": [{"match": ["a.ogg"], "licence": "CC-BY-NC-SA-4.0"}]},
            r"files\[0\], licence: music with non-commercial",
        ),
        ({"files": [{"licence": "CC0-1.0"}]}, r"files\[0\], match is missing, expected a list of names"),
        ({"leave_out": [{"match": ["a.ogg"]}]}, r"leave_out\[0\], reason is missing, expected a text"),
        ({"files": ["a.ogg"]}, "files\\[0\\] is 'a.ogg', expected a mapping with the keys: match"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(changes: dict[str, object], told: str) -> None:
    with pytest.raises(CorpusError, match=f"my recipe: recorded.*{told}"):
        parse_recorded(recipe(**changes), "my recipe")


def test_a_source_is_there_once() -> None:
    with pytest.raises(CorpusError, match="'game' occurs twice"):
        parse_recorded({"recorded": [ENTRY, {**ENTRY, "split": "test"}]}, "recipe")


@pytest.mark.parametrize("content", ["recorded: [", "music: []", "- recorded", "recorded: 3", "\x00"])
def test_a_recipe_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(CorpusError, match=r"mine\.yaml"):
        load_recorded(path)
    with pytest.raises(CorpusError, match=r"other\.yaml"):
        load_recorded(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    "content", ["source,path\na,b\n", "source,path,sha256\na,b,abc\n", "source,path,sha256\na,b\n"]
)
def test_a_table_of_checksums_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sums.csv"
    path.write_text(content)
    with pytest.raises(CorpusError, match=r"sums\.csv"):
        read_checksums(path)


def test_splits_keep_recordings_in_their_order(root: Path) -> None:
    train, valid, test = (found(root, split=split) for split in ("train", "valid", "test"))
    ordered = sort_by_priority([*train, *valid, *test])
    assert [track.split for track in ordered] == ["test"] * 4 + ["valid"] * 4 + ["train"] * 4
    assert ordered[:4] == test


# The recipe of the package


def test_the_recipe_and_its_checksums_belong_together() -> None:
    whole = load_recorded()
    assert {source.source for source in whole.sources} == whole.checksums.keys()
    for source in whole.sources:
        for path in whole.checksums[source.source]:
            outer = path.split("!")[0]
            patterns = Match(tuple(pattern.split("!")[0] for pattern in source.tracks))
            assert patterns(outer), path
            assert not any(left.match(path) for left in source.leave_out), path
            for key in ("licence", "attribution", "genre"):
                assert recorded._credit(source, path, key)
    everything = [digest for sums in whole.checksums.values() for digest in sums.values()]
    assert len(set(everything)) == len(everything)


def test_each_exception_of_the_recipe_is_of_use() -> None:
    whole = load_recorded()
    for source in whole.sources:
        for entry in source.files:
            assert any(entry.match(path) for path in whole.checksums[source.source]), (source.source, entry)


def test_the_recipe_holds_enough_for_each_split() -> None:
    whole = load_recorded()
    counts = {"train": 0, "valid": 0, "test": 0}
    for source in whole.sources:
        counts[source.split] += len(whole.checksums[source.source])
    assert counts["valid"] >= 100
    assert counts["test"] >= 100
    assert counts["train"] >= 250
