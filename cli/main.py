"""The entry point: all verbs, and the one place where errors become exit codes."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from ..runtime.errors import HaaqiEdgeError
from . import (
    bench,
    build_engine,
    check,
    corpus,
    distil,
    export,
    finetune,
    haaqi,
    inspect,
    label,
    quantize,
    score,
    stream,
    teach,
    train,
    web,
)
from .console import out, print_error

app = typer.Typer(
    name="haaqi-edge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("score")(score.score)
app.command("stream")(stream.stream)
app.command("haaqi")(haaqi.haaqi)
app.command("check")(check.check)
app.add_typer(corpus.app, name="corpus")
app.command("label")(label.label)
app.command("quantize")(quantize.quantize)
app.command("build-engine")(build_engine.build_engine)
app.command("inspect")(inspect.inspect)
app.command("web")(web.web)
app.add_typer(bench.app, name="bench")
app.add_typer(export.app, name="export")
train.app.command("teacher")(teach.teacher)
train.app.command("student")(teach.student)
app.add_typer(train.app, name="train")
app.command("distil")(distil.distil)
app.command("finetune-mos")(finetune.finetune_mos)


def _version(asked: bool) -> None:
    if asked:
        import importlib.metadata  # takes longer to import than a score does to compute

        out.print(importlib.metadata.version("haaqi-edge"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """How good music sounds to a hearing-aid user (HAAQI, 0 to 1), from the audio and an audiogram."""


def main() -> None:
    """Run; exit with 0, 1 for a failure, 2 for bad input, 130 when interrupted."""
    for standard in (sys.stdout, sys.stderr):
        if isinstance(standard, io.TextIOWrapper):
            standard.reconfigure(errors="replace")  # a terminal without block characters still gets the score
    try:
        app()
    except HaaqiEdgeError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
