"""Every command says which extra it needs, and runs without a traceback once this extra is installed.

The commands run in processes in which only the distributions of chosen extras, and what these depend on, can be
imported.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import soundfile
from documents import ROOT
from haaqi_edge.cli.main import COMMANDS, load_command

BASE: Final = ("cpu", "cli")
CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "score song.flac -a N3": (),
    "score song.flac -a N3 --plot scores.png": ("plot",),
    "score song.flac -a N3 --output scores.parquet": ("parquet",),
    "score song.flac -a N3 --output scores.csv": (),
    "score album -a N3 --jobs 2": ("parallel",),
    "score album -a N3 --backend dask --scheduler bad": ("parallel",),
    "score song.flac -a N3 --model absent.pth": ("export",),
    "stream song.flac -a N3": (),
    "stream song.flac -a N3 --model absent.safetensors": ("export",),
    "stream --mic -a N3 --input-device absent": ("mic",),
    "web --port 99999": (),
    "haaqi song.flac song.wav -a N3": ("haaqi",),
    "haaqi song.flac song.wav -a N3 --plot haaqi.png": ("haaqi", "plot"),
    "inspect nano --json": (),
    "export student absent.pth -o out": ("export",),
    "export student absent.pth --fused out.onnx": ("export",),
    "export nano absent.safetensors -o out": ("export",),
    "export nano absent.safetensors -o out --int8": ("export",),
    "export nano absent.safetensors -o out --format ort": ("export",),
    "export nano absent.safetensors -o out --format c": ("export",),
    "export nano absent.safetensors -o out --target tensorrt": ("export",),
    "export nano absent.safetensors -o out --target tensorrt --int8": ("export", "quantize"),
    "export small absent.safetensors -o out": ("export",),
    "export bundle absent -o out": ("export",),
    "export bundle absent --fused out.onnx": ("export",),
    "quantize absent -o out": ("quantize",),
    "quantize absent -o out --calibration album": ("quantize",),
    "build-engine nano": (),  # tests/export/tensorrt asks for the extra, with a bundle for TensorRT
    "check nano-int8 --against nano --audio short": ("haaqi",),
    "check absent.pth --against nano --audio short": ("haaqi", "export"),
    "check nano-int8 --against nano --audio short --picture check.png": ("haaqi", "bench"),
    "check nano-int8 --against nano --audio table --music short": ("haaqi", "train"),
    "evaluate labels.csv": ("haaqi",),
    "evaluate labels.csv --plot plot.png": ("haaqi", "plot"),
    "evaluate labels.csv --model absent.pth": ("haaqi", "export"),
    "corpus build absent -o out": ("train",),
    "corpus checksums absent": ("train",),
    "corpus audit --corpus album -o out": ("train",),
    "corpus describe --corpus album --table table": ("train",),
    "label --corpus album --table table": ("train",),
    "train features --corpus album --table table": ("train",),
    "train nano --corpus album --table table -o out": ("train",),
    "train small --corpus album --table table -o out": ("train",),
    "train teacher --corpus album --table table": ("train",),
    "train student --corpus album --table table": ("train",),
    "distil --teacher absent.pth": ("train",),
    "finetune-mos --ratings absent.csv -o out": ("train",),
    "bench all --music absent": ("bench",),
    "bench parameters --music absent": ("bench",),
    "bench latency --music absent": ("bench",),
    "bench memory --music absent": ("bench",),
    "bench parity --music absent": ("bench",),
    "bench accuracy --music absent": ("bench",),
    "bench robustness --music absent": ("bench",),
    "bench streaming --music absent": ("bench",),
    "bench compare song.flac song.flac": ("bench",),
    "bench study accuracy absent": ("bench",),
    "bench study arm64 --wheel absent": ("bench",),
    "bench study c absent": ("bench",),
    "bench study distillation absent": ("bench",),
    "bench study gpu --student absent.pth": ("export", "haaqi"),
    "bench study haaqi absent": ("bench",),
    "bench study library absent": ("bench",),
    "bench study mos absent": ("bench",),
    "bench study sanity absent": ("bench",),
    "bench study soak --minutes bad": (),
}
"""arguments of a call, and the extras that it asks for, one after the other"""
DRIVER: Final = r"""
import functools, importlib.machinery, importlib.metadata as metadata, json, os, re, sys, tempfile, traceback
from haaqi_edge.cli.main import main

