"""Pairs of a reference file and a processed file: matched by name, read, and compared by HAAQI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..haaqi.clips import DEFAULT, Convention, score_ears, score_listeners
from ..haaqi.index import Haaqi
from ..runtime.audio.channels import Channel
from ..runtime.audio.folders import audio_in
from ..runtime.audio.reading import STANDARD_INPUT, is_pipe
from ..runtime.audiogram import Audiogram, EarPair
from ..runtime.batch.messages import Messages, collect_messages
from ..runtime.batch.parallel import parallel_map
from ..runtime.errors import AudioFileNotFoundError, HaaqiEdgeError, OptionError
from ..runtime.files import display_name, is_file, is_folder


class Pair(NamedTuple):
    """The files of a clean original and of the output of a hearing aid."""

    reference: Path
    processed: Path


class PairMatches(NamedTuple):
    """Pairs, and the files in both folders that have no partner, each with an error that names the missing file."""

    pairs: list[Pair]
    unmatched: list[tuple[Path, AudioFileNotFoundError]]


def match_files(reference: Path, processed: Path) -> PairMatches:
    """Match two files, or the files of two folders by their relative paths.

    The partner of a processed file is the reference of the same name, or else the one whose name differs only in the
    suffix. Several processed files may have the same reference.

    Raises:
        AudioFileNotFoundError: a path does not exist, a folder contains no audio, or no files match.
        OptionError: one path is a file and the other a folder, or several references match a processed file.
    """
    for path in (reference, processed):
        if not (is_folder(path) or is_file(path) or is_pipe(path)):
            name = display_name(path)
            raise AudioFileNotFoundError(f"{name} does not exist: give two audio files, or two folders of them")
    if str(reference) == str(processed) == STANDARD_INPUT:
        raise OptionError("standard input is one file: give the other one by its path")
    if is_folder(reference) != is_folder(processed):
        folder, file = (reference, processed) if is_folder(reference) else (processed, reference)
        raise OptionError(f"{folder} is a folder and {file} a file: give two files, or two folders with the same names")
    if not is_folder(reference):
        return PairMatches([Pair(reference, processed)], [])
    by_stem: dict[Path, list[Path]] = {}
    for path in audio_in(reference):
        by_stem.setdefault(path.relative_to(reference).with_suffix(""), []).append(path)
    pairs: list[Pair] = []
    unmatched: list[tuple[Path, AudioFileNotFoundError]] = []
    for path in audio_in(processed):
        below = path.relative_to(processed)
        partners = by_stem.get(below.with_suffix(""), [])
        partners = [reference / below] if reference / below in partners else partners
        if len(partners) > 1:
            raise OptionError(
                f"{path} may go with {' or '.join(map(str, partners))}: leave one of them, or give two files"
            )
        if partners:
            pairs.append(Pair(partners[0], path))
        else:
            unmatched.append((path, AudioFileNotFoundError(f"{path} has no reference: expected {reference / below}")))
    if not pairs:
        raise AudioFileNotFoundError(
            f"no file of {processed} has the name of one in {reference}: expected the same paths below both folders, "
            "such as clean/a.wav and processed/a.mp3"
        )
    used = {pair.reference for pair in pairs}
    for path in (path for paths in by_stem.values() for path in paths if path not in used):
        expected = processed / path.relative_to(reference)
        unmatched.append((path, AudioFileNotFoundError(f"{path} has no processed version: expected {expected}")))
    return PairMatches(pairs, unmatched)


def score_pair(
    pair: Pair,
    listeners: Sequence[Audiogram],
    convention: Convention = DEFAULT,
    channel: Channel = "mix",
    ears: Sequence[EarPair] = (),
) -> list[Haaqi]:
    """Compute HAAQI of a pair of files for each listener, or for both ears of each listener.

    Args:
        pair: the files.
        listeners: the listeners; ignored with `ears`.
        convention: level, amplification and resampling.
        channel: the channel of both files, as for `open_audio`. A `CancellationWarning` is issued if the channels of a
            file cancel each other in the mix, and a `SilenceWarning` if the processed file is silent.
        ears: listeners with two ears, for stereo files.

    Returns:
        One result per listener. Listeners with two ears have two, the left and the right one.

    Raises:
        AudioError: a file cannot be read, or `Reference` rejects it.
    """
    if ears:
        return [one for both in score_ears(*pair, ears, convention) for one in (both.left, both.right)]
    return score_listeners(*pair, listeners, convention, channel)


def score_pairs(
    pairs: Sequence[Pair],
    listeners: Sequence[Audiogram],
    jobs: int,
    convention: Convention = DEFAULT,
    channel: Channel = "mix",
    ears: Sequence[EarPair] = (),
) -> Iterator[tuple[int, list[Haaqi] | HaaqiEdgeError]]:
    """Score pairs in `jobs` processes, and yield the index and the scores or error of each, in order of completion.

    Raises:
        WorkerError: a process was terminated from outside.
    """
    results = parallel_map(
        partial(_attempt, listeners=listeners, convention=convention, channel=channel, ears=ears),
        list(enumerate(pairs)),
        jobs,
        advice="use fewer jobs, or shorter excerpts (a second of a pair takes 20 MB)",
    )
    for place, outcome, messages in results:
        messages.repeat()
        yield place, outcome


def _attempt(
    item: tuple[int, Pair],
    listeners: Sequence[Audiogram],
    convention: Convention,
    channel: Channel,
    ears: Sequence[EarPair],
) -> tuple[int, list[Haaqi] | HaaqiEdgeError, Messages]:
    place, pair = item
    outcome: list[Haaqi] | HaaqiEdgeError
    with collect_messages() as messages:
        try:
            outcome = score_pair(pair, listeners, convention, channel, ears)
        except HaaqiEdgeError as error:
            outcome = error
    return place, outcome, messages
