"""Read audio files and arrays of any sample rate and channel count as blocks of mono samples, at 16 kHz by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..errors import AudioError, AudioFileError, AudioFileNotFoundError
from ..features.patches import PATCH_LENGTH, SAMPLE_RATE
from ..files import is_file, is_folder

Array = npt.NDArray[np.float32]
AudioLike: TypeAlias = "str | Path | tuple[npt.NDArray[Any], int]"

SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
"""File suffixes that a folder search treats as audio."""
LOWEST_RATE: Final = 8_000
HIGHEST_RATE: Final = 768_000
BLOCK_SECONDS: Final = 5.0
LOUDEST: Final = 10_000.0
"""Maximum amplitude of a sample: 80 dB above full scale, far above any amplified music."""
MOST_CHANNELS: Final = 64
"""Maximum number of channels. Higher counts suggest that samples and channels are swapped."""
_UNKNOWN: Final = 2**63 - 1
"""Length that libsndfile reports for a stream of unknown length."""
TOO_SHORT: Final = f"at least {PATCH_LENGTH} samples at 16 kHz ({PATCH_LENGTH / SAMPLE_RATE * 1000:g} ms) can be scored"


class Audio(Protocol):
    """A recording that can be read any number of times."""

    @property
    def name(self) -> str:
        """Name of the recording in error messages."""

    @property
    def rate(self) -> int:
        """Sample rate of the recording in Hz."""

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """Yield the recording as mono blocks. At the recording's own rate, the samples are not resampled.

        Args:
            rate: output sample rate, Hz.

        Yields:
            float32 [n], full scale 1.0.

        Raises:
            AudioError: if a sample is not finite or its amplitude is above `LOUDEST`, or if the file is damaged.
        """


def open_audio(audio: AudioLike) -> Audio:
    """Open a recording for reading.

    Args:
        audio: path of an audio file, or `(samples, rate)` with samples [n] or [n, channels] and the rate in Hz.

    Raises:
        AudioFileNotFoundError: if there is no such file.
        AudioFileError: if the file cannot be decoded or is truncated.
        AudioError: if the samples or the rate cannot be used.
    """
    if isinstance(audio, str | Path):
        return FileAudio(audio)
    if not (isinstance(audio, tuple) and len(audio) == 2):
        raise AudioError(f"cannot read audio from {type(audio).__name__}: give a path, or (samples, rate)")
    return ArrayAudio(*audio)


class ArrayAudio:
    """A recording in memory.

    Args:
        samples: [n] or [n, channels]; floating point with full scale 1.0, or signed integers with the full scale of
            their type.
        rate: Hz.

    Raises:
        AudioError: if the samples or the rate cannot be used.
    """

    def __init__(self, samples: npt.NDArray[Any], rate: int) -> None:
        self._samples = checked_samples(samples)
        if self._samples.ndim == 2 and self._samples.shape[1] > MOST_CHANNELS >= self._samples.shape[0]:
            raise AudioError(f"samples of shape {self._samples.shape} look like [channels, n]: transpose them")
        if self._samples.size == 0:
            raise AudioError(f"the audio is empty: {TOO_SHORT}")
        self.rate, self.name = checked_rate(rate), "the samples given"

    def blocks(self, rate: int = SAMPLE_RATE) -> Iterator[Array]:
        """Yield the recording as mono blocks; see `Audio.blocks`."""
        step = int(BLOCK_SECONDS * self.rate)
        resampler = Resampler(self.rate, self.name, rate)
        for start in range(0, len(self._samples), step):
            yield resampler.push(full_scale(self._samples[start : start + step]))
        yield resampler.finish()


class FileAudio:
    """An audio file in a format that soundfile reads (wav, flac, ogg, opus, mp3, ...).

    Each call of `blocks` decodes the file again, block by block.

    Args:
        path: path of the file.

    Raises:
        AudioFileNotFoundError: if there is no such file.
        AudioFileError: if the file cannot be decoded, holds no samples or is truncated.
        AudioError: if the sample rate cannot be used.
    """

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
        """Yield the recording as mono blocks; see `Audio.blocks`."""
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
            # A decoder may round the length of a lossy stream up by one or two frames. A truncated file lacks far more.
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
    """An audio file that is read from start to end, without seeking.

    By default soundfile seeks after each block. This is slow, and it fails at the end of a FLAC file that was written
    to a pipe and does not store its length.
    """

    def seekable(self) -> bool:
        return False


class Resampler:
    """Converter of blocks to mono samples at another rate, 16 kHz by default (soxr, quality HQ).

    The output samples do not depend on how the input is split into blocks.

    Args:
        rate: input sample rate, Hz.
        name: name of the audio in error messages.
        to: output sample rate, Hz.
    """

    def __init__(self, rate: int, name: str = "the stream", to: int = SAMPLE_RATE) -> None:
        self._rate, self._name, self._time = rate, name, 0
        self._soxr = None if rate == to else soxr.ResampleStream(rate, to, 1, dtype="float32", quality="HQ")

    def push(self, block: Array) -> Array:
        """Mix a block down to mono and resample it.

        Args:
            block: float32 [n] or [n, channels].

        Returns:
            float32 [m] at the output rate: the samples that are ready.

        Raises:
            AudioError: see `mix`.
        """
        return self.resample(self.mix(block))

    def mix(self, block: Array) -> Array:
        """Mix a block down to mono and advance the time that error messages report.

        Args:
            block: float32 [n] or [n, channels].

        Returns:
            float32 [n] at the input rate.

        Raises:
            AudioError: if a sample is NaN or infinite, or if its amplitude is above `LOUDEST`. The message gives the
                time of the sample.
        """
        if not np.abs(block).max(initial=0.0) <= LOUDEST:  # also true for NaN
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
        """Resample the output of `mix`.

        Args:
            mono: float32 [n] at the input rate.

        Returns:
            float32 [m] at the output rate: the samples that are ready. `mono` itself if the rates are equal.
        """
        return mono if self._soxr is None else self._soxr.resample_chunk(np.ascontiguousarray(mono))

    def finish(self) -> Array:
        """Return the samples that the resampler still holds back, float32 [m] at the output rate."""
        empty = np.empty(0, dtype=np.float32)
        return empty if self._soxr is None else self._soxr.resample_chunk(empty, last=True)


def checked_samples(samples: Any) -> npt.NDArray[Any]:
    """Return samples as an array [n] or [n, channels] of floating-point numbers or signed integers.

    Raises:
        AudioError: if `samples` has another shape or type.
    """
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
    """Convert an array from `checked_samples` to float32 with full scale 1.0.

    Numbers that are too large for float32 become infinite.
    """
    if samples.dtype == np.float32:
        return samples
    with np.errstate(over="ignore"):
        block = samples.astype(np.float32)
    return block if samples.dtype.kind == "f" else block * np.float32(1.0 / (np.iinfo(samples.dtype).max + 1.0))


def find_audio(folder: Path) -> list[Path]:
    """Return the audio files below a folder, sorted. Files are found by suffix; hidden files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def audio_in(folder: Path) -> list[Path]:
    """Return the audio files below a folder, as `find_audio` does.

    Raises:
        AudioFileNotFoundError: if there are none.
    """
    found = find_audio(folder)
    if not found:
        raise AudioFileNotFoundError(f"no audio in {folder}: expected files that end in {', '.join(sorted(SUFFIXES))}")
    return found


