"""Audio fingerprints, which find the same recording in different files.

Peaks of the spectrogram are paired. The two frequencies and the time difference of a pair give a hash (Wang, "An
industrial-strength audio search algorithm", ISMIR 2003). Two recordings are the same if many hashes agree at one time
offset. Codecs, levels, equalization and the start of an excerpt have little influence. Another tempo or performance of
the same piece does not match.
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
"""sample rate in Hz of the analysis"""
_SIZE: Final = 512
_HOP: Final = 256
_BINS: Final = _SIZE // 2
"""number of frequency bins, 21.5 Hz each"""
_AROUND: Final = (21, 21)
"""neighbourhood in frames and bins in which a peak is the maximum"""
_RANGE: Final = 60.0
"""range of peaks in dB below the loudest bin of a block"""
_REACH: Final = 63
"""maximum distance of paired peaks in frames"""
_SPREAD: Final = 63
"""maximum distance of paired peaks in bins"""
_PAIRS: Final = 6
"""maximum number of pairs per peak"""
_BLOCK: Final = 30 * RATE
"""samples per block of a long file"""
_SECOND: Final = RATE / _HOP
"""frames per second"""


@dataclass(frozen=True)
class Fingerprint:
    """Hashes [n] and their start frames [n], in the order of time, and the number of frames of the audio."""

    hashes: npt.NDArray[np.uint32]
    frames: npt.NDArray[np.int32]
    length: int

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return self.length / _SECOND

    def save(self, path: Path) -> None:
        """Write the fingerprint to an .npz file."""
        with path.open("wb") as file:
            np.savez(file, hashes=self.hashes, frames=self.frames, length=self.length)

    @classmethod
    def load(cls, path: Path) -> Fingerprint:
        """Read a file that `save` wrote.

        Raises:
            CorpusError: the file does not exist, or is no fingerprint.
        """
        try:
            with np.load(path) as data:
                return cls(data["hashes"], data["frames"], int(data["length"]))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CorpusError(f"cannot read the fingerprint {path}: {error}; delete it to compute it again") from error


class Match(NamedTuple):
    """Position and quality of a match of two fingerprints.

    Attributes:
        offset: start of the query in the reference in seconds. Negative if it starts before the reference.
        hits: number of hashes that agree at this offset.
        share: hits relative to the number of query hashes in the common part.
        seconds: duration of the query's seconds with agreeing hashes.
    """

    offset: float
    hits: int
    share: float
    seconds: int


@dataclass(frozen=True)
class MatchThresholds:
    """Minimum seconds with agreeing hashes, and minimum share of the query's hashes, of the same recording."""

    seconds: int = 4
    share: float = 0.05


class Repeat(NamedTuple):
    """A repeated recording: name of the duplicate, name of the original, and their match."""

    duplicate: str
    original: str
    match: Match


