"""The entry point: names and summaries of all commands, and the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import inspect
import io
import itertools
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from . import INTERRUPTED, exit_when_interrupted
from .console import out, print_error, print_warning
from .conversion import use_simple_conversion
from .deprecations import replace_deprecated

COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Scores": {
        "score": "Score audio files from 0 (bad) to 1 (as good as the original).",
        "stream": "Score audio while it plays: a file, standard input or the microphone.",
        "web": "Score music in the browser: a song or the microphone, with an audiogram drawn by hand.",
        "haaqi": "Compute HAAQI itself: compare processed music with its clean original.",
    },
    "Models": {
        "inspect": "Show a bundle or a fused file: its card, inputs, outputs, operators and file sizes.",
        "export": "Export a checkpoint to a verified bundle, for ONNX Runtime or other devices.",
        "quantize": "Quantize a bundle to int8 within a budget of score changes.",
        "build-engine": "Build the TensorRT engines of a bundle on this GPU.",
        "check": "Compare the scores of two models.",
        "evaluate": "Evaluate a model on files with labels: HAAQI, ratings or references.",
    },
    "Data and training": {
        "corpus": "Build and inspect a corpus of music and speech.",
        "label": "Make a label table: degrade music and score it with HAAQI.",
        "train": "Train networks, and compute the features that training reads.",
        "distil": "Train a student or nano from a teacher and labels.",
        "finetune-mos": "Fine-tune a network to mean opinion scores.",
    },
    "Benchmarks": {
        "bench": "Measure time, memory, size, parity and accuracy of the models in one run.",
    },
}
"""one-line help of each command, by help panel; a test compares it with the command's own help"""


class CommandGroup(TyperGroup):
    """All commands. A command's module is imported when the command runs, not for `--help` or completion of names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, commands in COMMANDS.items():
            for name, summary in commands.items():
                self.add_command(TyperCommand(name, help=summary, rich_help_panel=panel))
        use_simple_conversion(self)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and convert what typer would treat in another way."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # typer says nothing
            _print_plain(str(error) or INTERRUPTED)
            raise typer.Exit(130) from error
        except BrokenPipeError as error:  # typer says nothing
            raise _ClosedPipeError from error
        except Exception as error:
            _add_hint(error, self._rest)
            raise

    _rest: Sequence[str] = ()

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name, the loaded command and its arguments, which have new spellings for deprecated ones."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:  # an unknown name during completion
            return name, command, rest
        self._rest = rest
        with exit_when_interrupted():
            loaded = load_command(name)
        return name, loaded, rest if ctx.resilient_parsing else replace_deprecated(name, rest)


def load_command(name: str) -> Any:
    """Import a command and return it as an object of typer's.

    The module has the command's name; it holds a function of that name, or a typer app of several commands.
    """
    module_name = name.replace("-", "_")
    module = importlib.import_module(f".{module_name}", __package__)
    parent = typer.Typer(add_completion=False)
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name)
    else:
        parent.callback()(_do_nothing)  # a typer app of one command is a group only if it has a callback
        parent.command(name)(getattr(module, module_name))
    group: Any = typer.main.get_command(parent)
    command = group.commands[name]
    use_simple_conversion(command)
    _unwrap_help(command)
    return command


def _unwrap_help(command: Any) -> None:
    """Join the lines of each paragraph of a help text, so that it fills the terminal."""
    command.help = re.sub(r"(?<!\n)\n(?!\n|Exit codes:)", " ", inspect.cleandoc(command.help or ""))
    for member in getattr(command, "commands", {}).values():
        _unwrap_help(member)


class _ClosedPipeError(Exception):
    """Raised if the reader of standard output has closed it."""


def _print_plain(line: str) -> None:
    """Print a line on standard error, which may be closed."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _hint_at_dashes(arguments: Sequence[str]) -> str:
    """Return what to write for the first file whose name begins with a dash; empty if there is none.

    Args:
        arguments: arguments of a command that failed.
    """
    from ..runtime.audio.folders import FFMPEG_SUFFIXES, SUFFIXES
    from ..runtime.files import display_name, is_file

    for argument in itertools.takewhile(lambda one: one != "--", arguments):
        path = Path(argument)
        is_name = len(argument) > 2 and argument.startswith("-") and "=" not in argument
        if is_name and (is_file(path) or path.suffix.lower() in SUFFIXES | FFMPEG_SUFFIXES):
            name = display_name(argument)
            return f"{name} begins with a dash, as options do: for a file of this name, write ./{name}"
    return ""


def _add_hint(error: Exception, arguments: Sequence[str]) -> None:
    """Add a hint at names with dashes to the message of an error of this package, or of typer."""
    from ..runtime.errors import HaaqiEdgeError

    if not isinstance(error, HaaqiEdgeError) and not hasattr(error, "format_message"):
        return
    if hint := _hint_at_dashes(arguments):
        message = str(getattr(error, "message", error)).rstrip(".")
        error.args = (f"{message}. {hint}",)
        if hasattr(error, "message"):
            error.message = error.args[0]


def _do_nothing() -> None:
    """Do nothing."""


_SHOW_WARNING: Final = warnings.showwarning

app = typer.Typer(
    name="haaqi-edge",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        import importlib.metadata  # imported late: it takes longer than computing a score

        out.print(importlib.metadata.version("haaqi-edge"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Predict how good music sounds to a hearing-aid user (HAAQI, 0 to 1), from the audio and an audiogram."""


def _warning_printer() -> Callable[..., None]:
    """Return a replacement of `warnings.showwarning`.

    It prints a warning of this package as one line, each text once, and other warnings as Python does. A file that is
    read twice, for a plot for example, causes the same warning twice.
    """
    printed: set[str] = set()

    def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not category.__module__.startswith("haaqi_edge."):
            _SHOW_WARNING(message, category, *where, **more)
        elif str(message) not in printed:
            printed.add(str(message))
            print_warning(str(message))

    return show_warning


_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _discard_output() -> None:
    """Discard what is still to be written on standard output, which would fail again at the end of the process."""
    with contextlib.suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line. Exit codes: 0, 1 for a failure, 2 for invalid input, 130 after an interruption."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process runs
    if sys.stdout is None:  # files that are opened would take its place
        _print_plain("error: standard output is closed: redirect it to a file, or to /dev/null")
        sys.exit(1)
    for standard in (sys.stdout, sys.stderr):
        if isinstance(standard, io.TextIOWrapper):
            standard.reconfigure(errors="replace")  # terminals without block characters still print the score
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warning_printer()
            try:
                app()
            finally:
                sys.stdout.flush()
    except (BrokenPipeError, _ClosedPipeError):
        _print_plain("error: standard output was closed by its reader before everything was written")
        _discard_output()
        sys.exit(1)
    except KeyboardInterrupt:
        _print_plain(INTERRUPTED)
        sys.exit(130)
    except Exception as error:
        from ..runtime.errors import HaaqiEdgeError  # imported late: `--help` then needs no numpy

        if isinstance(error, HaaqiEdgeError):
            with contextlib.suppress(OSError):  # standard error is closed or full
                print_error(error)
            sys.exit(error.exit_code)
        if not isinstance(error, OSError) or error.errno not in _DISK_FULL:
            raise
        where = "standard output" if error.filename is None else str(error.filename)
        _print_plain(f"error: cannot write {where} ({error.strerror}): make space")
        _discard_output()
        sys.exit(1)


if __name__ == "__main__":
    main()
