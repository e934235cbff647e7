"""HAAQI of whole clips: recordings, the level at which they are presented, their amplification, and two ears.

    from haaqi_edge.haaqi import CADENZA, score_clip
    score_clip("clean.flac", "enhanced.flac", ears="listeners.json:L5001", convention=CADENZA["cad1"]).score

`Convention` says how two recordings become the two signals that HAAQI compares. `CADENZA` has the conventions of the
Cadenza challenges, as pyclarity's recipes implement them.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from scipy import signal

from ..runtime.audio.channels import Channel
from ..runtime.audio.levels import LEVEL1, SILENCE, check_level, nal_r, nal_r_filter
from ..runtime.audio.reading import ArrayAudio, AudioLike, FileAudio, open_audio
from ..runtime.audiogram import Audiogram, AudiogramLike, EarPair, EarsLike, as_audiograms, as_ears
from ..runtime.ears import EARS, Ear, TwoEars, of_ear, open_ear
from ..runtime.errors import AudioError, AudioFileError, AudiogramError, OptionError, SilenceWarning
from ..runtime.files import is_file
from .cochlea import RATE, resample
from .compressor import EarCompressor
from .index import MAX_SECONDS, Equalisation, Haaqi, Listener, Reference, Tiles, check_equalisation, level1_of

Array = npt.NDArray[np.float64]
Enhancer: TypeAlias = Literal["haaqi-edge", "pyclarity"]
"""NAL-R: `haaqi-edge` filters without delay, in 5.8 ms at any rate; `pyclarity` is `NALR(220, rate)` of the recipes"""
Resampling: TypeAlias = Literal["haaqi", "soxr"]
"""to 24 kHz: by HAAQI's own resampler, which rounds rates to whole kHz, or before HAAQI by soxr, as the recipes do"""

ENHANCERS: Final[tuple[Enhancer, ...]] = ("haaqi-edge", "pyclarity")
_PYCLARITY_ORDER: Final = 220


@dataclass(frozen=True)
class Convention:
    """How two recordings become the two signals that HAAQI compares.

    Attributes:
        level1: presentation level, dB SPL of RMS 1.0, of both recordings. None with `spl`.
        spl: presentation level of the reference, dB SPL; `level1` is then 65 - 20 log10(RMS) for 65, of each reference
            and ear, before amplification.
        equalisation: 1 if HAAQI amplifies the reference by NAL-R; 2 if the reference is amplified already.
        amplify_reference: whether to amplify the reference by `enhancer`, which needs `equalisation` 2.
        amplify_processed: whether to amplify the processed recording by `enhancer`.
        enhancer: the amplification, see `Enhancer`.
        resampling: how both recordings are resampled to 24 kHz, see `Resampling`.
        scale_files: whether a FLAC file is multiplied by the number in a text file of its name (`song.txt` for
            `song.flac`), as pyclarity writes and reads FLAC.
        compressors: the compressors of listeners' ears, from `load_compressors`, through which the reference passes. It
            needs `equalisation` 2, and ears. None for a reference that is not compressed, or is compressed already.
        level_before_compressor: whether `spl` is the level of the reference before the compressor. Without
            `compressors`, the recording before the compressor must then be given (`level_from`).

    Raises:
        OptionError: the values contradict each other, or one is invalid.
    """

    level1: float | None = LEVEL1
    spl: float | None = None
    equalisation: Equalisation = 1
    amplify_reference: bool = False
    amplify_processed: bool = False
    enhancer: Enhancer = "haaqi-edge"
    resampling: Resampling = "haaqi"
    scale_files: bool = False
    compressors: Mapping[str, Mapping[Ear, EarCompressor]] | None = field(default=None, hash=False, repr=False)
    level_before_compressor: bool = False

    def __post_init__(self) -> None:
        check_equalisation(self.equalisation)
        if (self.level1 is None) == (self.spl is None):
            raise OptionError(
                f"level1={self.level1!r} and spl={self.spl!r}: give one of them (level1 is the level of RMS 1.0, spl "
                "that of the reference)"
            )
        if self.spl is not None:
            check_level("spl", self.spl)
        if self.enhancer not in ENHANCERS:
            raise OptionError(f"enhancer={self.enhancer!r}: give {' or '.join(map(repr, ENHANCERS))}")
        if self.amplify_reference and self.equalisation == 1:
            raise OptionError(
                "amplify_reference with equalisation=1 would amplify the reference twice: give equalisation=2"
            )
        if self.compressors is not None and (self.equalisation == 1 or self.amplify_reference):
            raise OptionError(
                "compressors amplify the reference already: give equalisation=2, and no amplify_reference"
            )


