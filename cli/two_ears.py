"""Two ears on the command line: pairs of audiograms, their results, and a warning for stereo that is mixed down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ..runtime.errors import HaaqiEdgeError, OptionError
from .console import print_warning

if TYPE_CHECKING:
    from ..runtime.audiogram import Audiogram, EarPair

_MAX_PROBED: Final = 16
"""number of files whose channels are counted for the warning"""


class Listeners(NamedTuple):
    """The listeners of a command.

    Attributes:
        audiograms: of all ears. With `pairs`, the left and the right one of each listener.
        pairs: listeners with two ears; empty without --ears.
    """

    audiograms: list[Audiogram]
    pairs: list[EarPair]


def parse_listeners(texts: Sequence[str], ears: bool, channel: str | None) -> Listeners:
    """Return the listeners that --audiogram, --ears and --channel give.

    Raises:
        AudiogramError: an audiogram is invalid, or with --ears one ear of a listener is missing.
        OptionError: --ears and --channel are both given.
    """
    from ..runtime.audiogram import parse_audiograms, parse_ears
    from ..runtime.ears import list_ears

    if not ears:
        return Listeners(parse_audiograms(texts), [])
    if channel is not None:
        raise OptionError(f"--ears scores both channels: leave out --channel {channel}, or leave out --ears")
    pairs = parse_ears(texts)
    return Listeners(list_ears(pairs), pairs)


def warn_of_mix(files: Iterable[Path], listeners: Listeners, channel: str | None) -> None:
    """Warn if stereo files are mixed down for several audiograms, which may be those of two ears.

    Args:
        files: the files. The first few are opened, to count their channels.
        listeners: the listeners.
        channel: the value of --channel; None if it is not given.
    """
    count = len(listeners.audiograms)
    if count < 2 or listeners.pairs or channel is not None:
        return
    for path, _ in zip(files, range(_MAX_PROBED), strict=False):
        if (channels := _count_channels(path)) > 1:
            print_warning(
                f"{path} has {channels} channels, which are averaged: each of the {count} audiograms is a listener of "
                "the mix. If they are a left and a right ear, use --ears; if you want the mix, use --channel mix"
            )
            return


def _count_channels(path: Path) -> int:
    """Return the number of channels, 0 for files that are read only once or not at all."""
    from ..runtime.audio.reading import open_audio
    from ..runtime.files import is_file

    if str(path) == "-" or not is_file(path):
        return 0
    try:
        return open_audio(path).channels
    except HaaqiEdgeError:  # the command reports it
        return 0


def format_ears(left: float | None, right: float | None) -> str:
    """Return the mean and the better ear of two scores, as markup."""
    if left is None or right is None:
        return "  -  "
    better = "left" if left >= right else "right"
    return f"[bold]{(left + right) / 2:.3f}[/]  left {left:.3f}, right {right:.3f}; better ear: {better}"
