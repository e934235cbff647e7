"""The code blocks of the documentation run, print what the page says, and use options that exist.

Each page runs in a folder with the files that docs/index.md lists. Commands of haaqi-edge run in this process, other
lines in bash. After a change of the models, `make outputs` writes the new numbers into the pages.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import run
from compilers import c_compiler
from documents import PAGES, ROOT, RUN_PAGES, CodeBlock, code_blocks, find_command, inline_commands, shell_commands
from haaqi_edge.runtime import Bundle

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SLOW = {
    "microcontrollers",
    "export-student",
    "onnx-without-package",
    "haaqi",
    "ort-format",
    "quantize",
    "compare-models",
    "evaluate",
    "stereo",
    "tensorrt-cuda",
}
"""pages that take more than a few seconds, because they export models or compile HAAQI"""
TOLERANCE = 2e-3
"""difference of a number to the page's, absolute or relative, that other versions of libraries may cause"""
UPDATE = os.environ.get("HAAQI_EDGE_UPDATE_DOCS") == "1"
_NUMBER = re.compile(r"(?<![A-Za-z_])\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
_CURVE = re.compile(r"[▁▂▃▄▅▆▇█░]+")
_TIMES = re.compile(r"\d[\d.]* s with|\d+ threads?")
_SIMPLE = re.compile(r"haaqi-edge [^|&;<>`$\\]*(?:> [\w./-]+)?")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def is_run(block: CodeBlock) -> bool:
    return block.language in ("bash", "python") and block.not_run is None


@pytest.fixture
def practice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that docs/index.md describes, as the working folder. `haaqi-edge` is on the path."""
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    (tmp_path / "album").mkdir()
    for name, clip in (("song", "clean"), ("degraded", "degraded")):
        for folder in (tmp_path, tmp_path / "album"):
            shutil.copy(ROOT / "demo" / f"{clip}.flac", folder / f"{name}.flac")
    left, rate = soundfile.read(ROOT / "demo" / "clean.flac")
    right, _ = soundfile.read(ROOT / "demo" / "degraded.flac")
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), rate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def run_bash(code: str) -> str:
    """Run a block of bash as `bash -e` does, and return its output."""
    lines = [line for line in code.splitlines() if line.strip()]
    if not all(_SIMPLE.fullmatch(line) for line in lines):
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail"], input=code, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
    printed = ""
    for line in lines:
        (words,) = shell_commands(line)
        outcome = run(*words[1:])
        assert outcome.code == 0, outcome.err
        target = line.partition("> ")[2]
        if target:
            Path(target).write_text(outcome.out, encoding="utf-8")
        printed += (outcome.err if target else outcome.out + outcome.err) + "\n"
    return printed


def run_python(code: str, names: dict[str, Any], place: str) -> str:
    """Run a block of Python with the names of the blocks before it, and return its output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, place, "exec"), names)
    return out.getvalue()


def mask(line: str) -> str:
    """Return a line without its numbers and curves."""
    return " ".join(_CURVE.sub("~", _NUMBER.sub("#", line)).split())


def numbers(line: str) -> list[float]:
    return [float(found.replace(",", "")) for found in _NUMBER.findall(_TIMES.sub("", line))]


def find_lines(expected: str, printed: str) -> Iterator[tuple[str, str]]:
    """Yield each line of an output block with the line of the output that it stands for, in order."""
    rest = iter(printed.splitlines())
    for line in expected.splitlines():
        stem = line.removesuffix(" ...")
        for found in rest:
            masked = mask(found)
            if masked.startswith(mask(stem)) if stem != line else masked == mask(line):
                yield line, found if stem == line else f"{_cut(found, stem)} ..."
                break
        else:
            raise AssertionError(f"not printed: {line!r}; the output:\n{printed}")


def _cut(found: str, stem: str) -> str:
    """Return the beginning of a line that has as many words as another."""
    return " ".join(found.split(" ")[: len(stem.split(" "))])