DEFAULT: Final = Convention()
"""85 dB SPL of RMS 1.0, and NAL-R on the reference"""

CADENZA: Final[Mapping[str, Convention]] = MappingProxyType(
    {
        "cad1": Convention(None, 65.0, enhancer="pyclarity", resampling="soxr", scale_files=True),
        "icassp24": Convention(
            None, 65.0, 2, amplify_reference=True, enhancer="pyclarity", resampling="soxr", scale_files=True
        ),
        "cad2": Convention(None, 65.0, 2, enhancer="pyclarity", resampling="soxr", scale_files=True),
        "cad2-task2": Convention(
            None,
            65.0,
            2,
            enhancer="pyclarity",
            resampling="soxr",
            scale_files=True,
            level_before_compressor=True,
        ),
    }
)
"""Conventions of the Cadenza challenges: CAD1 task 1, the ICASSP 2024 challenge, CAD2 task 1 and CAD2 task 2.

In CAD1 the reference is a stem, unamplified. In ICASSP 2024 it is the unamplified remix, which the recipe amplifies by
NAL-R. In CAD2 the reference passes through the listener's multiband compressor: set `compressors`, by
`dataclasses.replace`, or give a reference that is compressed already. Task 1 takes the level from the reference after
the compressor, task 2 from that before.
"""


@dataclass(frozen=True)
class EarHaaqi(TwoEars[Haaqi]):
    """HAAQI of a listener's two ears. The challenges average them."""


@overload
def score_clip(
    reference: AudioLike,
    processed: AudioLike,
    audiogram: AudiogramLike,
    *,
    convention: Convention = ...,
    channel: Channel = ...,
    level_from: AudioLike | None = ...,
) -> Haaqi: ...


@overload
def score_clip(
    reference: AudioLike,
    processed: AudioLike,
    *,
    ears: EarsLike,
    convention: Convention = ...,
    level_from: AudioLike | None = ...,
) -> EarHaaqi: ...


def score_clip(
    reference: AudioLike,
    processed: AudioLike,
    audiogram: AudiogramLike | None = None,
    *,
    ears: EarsLike | None = None,
    convention: Convention = DEFAULT,
    channel: Channel = "mix",
    level_from: AudioLike | None = None,
) -> Haaqi | EarHaaqi:
    """Compute HAAQI of a recording for one ear, or of a stereo recording for two.

    Args:
        reference: the original: a path, an open file or `(samples, rate)`, as for `Scorer.score`.
        processed: the processed recording, at the same level.
        audiogram: the listener, as for `as_audiogram`.
        ears: in place of `audiogram`, `(left, right)` or another form of two ears, as for `Scorer.score`. The left
            channels are compared for the left audiogram, and the right ones for the right audiogram.
        convention: level, amplification and resampling. Default: 85 dB SPL of RMS 1.0, and NAL-R on the reference.
        channel: the channel of both recordings: `mix`, `left`, `right`, or a number from 0.
        level_from: with `Convention.spl`, the recording whose RMS sets the level. Default: the reference.

    Returns:
        `Haaqi`, or with `ears` an `EarHaaqi`.

    Raises:
        AudioError: a recording cannot be read or compared.
        AudiogramError: an audiogram is invalid.
        OptionError: an option is invalid.
    """
    if (audiogram is None) == (ears is None):
        raise AudiogramError("give an audiogram, or for stereo recordings ears=(left, right)")
    if ears is not None:
        pairs, several = as_ears(ears)
        if several:
            raise AudiogramError("ears= of several listeners: call score_clip for each of them")
        return score_ears(reference, processed, pairs, convention, level_from)[0]
    listeners, several = as_audiograms(audiogram)  # type: ignore[arg-type]
    if several:
        raise AudiogramError("several audiograms: call score_clip for each of them, or give ears=(left, right)")
    return score_listeners(reference, processed, listeners, convention, channel, level_from)[0]


def score_listeners(
    reference: AudioLike,
    processed: AudioLike,
    listeners: Sequence[Audiogram],
    convention: Convention = DEFAULT,
    channel: Channel = "mix",
    level_from: AudioLike | None = None,
) -> list[Haaqi]:
    """Compute HAAQI of a channel for several listeners; see `score_clip`."""
    if convention.compressors is not None:
        raise OptionError(
            "compressors are those of ears: give ears=, or in a manifest the ear `both`, `left` or `right` of a "
            "listener with two ears"
        )
    recordings = _Recordings.open(reference, processed, level_from, convention, channel)
    return [haaqi for haaqi, _ in _compare(recordings, listeners, convention)]


