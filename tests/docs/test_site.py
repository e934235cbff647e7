"""`make docs`: the site builds without warnings, is complete, and loads nothing from other hosts."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed: the extra docs"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        # not `python -m mkdocs`: it puts the checkout on the path, whose folder haaqi_edge is a part of the package
        [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_references_describe_the_public_names_and_all_commands(site: Path) -> None:
    assert 'id="haaqi_edge.Scorer.score"' in (site / "api/haaqi_edge.html").read_text(encoding="utf-8")
    for package, name in (
        ("runtime", "Bundle"),
        ("haaqi", "Reference.score"),
        ("model", "HAAQILoss"),
        ("evaluation", "compare"),
    ):
        assert f'id="haaqi_edge.{package}.{name}"' in (site / f"api/{package}.html").read_text(encoding="utf-8")
    commands = (site / "command-line.html").read_text(encoding="utf-8")
    for name in ("haaqi-edge-score", "haaqi-edge-train-nano", "haaqi-edge-bench-study-soak"):
        assert f'id="{name}"' in commands
    assert "--dense-targets" in commands


def test_gallery_has_the_pictures_of_all_examples(site: Path) -> None:
    scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert {path.stem for path in (site / "gallery").glob("*.png")} == scripts
    assert {path.stem for path in (site / "gallery").glob("*.html")} == scripts | {"index"}


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    loaded = r"<(?:script|img|iframe|source|video)[^>]+src=[\"']?(?:https?:)?//[^\"' >]+"
    linked = r"<link[^>]+(?:stylesheet|preconnect|preload|icon)[^>]+href=[\"']?(?:https?:)?//[^\"' >]+"
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(f"{loaded}|{linked}", text), page
        assert 'class="mermaid"' not in text  # material would load a library from another host
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", style.read_text(encoding="utf-8")), style


def test_folds_hold_tables(site: Path) -> None:
    for page in ("data.html", "repository/runtime/models/nano/index.html"):
        folds = re.findall(r"<details>.*?</details>", (site / page).read_text(encoding="utf-8"), re.DOTALL)
        assert folds
        assert all("<table>" in fold and "| ---" not in fold for fold in folds), page
