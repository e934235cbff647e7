"""`haaqi-edge build-engine`: TensorRT engines of a bundle, on the GPU that they are for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ..runtime.errors import DependencyError, ProviderError
from .console import err, out, print_json, progress

if TYPE_CHECKING:
    from ..export.tensorrt.engine import Job
    from ..export.tensorrt.manifest import Manifest, Settings
    from ..runtime.bundle import Bundle

_MIB = 1 << 20


def build_engine(
    bundle: Annotated[str, typer.Argument(help="A bundle exported with --target tensorrt.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the engines; by default `engines` in the bundle's.")
    ] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let fp32 products round their factors to 10 bits.")] = False,
    level: Annotated[int, typer.Option(min=0, max=5, help="How hard TensorRT searches; 3 is its own default.")] = 3,
    workspace: Annotated[int | None, typer.Option(min=1, help="Most MiB of GPU memory for a layer's work.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build a bundle's TensorRT engines on this GPU, and print the trtexec lines that do the same.

    An engine's name tells model, precision, GPU and TensorRT's version; one that is there is kept. Without TensorRT or
    a GPU the lines are printed, and the exit code is 2.
    """
    from ..export.tensorrt.engine import build, here, jobs
    from ..export.tensorrt.manifest import Manifest, Settings
    from ..runtime.bundle import Bundle
    from ..runtime.files import is_file

    opened = Bundle(bundle)
    manifest, settings = Manifest.of(opened), Settings(tf32, level, None if workspace is None else workspace * _MIB)
    try:
        where = here()
    except (DependencyError, ProviderError):
        _print_lines(opened, manifest, settings, output, as_json)
        raise
    found = jobs(opened, output or opened.folder / "engines", settings, where)
    built: list[str] = []
    for job in found:
        if force or not is_file(job.engine):
            _with_progress(job, lambda told, job=job: build(job, settings, told))
            built.append(job.role)
    if as_json:
        engines = [
            {"role": job.role, "engine": str(job.engine), "built": job.role in built, "trtexec": job.trtexec}
            for job in found
        ]
        print_json({"bundle": str(opened.folder), "available": True, "engines": engines})
        return
    for job in found:
        what = "built" if job.role in built else "there already"
        out.print(f"[bold]{escape(str(job.engine))}[/]: {what}", soft_wrap=True)
        out.print(escape(job.trtexec), soft_wrap=True)


def _print_lines(bundle: Bundle, manifest: Manifest, settings: Settings, output: Path | None, as_json: bool) -> None:
    """The lines for trtexec elsewhere: nothing is to be filled in."""
    from ..export.tensorrt.manifest import engine_of, lines

    folder = Path() if output is None else output.absolute()
    told = lines(bundle.card, manifest.profiles, settings, folder)
    if as_json:
        engines = [
            {"role": role, "engine": str(engine_of(bundle.card, role, folder)), "built": False, "trtexec": line}
            for role, line in told.items()
        ]
        print_json({"bundle": str(bundle.folder), "available": False, "engines": engines})
        return
    saved = "save the engines there" if output is None else f"save the engines in {folder}, which must exist"
    err.print(f"run these in {escape(str(bundle.folder))}, on the GPU's machine; they {escape(saved)}:", soft_wrap=True)
    for line in told.values():
        out.print(escape(line), soft_wrap=True)


def _with_progress(job: Job, work: Any) -> None:
    """A bar for each of TensorRT's phases."""
    if not err.is_terminal:
        err.print(f"building {job.engine.name}", soft_wrap=True)
    with progress() as bar:
        tasks: dict[str, Any] = {}

        def told(phase: str, done: int, steps: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=steps)
            bar.update(tasks[phase], completed=done, total=steps)

        work(told)