def score_ears(
    reference: AudioLike,
    processed: AudioLike,
    pairs: Sequence[EarPair],
    convention: Convention = DEFAULT,
    level_from: AudioLike | None = None,
) -> list[EarHaaqi]:
    """Compute HAAQI of stereo recordings for the two ears of several listeners; see `score_clip`."""
    recordings = _Recordings.open(reference, processed, level_from, convention)
    names = [pair.name for pair in pairs]
    left, right = (
        [haaqi for haaqi, _ in _compare(recordings.of_ear(ear), of_ear(pairs, ear), convention, ear, names)]
        for ear in EARS
    )
    return [EarHaaqi(*scores) for scores in zip(left, right, (pair.name for pair in pairs), strict=True)]


def score_one_ear(
    reference: AudioLike,
    processed: AudioLike,
    listeners: Sequence[Audiogram],
    ear: Ear,
    convention: Convention = DEFAULT,
    level_from: AudioLike | None = None,
) -> list[Haaqi]:
    """Compute HAAQI of one ear for several listeners. Of a stereo recording, the channel of the ear is used."""
    recordings = _Recordings.open(reference, processed, level_from, convention).of_ear(ear, warn=False)
    return [haaqi for haaqi, _ in _compare(recordings, listeners, convention, ear)]


def analyse_clip(
    reference: AudioLike,
    processed: AudioLike,
    listener: Audiogram,
    convention: Convention = DEFAULT,
    *,
    channel: Channel = "mix",
    ear: Ear | None = None,
) -> tuple[Haaqi, Tiles]:
    """Compute HAAQI of a channel or an ear, and its intermediate results by band and time."""
    recordings = _Recordings.open(reference, processed, None, convention, channel)
    if ear is not None:
        recordings = recordings.of_ear(ear, warn=False)
    elif convention.compressors is not None:
        raise OptionError("compressors are those of ears: give ear=")
    return _compare(recordings, [listener], convention, ear)[0]


class _Recording(NamedTuple):
    """A recording, and the factor by which it is multiplied."""

    audio: ArrayAudio | FileAudio
    factor: float


class _Recordings(NamedTuple):
    """The recordings of a comparison. That of the level is None if it is the reference."""

    reference: _Recording
    processed: _Recording
    level_from: _Recording | None

    @classmethod
    def open(
        cls,
        reference: AudioLike,
        processed: AudioLike,
        level_from: AudioLike | None,
        convention: Convention,
        channel: Channel = "mix",
    ) -> _Recordings:
        """Open the recordings."""

        def open_one(audio: AudioLike) -> _Recording:
            factor = _file_scale(audio) if convention.scale_files else 1.0
            return _Recording(open_audio(audio, channel=channel), factor)

        return cls(open_one(reference), open_one(processed), None if level_from is None else open_one(level_from))

    def of_ear(self, ear: Ear, *, warn: bool = True) -> _Recordings:
        """Return the channels of an ear; see `open_ear`."""
        reference, processed, level_from = (
            None if one is None else one._replace(audio=open_ear(one.audio, ear, warn=warn)) for one in self
        )
        assert reference is not None
        assert processed is not None
        return _Recordings(reference, processed, level_from)


def _file_scale(audio: AudioLike) -> float:
    """Return the factor in the text file beside a FLAC file, 1 without one."""
    if not isinstance(audio, str | os.PathLike) or not os.fsdecode(audio).lower().endswith(".flac"):
        return 1.0
    path = Path(os.fsdecode(audio)).with_suffix(".txt")
    if not is_file(path):
        return 1.0
    try:
        factor = float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AudioFileError(
            f"{path} is not the scale factor of a FLAC file ({error}): pyclarity's FLAC files may have a number in a "
            "text file of their name; move other text files away"
        ) from error
    if not 0 < factor < math.inf:
        raise AudioFileError(f"{path} holds {factor}: a scale factor is above 0")
    return factor


class _Clip(NamedTuple):
    """Samples float64 [n] of one channel at their own rate in Hz."""

    samples: Array
    rate: int
    name: str


