"""Streaming: score audio while it arrives.

The contract: at any time, the score is the head's score for the latest whole patches, at most `floor(window / 0.16)` of
them. The tokens are those that `Scorer.encode` gives for all audio so far. The results do not depend on how the samples
are split into chunks.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Never, Self

import numpy as np
import numpy.typing as npt

from ..audio.channels import Channel
from ..audio.levels import SILENCE
from ..audio.presentation import LevelCheck, Presentation, Presenter
from ..audio.reading import checked_rate
from ..audiogram import Audiogram, AudiogramLike, as_audiograms
from ..backend import Backend
from ..errors import AudioError, OptionError, StreamError
from ..features import patches as fe
from .chunk_resampler import STREAM_NAME, ChunkResampler
from .signal_window import SignalWindow
from .updates import Summary, Update

Array = npt.NDArray[np.float32]
Samples = npt.NDArray[Any]

_FINISHED: Final = "has ended (input_finished)"
_FAILED: Final = "was stopped by an error"
_EMPTY: Final = np.empty(0, dtype=np.float32)


class Stream:
    """A stream of audio that is scored for one or more listeners while it arrives. Create it with `Scorer.stream`.

        with Scorer("nano").stream("N3", 48_000) as stream:
            for chunk in chunks:
                for update in stream.accept_waveform(chunk):
                    print(update.time, update.score)
            stream.input_finished()
            print(stream.summary().score)

    Memory use does not grow with the length of the audio; it depends on the window. Only one thread at a time may use a
    stream: a call from another thread during a call raises `StreamError` and changes nothing. Streams of one `Scorer`
    are independent, so each may have its own thread.

    Args:
        backend: the model.
        audiogram: one listener or a list of listeners, as for `Scorer.score`.
        sample_rate: sample rate of the chunks, Hz.
        length: number of patches that one score covers.
        hop: seconds between updates, a multiple of 0.16. Default: 0.16.
        presentation: presentation level of the audio.
        nal_r: whether to amplify the audio for each listener first. The audio is then encoded for each listener.
        channel: the channel that is used, as for `Scorer.score`.
        channels: number of channels of the chunks. Default: that of the first chunk.

    Raises:
        AudioError: if the sample rate cannot be used.
        AudiogramError: if an audiogram is invalid.
        OptionError: if an option is invalid.
    """

    _resampler: ChunkResampler
    _windows: list[SignalWindow]
    _patches: int
    """Complete patches since the start of the stream."""
    _start: int
    """Index of the first patch of the first window."""
    _last_update: int
    """Number of patches at the last update."""
    _rest: Array
    """With `nal_r`, the unamplified samples from the start of the next patch on."""
    _level_check: LevelCheck
    _unchecked: int
    """Samples at 16 kHz since the level was checked."""
    _ended: str
    """Reason why no more audio is accepted; empty while audio is accepted."""

    def __init__(
        self,
        backend: Backend,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        sample_rate: int,
        *,
        length: int,
        hop: float | None,
        presentation: Presentation,
        nal_r: bool,
        channel: Channel = "mix",
        channels: int | None = None,
    ) -> None:
        if presentation.spl is not None:
            raise OptionError(
                f"spl={presentation.spl:g} is the level of a whole clip, which a stream never has: set level1, the "
                "level of RMS 1.0"
            )
        self._backend, self._nal_r = backend, nal_r
        self._length, self._hop = length, _hop_patches(hop)
        self._gain = presentation.level1_gain(backend.card.level1)
        self._listeners = as_audiograms(audiogram)[0]
        self._access = _ExclusiveAccess()
        self._rate = checked_rate(sample_rate, STREAM_NAME)
        self._channel, self._channels = channel, channels
        self._restart()
        for window in self._windows:
            window.warm_up()

    @property
    def sample_rate(self) -> int:
        """Sample rate of the chunks, Hz."""
        return self._rate

    @property
    def audiograms(self) -> tuple[Audiogram, ...]:
        """The current listeners."""
        return tuple(self._listeners)

    @property
    def window(self) -> float:
        """Length of a window in seconds, in whole patches of 0.16 s."""
        return self._length * fe.PATCH_SECONDS

    @property
    def hop(self) -> float:
        """Seconds between updates."""
        return self._hop * fe.PATCH_SECONDS

    def accept_waveform(self, samples: Samples, *extra: Never, sample_rate: int | None = None) -> list[Update]:
        """Process a chunk of audio.

        The samples come first. sherpa-onnx's method of this name takes the sample rate first; that call is refused.

        Args:
            samples: [n] or [n, channels], from one sample up; floating point with full scale 1.0, or signed integers
                with the full scale of their type. Channels are averaged.
            extra: nothing. A second positional argument is refused.
            sample_rate: Hz. Optional; must equal the rate of the stream.

        Returns:
            The updates that became ready, oldest first. The list may be empty.

        Raises:
            AudioError: in two cases. If the shape, type, number of channels or rate of the chunk is invalid, the chunk
                is ignored and you can continue. If a sample is not finite or far above full scale, the message gives
                its time, and you must call `reset` to continue.
            OptionError: if the sample rate is given by position. The chunk is ignored and you can continue.
            StreamError: after `input_finished`, `close` or an invalid sample, or while another thread uses the stream.
        """
        if extra:
            raise _position_error(samples)
        with self._access:
            self._check_accepts_audio()
            if sample_rate is not None and sample_rate != self._rate:
                raise AudioError(
                    f"a chunk at {sample_rate} Hz in a stream of {self._rate} Hz: the rate cannot change; start "
                    "another stream, or resample the chunk"
                )
            chunk = self._resampler.check(samples)
            try:
                updates = []
                for block in self._resampler.push(chunk):
                    self._check_level(block)
                    updates += self._process(block, last=False)
                return updates
            except BaseException:
                self._ended = _FAILED  # the chunk may be partly processed
                raise

    def input_finished(self) -> list[Update]:
        """End the audio, and score the samples that the resampler and NAL-R still hold back.

        Returns:
            The remaining updates. The last one covers the last whole patch, even between two hops.

        Raises:
            StreamError: as for `accept_waveform`.
        """
        with self._access:
            self._check_accepts_audio()
            self._ended = _FAILED  # replaced below if there is no error
            samples = self._resampler.finish()
            self._check_level(samples)
            self._level_check.finish()
            updates = self._process(samples, last=True)
            if self._patches > self._last_update:
                updates.append(self._update())
            self._ended = _FINISHED
            return updates

    def reset(self) -> None:
        """Restart the stream at time 0 with an empty window. This also works after an error or the end of the audio.

        Raises:
            StreamError: if the stream is closed, or in use by another thread.
        """
        with self._access:
            self._restart()

    def set_audiogram(self, audiogram: AudiogramLike | Sequence[AudiogramLike]) -> Update | None:
        """Change the listeners. Their means and their summary start now.

        Without `nal_r`, the patches in the window are scored for the new listeners immediately, and are not encoded
        again. With `nal_r`, the new listeners hear a different signal. The window then restarts, with the samples that
        are in no patch yet.

        Args:
            audiogram: one listener or a list of listeners, as for `Scorer.score`.

        Returns:
            An update for the new listeners; None with `nal_r`, or if no patch is complete yet.

        Raises:
            AudiogramError: if an audiogram is invalid. The listeners do not change.
            StreamError: as for `accept_waveform`.
        """
        with self._access:
            self._check_accepts_audio()
            self._listeners = as_audiograms(audiogram)[0]
            if not self._nal_r:
                self._windows[0].set_listeners(self._listeners)
                return self._update() if self._patches else None
            self._start = self._last_update = self._patches
            self._windows = self._create_windows()
            rest, self._rest = self._rest, _EMPTY
            self._process(rest, last=False)  # less than a patch
            return None

    def summary(self) -> Summary:
        """Return the scores of all audio so far, or since the listeners changed.

        If the listeners did not change, the scores equal those of `Scorer.score` for the whole patches so far.

        Raises:
            StreamError: if the stream is closed, stopped by an error, or in use by another thread.
        """
        with self._access:
            if self._ended == _FAILED:
                self._check_accepts_audio()
            since = self._patches - self._start
            totals = [total for window in self._windows for total in window.summaries(since % self._length)]
            return Summary(fe.patch_end(self._patches) if self._patches else 0.0, tuple(totals))

    def updates(self, chunks: Iterable[Samples]) -> Iterator[Update]:
        """Process audio that arrives in chunks, to its end.

        Args:
            chunks: samples as for `accept_waveform`.

        Yields:
            All updates, including those of `input_finished`.

        Raises:
            AudioError: as for `accept_waveform`.
            StreamError: as for `accept_waveform`.
        """
        for chunk in chunks:
            yield from self.accept_waveform(chunk)
        yield from self.input_finished()

    async def updates_async(self, chunks: AsyncIterable[Samples]) -> AsyncIterator[Update]:
        """Process chunks from an asynchronous source, as `updates` does. The event loop is not blocked.

        The computation runs in a thread. If the task is cancelled, the thread still finishes the current chunk.
        """
        import asyncio  # here, to save memory on devices that do not use it

        async for chunk in chunks:
            for update in await asyncio.to_thread(self.accept_waveform, chunk):
                yield update
        for update in await asyncio.to_thread(self.input_finished):
            yield update

    def close(self) -> None:
        """Close the stream and release its buffers. This waits for a call in progress.

        A closed stream cannot be opened again.
        """
        self._access.close()
        self._windows, self._rest = [], _EMPTY

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _restart(self) -> None:
        self._resampler = ChunkResampler(self._rate, self._channel, self._channels)
        self._level_check = LevelCheck(STREAM_NAME, self._gain, self._backend.card.level1, amplifies=self._nal_r)
        self._unchecked = 0
        self._patches = self._start = self._last_update = 0
        self._rest = _EMPTY
        self._ended = ""
        self._windows = self._create_windows()

    def _create_windows(self) -> list[SignalWindow]:
        groups = [[listener] for listener in self._listeners] if self._nal_r else [self._listeners]
        return [
            SignalWindow(
                self._backend,
                group,
                Presenter(self._gain, group[0] if self._nal_r else None),
                self._length,
                SILENCE * self._gain,
            )
            for group in groups
        ]

    def _process(self, samples: Array, last: bool) -> list[Update]:
        """Process samples at 16 kHz, and return the updates that they complete."""
        updates, before = [], self._patches
        for parts in zip(*(window.encode(samples, last) for window in self._windows), strict=True):
            for index in range(len(parts[0].powers)):
                for window, part in zip(self._windows, parts, strict=True):
                    window.add(part, index)
                self._patches += 1
                since = self._patches - self._start
                if since % self._length == 0:
                    for window in self._windows:
                        window.close_window()
                if since % self._hop == 0:
                    updates.append(self._update())
        if self._nal_r:
            self._store_rest(samples, self._patches - before)
        return updates

    def _check_level(self, samples: Array) -> None:
        """Check the level of the audio so far, after each second.

        Raises:
            AudioError: if it is above any music's.
        """
        at = 0
        while at < len(samples):
            piece = samples[at : at + fe.SAMPLE_RATE - self._unchecked]
            self._level_check.push(piece)
            self._unchecked += len(piece)
            at += len(piece)
            if self._unchecked == fe.SAMPLE_RATE:
                self._level_check.finish()
                self._unchecked = 0

    def _store_rest(self, samples: Array, patches: int) -> None:
        """Store the unamplified samples from the start of the next patch on, for later listeners."""
        self._rest = np.concatenate([self._rest, samples])[patches * fe.PATCH_SHIFT :]

    def _update(self) -> Update:
        self._last_update = self._patches
        readings = tuple(reading for window in self._windows for reading in window.updates())
        return Update(fe.patch_end(self._patches), self._windows[0].count == self._length, readings)

    def _check_accepts_audio(self) -> None:
        if self._ended:
            raise StreamError(f"this stream {self._ended}: call reset() to restart it")


def _position_error(first: object) -> OptionError:
    """Return the error for `accept_waveform` with more than one positional argument."""
    right = "write accept_waveform(samples, sample_rate=rate), or accept_waveform(samples): the stream knows its rate"
    if np.ndim(first) == 0:  # type: ignore[arg-type]
        return OptionError(f"accept_waveform(sample_rate, samples) is the call of sherpa-onnx: here {right}")
    return OptionError(f"accept_waveform(samples, sample_rate): give the rate by its name: {right}")


class _ExclusiveAccess:
    """A lock that admits one thread at a time, and none after `close`.

    A thread that is not admitted gets a `StreamError`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise StreamError(
                "another thread is using this stream: only one thread at a time may use it; create a stream for each "
                "thread"
            )
        if self._closed:
            self._lock.release()
            raise StreamError("this stream is closed: create another one")

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Wait until the current thread has left, then admit no more."""
        with self._lock:
            self._closed = True


def _hop_patches(hop: float | None) -> int:
    """Convert the time between updates to patches.

    Args:
        hop: seconds. Default: one patch.

    Raises:
        OptionError: if `hop` is not a whole number of patches of 0.16 s.
    """
    if hop is None:
        return 1
    patches = hop / fe.PATCH_SECONDS
    if not (1 - 1e-6 <= patches < 2**31 and abs(patches - round(patches)) < 1e-6):  # also true for NaN
        raise OptionError(f"a hop of {hop:g} s: give a multiple of {fe.PATCH_SECONDS:g} s, the length of a patch")
    return round(patches)
