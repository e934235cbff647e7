"""`import haaqi_edge`: its names, loaded at their first use, and what to install where a dependency is missing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import haaqi_edge

DEMO = Path(__file__).resolve().parents[1] / "demo" / "clean.flac"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])

sys.meta_path.insert(0, Blocker())
"""


def test_every_public_name_is_there() -> None:
    assert set(dir(haaqi_edge)) == set(haaqi_edge.__all__)
    for name in haaqi_edge.__all__:
        assert getattr(haaqi_edge, name) is not None
    assert haaqi_edge.__version__.count(".") >= 2
    assert "nano" in haaqi_edge.shipped_models()
    with pytest.raises(AttributeError, match="no attribute 'Abacus'"):
        _ = haaqi_edge.Abacus  # type: ignore[attr-defined]


def test_importing_loads_nothing_heavy() -> None:
    done = python("import haaqi_edge, sys, json; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert not set(json.loads(done.stdout)) & {"numpy", "onnxruntime", "torch", "soundfile", "typer", "scipy"}


def test_without_onnx_runtime_the_first_use_says_what_to_install() -> None:
    blocked = BLOCKER.format(names={"onnxruntime"})
    done = python(f"{blocked}\nimport haaqi_edge\nprint(haaqi_edge.Audiogram.named('N3'))\nhaaqi_edge.Scorer('nano')")
    assert "N3" in done.stdout  # what needs no ONNX Runtime works
    assert done.returncode == 1
    assert "pip install 'haaqi-edge[cpu]'" in done.stderr.splitlines()[-1]
    assert "DependencyError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_typer_the_command_says_what_to_install(missing: str) -> None:
    blocked = BLOCKER.format(names={missing})
    done = python(f"{blocked}\nsys.argv = ['haaqi-edge', 'score']\nfrom haaqi_edge.cli import run\nrun()")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: the command line needs {missing}, which the base installation does not include: "
        "run pip install 'haaqi-edge[cpu,cli]'"
    )


def test_the_old_home_of_haaqi_warns() -> None:
    sys.modules.pop("haaqi_edge.training.haaqi", None)
    with pytest.warns(DeprecationWarning, match=r"import from haaqi_edge\.haaqi\.index"):
        old = importlib.import_module("haaqi_edge.training.haaqi")
    from haaqi_edge.haaqi.index import Reference

    assert old.Reference is Reference
