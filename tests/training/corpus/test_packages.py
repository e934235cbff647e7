"""Debian packages: found, downloaded by a stand-in for apt-get, unpacked in part, and refused where damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus import packages as module
from haaqi_edge.training.corpus.packages import SPARE, Packages, check_disk

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed: apt install dpkg")

FILES = {
    "usr/share/songs/a.ogg": b"first",
    "usr/share/songs/deep/b.ogg": b"second",
    "usr/share/songs/cover.png": b"picture",
    "usr/share/doc/songs/copyright": b"CC0-1.0",
}
LINKS = {
    "usr/share/songs/same.ogg": "a.ogg",
    "usr/share/songs/absolute.ogg": "/usr/share/songs/deep/b.ogg",
    "usr/share/songs/again.ogg": "absolute.ogg",
    "usr/share/songs/dangling.ogg": "gone.ogg",
    "usr/share/songs/outside.ogg": "../../../../secret",
    "usr/share/songs/circle.ogg": "circle.ogg",
}


def make_deb(folder: Path, name: str, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Build `NAME_1.0_all.deb` in a folder; gives its path."""
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Tests <tests@example.org>\nDescription: test\n"
    )
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    for path, target in (links or {}).items():
        (tree / path).symlink_to(target)
    deb = folder / f"{name}_1.0_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(deb)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)
    return deb


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with the package `songs`."""
    folder = tmp_path / "given"
    folder.mkdir()
    make_deb(folder, "songs", FILES, LINKS)
    return folder


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to put an `apt-get` that is found first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "apt-get"


def script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# Finding and downloading


def test_a_package_of_the_given_folder_is_used(given: Path, tmp_path: Path) -> None:
    packages = Packages(tmp_path / "cache", given)
    assert packages.fetch("songs") == given / "songs_1.0_all.deb"
    assert not (tmp_path / "cache").exists()


def test_a_package_that_is_not_in_the_given_folder(given: Path, tmp_path: Path) -> None:
    (given / "songs-more_1.0_all.deb").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"no more_\*\.deb in .*given: run `apt-get download more` there"):
        Packages(tmp_path / "cache", given).fetch("more")


def test_what_is_not_given_may_be_in_the_cache(given: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    deb = make_deb(cache, "more", {"a.txt": b""})
    assert Packages(cache, given).fetch("more") == deb
    assert Packages(cache).fetch("more") == deb


def test_a_package_is_downloaded_once(given: Path, tmp_path: Path, program: Path) -> None:
    log = tmp_path / "log"
    script(program, f'echo "$@" >> {log}\ncp {given}/songs_1.0_all.deb .')
    packages = Packages(tmp_path / "deep" / "cache")
    for _ in range(2):
        deb = packages.fetch("songs")
        assert deb == tmp_path / "deep" / "cache" / "songs_1.0_all.deb"
        assert deb.read_bytes() == (given / deb.name).read_bytes()
    (command,) = log.read_text().splitlines()
    assert command.split()[0] == "download"
    assert command.split()[-1] == "songs"
    assert files_in(packages.cache) == ["songs_1.0_all.deb"]
    assert sorted(path.name for path in packages.cache.iterdir()) == ["songs_1.0_all.deb"]


def test_a_failed_download_says_why_and_leaves_nothing(tmp_path: Path, program: Path) -> None:
    script(program, 'echo "Reading..." >&2\necho "E: Unable to locate package songs" >&2\nexit 100')
    packages = Packages(tmp_path / "cache")
    words = r"`apt-get download songs` failed \(E: Unable to locate package songs\): run `apt-get update`"
    with pytest.raises(CorpusError, match=words):
        packages.fetch("songs")
    assert list(packages.cache.iterdir()) == []


def test_an_interrupted_download_is_not_taken_for_the_package(given: Path, tmp_path: Path, program: Path) -> None:
    packages = Packages(tmp_path / "cache")
    script(program, f"head -c 100 {given}/songs_1.0_all.deb > songs_1.0_all.deb\nexit 100")
    with pytest.raises(CorpusError, match=r"`apt-get download songs` failed \(it gave no file\)"):
        packages.fetch("songs")
    assert list(packages.cache.iterdir()) == []
    script(program, f"cp {given}/songs_1.0_all.deb .")
    assert packages.fetch("songs").read_bytes() == (given / "songs_1.0_all.deb").read_bytes()


def test_a_download_without_a_file_is_a_failure(tmp_path: Path, program: Path) -> None:
    script(program, "exit 0")
    with pytest.raises(CorpusError, match=r"failed \(it gave no file\)"):
        Packages(tmp_path / "cache").fetch("songs")


def test_a_download_that_hangs_is_stopped(
    given: Path, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    script(program, f"cp {given}/songs_1.0_all.deb .\nexec sleep 60")
    packages = Packages(tmp_path / "cache")
    with pytest.raises(CorpusError, match=r"downloading songs took over 0\.5 s: check the network"):
        packages.fetch("songs")
    assert list(packages.cache.iterdir()) == []


def test_without_apt_get_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match=r"there is no apt-get\. Use a Debian system, .* with --packages"):
        Packages(tmp_path / "cache").fetch("songs")


def test_a_cache_that_cannot_be_written_to(tmp_path: Path, program: Path) -> None:
    script(program, "exit 0")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CorpusError, match=r"cannot download songs to .*cache"):
        Packages(tmp_path / "cache").fetch("songs")


# Unpacking


def test_a_package_is_unpacked_with_its_links(given: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    (tmp_path / "secret").write_text("not in the package")
    assert Packages(tmp_path / "cache", given).unpack("songs", folder) == folder
    linked = {"usr/share/songs/same.ogg", "usr/share/songs/absolute.ogg", "usr/share/songs/again.ogg"}
    assert set(files_in(folder)) == FILES.keys() | linked
    assert all((folder / path).read_bytes() == content for path, content in FILES.items())
    assert (folder / "usr/share/songs/same.ogg").read_bytes() == b"first"
    assert (folder / "usr/share/songs/absolute.ogg").read_bytes() == b"second"
    assert (folder / "usr/share/songs/again.ogg").read_bytes() == b"second"


def test_unpacking_again_replaces_what_is_there(given: Path, tmp_path: Path) -> None:
    packages = Packages(tmp_path / "cache", given)
    packages.unpack("songs", tmp_path / "tree")
    before = files_in(tmp_path / "tree")
    (tmp_path / "tree/usr/share/songs/a.ogg").write_bytes(b"changed")
    packages.unpack("songs", tmp_path / "tree")
    assert files_in(tmp_path / "tree") == before
    assert (tmp_path / "tree/usr/share/songs/a.ogg").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["usr/share/songs/*.ogg"], {"a.ogg", "deep/b.ogg", "same.ogg", "absolute.ogg", "again.ogg"}),
        (["*/deep/*"], {"deep/b.ogg"}),
        (["*/a.ogg", "*/same.ogg"], {"a.ogg", "same.ogg"}),
        (["*/same.ogg"], set()),  # the link's file is not wanted
        (["*.png", "*.jpg"], {"cover.png"}),
        ([], set()),
    ],
)
def test_patterns_choose_and_the_licence_comes_along(
    patterns: list[str], found: set[str], given: Path, tmp_path: Path
) -> None:
    folder = Packages(tmp_path / "cache", given).unpack("songs", tmp_path / "tree", patterns)
    assert set(files_in(folder)) == {f"usr/share/songs/{name}" for name in found} | {"usr/share/doc/songs/copyright"}


def test_hard_links_come_along_where_their_file_does(tmp_path: Path) -> None:
    tree = tmp_path / "twins-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: twins\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n"
    )
    (tree / "a.ogg").write_bytes(b"twin")
    (tree / "b.wav").hardlink_to(tree / "a.ogg")
    os.mkfifo(tree / "pipe.ogg")  # no file of audio: passed over
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(tmp_path / "twins_1_all.deb")]
    subprocess.run(command, check=True, capture_output=True)
    packages = Packages(tmp_path / "cache", tmp_path)
    assert files_in(packages.unpack("twins", tmp_path / "both")) == ["a.ogg", "b.wav"]
    assert (tmp_path / "both" / "b.wav").read_bytes() == b"twin"
    first = len(files_in(packages.unpack("twins", tmp_path / "one", ["a.ogg"])))
    second = len(files_in(packages.unpack("twins", tmp_path / "other", ["b.wav"])))
    assert first + second == 1  # the one that the archive holds as a link is left out alone


@pytest.mark.parametrize("damage", ["empty", "text", "cut in half", "a byte changed"])
def test_a_damaged_package_is_refused(damage: str, given: Path, tmp_path: Path) -> None:
    deb = given / "noise_1.0_all.deb"
    make_deb(given, "noise", {"usr/noise.wav": os.urandom(200_000)})
    content = deb.read_bytes()
    half = len(content) // 2
    deb.write_bytes(
        {
            "empty": b"",
            "text": b"no archive",
            "cut in half": content[:half],
            "a byte changed": content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :],
        }[damage]
    )
    with pytest.raises(CorpusError, match=r"noise_1\.0_all\.deb is damaged .*: delete it and download it again"):
        Packages(tmp_path / "cache", given).unpack("noise", tmp_path / "tree")


def test_a_package_with_much_padding_is_whole(tmp_path: Path) -> None:
    """What nobody reads makes dpkg-deb fail; an archive may go on after its end."""
    deb = make_deb(tmp_path, "padded", {"a.ogg": b"music"})
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    tar = subprocess.run(command, check=True, capture_output=True).stdout + bytes(2**22)
    content = deb.read_bytes()
    data = content.index(b"data.tar.gz")  # the last member of an `ar` archive: 60 bytes about it, then the file
    head = b"%-16s%-32s%-10d`\n" % (b"data.tar", content[data + 16 : data + 48], len(tar))
    deb.write_bytes(content[:data] + head + tar)
    folder = Packages(tmp_path / "cache", tmp_path).unpack("padded", tmp_path / "tree")
    assert files_in(folder) == ["a.ogg"]


def test_without_dpkg_deb_nothing_is_unpacked(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match=r"there is no dpkg-deb\. Install Debian's package dpkg"):
        Packages(tmp_path / "cache", given).unpack("songs", tmp_path / "tree")


def test_a_place_that_takes_no_files(given: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "usr").write_text("a file where a folder should be")
    with pytest.raises(CorpusError, match=r"songs_1\.0_all\.deb cannot be unpacked into .*tree"):
        Packages(tmp_path / "cache", given).unpack("songs", tmp_path / "tree")


# Disk

Usage = namedtuple("Usage", "total used free")


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> list[Path]:
    """Let so many bytes be free; gives the list of places that were asked about."""
    asked: list[Path] = []

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(10**12, 10**12 - count, count)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_the_disk_is_checked_where_the_folder_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = free(monkeypatch, SPARE + 1000)
    check_disk(tmp_path / "not" / "there", 1000)
    assert asked == [tmp_path]
    monkeypatch.chdir(tmp_path)
    check_disk(Path("not/there"), 1000)
    assert asked[1] in (tmp_path, Path())
    with pytest.raises(CorpusError, match=r"2\.0 GB are free for .*there, expected 3\.0: free some space"):
        check_disk(tmp_path / "not" / "there", 10**9)


def test_nothing_is_downloaded_to_a_full_disk(
    given: Path, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(program, f"cp {given}/songs_1.0_all.deb .")
    free(monkeypatch, SPARE - 1)
    with pytest.raises(CorpusError, match=r"GB are free for .*cache"):
        Packages(tmp_path / "cache").fetch("songs")
    assert not (tmp_path / "cache").exists()


def test_nothing_is_unpacked_to_a_full_disk(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, SPARE - 1)
    with pytest.raises(CorpusError, match=r"GB are free for .*tree, .* it continues where it stopped"):
        Packages(tmp_path / "cache", given).unpack("songs", tmp_path / "tree")
    assert files_in(tmp_path / "tree") == []
