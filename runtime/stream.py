"""Streaming: audio as it comes, and a score that moves with it.

The contract: after any audio the score is that of the head over the last whole patches of the window, at most
`floor(window / 0.16)` of them, as `Scorer.encode` gives them for all the audio so far; how the samples were split into
chunks changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from . import frontend as fe
from .audio import checked_rate
from .audiogram import Audiogram, AudiogramLike, as_audiograms
from .errors import AudioError, OptionError, StreamError
from .intake import NAME, Intake
from .lane import Lane, Network
from .levels import SILENCE
from .presentation import Presentation, Presenter
from .updates import Summary, Update
from .windows import window_patches

Array = npt.NDArray[np.float32]
Samples = npt.NDArray[Any]

_FINISHED: Final = "has ended (input_finished)"
_BROKEN: Final = "was broken off by an error"
_NOTHING: Final = np.empty(0, dtype=np.float32)


class Stream:
    """A stream of audio and the listeners who hear it; made by `Scorer.stream`.

    Memory is bounded by the window. One thread at a time: while a call is at work, a call from another thread is
    refused with a `StreamError` and changes nothing. Streams of one `Scorer` are independent of each other, each may
    have a thread of its own.

    Args:
        network: the model.
        audiogram: a listener or a list of them, as for `Scorer.score`.
        sample_rate: Hz of the chunks.
        window: seconds that a score covers.
        hop: seconds between updates, a multiple of 0.16; None for 0.16.
        presentation: how loud the audio is played.
        nal_r: amplify for each listener first; each is encoded by itself then.

    Raises:
        AudioError, AudiogramError, OptionError: see their messages.
    """

    _intake: Intake
    _lanes: list[Lane]
    _patches: int
    """complete ones, since the start of the stream"""
    _start: int
    """the first patch of the first window"""
    _told: int
    """patches at the last update"""
    _rest: Array
    """with `nal_r`, the samples from the next patch on, unamplified"""
    _ended: str
    """why no more audio is taken; empty while it is"""

    def __init__(
        self,
        network: Network,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        sample_rate: int,
        *,
        window: float | None,
        hop: float | None,
        presentation: Presentation,
        nal_r: bool,
    ) -> None:
        if presentation.spl is not None:
            raise OptionError(
                f"spl={presentation.spl:g} is the level of a whole clip, which a stream never has: set level1, the "
                "level of RMS 1.0"
            )
        length = window_patches(window)
        if length is None:
            raise OptionError("a window of the whole clip: a stream has no end; give seconds, up to 60")
        self._network, self._nal_r = network, nal_r
        self._length, self._hop = length, hop_patches(hop)
        self._gain = presentation.level1_gain(network.level1)
        self._listeners = as_audiograms(audiogram)[0]
        self._turn = _Turn()
        self._rate = checked_rate(sample_rate, NAME)
        self._begin()
        for lane in self._lanes:
            lane.warm_up()

    @property
    def sample_rate(self) -> int:
        """Hz of the chunks."""
        return self._rate

    @property
    def audiograms(self) -> tuple[Audiogram, ...]:
        """Who listens."""
        return tuple(self._listeners)

    @property
    def window(self) -> float:
        """Seconds from one whole window to the next: whole patches of 0.16 s."""
        return self._length * fe.PATCH_SECONDS

    @property
    def hop(self) -> float:
        """Seconds between updates."""
        return self._hop * fe.PATCH_SECONDS

    def accept_waveform(self, samples: Samples, sample_rate: int | None = None) -> list[Update]:
        """Take a chunk, and tell what became ready.

        Args:
            samples: [n] or [n, channels], from one sample up; floating point with full scale 1.0, or signed integers.
                Channels are averaged.
            sample_rate: Hz; only to make sure that it is still the stream's.

        Returns:
            The updates whose patches are complete, oldest first.

        Raises:
            AudioError: a chunk of another form or rate (nothing of it is taken, the stream goes on without it); or a
                sample that is not finite or far above full scale, its time named: the stream goes on after `reset`.
            StreamError: after `input_finished`, after such a sample, or while another thread uses the stream.
        """
        with self._turn:
            self._refuse_if_ended()
            if sample_rate is not None and sample_rate != self._rate:
                raise AudioError(
                    f"a chunk at {sample_rate} Hz in a stream of {self._rate} Hz: the rate cannot change; start "
                    "another stream, or resample the chunk"
                )
            chunk = self._intake.check(samples)
            try:
                return [update for block in self._intake.push(chunk) for update in self._take(block, last=False)]
            except BaseException:
                self._ended = _BROKEN  # patches may be half taken
                raise

    def input_finished(self) -> list[Update]:
        """The audio has ended: what resampler and NAL-R held back is scored too.

        Returns:
            The last updates; the last one of them is at the last whole patch, on a hop or not.

        Raises:
            StreamError: as `accept_waveform`.
        """
        with self._turn:
            self._refuse_if_ended()
            self._ended = _BROKEN  # unless all of it goes well
            updates = self._take(self._intake.finish(), last=True)
            if self._patches > self._told:
                updates.append(self._update())
            self._ended = _FINISHED
            return updates

    def reset(self) -> None:
        """Start anew, at time 0 and with an empty window, whatever happened before.

        Raises:
            StreamError: closed, or in use by another thread.
        """
        with self._turn:
            self._begin()

    def set_audiogram(self, audiogram: AudiogramLike | Sequence[AudiogramLike]) -> Update | None:
        """From now on others listen; means and summary start here.

        What is in the window is scored for them at once, without encoding it again. With `nal_r` they hear another
        signal: the window starts anew, with the samples that are in no patch yet.

        Returns:
            What they hear now; None with `nal_r`, or where no patch is complete yet.

        Raises:
            AudiogramError: not an audiogram; the listeners stay.
            StreamError: as `accept_waveform`.
        """
        with self._turn:
            self._refuse_if_ended()
            self._listeners = as_audiograms(audiogram)[0]
            if not self._nal_r:
                self._lanes[0].hear(self._listeners)
                return self._update() if self._patches else None
            self._start = self._told = self._patches
            self._lanes = self._made_lanes()
            rest, self._rest = self._rest, _NOTHING
            self._take(rest, last=False)  # less than a patch
            return None

    def summary(self) -> Summary:
        """All of the audio so far, or since the listeners changed: what `Scorer.score` gives for its whole patches.

        Raises:
            StreamError: closed, broken off by an error, or in use by another thread.
        """
        with self._turn:
            if self._ended == _BROKEN:
                self._refuse_if_ended()
            since = self._patches - self._start
            totals = [total for lane in self._lanes for total in lane.totals(since % self._length)]
            return Summary(fe.patch_end(self._patches) if self._patches else 0.0, tuple(totals))

    def updates(self, chunks: Iterable[Samples]) -> Iterator[Update]:
        """All updates of audio that comes in chunks, the last ones included.

        Raises:
            AudioError, StreamError: as `accept_waveform`.
        """
        for chunk in chunks:
            yield from self.accept_waveform(chunk)
        yield from self.input_finished()

    async def updates_async(self, chunks: AsyncIterable[Samples]) -> AsyncIterator[Update]:
        """As `updates`, for chunks that come asynchronously; the work is done in a thread, the event loop goes on.

        A task that is cancelled lets the chunk that it is at be finished in its thread.
        """
        import asyncio  # here: a device that does not use it is spared some megabytes

        async for chunk in chunks:
            for update in await asyncio.to_thread(self.accept_waveform, chunk):
                yield update
        for update in await asyncio.to_thread(self.input_finished):
            yield update

    def close(self) -> None:
        """Let go of the buffers, once a call that is at work has ended; a closed stream stays closed."""
        self._turn.close()
        self._lanes, self._rest = [], _NOTHING

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self._intake = Intake(self._rate)
        self._patches = self._start = self._told = 0
        self._rest = _NOTHING
        self._ended = ""
        self._lanes = self._made_lanes()

    def _made_lanes(self) -> list[Lane]:
        groups = [[listener] for listener in self._listeners] if self._nal_r else [self._listeners]
        return [
            Lane(
                self._network,
                group,
                Presenter(self._gain, group[0] if self._nal_r else None),
                self._length,
                SILENCE * self._gain,
            )
            for group in groups
        ]

    def _take(self, samples: Array, last: bool) -> list[Update]:
        """Samples at 16 kHz to the updates that they complete."""
        updates, before = [], self._patches
        for parts in zip(*(lane.encode(samples, last) for lane in self._lanes), strict=True):
            for index in range(len(parts[0].powers)):
                for lane, part in zip(self._lanes, parts, strict=True):
                    lane.add(part, index)
                self._patches += 1
                since = self._patches - self._start
                if since % self._length == 0:
                    for lane in self._lanes:
                        lane.close_window()
                if since % self._hop == 0:
                    updates.append(self._update())
        if self._nal_r:
            self._keep_rest(samples, self._patches - before)
        return updates

    def _keep_rest(self, samples: Array, patches: int) -> None:
        """Keep the samples from the next patch on, before any amplification, for listeners to come."""
        self._rest = np.concatenate([self._rest, samples])[patches * fe.PATCH_SHIFT :]

    def _update(self) -> Update:
        self._told = self._patches
        readings = tuple(reading for lane in self._lanes for reading in lane.readings())
        return Update(fe.patch_end(self._patches), self._lanes[0].count == self._length, readings)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise StreamError(f"this stream {self._ended}: call reset() to start anew")


class _Turn:
    """Lets in one thread at a time, and none once it is closed; who comes at the wrong moment gets a `StreamError`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise StreamError(
                "this stream is at work in another thread: one at a time may use it; give each a stream of its own"
            )
        if self._closed:
            self._lock.release()
            raise StreamError("this stream is closed: make another one")

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def close(self) -> None:
        """Let nobody in any more, once who is in has left."""
        with self._lock:
            self._closed = True


def hop_patches(hop: float | None) -> int:
    """Patches between updates `hop` seconds apart; None is one.

    Raises:
        OptionError: not a whole number of patches of 0.16 s.
    """
    if hop is None:
        return 1
    patches = hop / fe.PATCH_SECONDS
    if not (1 - 1e-6 <= patches < 2**31 and abs(patches - round(patches)) < 1e-6):  # NaN too
        raise OptionError(f"a hop of {hop:g} s: give a multiple of {fe.PATCH_SECONDS:g} s, the length of a patch")
    return round(patches)
