"""Pairs of a reference file and a processed file: matched by name, read, and compared by HAAQI."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..haaqi.cochlea import RATE, resample
from ..haaqi.index import MAX_SECONDS, Haaqi, Listener, Reference
from ..runtime.audio.channels import Channel
from ..runtime.audio.folders import audio_in
from ..runtime.audio.levels import SILENCE, nal_r
from ..runtime.audio.reading import STANDARD_INPUT, Audio, FileAudio, is_pipe
from ..runtime.batch.messages import Messages, collect_messages
from ..runtime.batch.parallel import parallel_map
from ..runtime.errors import AudioError, AudioFileNotFoundError, HaaqiEdgeError, OptionError, SilenceWarning
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
    pair: Pair, listeners: Sequence[Listener], amplify: bool = False, channel: Channel = "mix"
) -> list[Haaqi]:
    """Compute HAAQI of a pair of files for each ear.

    Files are compared at their own rates. If the rates differ, a file whose rate is not a
    multiple of 1 kHz is first resampled to the rate of the model, which would otherwise play it at another speed
    (`Reference`).

    Args:
        pair: the files.
        ears: the listeners.
        amplify: whether the processed file is unamplified music. If so, it is amplified for each listener (NAL-R).
        channel: the channel of both files, as for `open_audio`. A `CancellationWarning` is issued if the channels of a
            file cancel each other in the mix, and a `SilenceWarning` if the processed file is silent.

    Raises:
        AudioError: a file cannot be read, or `Reference` rejects it.
    """
    files = [FileAudio(path, channel=channel) for path in pair]
    differ = files[0].rate != files[1].rate
    clean, processed = (_at_model_rate(file, RATE if differ and file.rate % 1000 else file.rate) for file in files)
    if np.abs(processed).max(initial=0.0) <= SILENCE:
        text = f"{files[1].name} is silent: its HAAQI is that of silence, not of music"
        warnings.warn(text, SilenceWarning, stacklevel=2)
    try:
        return [
            Reference(clean, RATE, listener).score(_amplify(processed, listener, amplify), RATE)
            for listener in listeners
        ]
    except AudioError as error:
        raise AudioError(f"{pair.processed} cannot be compared with {pair.reference}: {error}") from error


def _amplify(processed: npt.NDArray[np.float64], listener: Listener, amplify: bool) -> npt.NDArray[np.float64]:
    if not amplify:
        return processed
    return nal_r(processed.astype(np.float32), RATE, listener.audiogram).astype(np.float64)


def score_pairs(
    pairs: Sequence[Pair],
    listeners: Sequence[Listener],
    jobs: int,
    amplify: bool = False,
    channel: Channel = "mix",
) -> Iterator[tuple[int, list[Haaqi] | HaaqiEdgeError]]:
    """Score pairs in `jobs` processes, and yield the index and the scores or error of each, in order of completion.

    Raises:
        WorkerError: a process was terminated from outside.
    """
    results = parallel_map(
        partial(_attempt, listeners=listeners, amplify=amplify, channel=channel),
        list(enumerate(pairs)),
        jobs,
        advice="use fewer jobs, or shorter excerpts (a second of a pair takes 20 MB)",
    )
    for place, outcome, messages in results:
        messages.repeat()
        yield place, outcome


def _attempt(
    item: tuple[int, Pair], listeners: Sequence[Listener], amplify: bool, channel: Channel
) -> tuple[int, list[Haaqi] | HaaqiEdgeError, Messages]:
    place, pair = item
    outcome: list[Haaqi] | HaaqiEdgeError
    with collect_messages() as messages:
        try:
            outcome = score_pair(pair, listeners, amplify, channel)
        except HaaqiEdgeError as error:
            outcome = error
    return place, outcome, messages


def _at_model_rate(audio: Audio, rate: int) -> npt.NDArray[np.float64]:
    """Return a sound at `RATE`, read at `rate`."""
    blocks, count = [], 0
    for block in audio.blocks(rate):
        blocks.append(block)
        count += len(block)
        if count > MAX_SECONDS * rate:
            raise AudioError(
                f"{audio.name} lasts more than {MAX_SECONDS:g} s: HAAQI compares whole clips; give excerpts of it"
            )
    return resample(np.concatenate(blocks).astype(np.float64), rate)
