"""Options that several commands share, with their help panels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from ..runtime.errors import OptionError

if TYPE_CHECKING:
    from ..runtime.audio.channels import Channel
    from ..runtime.windows import WindowLike

AUDIO: Final = "Audio"
LISTENERS: Final = "Listeners"
MODEL: Final = "Model"
PROCESSING: Final = "Processing"
DATA: Final = "Data"
TRAINING: Final = "Training"
OUTPUT: Final = "Output"

AUDIOGRAM_NAMES: Final = ("--audiogram", "--hl", "-a")

AudiogramOption = Annotated[
    list[str],
    typer.Option(
        *AUDIOGRAM_NAMES,
        help="The listener's audiogram: NH, N1 to N7, S1 to S3, 8 levels in dB HL such as "
        '"[20, 30, 40, 50, 60, 70, 70, 70]", or a CSV or JSON file, with :left, :right or :NAME if it has several. '
        "Repeat for several listeners.",
        rich_help_panel=LISTENERS,
    ),
]
EarsOption = Annotated[
    bool,
    typer.Option(
        "--ears",
        help="Score each channel of stereo with the audiogram of its ear. Give the left audiogram, then the right one.",
        rich_help_panel=LISTENERS,
    ),
]
NalROption = Annotated[
    bool,
    typer.Option(
        "--nal-r",
        help="Amplify raw music for the listener (NAL-R). Leave this out for the output of a hearing aid.",
        rich_help_panel=LISTENERS,
    ),
]
Level1Option = Annotated[
    float | None,
    typer.Option(help="Level in dB SPL of a signal with RMS 1.0. Default: the model's, 85.", rich_help_panel=AUDIO),
]
SplOption = Annotated[
    float | None,
    typer.Option(help="Scale each file to this level in dB SPL, for example 65.", rich_help_panel=AUDIO),
]
ChannelOption = Annotated[
    str | None,
    typer.Option(
        help="Channel to score: mix (the mean, the default), left, right, or a number from 0.",
        rich_help_panel=AUDIO,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Name of a shipped model, folder of a bundle, file of `export --fused`, or checkpoint (needs PyTorch).",
        rich_help_panel=MODEL,
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        help="Execution provider of ONNX Runtime, such as cpu, cuda or tensorrt. Default: cpu.",
        rich_help_panel=PROCESSING,
    ),
]
CorpusOption = Annotated[
    Path,
    typer.Option(
        "--corpus",
        envvar="HAAQI_EDGE_CORPUS",
        help="Folder of the corpus, or a folder of music with a CLIPS.csv.",
        rich_help_panel=DATA,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of processes. Default: the CPU cores available to this process.",
        rich_help_panel=PROCESSING,
    ),
]
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", help="Print what is unusual about files, such as wrong sizes.", rich_help_panel=OUTPUT),
]
LogOption = Annotated[
    Path | None,
    typer.Option("--log", help="File to which lines on the progress are appended.", rich_help_panel=OUTPUT),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)]


def parse_window(text: str) -> WindowLike:
    """Return the window length that an option gives.

    Raises:
        OptionError: if the text is neither a number of seconds nor `default` nor `whole`.
    """
    if text in ("default", "whole"):
        return "whole" if text == "whole" else "default"
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--window {text!r}: give a number of seconds, `default` or `whole`") from None


def parse_channel(text: str | None) -> Channel:
    """Return the channel that an option gives, `mix` if it is not given.

    Raises:
        OptionError: if the text is neither `mix`, `left` or `right` nor a number from 0.
    """
    from ..runtime.audio.channels import check_channel

    if text is None:
        return "mix"
    if text not in ("mix", "left", "right") and not (text.isascii() and text.isdecimal()):
        raise OptionError(f"--channel {text!r}: give mix, left, right, or the number of a channel, from 0")
    return check_channel(int(text) if text.isdecimal() else text)


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter whose type is a dataclass by one option per field, in the signature that typer reads.

    Args:
        command: function with annotated parameters. It receives instances of the dataclasses.
    """
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint):
            groups[parameter.name] = hint
            types = get_type_hints(hint, include_extras=True)
            parameters += [
                inspect.Parameter(
                    field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name]
                )
                for field in fields(hint)
            ]
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hint))

    @functools.wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