def compute_fingerprint(samples: npt.NDArray[np.floating], rate: int) -> Fingerprint:
    """Compute the fingerprint of audio.

    Args:
        samples: [n] or [n, channels].
        rate: Hz.
    """
    mono = np.asarray(samples, dtype=np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    return _fingerprint_blocks(iter([soxr.resample(mono, rate, RATE, quality="LQ") if rate != RATE else mono]))


def fingerprint_file(audio: Path | BinaryIO, *, name: str = "") -> Fingerprint:
    """Compute the fingerprint of a file, which is decoded block by block.

    Args:
        audio: path, or a file in memory opened for reading.
        name: of the file in messages. By default the path.

    Raises:
        CorpusError: the file cannot be read.
    """
    try:
        with soundfile.SoundFile(audio) as file:
            return _fingerprint_blocks(_read_blocks(file))
    except (soundfile.LibsndfileError, OSError) as error:
        raise CorpusError(f"cannot read {name or audio}: {error}; expected audio that libsndfile reads") from error


def find_match(query: Fingerprint, reference: Fingerprint, thresholds: MatchThresholds | None = None) -> Match | None:
    """Find a recording in another one. Return None if they are not the same."""
    index = Index()
    index.add("", reference)
    found = index.lookup(query, thresholds)
    return found[0][1] if found else None


class Index:
    """A searchable set of named fingerprints."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._prints: list[Fingerprint] = []
        self._sorted: tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def items(self) -> Iterator[tuple[str, Fingerprint]]:
        """Yield names and fingerprints, in the order in which they were added."""
        return iter(zip(self._names, self._prints, strict=True))

    def add(self, name: str, reference: Fingerprint) -> None:
        """Add a fingerprint."""
        self._names.append(name)
        self._prints.append(reference)
        self._sorted = None

    def lookup(self, query: Fingerprint, thresholds: MatchThresholds | None = None) -> list[tuple[str, Match]]:
        """Find all recordings that contain the query. Those with most hits come first."""
        thresholds = thresholds or MatchThresholds()
        hits, places = self._hits(query)
        if not len(hits):
            return []
        # Offsets of neighbouring frames belong together: each is counted with the next one.
        keys, counts = np.unique(places, return_counts=True)
        pairs = counts + np.where(np.diff(keys, append=-1) == 1, np.append(counts[1:], 0), 0)
        owners = keys >> _OWNER
        best: dict[int, tuple[int, int]] = {}
        for place in np.flatnonzero(pairs >= thresholds.seconds):
            owner = int(owners[place])
            if pairs[place] > best.get(owner, (0, 0))[0]:
                best[owner] = (int(pairs[place]), int(keys[place]))
        found = []
        for owner, (_, key) in best.items():
            match = self._match(query, owner, key, hits[(places == key) | (places == key + 1)])
            if match.seconds >= thresholds.seconds and match.share >= thresholds.share:
                found.append((self._names[owner], match))
        return sorted(found, key=lambda item: -item[1].hits)

    def _match(self, query: Fingerprint, owner: int, key: int, hits: npt.NDArray[np.int64]) -> Match:
        """Match the query with one recording, from the hashes that agree at one offset."""
        offset = (key & ((1 << _OWNER) - 1)) - _ZERO
        hits = np.unique(hits)
        _, counts = np.unique((query.frames[hits] / _SECOND).astype(np.int64), return_counts=True)
        first, last = max(-offset, 0), self._prints[owner].length - offset
        shared = int(np.count_nonzero((query.frames >= first) & (query.frames < last)))
        return Match(offset / _SECOND, len(hits), len(hits) / max(shared, 1), int(np.count_nonzero(counts >= 2)))

    def _hits(self, query: Fingerprint) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return indices of agreeing query hashes, and recordings and offsets as single numbers, [hits] each."""
        if self._sorted is None:
            self._sorted = self._sorted_hashes()
        hashes, places = self._sorted
        first = np.searchsorted(hashes, query.hashes, side="left")
        counts = np.searchsorted(hashes, query.hashes, side="right") - first
        hits = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
        return hits, places[np.repeat(first, counts) + within] - query.frames[hits]

    def _sorted_hashes(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Return all hashes in order, and for each its recording (upper bits) and frame (lower bits, plus `_ZERO`)."""
        if not self._prints:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        hashes = np.concatenate([item.hashes for item in self._prints])
        places = np.concatenate(
            [item.frames.astype(np.int64) + (number << _OWNER) + _ZERO for number, item in enumerate(self._prints)]
        )
        order = np.argsort(hashes, kind="stable")
        return hashes[order], places[order]


def find_repeats(
    recordings: Sequence[tuple[str, Fingerprint]], known: Index | None = None, thresholds: MatchThresholds | None = None
) -> list[Repeat]:
    """Find recordings that occur more than once.

    Args:
        recordings: unique names, and fingerprints. Of two that are the same, the first is the original.
        known: fingerprints of fixed originals. Recordings that match one of them are duplicates.
        thresholds: None uses the defaults.

    Returns:
        One entry per duplicate, in the order of `recordings`.
    """
    index = Index()
    for name, item in recordings:
        index.add(name, item)
    order = {name: place for place, (name, _) in enumerate(recordings)}
    met: dict[str, dict[str, Match]] = {name: {} for name in order}
    for name, item in recordings:
        # Looked up both ways: a short one agrees in all of its seconds with a long one that holds it.
        for other, match in index.lookup(item, thresholds):
            if other != name:
                met[name][other] = met[other][name] = match
    drop: dict[str, Repeat] = {}
    for excerpt, item in known.items() if known else ():
        for name, match in index.lookup(item, thresholds):
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
"""added to offsets, because these can be negative"""


def _read_blocks(file: soundfile.SoundFile) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the samples of a file, mono at `RATE`, in blocks."""
    stream = soxr.ResampleStream(file.samplerate, RATE, 1, dtype="float32", quality="LQ")
    ended = False
    while not ended:
        block = file.read(_BLOCK * 4, dtype="float32", always_2d=True)
        ended = len(block) < _BLOCK * 4
        yield stream.resample_chunk(block.mean(axis=1, dtype=np.float32), last=ended)


def _fingerprint_blocks(blocks: Iterator[npt.NDArray[np.float32]]) -> Fingerprint:
    """Compute the fingerprint of samples in blocks of any size."""
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
        found = _find_peaks(kept, frames)
        # Peaks near a block's ends are judged in the block that has what is around them.
        inner = found[:, 0] >= (overlap if begin else 0)
        inner &= (found[:, 0] < frames - overlap) | (not pending)
        peaks.append(found[inner] + np.array([begin, 0], np.int32))
        if pending:
            step = frames - 2 * overlap
            kept, begin = kept[step * _HOP :], begin + step
    length = max((total - _SIZE) // _HOP + 1, 0)
    return _hash_pairs(np.concatenate(peaks) if peaks else np.zeros((0, 2), np.int32), length)


def _find_peaks(samples: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.int32]:
    """Return frame and bin [peaks, 2] of the local maxima of the spectrogram, in the order of time."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _SIZE)[::_HOP][:frames]
    spectrum = np.abs(np.fft.rfft(windows * np.hanning(_SIZE).astype(np.float32))[:, :_BINS]).astype(np.float32)
    highest = ndimage.maximum_filter1d(ndimage.maximum_filter1d(spectrum, _AROUND[0], axis=0), _AROUND[1], axis=1)
    lowest = max(float(spectrum.max()) * 10 ** (-_RANGE / 20), 1e-5)
    found = np.argwhere((spectrum == highest) & (spectrum > lowest)).astype(np.int32)
    return found[found[:, 1] > 0]


def _hash_pairs(peaks: npt.NDArray[np.int32], length: int) -> Fingerprint:
    """Return the hashes of pairs of peaks [peaks, 2]: each with the next ones within reach."""
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
