"""`haaqi-edge build-engine`: build the TensorRT engines of a bundle on this GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ..runtime.errors import DependencyError, ProviderError
from .console import err, out, print_json, progress
from .options import JsonOption

if TYPE_CHECKING:
    from ..export.tensorrt.engine import EngineJob
    from ..export.tensorrt.manifest import Manifest, Settings
    from ..runtime.bundle import Bundle

_MIB = 1 << 20


def build_engine(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle that was exported with --target tensorrt.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the engines. Default: `engines` in the bundle's folder."),
    ] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Allow TF32 for fp32 products: factors have 10 bits.")] = False,
    optimization_level: Annotated[
        int, typer.Option(min=0, max=5, help="TensorRT's builder optimization level: higher levels search longer.")
    ] = 3,
    workspace: Annotated[
        int | None, typer.Option(min=1, help="Maximum GPU memory for the workspace of a layer, in MiB.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Rebuild existing engines.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build the TensorRT engines of a bundle on this GPU.

    The command also prints the equivalent trtexec commands. The name of an engine contains the model, the precision,
    the GPU and the version of TensorRT. Existing engines are kept.
    Without TensorRT or a GPU, it prints these commands only.
    Exit codes: 2 without TensorRT or a GPU.
    """
    from ..export.tensorrt.engine import build_engine, describe_platform, plan_engines
    from ..export.tensorrt.manifest import Manifest, Settings
    from ..runtime.bundle import Bundle
    from ..runtime.files import is_file

    opened = Bundle(bundle)
    manifest, settings = (
        Manifest.load(opened),
        Settings(tf32, optimization_level, None if workspace is None else workspace * _MIB),
    )
    try:
        where = describe_platform()
    except (DependencyError, ProviderError):
        _print_commands(opened, manifest, settings, output, as_json)
        raise
    found = plan_engines(opened, output or opened.folder / "engines", settings, where)
    built: list[str] = []
    for job in found:
        if force or not is_file(job.engine):
            _with_progress(job, lambda report, job=job: build_engine(job, settings, report))
            built.append(job.role)
    if as_json:
        engines = [
            {"role": job.role, "engine": str(job.engine), "built": job.role in built, "trtexec": job.trtexec}
            for job in found
        ]
        print_json({"bundle": str(opened.folder), "available": True, "engines": engines})
        return
    for job in found:
        state = "built" if job.role in built else "exists"
        out.print(f"[bold]{escape(str(job.engine))}[/]: {state}", soft_wrap=True)
        out.print(escape(job.trtexec), soft_wrap=True)


def _print_commands(bundle: Bundle, manifest: Manifest, settings: Settings, output: Path | None, as_json: bool) -> None:
    """Print complete trtexec commands, for a machine with the GPU."""
    from ..export.tensorrt.manifest import engine_path, format_commands

    folder = Path() if output is None else output.absolute()
    commands = format_commands(bundle.card, manifest.profiles, settings, folder)
    if as_json:
        engines = [
            {"role": role, "engine": str(engine_path(bundle.card, role, folder)), "built": False, "trtexec": line}
            for role, line in commands.items()
        ]
        print_json({"bundle": str(bundle.folder), "available": False, "engines": engines})
        return
    destination = "there" if output is None else f"in {folder}, which must exist"
    err.print(
        f"run these commands in {escape(str(bundle.folder))} on the machine with the GPU; they save the engines "
        f"{escape(destination)}:",
        soft_wrap=True,
    )
    for line in commands.values():
        out.print(escape(line), soft_wrap=True)


def _with_progress(job: EngineJob, work: Any) -> None:
    """Show a progress bar for each phase of TensorRT."""
    if not err.is_terminal:
        err.print(f"building {job.engine.name}", soft_wrap=True)
    with progress() as bar:
        tasks: dict[str, Any] = {}

        def report(phase: str, done: int, steps: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=steps)
            bar.update(tasks[phase], completed=done, total=steps)

        work(report)
