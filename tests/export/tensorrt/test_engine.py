"""build-engine: names, profiles, caches and progress, with a stand-in for TensorRT's Python API, whose methods and
arguments are those of its 10 and 11; what TensorRT itself makes of them needs a GPU."""

from __future__ import annotations

import json
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from command import run
from haaqi_edge.export.tensorrt import engine
from haaqi_edge.export.tensorrt.engine import build_engine, plan_engines
from haaqi_edge.export.tensorrt.manifest import MANIFEST, Manifest, Settings, create_manifest
from haaqi_edge.runtime import Bundle
from haaqi_edge.runtime.errors import DependencyError, ExportError, ProviderError
from haaqi_edge.runtime.gpu.device import Gpu, first_gpu
from haaqi_edge.runtime.gpu.optimization_profiles import OptimizationProfile
from haaqi_edge.runtime.writing import write_files

HERE = "rtx-4090-sm89-trt11.4.0"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return a copy of the shipped nano with a manifest."""
    card, folder = Bundle("nano").card, tmp_path / "nano"
    graphs = {role: Bundle("nano").path(role).read_bytes() for role in card.files}
    manifest = create_manifest(card, [OptimizationProfile(1, 1, 1), OptimizationProfile(1, 62, 375)], "table")
    write_files(card, graphs, folder, {MANIFEST: manifest.to_json().encode()})
    return Bundle(folder)


class Calls:
    """The calls that the stand-in for TensorRT received."""

    def __init__(self) -> None:
        self.flags: list[int] = []
        self.shapes: list[tuple[Any, ...]] = []
        self.caches: list[bytes] = []
        self.cleared: list[str] = []
        self.refuse_cache = self.unreadable = self.unbuildable = False
        self.steps = 2


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return a stand-in for the module `tensorrt` that records its calls."""
    calls = Calls()

    class Profile_:
        def set_shape(self, name: str, min_shape: Any, opt_shape: Any, max_shape: Any) -> None:
            calls.shapes.append((name, tuple(min_shape), tuple(opt_shape), tuple(max_shape)))

    class Cache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> memoryview:
            return memoryview(self.content + b"+timings")

    class Config:
        progress_monitor: Any = None
        builder_optimization_level = 3

        def clear_flag(self, flag: str) -> None:
            calls.cleared.append(flag)

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            calls.cleared.append(f"{pool} {size}")

        def add_optimization_profile(self, _: Profile_) -> int:
            return 0

        def create_timing_cache(self, content: bytes) -> Cache:
            return Cache(content)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            calls.caches.append(cache.content)
            self.cache = cache
            return not (calls.refuse_cache and cache.content)

        def get_timing_cache(self) -> Cache:
            return self.cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> object:
            calls.flags.append(flags)
            return object()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile_:
            return Profile_()

        def build_serialized_network(self, _: object, config: Config) -> memoryview | None:
            monitor = config.progress_monitor
            monitor.phase_start("Building Engine", None, calls.steps)
            for step in range(calls.steps):
                if not monitor.step_complete("Building Engine", step):
                    return None
            monitor.phase_finish("Building Engine")
            if calls.unbuildable:
                self.logger.log("info", "all is well")
                self.logger.log("error", "no kernel for it")
                return None
            return memoryview(b"engine")

    class Parser:
        num_errors = 1

        def __init__(self, network: object, logger: object) -> None: ...

        def parse(self, content: bytes) -> bool:
            assert content.startswith(b"\x08")
            return not calls.unreadable

        def get_error(self, number: int) -> Any:
            return types.SimpleNamespace(desc=lambda: f"error {number}: no such operator")

    module: Any = types.ModuleType("tensorrt")
    module.__spec__ = types.SimpleNamespace()
    module.__version__ = "11.4.0"
    module.ILogger = type("ILogger", (), {"Severity": types.SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal")})
    module.IProgressMonitor = type("IProgressMonitor", (), {})
    module.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    module.BuilderFlag = types.SimpleNamespace(TF32="tf32")
    module.MemoryPoolType = types.SimpleNamespace(WORKSPACE="workspace")
    module.Builder, module.OnnxParser = Builder, Parser
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(engine, "first_gpu", lambda: Gpu("NVIDIA RTX 4090", "8.9", "13.0"))
    return calls


def test_names_of_engines_depend_on_their_inputs(bundle: Bundle, tmp_path: Path) -> None:
    def names(settings: Settings | None = None, where: str = HERE) -> list[str]:
        return [job.engine.name for job in plan_engines(bundle, tmp_path, settings or Settings(), where)]

    plain = names()
    assert plain[0].startswith("nano-encoder-fp32-")
    assert all(name.endswith(f"-{HERE}.engine") for name in plain)
    assert names() == plain
    others = [names(Settings(tf32=True)), names(Settings(level=5)), names(where="l4-sm89-trt10.8.0")]
    (bundle.folder / MANIFEST).write_text(
        create_manifest(bundle.card, [OptimizationProfile(1, 62, 375)], "table").to_json()
    )
    others.append(names())
    assert len({plain[0], *(other[0] for other in others)}) == 5


def test_the_builder_gets_all_settings(bundle: Bundle, tmp_path: Path, calls: Calls) -> None:
    job = plan_engines(bundle, tmp_path / "engines", Settings(workspace=1 << 20), engine.describe_platform())[0]
    steps: list[tuple[str, int, int]] = []
    build_engine(job, Settings(workspace=1 << 20), lambda *step: steps.append(step))
    assert job.engine.read_bytes() == b"engine"
    assert f"-{HERE}.engine" in job.engine.name
    assert calls.flags == [1 << 1]
    (name,) = job.shapes[0]
    assert [shape[0] for shape in calls.shapes] == [name, name]
    assert [shape[2][0] for shape in calls.shapes] == [1, 62]
    assert calls.shapes[1][3][0] == 375
    assert calls.cleared == ["tf32", f"workspace {1 << 20}"]
    assert steps == [("Building Engine", done, 2) for done in range(3)]
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == sorted([job.engine.name, job.timings.name])


def test_timing_caches_are_reused_unless_stale(bundle: Bundle, tmp_path: Path, calls: Calls) -> None:
    job = plan_engines(bundle, tmp_path, Settings(tf32=True), engine.describe_platform())[1]
    build_engine(job, Settings(tf32=True))
    build_engine(job, Settings(tf32=True))
    assert calls.caches == [b"", b"+timings"]
    assert calls.cleared == []
    calls.refuse_cache = True
    build_engine(job, Settings(tf32=True))
    assert calls.caches[2:] == [b"+timings+timings", b""]
    assert job.timings.read_bytes() == b"+timings"


def test_errors_quote_tensorrt(bundle: Bundle, tmp_path: Path, calls: Calls) -> None:
    job = plan_engines(bundle, tmp_path / "engines", Settings(), engine.describe_platform())[0]
    calls.unreadable = True
    with pytest.raises(ExportError, match="error 0: no such operator"):
        build_engine(job, Settings())
    calls.unreadable, calls.unbuildable = False, True
    with pytest.raises(ExportError, match=r"cannot build .*encoder\.onnx: no kernel for it$"):
        build_engine(job, Settings())
    assert not (tmp_path / "engines").exists()


def test_an_interrupted_build_leaves_nothing(bundle: Bundle, tmp_path: Path, calls: Calls) -> None:
    job = plan_engines(bundle, tmp_path / "engines", Settings(), engine.describe_platform())[0]
    calls.steps = 1000
    seen = []

    def interrupted(_: str, done: int, __: int) -> None:
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(job, Settings(), interrupted)
    assert seen[-1] == 3
    assert not (tmp_path / "engines").exists()


@pytest.mark.usefixtures("calls")
def test_the_command(bundle: Bundle) -> None:
    first = run("build-engine", bundle.folder, "--json")
    assert first.code == 0
    found = json.loads(first.out)
    assert [one["built"] for one in found["engines"]] == [True, True]
    assert all(Path(one["engine"]).is_file() for one in found["engines"])
    again = run("build-engine", bundle.folder)
    assert again.code == 0
    assert again.out.count(": exists") == 2
    assert again.out.count("trtexec --onnx=") == 2
    forced = json.loads(run("build-engine", bundle.folder, "--force", "--json").out)
    assert [one["built"] for one in forced["engines"]] == [True, True]


def test_without_tensorrt_the_commands_are_printed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    outcome = run("build-engine", bundle.folder)
    assert outcome.code == 2
    assert isinstance(outcome.errors[0], DependencyError)
    assert "haaqi-edge[tensorrt]" in str(outcome.errors[0])
    lines = [shlex.split(line) for line in outcome.out.splitlines()]
    assert [line[0] for line in lines] == ["trtexec", "trtexec"]
    assert "--stronglyTyped" in lines[0]
    assert outcome.out.splitlines() == list(Manifest.load(bundle).trtexec.values())  # export's own
    assert f"run these commands in {bundle.folder}" in outcome.err
    assert "--saveEngine=nano-encoder-fp32.engine" in lines[0]
    elsewhere = run("build-engine", bundle.folder, "--optimization-level", 5, "-o", bundle.folder / "engines")
    assert f"--saveEngine={bundle.folder}/engines/nano-head-fp32.engine --" in elsewhere.out
    assert elsewhere.out.count("--builderOptimizationLevel=5") == 2
    as_json = run("build-engine", bundle.folder, "--json")
    assert as_json.code == 2
    assert json.loads(as_json.out)["available"] is False
    assert not (bundle.folder / "engines").exists()


def test_a_bundle_that_is_not_for_tensorrt() -> None:
    outcome = run("build-engine", "nano")
    assert outcome.code == 2
    assert "--target tensorrt" in str(outcome.errors[0])


def test_no_driver(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="driver is not installed"):
        first_gpu(str(tmp_path / "libcuda.so"))
    assert Gpu("NVIDIA H100 80GB HBM3", "9.0", "13.0").slug == "h100-80gb-hbm3-sm90"
