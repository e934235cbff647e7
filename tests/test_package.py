"""What is distributed: the wheel's content and size, the source distribution, and the readme for PyPI."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL = 11_700_000  # 7.7 MB, and at most 4 MB for small
"""bytes; ONNX Runtime's WebAssembly for the page is 3.7 million of them"""
NOT_DISTRIBUTED = {
    ".git",
    ".venv",
    ".venv-bare",
    ".venv-lowest",
    "node_modules",
    "build",
    "dist",
    "runs",
    "__pycache__",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("build") is None, reason="build is not installed: pip install build"),
]


def build(kind: str, source: Path, output: Path) -> Path:
    """Build a distribution in this environment, without a connection, and without warnings of setuptools."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    warnings = re.findall(r"^\s*(?:warning|WARNING)\b.*|^.*[a-z]Warning\b.*", done.stdout + done.stderr, re.MULTILINE)
    assert not [line for line in warnings if "byte-compiling is disabled" not in line]
    (file,) = output.iterdir()
    return file


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, since building writes into it."""
    folder = tmp_path_factory.mktemp("checkout") / "haaqi-edge"
    shutil.copytree(ROOT, folder, ignore=lambda _, names: NOT_DISTRIBUTED.intersection(names))
    return folder


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the checkout, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", checkout, folder / "file")) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.glob("haaqi_edge-*")
    return unpacked


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", checkout, tmp_path_factory.mktemp("wheel") / "file"))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_wheel_is_small_and_holds_nothing_twice(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).stat().st_size <= MAX_WHEEL
    large = [item for item in wheel.infolist() if item.file_size > 1_000]
    contents = [hashlib.sha256(wheel.read(item)).hexdigest() for item in large]
    assert len(set(contents)) == len(contents)


def test_wheel_holds_the_packages_and_their_data(wheel: zipfile.ZipFile, checkout: Path) -> None:
    names = set(wheel.namelist())
    top = [path.parent for path in checkout.glob("*/__init__.py")]
    modules = {path.relative_to(checkout).as_posix() for folder in top for path in folder.rglob("*.py")}
    expected = {name if name.startswith("haaqi_edge/") else f"haaqi_edge/{name}" for name in modules}
    assert {name for name in names if name.endswith(".py")} - {"haaqi_edge/demo/render.py"} == expected
    data = ("py.typed", "runtime/models/nano/card.json", "cli/page/index.html", "demo/clean.flac")
    assert {f"haaqi_edge/{name}" for name in data} <= names
    assert not [name for name in names if name.endswith(".parquet") or "/tests/" in name]


def test_sdist_holds_what_tests_and_packaging_need(sdist: Path, checkout: Path) -> None:
    for folder in ("tests", "docs", "demo", "examples", "web", ".ci", "training/table", "cli/page"):
        mine = {path.relative_to(sdist).as_posix() for path in (sdist / folder).rglob("*") if path.is_file()}
        its = {path.relative_to(checkout).as_posix() for path in (checkout / folder).rglob("*") if path.is_file()}
        assert mine == its
        assert mine
    for name in ("Makefile", "constraints.txt", "README.md", "CHANGELOG.md", "LICENSE", "MANIFEST.in", "setup.py"):
        assert (sdist / name).read_bytes() == (checkout / name).read_bytes()


def test_wheel_of_the_sdist_is_that_of_the_checkout(sdist: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", sdist, tmp_path / "file")) as other:
        assert sorted(other.namelist()) == sorted(wheel.namelist())
        assert all(other.read(name) == wheel.read(name) for name in other.namelist())


def test_metadata_come_from_pyproject(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (metadata["Name"], metadata["Version"]) == ("haaqi-edge", project["version"])
    assert metadata["Author"] == "haaqi-edge developers"
    assert not metadata.get_all("Project-URL")
    assert set(metadata.get_all("Provides-Extra", [])) == project["optional-dependencies"].keys()


def test_readme_has_nothing_that_pypi_cannot_resolve(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert isinstance(text, str)
    assert "haaqi-edge score" in text
    outside_code = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    assert "<img" not in outside_code
    targets = re.findall(r"\]\(([^)]*)\)", outside_code)
    assert not [target for target in targets if not target.startswith(("https://", "http://", "#"))]