def _compare(
    recordings: _Recordings,
    listeners: Sequence[Audiogram],
    convention: Convention,
    ear: Ear | None = None,
    names: Sequence[str] = (),
) -> list[tuple[Haaqi, Tiles]]:
    """Compare a channel of two recordings.

    Args:
        recordings: the recordings.
        listeners: the audiograms.
        convention: level, amplification and resampling.
        ear: the ear that is compared; None for a mix or a channel.
        names: names of the listeners, to find their compressors. Default: those of the audiograms.

    Raises:
        AudioError: a recording cannot be read or compared.
        OptionError: a listener has no compressor, or the recording that sets the level is missing.
    """
    if convention.level_before_compressor and convention.compressors is None and recordings.level_from is None:
        raise OptionError(
            "the level is that of the reference before the compressor: give the compressors, or that recording (in "
            "Python level_from=, in a manifest the column `unamplified`)"
        )
    clean, sound = _read(recordings.reference), _read(recordings.processed)
    if np.abs(sound.samples).max(initial=0.0) <= SILENCE:
        text = f"{sound.name} is silent: its HAAQI is that of silence, not of music"
        warnings.warn(text, SilenceWarning, stacklevel=2)
    differ = clean.rate != sound.rate
    try:
        level_from = None if recordings.level_from is None else _read(recordings.level_from)
        found = []
        plain: Array | None = None
        reference_signal: Array | None = None
        for audiogram, name in zip(listeners, names or [one.name for one in listeners], strict=True):
            compressed = clean
            if convention.compressors is not None and ear is not None:
                compressor = _find_compressor(name, ear, convention.compressors)
                compressed = clean._replace(samples=compressor.apply(clean.samples, clean.rate))
            if convention.amplify_reference or convention.compressors is not None or reference_signal is None:
                reference_signal = _present(compressed, audiogram, convention, convention.amplify_reference, differ)
            if convention.amplify_processed or plain is None:
                plain = _present(sound, audiogram, convention, convention.amplify_processed, differ)
            level1 = convention.level1
            if level1 is None:
                measured = level_from or (clean if convention.level_before_compressor else compressed)
                level1 = level1_of(measured.samples, convention.spl if convention.spl is not None else math.nan)
            listener = Listener(audiogram, level1=level1)
            analysis = Reference(reference_signal, RATE, listener, equalisation=convention.equalisation)
            found.append(analysis.compare(plain, RATE))
        return found
    except AudioError as error:
        raise AudioError(f"{sound.name} cannot be compared with {clean.name}: {error}") from error


def _find_compressor(name: str, ear: Ear, compressors: Mapping[str, Mapping[Ear, EarCompressor]]) -> EarCompressor:
    """Return the compressor of a listener's ear. `listeners:L5001` and `listeners:L5001:left` are `L5001`.

    Raises:
        OptionError: there is none.
    """
    for part in (name, *name.split(":")):
        if part in compressors:
            return compressors[part][ear]
    known = ", ".join(list(compressors)[:8])
    raise OptionError(f"no compressor for the listener {name}: give listeners by the names {known}")


def _present(clip: _Clip, audiogram: Audiogram, convention: Convention, amplify: bool, rates_differ: bool) -> Array:
    """Return a recording as HAAQI compares it, at `RATE`, amplified for a listener if requested."""
    samples, by_clarity = clip.samples, amplify and convention.enhancer == "pyclarity"
    if by_clarity:
        samples = signal.oaconvolve(samples, nal_r_filter(audiogram, clip.rate, _PYCLARITY_ORDER))
    if convention.resampling == "soxr":
        samples = _resample_soxr(samples, clip)
    elif rates_differ and clip.rate % 1000:
        # The model rounds this rate to kHz, and would compare at two speeds.
        samples = _resample_soxr(samples, clip)
    else:
        samples = resample(samples, clip.rate)
    if amplify and not by_clarity:
        samples = nal_r(samples.astype(np.float32), RATE, audiogram).astype(np.float64)
    return samples


def _resample_soxr(samples: Array, clip: _Clip) -> Array:
    blocks = ArrayAudio(samples.astype(np.float32), clip.rate).blocks(RATE)
    return np.concatenate(list(blocks)).astype(np.float64)


def _read(recording: _Recording) -> _Clip:
    """Read a channel at its own rate.

    Raises:
        AudioError: it cannot be read, or lasts more than `MAX_SECONDS`.
    """
    audio = recording.audio
    blocks, count = [], 0
    for block in audio.blocks(audio.rate):
        blocks.append(block)
        count += len(block)
        if count > MAX_SECONDS * audio.rate:
            raise AudioError(
                f"{audio.name} lasts more than {MAX_SECONDS:g} s: HAAQI compares whole clips; give excerpts of it"
            )
    return _Clip(np.concatenate(blocks).astype(np.float64) * recording.factor, audio.rate, audio.name)
