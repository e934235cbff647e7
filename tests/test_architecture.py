"""The structure of ARCHITECTURE.md: layers, sub-packages, third-party libraries, sizes, and names that exist."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("runtime", "haaqi", "model", "training", "evaluation", "calibration", "export", "benchmarks", "cli")
"""Packages from the lowest to the highest. Each may import those below it."""
MAY_IMPORT = {package: set(LAYERS[:place]) for place, package in enumerate(LAYERS)} | {
    "model": {"runtime"},
    "haaqi_edge": {"runtime"},
}
SUB_LAYERS = {
    "runtime": ("features", "audio", "streaming", "batch", "gpu"),
    "training": ("degradations", "corpus", "data", "tasks"),
    "export": ("c", "tensorrt"),
    "benchmarks": ("report", "studies", "sections"),
}
"""Sub-packages from the lowest to the highest. Of the same package, each may import those below it."""
ON_REQUEST = "haaqi_edge.runtime.gpu"
"""Sub-package that no other part of `runtime` imports at import time."""
THIRD_PARTY = {
    "haaqi_edge": set(),
    "runtime": {"numpy", "onnxruntime", "soundfile", "soxr", "av", "joblib", "distributed", "pyarrow"},
    "haaqi": {"numpy", "scipy", "numba", "llvmlite"},
    "model": {"numpy", "torch", "safetensors", "onnx"},
    "training": {
        *("numpy", "scipy", "numba", "torch", "safetensors", "pyarrow", "yaml", "matplotlib"),
        *("soundfile", "soxr", "av"),
    },
    "evaluation": {"numpy", "matplotlib"},
    "calibration": {"numpy", "onnx", "onnxruntime", "soundfile"},
    "export": {"numpy", "torch", "onnx", "onnxruntime", "tensorrt"},
    "cli": {"numpy", "typer", "rich", "torch", "onnx", "sounddevice", "librosa", "matplotlib"},
}
"""Third-party libraries that each package uses, no more and no less. The benchmarks may use any."""
UNDECLARED = {"clarity"}
"""Libraries that no extra installs: pyclarity, which is compared with."""
MAX_MODULES = 15
"""Modules in one folder of a package. `cli` is exempt: it has a module for each command."""
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
MODULES = {package: sorted((ROOT / package).rglob("*.py")) for package in PACKAGES}
FOLDERS = sorted({path.parent for modules in MODULES.values() for path in modules})
HEAVY = (
    *("torch", "onnx", "onnxscript", "av", "scipy", "numba", "safetensors", "pyarrow", "matplotlib", "joblib"),
    *("distributed", "clarity", "librosa"),
)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the dotted names that a module imports anywhere, absolute, and whether it does so at import time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(node)
        for inner in ast.walk(node)
    }
    package = ["haaqi_edge", *(part for part in path.relative_to(ROOT).parent.parts if part != "haaqi_edge")]
    for node in ast.walk(tree):
        at_once = id(node) not in later
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield source, at_once
            yield from ((f"{source}.{alias.name}", at_once) for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def packages_of(names: Iterator[tuple[str, bool]], depth: int = 1) -> set[str]:
    """Return the packages of `haaqi_edge` among imported names; with depth 2 the sub-packages, as `runtime.audio`."""
    found = (name.split(".")[1 : 1 + depth] for name, _ in names if name.startswith("haaqi_edge."))
    return {".".join(parts) for parts in found if ROOT.joinpath(*parts).is_dir()}


def libraries_of(path: Path) -> set[str]:
    """Return the third-party libraries that a module imports anywhere."""
    return {name.split(".")[0] for name, _ in imports(path)} - sys.stdlib_module_names - {"haaqi_edge"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_of_every_kind_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("runtime/audio", "model", "cli", "training", "export"):
        (tmp_path / package).mkdir(parents=True)
    module = tmp_path / "model" / "sample.py"
    module.write_text(
        "import torch.nn as nn\nfrom ..runtime.errors import X\nfrom .. import export\nfrom . import nano\n"
        "from haaqi_edge.cli import main\nfrom ..runtime import audio\ndef f():\n    from ..training import loop\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert packages_of(imports(module)) == {"runtime", "export", "cli", "training", "model"}
    assert "runtime.audio" in packages_of(imports(module), 2)
    assert {name for name, at_once in imports(module) if not at_once} == {
        "haaqi_edge.training",
        "haaqi_edge.training.loop",
    }
    assert libraries_of(module) == {"torch"}


def test_every_package_has_its_layer() -> None:
    assert set(PACKAGES) == {"haaqi_edge", *LAYERS}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_upwards(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = {name_of(path): packages_of(imports(path)) - allowed for path in MODULES[package]}
    assert not {path: above for path, above in wrong.items() if above}


@pytest.mark.slow
@pytest.mark.parametrize("package", sorted(SUB_LAYERS))
def test_no_sub_package_imports_upwards(package: str) -> None:
    names = SUB_LAYERS[package]
    assert set(names) == {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    wrong = {}
    for place, name in enumerate(names):
        above = {f"{package}.{other}" for other in names[place + 1 :]}
        for path in (ROOT / package / name).rglob("*.py"):
            wrong[name_of(path)] = packages_of(imports(path), 2) & above
    assert not {path: above for path, above in wrong.items() if above}


def test_packages_with_sub_packages_have_sub_layers() -> None:
    assert set(SUB_LAYERS) == {path.parents[1].name for path in ROOT.glob("*/*/__init__.py") if name_of(path) in TREE}


def test_gpu_code_is_imported_on_request() -> None:
    folder = ROOT.joinpath(*ON_REQUEST.split(".")[1:])
    others = [path for path in MODULES["runtime"] if folder not in path.parents]
    now = {name_of(path): {name for name, at_once in imports(path) if at_once} for path in others}
    assert not [path for path, names in now.items() if any(f"{name}.".startswith(f"{ON_REQUEST}.") for name in names)]
    assert any(name.startswith(ON_REQUEST) for path in others for name, _ in imports(path))


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_each_package_uses_its_libraries(package: str) -> None:
    used = {name_of(path): libraries_of(path) for path in MODULES[package]}
    assert not {path: names - THIRD_PARTY[package] for path, names in used.items() if names - THIRD_PARTY[package]}
    assert THIRD_PARTY[package] == set().union(*used.values())


@pytest.mark.slow
def test_every_library_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "dev"}
    declared = {
        re.split(r"[\[<>=~!;]", line)[0].lower()
        for lines in [project["dependencies"], *extras.values()]
        for line in lines
    }
    distributions = packages_distributions()
    used = set().union(*(libraries_of(path) for modules in MODULES.values() for path in modules)) - UNDECLARED
    homes = {name: {home.lower() for home in distributions.get(name, [name])} for name in used}
    # Libraries that are a part of another one's interface.
    homes |= {name: {home} for name, home in (("llvmlite", "numba"), ("markupsafe", "jinja2")) if name in homes}
    assert not {name for name, found in homes.items() if not found & declared}


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_package_has_about_fifteen_modules(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert folder.name == "cli" or len(modules) <= MAX_MODULES


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_package_says_what_is_public(folder: Path) -> None:
    parts = [part for part in folder.relative_to(ROOT).parts if part != "haaqi_edge"]
    package = importlib.import_module(".".join(["haaqi_edge", *parts]))
    assert len(set(package.__all__)) == len(package.__all__)
    missing = [name for name in package.__all__ if not hasattr(package, name)]
    assert not [name for name in missing if not ({f"{name}.py", name} & {path.name for path in folder.iterdir()})]


def test_tests_mirror_the_packages() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")} - {ROOT / "tests"}
    assert folders
    assert not [name_of(folder) for folder in folders if not (ROOT / folder.relative_to(ROOT / "tests")).is_dir()]


def test_the_runtimes_tests_need_the_runtime_alone() -> None:
    """They are also run with the lowest versions of its dependencies, where nothing else is installed."""
    helpers = {path.stem for path in (ROOT / "tests").glob("*.py")}
    allowed = {"numpy", "soundfile", "soxr", "onnxruntime", "pytest", "hypothesis", "haaqi_edge", *helpers}
    wrong = {}
    for path in (ROOT / "tests" / "runtime").rglob("*.py"):
        now = [name for name, at_once in imports(path) if at_once]
        names = {name.split(".")[0] for name in now} - sys.stdlib_module_names - allowed
        ours = {name for name in now if name.startswith("haaqi_edge.") and name.split(".")[1] != "runtime"}
        wrong[name_of(path)] = names | ours
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("path", MODULES["cli"], ids=name_of)
def test_commands_import_their_packages_only_when_called(path: Path) -> None:
    at_once = [(name, True) for name, now in imports(path) if now]
    assert packages_of(iter(at_once)) <= {"runtime", "cli"}
    assert not {name.split(".")[0] for name, _ in at_once} & {"numpy", *HEAVY}


TREE = {name_of(path) for modules in MODULES.values() for path in modules}
HISTORY = {"CHANGELOG.md", "training/LEDGER.md"}
"""Texts that tell what was, by the names of that time."""
_LAYER = "|".join(LAYERS)
_FILE = re.compile(rf"(?<![\w/.-])(?:{_LAYER}|tests|web|demo|examples)/[\w/-]+\.py\b")
_DOTTED = re.compile(rf"(?<![\w.])(?:haaqi_edge\.|`)((?:{_LAYER})(?:\.[a-zA-Z]\w*)+)(?![\w{{(])")


def texts() -> Iterator[Path]:
    """Yield all documentation and code that may name modules."""
    yield from (path for path in ROOT.glob("*.md"))
    yield ROOT / "Makefile"
    for folder in (*PACKAGES, "tests", "docs", "examples", "demo", "web/src", "web/test", "web/e2e"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".ts"} and not path.is_relative_to(ROOT / "docs" / "report"):
                yield path
    yield from (ROOT / "web").glob("*.*")


def exists(dotted: str) -> bool:
    """Return whether a dotted name below `haaqi_edge` is a package, a module, or a name in one."""
    folder, parts = ROOT, dotted.split(".")
    while parts and (folder / parts[0]).is_dir():
        folder /= parts.pop(0)
    if not parts:
        return True
    module = folder / "__init__.py"
    if (folder / f"{parts[0]}.py").is_file():
        module = folder / f"{parts.pop(0)}.py"
    if not parts:
        return True
    return module.is_file() and parts[0] in names_in(module)


def names_in(module: Path) -> set[str]:
    """Return the names that a module defines or imports at any depth, and its strings, such as those of `__all__`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def test_names_that_exist_are_told_from_others() -> None:
    for name in ("runtime", "runtime.audio", "runtime.scorer", "runtime.scorer.Scorer", "runtime.Scorer"):
        assert exists(name)
    for name in ("runtime.stream", "runtime.scorer.Scores2", "training.fit", "export.nothing.at_all"):
        assert not exists(name)
    assert _DOTTED.findall("see `runtime.stream`, haaqi_edge.cli.main and runtime.other") == [
        "runtime.stream",
        "cli.main",
    ]
    assert _FILE.findall("in training/haaqi.py, not in ../training/fit.py") == ["training/haaqi.py"]