def checked_rate(rate: Any, name: str = "the audio") -> int:
    """Return a sample rate in Hz as an integer.

    Args:
        rate: sample rate, Hz.
        name: name of the audio in error messages.

    Raises:
        AudioError: if `rate` is not a whole number from `LOWEST_RATE` to `HIGHEST_RATE`.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer | float) or rate % 1 != 0:  # NaN and infinity
        raise AudioError(f"the sample rate of {name} must be a whole number of Hz, got {rate!r}")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"the sample rate of {name} is {rate:g} Hz; give audio from {LOWEST_RATE} to {HIGHEST_RATE} Hz "
            "(the networks hear up to 8 kHz)"
        )
    return int(rate)


def _averaged(block: Array) -> Array:
    """Return the mean over the channels of [n, channels].

    numpy's `mean` takes ten times as long over so short an axis.
    """
    mean: Array = block[:, 0].copy()
    for channel in block.T[1:]:
        mean += channel
    mean /= np.float32(block.shape[1])
    return mean


def _check_whole(path: Path) -> None:
    """Raise `AudioFileError` if the container of a file shows that the end of the file is missing.

    libsndfile reads a truncated wav, aiff or ogg file as a shorter one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(28)
        if head[:4] in (b"RIFF", b"RIFX", b"FORM", b"RF64"):
            if head[:4] == b"RF64":  # more than 4 GB: the first chunk holds the size
                announced = int.from_bytes(head[20:28], "little") + 8
            else:
                announced = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big") + 8
            # 0 and 2^32 - 1: the writer did not know the length
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