@functools.cache
def closure(extras):
    # Distributions that `pip install haaqi-edge[extras]` installs.
    found, rest = set(), [("haaqi-edge", extra) for extra in (None, *extras)]
    while rest:
        name, extra = rest.pop()
        name = re.sub("[-_.]+", "-", name).lower()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            requirements = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue  # for another platform, or an extra that is not installed here
        for line in requirements:
            needed, extras_of_needed = re.match(r"([\w.-]+)\s*(?:\[([^]]*)\])?", line).groups()
            condition = re.search(r"extra == [\"']([\w-]+)[\"']", line)
            if (condition[1] if condition else None) == extra:
                rest += [(needed, one.strip() or None) for one in ["", *(extras_of_needed or "").split(",")]]
    return {name for name, _ in found}

OWNERS = metadata.packages_distributions()
find = importlib.machinery.PathFinder.find_spec

def call(argv, extras):
    # Run a command in a child process that can import no other distributions.
    installed = closure(tuple(extras))
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            hidden = {
                module
                for module, names in OWNERS.items()
                if module != "haaqi_edge" and not {re.sub("[-_.]+", "-", n).lower() for n in names} & installed
            }
            finder = lambda cls, name, *rest: None if name.partition(".")[0] in hidden else find(name, *rest)
            importlib.machinery.PathFinder.find_spec = classmethod(finder)
            sys.argv = ["haaqi-edge", *argv]
            code = 1
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return status, output.read().decode()

print(json.dumps([call(argv.split(), extras) for argv, extras in json.load(sys.stdin)]))
"""


def call(cases: list[tuple[str, list[str]]], folder: Path) -> list[tuple[int, str]]:
    """Run commands with the given extras installed; return exit codes and output."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(cases),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[tuple[int, str]] = [(code, " ".join(text.split())) for code, text in json.loads(done.stdout)]
    return outcomes


def leaves(command: Any, name: str) -> Iterator[str]:
    """Yield the names of a command's subcommands, or its own name if it has none."""
    members = getattr(command, "commands", None)
    if not members:
        yield name
    for key, member in (members or {}).items():
        yield from leaves(member, f"{name} {key}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the calls name, and the beginning of a label table."""
    samples, rate = soundfile.read(ROOT / "demo/clean.flac", frames=32_000)
    for name in ("song.flac", "song.wav", "album/one.flac", "album/two.flac", "short/one.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.asarray(samples), rate)
    (tmp_path / "table").mkdir()
    (tmp_path / "table/test-0000.parquet").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("file,audiogram,haaqi\nsong.flac,N3,0.7\nalbum/one.flac,N3,0.6\n")
    return tmp_path


def check_names(text: str, extra: str, argv: str) -> None:
    named = re.findall(r"haaqi-edge\[(\w+)\]", text)
    assert named == [extra], (argv, text)


def test_every_command_is_called() -> None:
    names = {leaf for part in COMMANDS.values() for name in part for leaf in leaves(load_command(name), name)}
    assert names == {name for name in names if any(f"{argv} ".startswith(f"{name} ") for argv in CASES)}


@pytest.mark.slow
def test_commands_say_which_extra_they_need(folder: Path) -> None:
    outcomes = call([(argv, list(BASE)) for argv in CASES], folder)
    for (argv, extras), (code, text) in zip(CASES.items(), outcomes, strict=True):
        assert "Traceback" not in text, (argv, text)
        if extras:
            assert code == 2, (argv, text)
            check_names(text, extras[0], argv)
        else:
            assert "haaqi-edge[" not in text, (argv, text)


@pytest.mark.slow
def test_commands_run_once_their_extras_are_installed(folder: Path) -> None:
    # One call of each subcommand and extra: imports of PyTorch take seconds. The sections of `bench` are one function.
    chosen = {
        (*argv.split()[: 3 if argv.startswith("bench study") else 2], *extras): argv for argv, extras in CASES.items()
    }
    cases = [
        (argv, [*BASE, *CASES[argv][:count]])
        for argv in chosen.values()
        for count in range(1, len(CASES[argv]) + 1)
        if not argv.startswith("bench ") or argv.startswith(("bench all", "bench compare", "bench study"))
    ]
    for (argv, installed), (code, text) in zip(cases, call(cases, folder), strict=True):
        assert "Traceback" not in text, (argv, installed, text)
        missing = CASES[argv][len(installed) - len(BASE) :]
        if missing:
            assert code == 2, (argv, text)
            check_names(text, missing[0], argv)
        else:
            assert "haaqi-edge[" not in text, (argv, installed, text)
