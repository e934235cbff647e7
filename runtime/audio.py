"""Audio in: files and arrays of any rate and channel count, as blocks of mono samples at 16 kHz, or at another rate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .errors import AudioError, AudioFileError, AudioFileNotFoundError
from .files import is_file, is_folder
from .frontend import PATCH_LENGTH, SAMPLE_RATE

Array = npt.NDArray[np.float32]
AudioLike: TypeAlias = "str | Path | tuple[npt.NDArray[Any], int]"

SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
"""what counts as audio when a folder is searched"""
LOWEST_RATE: Final = 8_000
HIGHEST_RATE: Final = 768_000
BLOCK_SECONDS: Final = 5.0
LOUDEST: Final = 10_000.0
"""the largest amplitude taken for a sample: 80 dB above full scale, far above any amplified music"""
MOST_CHANNELS: Final = 64
"""more look like samples in the place of channels"""
_UNKNOWN: Final = 2**63 - 1
"""libsndfile's length of a stream that does not tell it"""
TOO_SHORT: Final = f"at least {PATCH_LENGTH} samples at 16 kHz ({PATCH_LENGTH / SAMPLE_RATE * 1000:g} ms) can be scored"


class Audio(Protocol):
    """A sound that can be read as often as needed."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def rate(self) -> int:
        """Its own sample rate in Hz."""

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """Mono float32 blocks at `rate` Hz, full scale 1.0; at its own rate the samples are as they are.

        Raises:
            AudioError: a sample that is not finite; a file that turns out to be damaged.
        """


def open_audio(audio: AudioLike) -> Audio:
    """A path, or `(samples, rate)` with samples [n] or [n, channels].

    Raises:
        AudioFileNotFoundError, AudioFileError: no such file, or one that cannot be decoded or is truncated.
        AudioError: samples or a rate that cannot be used.
    """
    if isinstance(audio, str | Path):
        return FileAudio(audio)
    if not (isinstance(audio, tuple) and len(audio) == 2):
        raise AudioError(f"cannot read audio from {type(audio).__name__}: give a path, or (samples, rate)")
    return ArrayAudio(*audio)


class ArrayAudio:
    """Samples in memory.

    Args:
        samples: [n] or [n, channels]; floating point with full scale 1.0, or signed integers of their type's full
            scale.
        rate: Hz.
    """

    def __init__(self, samples: npt.NDArray[Any], rate: int) -> None:
        self._samples = checked_samples(samples)
        if self._samples.ndim == 2 and self._samples.shape[1] > MOST_CHANNELS >= self._samples.shape[0]:
            raise AudioError(f"samples of shape {self._samples.shape} look like [channels, n]: transpose them")
        if self._samples.size == 0:
            raise AudioError(f"the audio is empty: {TOO_SHORT}")
        self.rate, self.name = checked_rate(rate), "the samples given"

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """See `Audio.blocks`."""
        step = int(BLOCK_SECONDS * self.rate)
        resampler = Resampler(self.rate, self.name, rate)
        for start in range(0, len(self._samples), step):
            yield resampler.push(full_scale(self._samples[start : start + step]))
        yield resampler.finish()


class FileAudio:
    """A file that soundfile reads (wav, flac, ogg, opus, mp3, ...), decoded in blocks each time it is asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.name = Path(path), str(path)
        if not is_file(self.path):
            what = "is a folder, not a file" if is_folder(self.path) else "does not exist"
            raise AudioFileNotFoundError(f"{self.name} {what}: give the path of an audio file")
        if self.path.stat().st_size == 0:
            raise AudioFileError(f"{self.name} is empty (0 bytes): copy or record it again")
        with self._open() as file:
            self.rate = checked_rate(file.samplerate, self.name)
            if file.frames == 0:
                raise AudioFileError(f"{self.name} holds no samples: {TOO_SHORT}")
        _check_whole(self.path)

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """See `Audio.blocks`."""
        resampler = Resampler(self.rate, self.name, rate)
        with self._open() as file:
            step, read = max(1, int(BLOCK_SECONDS * self.rate) // file.channels), 0
            while True:
                try:
                    block = file.read(step, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    raise self._damaged(read, str(error)) from error
                if len(block) == 0:
                    break
                read += len(block)
                yield resampler.push(block)
            # A decoder may round the length of a lossy stream up by a frame or two; a cut file lacks far more.
            if _UNKNOWN > file.frames > read + self.rate // 10:
                raise self._damaged(read, f"{file.frames} samples were announced, {read} came")
        yield resampler.finish()

    def _open(self) -> soundfile.SoundFile:
        try:
            return _Sequential(self.path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioFileError(
                f"{self.name} cannot be read as audio ({error}): give a wav, flac, ogg, opus or mp3 file that plays"
            ) from error

    def _damaged(self, read: int, why: str) -> AudioFileError:
        return AudioFileError(
            f"{self.name} is damaged or truncated after {read / self.rate:.2f} s ({why}): copy or encode it again"
        )


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A file read from start to end: without this soundfile seeks after each block, which is slow, and which fails at
    the end of a FLAC that was written by a pipe and does not know its length."""

    def seekable(self) -> bool:
        return False


class Resampler:
    """Mixes blocks down to mono and resamples them to 16 kHz (soxr, HQ); no output depends on how blocks were cut.

    Args:
        rate: Hz of the input.
        name: what messages call the audio.
        to: Hz of the output, if not 16 kHz.
    """

    def __init__(self, rate: int, name: str = "the stream", to: int = SAMPLE_RATE) -> None:
        self._rate, self._name, self._time = rate, name, 0
        self._soxr = None if rate == to else soxr.ResampleStream(rate, to, 1, dtype="float32", quality="HQ")

    def push(self, block: Array) -> Array:
        """Float32 [n] or [n, channels] in, float32 [m] at the output's rate out, as many as are ready.

        Raises:
            AudioError: see `mix`.
        """
        return self.resample(self.mix(block))

    def mix(self, block: Array) -> Array:
        """Float32 [n] or [n, channels] in, mono float32 [n] at the input's rate out; advances the clock.

        Raises:
            AudioError: NaN, infinity or more than `LOUDEST`, with the time at which it stands.
        """
        if not np.abs(block).max(initial=0.0) <= LOUDEST:  # NaN too
            usable = np.abs(block) <= LOUDEST
            first = int(np.argmin(usable.reshape(len(block), -1).all(axis=1)))
            seconds = (self._time + first) / self._rate
            if not np.isfinite(block[first]).all():
                raise AudioError(
                    f"{self._name} holds a sample that is not a finite number at {seconds:.3f} s: "
                    "repair the recording or the step that made it"
                )
            raise AudioError(
                f"{self._name} holds a sample of amplitude {np.abs(block[first]).max():g} at {seconds:.3f} s: "
                "full scale is 1.0; divide integers by theirs"
            )
        self._time += len(block)
        return block if block.ndim == 1 else _averaged(block)

    def resample(self, mono: Array) -> Array:
        """What `mix` gives in, float32 [m] at the output's rate out; the input itself where the rates are one."""
        return mono if self._soxr is None else self._soxr.resample_chunk(np.ascontiguousarray(mono))

    def finish(self) -> Array:
        """What the resampler still held back."""
        empty = np.empty(0, dtype=np.float32)
        return empty if self._soxr is None else self._soxr.resample_chunk(empty, last=True)


def checked_samples(samples: Any) -> npt.NDArray[Any]:
    """Samples [n] or [n, channels], floating point or signed integers, an `AudioError` otherwise."""
    try:
        array: npt.NDArray[Any] = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"the samples are not an array ({error}): give [n] or [n, channels]") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "fi":
        raise AudioError(
            f"samples of shape {array.shape} and type {array.dtype}: expected [n] or [n, channels], "
            "floating point or signed integers"
        )
    return array


def full_scale(samples: npt.NDArray[Any]) -> Array:
    """What `checked_samples` gives as float32 whose full scale is 1.0; too large a number becomes infinite."""
    if samples.dtype == np.float32:
        return samples
    with np.errstate(over="ignore"):
        block = samples.astype(np.float32)
    return block if samples.dtype.kind == "f" else block * np.float32(1.0 / (np.iinfo(samples.dtype).max + 1.0))


def find_audio(folder: Path) -> list[Path]:
    """Every audio file below a folder, by its suffix, sorted; hidden files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def audio_in(folder: Path) -> list[Path]:
    """What `find_audio` finds; nothing is an `AudioFileNotFoundError`."""
    found = find_audio(folder)
    if not found:
        raise AudioFileNotFoundError(f"no audio in {folder}: expected files that end in {', '.join(sorted(SUFFIXES))}")
    return found


def checked_rate(rate: Any, name: str = "the audio") -> int:
    """A sample rate in Hz that is a whole number from `LOWEST_RATE` to `HIGHEST_RATE`, an `AudioError` otherwise."""
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer | float) or rate % 1 != 0:  # NaN, infinity too
        raise AudioError(f"the sample rate of {name} must be a whole number of Hz, got {rate!r}")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"the sample rate of {name} is {rate:g} Hz; give audio from {LOWEST_RATE} to {HIGHEST_RATE} Hz "
            "(the networks hear up to 8 kHz)"
        )
    return int(rate)


def _averaged(block: Array) -> Array:
    """The mean of the channels of [n, channels]: numpy's, which takes ten times as long over so short an axis."""
    mean: Array = block[:, 0].copy()
    for channel in block.T[1:]:
        mean += channel
    mean /= np.float32(block.shape[1])
    return mean


def _check_whole(path: Path) -> None:
    """libsndfile takes a cut wav, aiff or ogg file for a shorter one; their containers tell that the end is missing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(28)
        if head[:4] in (b"RIFF", b"RIFX", b"FORM", b"RF64"):
            if head[:4] == b"RF64":  # more than 4 GB: the size stands in the first chunk
                announced = int.from_bytes(head[20:28], "little") + 8
            else:
                announced = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big") + 8
            # 0 and 2^32 - 1: written by a stream that never learnt its length
            if size < announced - 1 and announced not in (8, 0xFFFFFFFF + 8):
                raise AudioFileError(
                    f"{path} is truncated: it announces {announced} bytes and holds {size}: copy it again"
                )
        elif head[:4] == b"OggS":
            file.seek(max(0, size - 70_000))  # a page has at most 65,307 bytes
            tail = file.read()
            page = tail[tail.rfind(b"OggS") :]
            segments = page[26] if len(page) > 26 else 0
            length = 27 + segments + sum(page[27 : 27 + segments])
            if len(page) < 27 + segments or len(page) < length or not page[5] & 0x04:
                raise AudioFileError(f"{path} is truncated: its last Ogg page is missing or cut: copy it again")
