"""Building of TensorRT engines from the graphs of a bundle, on the GPU that will run them."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...runtime.bundle import ROLES, Bundle
from ...runtime.errors import DependencyError, ExportError
from ...runtime.files import is_file
from ...runtime.gpu.device import first_gpu
from ...runtime.gpu.optimization_profiles import Shape
from ...runtime.writing import write_file
from .manifest import Manifest, Settings, format_trtexec

Progress = Callable[[str, int, int], None]
"""Called with the name of a phase, the number of its steps that are done, and the total number of its steps."""
Shapes = Sequence[Mapping[str, tuple[Shape, Shape, Shape]]]
TIMINGS: Final = "timings.cache"
"""suffix of the name of a timing cache"""


@dataclass(frozen=True)
class EngineJob:
    """An engine to build: its graph, shapes and timing cache, and the equivalent trtexec command."""

    role: str
    graph: Path
    engine: Path
    timings: Path
    shapes: Shapes
    trtexec: str


def plan_engines(bundle: Bundle, folder: Path, settings: Settings, platform: str) -> list[EngineJob]:
    """Return the engines to build for a bundle, with the equivalent trtexec commands.

    The name of an engine contains the model, a hash of graph, shapes and settings, the GPU and the TensorRT version.

    Args:
        bundle: a bundle exported for TensorRT.
        folder: destination of the engines.
        settings: how to build them.
        platform: names of the GPU and the TensorRT version, see `describe_platform`.

    Raises:
        BundleError: the bundle was not exported for TensorRT.
    """
    manifest, timings = Manifest.load(bundle), folder / f"{platform}-{TIMINGS}"
    jobs = []
    for role in ROLES:
        shapes = [profile[role] for profile in manifest.profiles]
        entry = bundle.card.files[role]
        inputs = repr((entry.sha256, [sorted(one.items()) for one in shapes], settings))
        digest = hashlib.sha256(inputs.encode()).hexdigest()[:12]
        engine = folder / f"{bundle.card.name}-{role}-{entry.precision}-{digest}-{platform}.engine"
        graph, options = bundle.path(role), [*settings.options, f"--timingCacheFile={timings}"]
        command = format_trtexec(str(graph), str(engine), shapes, options)
        jobs.append(EngineJob(role, graph, engine, timings, shapes, command))
    return jobs


def describe_platform() -> str:
    """Return the names of this machine's GPU and TensorRT version, for use in file names.

    Raises:
        DependencyError: TensorRT is missing.
        ProviderError: there is no GPU.
    """
    version = _tensorrt().__version__
    return f"{first_gpu().slug}-trt{version}"


def build_engine(job: EngineJob, settings: Settings, progress: Progress | None = None) -> None:
    """Build and write an engine, and update the timing cache for later builds.

    Raises:
        DependencyError: TensorRT is missing.
        ExportError: TensorRT rejects the graph or cannot build it. The message quotes TensorRT.
        KeyboardInterrupt: the build was interrupted. Nothing is written then.
    """
    trt = _tensorrt()
    log = _logger(trt)
    builder = trt.Builder(log)
    # TensorRT 11 supports strongly typed networks only and ignores the flag.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(job.graph.read_bytes()):
        reasons = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
        raise ExportError(f"TensorRT {trt.__version__} cannot read {job.graph}: {reasons}")
    config = builder.create_builder_config()
    config.builder_optimization_level = settings.level
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
    for shapes in job.shapes:
        profile = builder.create_optimization_profile()
        for name, (min_shape, opt_shape, max_shape) in shapes.items():
            profile.set_shape(name, min_shape, opt_shape, max_shape)
        if config.add_optimization_profile(profile) < 0:
            raise ExportError(f"TensorRT {trt.__version__} rejects the profile {dict(shapes)} for {job.graph}")
    _attach_timings(config, job.timings)
    monitor = _monitor(trt, progress or (lambda *_: None))
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise ExportError(
            f"TensorRT {trt.__version__} cannot build {job.graph}: {'; '.join(log.errors) or 'it gives no reason'}"
        )
    job.engine.parent.mkdir(parents=True, exist_ok=True)
    write_file(bytes(plan), job.engine)
    write_file(bytes(config.get_timing_cache().serialize()), job.timings)


def _attach_timings(config: Any, path: Path) -> None:
    """Attach the timing cache of earlier builds, or a new one if it is of another GPU or TensorRT version."""
    stored = path.read_bytes() if is_file(path) else b""
    if not config.set_timing_cache(config.create_timing_cache(stored), ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _tensorrt() -> Any:
    if importlib.util.find_spec("tensorrt") is None:
        raise DependencyError(
            "building engines needs TensorRT on the machine with the GPU, and it is not installed here: "
            "run pip install 'haaqi-edge[tensorrt]' there, or run the trtexec commands"
        )
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise DependencyError(
            f"TensorRT is installed but cannot be loaded ({error}): its libraries must match the driver's CUDA version"
        ) from error
    return tensorrt


def _logger(trt: Any) -> Any:
    """Create a logger that collects TensorRT's error messages."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def _monitor(trt: Any, progress: Progress) -> Any:
    """Create a monitor that passes TensorRT's phases to `progress`. TensorRT calls it from its own threads."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, _: str | None, num_steps: int) -> None:
            with self._lock:
                self._steps[phase_name] = num_steps
            self._report(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._report(phase_name, step + 1, self._steps.get(phase_name, 0))
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

        def _report(self, phase: str, done: int, steps: int) -> None:
            try:
                progress(phase, done, steps)
            except KeyboardInterrupt:  # Python can raise it here, and it must not propagate through TensorRT
                self.interrupted = True

    return Monitor()
