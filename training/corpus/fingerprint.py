"""Audio fingerprints that find the same recording in two places.

Peaks of the spectrogram are paired, and each pair's two frequencies and distance in time make a hash (Wang, "An
industrial-strength audio search algorithm", ISMIR 2003). Two recordings are the same where many hashes agree at one
offset in time. Codec, level, equalization and where an excerpt begins change little of that; another tempo or
performance of the same piece does not match.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from scipy import ndimage

from ...runtime.errors import CorpusError

RATE: Final = 11_025
"""Hz, at which peaks are looked for"""
_SIZE: Final = 512
_HOP: Final = 256
_BINS: Final = _SIZE // 2
"""frequency bins that are used, 21.5 Hz each"""
_AROUND: Final = (21, 21)
"""frames and bins in which a peak is the highest"""
_RANGE: Final = 60.0
"""dB below a block's loudest bin at which peaks are no longer looked for"""
_REACH: Final = 63
"""frames within which two peaks are paired"""
_SPREAD: Final = 63
"""bins within which two peaks are paired"""
_PAIRS: Final = 6
"""most pairs that begin at a peak"""
_BLOCK: Final = 30 * RATE
"""samples of a block of a long file"""
_SECOND: Final = RATE / _HOP
"""frames of a second"""


@dataclass(frozen=True)
class Fingerprint:
    """Hashes [n] and the frames [n] at which they begin, in the order of time; frames of the whole audio."""

    hashes: npt.NDArray[np.uint32]
    frames: npt.NDArray[np.int32]
    length: int

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return self.length / _SECOND

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        with path.open("wb") as file:
            np.savez(file, hashes=self.hashes, frames=self.frames, length=self.length)

    @classmethod
    def load(cls, path: Path) -> Fingerprint:
        """Read what `save` wrote.

        Raises:
            CorpusError: no such file, or another one.
        """
        try:
            with np.load(path) as data:
                return cls(data["hashes"], data["frames"], int(data["length"]))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CorpusError(f"cannot read the fingerprint {path}: {error}; delete it to compute it again") from error


class Match(NamedTuple):
    """Where a fingerprint is found in another one.

    Attributes:
        offset: seconds of the reference at which the query begins; negative if it begins before.
        hits: hashes that agree at this offset.
        share: hits relative to the query's hashes in the part that both have.
        seconds: of the query in which hashes agree.
    """

    offset: float
    hits: int
    share: float
    seconds: int


@dataclass(frozen=True)
class Agreement:
    """What makes two recordings the same: least seconds with agreeing hashes, and least share of the query's hashes."""

    seconds: int = 4
    share: float = 0.05


class Repeat(NamedTuple):
    """A recording that is there twice: the name of the one to drop, of the one to keep, and how they match."""

    dropped: str
    kept: str
    match: Match


