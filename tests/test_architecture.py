"""The packages of ARCHITECTURE.md: none imports upwards, and `runtime` needs no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("runtime", "haaqi", "model", "training", "evaluation", "calibration", "export", "benchmarks", "cli")
MAY_IMPORT = {package: set(LAYERS[:place]) for place, package in enumerate(LAYERS)} | {"model": {"runtime"}}
"""what each package may import: those below it"""
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "haaqi_edge")
THIRD_PARTY = {
    "runtime": {"numpy", "onnxruntime", "soundfile", "soxr", "joblib", "distributed"},
    "haaqi": {"numpy", "scipy", "numba", "llvmlite"},
    "model": {"numpy", "torch", "safetensors"},
    "training": {
        "numpy",
        "soundfile",
        "soxr",
        "av",
        "torch",
        "safetensors",
        "numba",
        "llvmlite",
        "librosa",
        "scipy",
        "pyarrow",
        "joblib",
        "distributed",
        "yaml",
        "matplotlib",
    },
    "evaluation": {"numpy", "soundfile", "torch", "matplotlib"},
    "calibration": {"numpy", "onnx", "onnxruntime", "soundfile", "torch"},
    "export": {"numpy", "torch", "onnx", "onnxruntime", "onnxscript", "tensorrt"},
    "cli": {"numpy", "typer", "rich", "torch", "onnx", "sounddevice"},
}
"""the benchmarks may use everything, pyclarity too"""
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = (
    "torch",
    "onnx",
    "onnxscript",
    "librosa",
    "av",
    "scipy",
    "numba",
    "safetensors",
    "pyarrow",
    "joblib",
    "distributed",
    "clarity",
)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Dotted names that a module imports, anywhere in it, relative ones made absolute; and whether on import of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(node)
        for inner in ast.walk(node)
    }
    package = ["haaqi_edge", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(tree):
        at_once = id(node) not in later
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield source, at_once
            if source == "haaqi_edge" or (node.level and node.module is None):
                yield from ((f"{source}.{alias.name}", at_once) for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def packages_of(names: Iterator[tuple[str, bool]]) -> set[str]:
    """Return the packages of haaqi_edge among imported names."""
    return {name.split(".")[1] for name, _ in names if name.startswith("haaqi_edge.")}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_parser_sees_imports_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "model" / "sample.py"
    module.parent.mkdir()
    module.write_text(
        "import torch.nn as nn\nfrom ..runtime.errors import X\nfrom .. import export\nfrom . import nano\n"
        "from haaqi_edge.cli import main\ndef f():\n    from ..training import fit\n    import onnx\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert packages_of(imports(module)) == {"runtime", "export", "cli", "training", "model"}
    assert {name for name, at_once in imports(module) if not at_once} == {"haaqi_edge.training", "onnx"}
    assert ("torch.nn", True) in set(imports(module))


def test_every_package_has_its_layer() -> None:
    assert set(PACKAGES) == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_package_imports_upwards(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert packages_of(imports(path)) <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_package_uses_its_third_parties_only(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    outside = {name.split(".")[0] for name, _ in imports(path)} - sys.stdlib_module_names - {"haaqi_edge"}
    if package in THIRD_PARTY:
        assert outside <= THIRD_PARTY[package]


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=name_of)
def test_commands_import_their_packages_only_when_called(path: Path) -> None:
    at_once = [(name, True) for name, now in imports(path) if now]
    assert packages_of(iter(at_once)) <= {"runtime", "cli"}
    assert not {name.split(".")[0] for name, _ in at_once} & {"numpy", *HEAVY}


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"{{name}} is not installed on the device", name=name)

sys.meta_path.insert(0, Blocker())
"""
SCORED = """
from haaqi_edge.runtime import Scorer
scorer = Scorer("nano", threads=1)
result = scorer.score({path!r}, ["N3", "NH"])
assert all(0 < r.score < 1 for r in result)
assert len(scorer.stream("N3", 16_000).accept_waveform([0.1] * 2_800)) == 1
print(len(result[0].frame_scores))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)


def test_the_runtime_scores_without_torch_onnx_and_librosa() -> None:
    names = (*HEAVY, "typer", "rich")
    blocked = BLOCKED.format(names=set(names))
    for name in names:  # the blocker blocks
        assert f"{name} is not installed on the device" in run(f"{blocked}\nimport {name}").stderr
    done = run(blocked + SCORED.format(path=str(ROOT / "demo/clean.flac")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(1 + (20 * 16_000 - 2_800) // 2_560)


def test_the_command_line_scores_without_them_too() -> None:
    argv = ["haaqi-edge", "score", str(ROOT / "demo/clean.flac"), "-a", "N3", "--threads", "1"]
    code = f"sys.argv = {argv!r}\nfrom haaqi_edge.cli.main import main\nmain()"
    done = run(BLOCKED.format(names=set(HEAVY)) + code)
    assert done.returncode == 0, done.stderr
    assert "clean.flac" in done.stdout


def test_commands_that_need_more_say_what_to_install() -> None:
    for argv, extra in (
        (["export", "nano", "-o", "absent/out"], "export"),
        (["label", "--corpus=absent", "--table=absent"], "train"),
        (["corpus", "build", "absent", "--output=absent/out"], "train"),
        (["haaqi", "absent.wav", "absent.wav", "--audiogram=N3"], "haaqi"),
    ):
        code = f"sys.argv = ['haaqi-edge', *{argv!r}]\nfrom haaqi_edge.cli.main import main\nmain()"
        # What is not installed has no spec; a blocked import would raise instead.
        missing = "import sys, importlib.util as u\nfound = u.find_spec\n"
        missing += f"u.find_spec = lambda name, *rest: None if name in {set(HEAVY)!r} else found(name, *rest)\n"
        done = run(missing + code)
        assert done.returncode == 2, done.stderr
        assert f"pip install 'haaqi-edge[{extra}]'" in done.stderr
        assert "Traceback" not in done.stderr