def test_no_text_names_a_module_that_is_not_there() -> None:
    stale = []
    for path in texts():
        if name_of(path) in HISTORY or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            files = [name for name in _FILE.findall(line) if not (ROOT / name).is_file()]
            names = [name for name in _DOTTED.findall(line) if not exists(name)]
            stale += [f"{name_of(path)}:{number}: {name}" for name in (*files, *names)]
    assert not stale


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
assert not [name for name in sys.modules if name.startswith({on_request!r})]
print(len(result[0].frame_scores))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)


def test_the_runtime_scores_with_its_own_dependencies_alone() -> None:
    names = (*HEAVY, "typer", "rich")
    blocked = BLOCKED.format(names=set(names))
    assert "torch is not installed on the device" in run(f"{blocked}\nimport torch").stderr  # the blocker blocks
    done = run(blocked + SCORED.format(path=str(ROOT / "demo/clean.flac"), on_request=ON_REQUEST))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(1 + (20 * 16_000 - 2_800) // 2_560)


def test_the_command_line_scores_with_few_dependencies_too() -> None:
    argv = ["haaqi-edge", "score", str(ROOT / "demo/clean.flac"), "-a", "N3", "--threads", "1"]
    code = f"sys.argv = {argv!r}\nfrom haaqi_edge.cli.main import main\nmain()"
    done = run(BLOCKED.format(names=set(HEAVY)) + code)
    assert done.returncode == 0, done.stderr
    assert "clean.flac" in done.stdout