def fingerprint(samples: npt.NDArray[np.floating], rate: int) -> Fingerprint:
    """The fingerprint of audio.

    Args:
        samples: [n] or [n, channels].
        rate: Hz.
    """
    mono = np.asarray(samples, dtype=np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    return _of_blocks(iter([soxr.resample(mono, rate, RATE, quality="LQ") if rate != RATE else mono]))


def fingerprint_file(audio: Path | BinaryIO, *, name: str = "") -> Fingerprint:
    """The fingerprint of a file, decoded block by block.

    Args:
        audio: path, or a file in memory opened for reading.
        name: what messages call it; the path if not given.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        with soundfile.SoundFile(audio) as file:
            return _of_blocks(_decoded(file))
    except (soundfile.LibsndfileError, OSError) as error:
        raise CorpusError(f"cannot read {name or audio}: {error}; expected audio that libsndfile reads") from error


def matches(query: Fingerprint, reference: Fingerprint, agreement: Agreement | None = None) -> Match | None:
    """Where a recording is found in another one, or None if they are not the same."""
    index = Index()
    index.add("", reference)
    found = index.lookup(query, agreement)
    return found[0][1] if found else None


class Index:
    """Fingerprints by name, searched all at once."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._prints: list[Fingerprint] = []
        self._sorted: tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def items(self) -> Iterator[tuple[str, Fingerprint]]:
        """Names and fingerprints, as they were added."""
        return iter(zip(self._names, self._prints, strict=True))

    def add(self, name: str, reference: Fingerprint) -> None:
        """Add a fingerprint."""
        self._names.append(name)
        self._prints.append(reference)
        self._sorted = None

    def lookup(self, query: Fingerprint, agreement: Agreement | None = None) -> list[tuple[str, Match]]:
        """All recordings in which the query is found, those with most hits first."""
        agreement = agreement or Agreement()
        hits, places = self._hits(query)
        if not len(hits):
            return []
        # Offsets of neighbouring frames belong together: each is counted with the next one.
        keys, counts = np.unique(places, return_counts=True)
        pairs = counts + np.where(np.diff(keys, append=-1) == 1, np.append(counts[1:], 0), 0)
        owners = keys >> _OWNER
        best: dict[int, tuple[int, int]] = {}
        for place in np.flatnonzero(pairs >= agreement.seconds):
            owner = int(owners[place])
            if pairs[place] > best.get(owner, (0, 0))[0]:
                best[owner] = (int(pairs[place]), int(keys[place]))
        found = []
        for owner, (_, key) in best.items():
            match = self._match(query, owner, key, hits[(places == key) | (places == key + 1)])
            if match.seconds >= agreement.seconds and match.share >= agreement.share:
                found.append((self._names[owner], match))
        return sorted(found, key=lambda item: -item[1].hits)

    def _match(self, query: Fingerprint, owner: int, key: int, hits: npt.NDArray[np.int64]) -> Match:
        """How the query matches one recording, from its hashes that agree at an offset."""
        offset = (key & ((1 << _OWNER) - 1)) - _ZERO
        hits = np.unique(hits)
        _, counts = np.unique((query.frames[hits] / _SECOND).astype(np.int64), return_counts=True)
        first, last = max(-offset, 0), self._prints[owner].length - offset
        shared = int(np.count_nonzero((query.frames >= first) & (query.frames < last)))
        return Match(offset / _SECOND, len(hits), len(hits) / max(shared, 1), int(np.count_nonzero(counts >= 2)))

    def _hits(self, query: Fingerprint) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which hash of the query agrees, and with what (recording and offset in one number), [hits] each."""
        if self._sorted is None:
            self._sorted = self._arranged()
        hashes, places = self._sorted
        first = np.searchsorted(hashes, query.hashes, side="left")
        counts = np.searchsorted(hashes, query.hashes, side="right") - first
        hits = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
        return hits, places[np.repeat(first, counts) + within] - query.frames[hits]

    def _arranged(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """All hashes in order, and beside them the recording (upper bits) and frame (lower ones, plus `_ZERO`)."""
        if not self._prints:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        hashes = np.concatenate([item.hashes for item in self._prints])
        places = np.concatenate(
            [item.frames.astype(np.int64) + (number << _OWNER) + _ZERO for number, item in enumerate(self._prints)]
        )
        order = np.argsort(hashes, kind="stable")
        return hashes[order], places[order]


def repeats(
    recordings: Sequence[tuple[str, Fingerprint]], known: Index | None = None, agreement: Agreement | None = None
) -> list[Repeat]:
    """Recordings that are there more than once.

    Args:
        recordings: names, each unique, and fingerprints; of two that are the same the first is kept.
        known: what is kept whatever is found: recordings found there, or that hold one found there, are dropped.
        agreement: the defaults if not given.

    Returns:
        One entry for each recording to drop, in the order of `recordings`.
    """
    index = Index()
    for name, item in recordings:
        index.add(name, item)
    order = {name: place for place, (name, _) in enumerate(recordings)}
    met: dict[str, dict[str, Match]] = {name: {} for name in order}
    for name, item in recordings:
        # Looked up both ways: a short one agrees in all of its seconds with a long one that holds it.
        for other, match in index.lookup(item, agreement):
            if other != name:
                met[name][other] = met[other][name] = match
    drop: dict[str, Repeat] = {}
    for excerpt, item in known.items() if known else ():
        for name, match in index.lookup(item, agreement):
            if name not in drop or drop[name].match.hits < match.hits:
                drop[name] = Repeat(name, excerpt, match)
    for name in order:
        earlier = [other for other in met[name] if order[other] < order[name] and other not in drop]
        if name not in drop and earlier:
            kept = max(earlier, key=lambda other: met[name][other].hits)
            drop[name] = Repeat(name, kept, met[name][kept])
    return [drop[name] for name in order if name in drop]


_OWNER: Final = 32
_ZERO: Final = 1 << 30
"""added to offsets, which may be negative"""


def _decoded(file: soundfile.SoundFile) -> Iterator[npt.NDArray[np.float32]]:
    """The samples of a file, mono at `RATE`, in blocks."""
    stream = soxr.ResampleStream(file.samplerate, RATE, 1, dtype="float32", quality="LQ")
    ended = False
    while not ended:
        block = file.read(_BLOCK * 4, dtype="float32", always_2d=True)
        ended = len(block) < _BLOCK * 4
        yield stream.resample_chunk(block.mean(axis=1, dtype=np.float32), last=ended)


def _of_blocks(blocks: Iterator[npt.NDArray[np.float32]]) -> Fingerprint:
    """The fingerprint of samples that come in blocks of any size."""
    peaks: list[npt.NDArray[np.int32]] = []
    kept = np.zeros(0, np.float32)
    begin = 0
    overlap = _AROUND[0] // 2 + 1
    total = 0
    pending = True
    while pending:
        block = next(blocks, None)
        pending = block is not None
        if block is not None:
            total += len(block)
            kept = np.concatenate([kept, block])
            if len(kept) < _BLOCK:
                continue
        frames = (len(kept) - _SIZE) // _HOP + 1 if len(kept) >= _SIZE else 0
        if frames <= 0:
            continue
        found = _peaks(kept, frames)
        # Peaks near a block's ends are judged in the block that has what is around them.
        inner = found[:, 0] >= (overlap if begin else 0)
        inner &= (found[:, 0] < frames - overlap) | (not pending)
        peaks.append(found[inner] + np.array([begin, 0], np.int32))
        if pending:
            step = frames - 2 * overlap
            kept, begin = kept[step * _HOP :], begin + step
    length = max((total - _SIZE) // _HOP + 1, 0)
    return _paired(np.concatenate(peaks) if peaks else np.zeros((0, 2), np.int32), length)


def _peaks(samples: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.int32]:
    """Frame and bin [peaks, 2] of the spectrogram's local maxima, in the order of time."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _SIZE)[::_HOP][:frames]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(_SIZE).astype(np.float32))[:, :_BINS]).astype(np.float32)
    highest = ndimage.maximum_filter1d(ndimage.maximum_filter1d(spectrum, _AROUND[0], axis=0), _AROUND[1], axis=1)
    lowest = max(float(spectrum.max()) * 10 ** (-_RANGE / 20), 1e-5)
    found = np.argwhere((spectrum == highest) & (spectrum > lowest)).astype(np.int32)
    return found[found[:, 1] > 0]


def _paired(peaks: npt.NDArray[np.int32], length: int) -> Fingerprint:
    """Hashes of pairs of peaks [peaks, 2]: each with the next ones within reach."""
    hashes, frames = [], []
    made = np.zeros(len(peaks), np.int64)
    for step in range(1, 41):  # how many peaks further on the second one is
        if step >= len(peaks):
            break
        first, second = peaks[:-step], peaks[step:]
        time, bins = second[:, 0] - first[:, 0], second[:, 1] - first[:, 1]
        good = (time > 2) & (time <= _REACH) & (np.abs(bins) <= _SPREAD) & (made[:-step] < _PAIRS)
        made[:-step] += good
        pair = (first[good, 1] << 13) | ((bins[good] + _SPREAD + 1) << 6) | time[good]
        hashes.append(pair.astype(np.uint32))
        frames.append(first[good, 0])
    if not hashes:
        return Fingerprint(np.zeros(0, np.uint32), np.zeros(0, np.int32), length)
    starts = np.concatenate(frames)
    order = np.argsort(starts, kind="stable")
    return Fingerprint(np.concatenate(hashes)[order], starts[order].astype(np.int32), length)
