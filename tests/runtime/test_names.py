"""The public names of the packages: each is there, and importing a package loads nothing heavy."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
PACKAGES = ["haaqi_edge.runtime"]
PACKAGES += [f"haaqi_edge.runtime.{name}" for name in ("audio", "batch", "features", "gpu", "streaming")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    assert set(dir(module)) == set(module.__all__) == set(module._HOMES)
    for name in module.__all__:
        value = getattr(module, name)
        assert getattr(value, "__module__", package).startswith("haaqi_edge.runtime") or not callable(value)
    with pytest.raises(AttributeError, match="no attribute 'Abacus'"):
        _ = module.Abacus


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_same_names(package: str) -> None:
    path = RUNTIME.joinpath(*package.split(".")[2:], "__init__.py")
    (block,) = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == importlib.import_module(package)._HOMES


def test_importing_the_packages_loads_nothing_heavy() -> None:
    code = f"import {', '.join(PACKAGES)}, sys, json; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & {"numpy", "onnxruntime", "soundfile", "soxr", "joblib", "distributed"}


def test_the_cpu_does_not_import_the_gpu() -> None:
    code = "from haaqi_edge import Scorer; import sys; Scorer('nano', threads=1)"
    code += "\nprint([m for m in sys.modules if m.startswith('haaqi_edge.runtime.gpu')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
