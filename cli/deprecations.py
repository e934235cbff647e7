"""Old spellings of options. They work until the next minor version, with a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .console import print_warning

_REMOVED_IN: Final = "0.3"
OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "export": {"--target=onnx": "--format=onnx", "--target=ort": "--format=ort", "--target=c": "--format=c"},
    "score": {"--batch": "--batch-size"},
    "stream": {"--device": "--input-device"},
    "build-engine": {"--level": "--optimization-level"},
    "label": {"--targets": "--dense-targets"},
    "corpus": {"--name": "--split", "--built": "--build-time"},
    "train": {
        "--of": "--split",
        "--train-on": "--train-split",
        "--valid-on": "--valid-split",
        "--free": "--unfrozen-layers",
    },
    "distil": {"--train-on": "--train-split", "--valid-on": "--valid-split"},
}
"""new spelling by command and old spelling; `--option=value` stands for one value of an option"""


def replace_deprecated(command: str, arguments: list[str]) -> list[str]:
    """Return the arguments of a command in their new spelling, and warn about each old one."""
    renamed = OPTIONS.get(command, {})
    result: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        with_value = argument if equals or not rest else f"{name}={rest[0]}"
        if with_value in renamed:
            if not equals:
                rest.pop(0)
            old, new = with_value, renamed[with_value]
            result.append(new)
        elif name in renamed:
            old, new = name, renamed[name]
            result.append(f"{new}{equals}{value}")
        else:
            result.append(argument)
            continue
        old, new = (text.replace("=", " ") for text in (old, new))
        print_warning(f"{old} is deprecated and will be removed in version {_REMOVED_IN}: use {new}")
    return result