def test_parts_of_the_comparison() -> None:
    printed = "x.flac, 19.9 s scored\n  N3  0.677  ▅▅▅\nbundle: agree within 6e-07 in 24 cases (worst: 3)\n"
    pairs = list(find_lines("  N3  0.701  ▁▁\nbundle: agree within 5e-07 in 24 ...", printed))
    assert [found for _, found in pairs] == ["  N3  0.677  ▅▅▅", "bundle: agree within 6e-07 in 24 ..."]
    assert numbers("N3  0.677 of 1,024 in 2e-3 s") == [0.677, 1024, 0.002]
    with pytest.raises(AssertionError, match="not printed"):
        list(find_lines("  S1  0.677", printed))
    assert shell_commands("a b | c > d\ne \\\n f  # g h\n i 'j k'") == [["a", "b"], ["c"], ["e", "f"], ["i", "j k"]]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW else [])
        for page in RUN_PAGES
        if any(is_run(block) for block in code_blocks(page))
    ],
    ids=name_of,
)
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("practice")
def test_code_blocks_run(page: Path) -> None:
    if page.stem == "microcontrollers":
        c_compiler()
    names: dict[str, Any] = {"__name__": "__main__"}
    text, wrong = page.read_text(encoding="utf-8"), []
    for block in filter(is_run, code_blocks(page)):
        place = f"{name_of(page)}:{block.line}"
        printed = run_bash(block.code) if block.language == "bash" else run_python(block.code, names, place)
        if block.output is None:
            continue
        expected = printed if UPDATE and block.language == "python" else block.output.code
        pairs = list(find_lines(expected, printed))
        text = text.replace(block.output.code, "".join(f"{found}\n" for _, found in pairs), 1)
        wrong += [
            f"{place}: the page has {line!r}, printed was {found!r}"
            for line, found in pairs
            if numbers(line) != pytest.approx(numbers(found), rel=TOLERANCE, abs=TOLERANCE)
        ]
    if UPDATE:
        page.write_text(text, encoding="utf-8")
    else:
        assert not wrong, "after a change of the models, run `make outputs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_not_run_have_valid_options(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.parent.parent.name == "models" and Bundle(page.parent).card.version != PROJECT["version"]:
        pytest.skip("the model was made by an earlier version, whose commands its card names")
    monkeypatch.setenv("HAAQI_EDGE_CORPUS", "corpus")
    blocks = [block for block in code_blocks(page) if block.language == "bash" and (block.not_run or not is_run(block))]
    for words in (words for block in blocks for words in shell_commands(block.code)):
        if words[0] == "haaqi-edge":
            command, rest = find_command(words)
            command.make_context(words[1], rest)  # raises if an option or a value is invalid
        elif words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word]
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), words
        elif words[:2] == ["pip", "install"]:
            extras = re.findall(r"\w+", ",".join(re.findall(r"\.\[(.*?)\]", " ".join(words))))
            assert set(extras) <= set(PROJECT["optional-dependencies"]), words
        elif words[0] == "python" and words[1].endswith(".py") and "/" in words[1]:
            assert (ROOT / words[1]).is_file(), words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_have_valid_options(page: Path) -> None:
    if page.name in ("CHANGELOG.md", "LEDGER.md"):
        pytest.skip("it also names commands of earlier versions")
    for text in inline_commands(page):
        words = [word for word in text.replace("...", "").split() if not word.isupper()]  # without placeholders
        if not words[1:] or words[1].startswith("-"):
            continue
        command, rest = find_command(words)
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0].strip("[]()") for word in rest if word.startswith("-")}
        assert used <= options | {"--help"}, text


def test_code_blocks_of_other_kinds_are_output_or_fragments() -> None:
    languages = {block.language for page in RUN_PAGES for block in code_blocks(page)}
    assert languages <= {"bash", "python", "text", "c", "json", "yaml"}


def test_the_readme_lists_all_extras() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| extra | for |")[1].split("\n\n")[0]
    listed = {extra for row in table.splitlines() for extra in re.findall(r"`([a-z]+)`", row.partition(" | ")[0])}
    assert listed == set(PROJECT["optional-dependencies"])
