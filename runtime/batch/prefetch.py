"""Score many clips: threads read and decode ahead, and patches of several clips are encoded together.

The scores of a clip are the same as if it were scored alone.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from ..audiogram import Audiogram
from ..backend import Backend
from ..errors import HaaqiEdgeError
from ..scores import Score, ScoreAggregator
from ..window_scoring import WindowModel, WindowTask, score_tokens
from ..windows import Patches, PatchFeatures, PatchTokens, slice_windows

BATCH: Final = 256
"""Default number of patches that are encoded together: four windows of 10 s."""
_MAX_BATCHES: Final = 3
"""Maximum number of batches that are read but not yet encoded."""
_MAX_CLIPS: Final = 64
"""Maximum number of clips that are encoded, or on a device scored, together."""
_JOBS_PER_READER: Final = 2
"""Maximum number of clips per reader that are pulled from their source but not yet taken."""


class Job(NamedTuple):
    """A clip, and the listeners who hear the same presented signal.

    Attributes:
        read: function that yields the clip's patches.
        listeners: the listeners.
        name: name of the clip in error messages.
    """

    read: Callable[[], Iterator[PatchFeatures]]
    listeners: Sequence[Audiogram]
    name: str


Outcome = list[Score] | HaaqiEdgeError


def score_jobs(
    jobs: Iterable[Job], length: int | None, batch: int, readers: int, model: Backend | WindowModel
) -> Generator[Outcome, None, None]:
    """Score jobs, and yield the outcomes in the order of the jobs.

    Jobs are pulled as they are needed, in the calling thread. At most `_MAX_CLIPS` + `_JOBS_PER_READER` x `readers` of
    them are ahead of the outcomes.

    Args:
        jobs: the clips. If they end with an error, it is raised after the outcomes of the jobs before.
        length: patches in a window, see `windows.slice_windows`.
        batch: patches to encode in one run.
        readers: threads that read and decode.
        model: a backend encodes patches of several clips together; a `WindowModel` scores windows of several clips
            together.

    Yields:
        The scores of a job, or the error of its clip.
    """
    with _Prefetcher(jobs, batch, readers) as prefetcher:
        if isinstance(model, Backend):
            encoder = _BatchEncoder(prefetcher, model, batch)
            for clip in prefetcher.clips():
                windows = slice_windows(_blocks(encoder.take, clip.number), length)
                yield _outcome(partial(score_tokens, model, windows, clip.listeners, clip.name))
        else:
            yield from _score_windows(prefetcher, length, batch, model)
        if prefetcher.source_error is not None:
            raise prefetcher.source_error


class _Clip(NamedTuple):
    """A pulled job without its `read`, so that the samples that `read` may hold can be released."""

    number: int
    listeners: Sequence[Audiogram]
    name: str


class _End(NamedTuple):
    """The end of a job, with the error that caused it, if any."""

    error: HaaqiEdgeError | None


_Queue = queue.SimpleQueue[PatchFeatures | _End]


class _Prefetcher:
    """Features of jobs in order, read ahead by threads. Jobs are pulled from their source as they are needed.

    Args:
        jobs: the clips.
        batch: patches to encode in one run.
        readers: number of threads.

    Attributes:
        source_error: error that the source of the jobs raised, to be raised after the outcomes of the jobs before.
    """

    def __init__(self, jobs: Iterable[Job], batch: int, readers: int) -> None:
        self._jobs, self._max_patches, self._readers = iter(jobs), _MAX_BATCHES * batch, readers
        self._more = True  # whether the source may have further jobs
        self.source_error: Exception | None = None
        self._pulled = 0  # jobs
        self._clips: deque[_Clip] = deque()
        self._queues: dict[int, _Queue] = {}
        self._readings: dict[int, Future[None]] = {}
        self._changed = threading.Condition()
        self._current = 0  # the job whose blocks are being taken
        self._patches = 0  # read but not taken
        self._stopped = False
        self._pool = ThreadPoolExecutor(readers, "haaqi-edge-reader")

    def __enter__(self) -> _Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._pool.shutdown(cancel_futures=True)

    def clips(self) -> Iterator[_Clip]:
        """Yield the clips of all jobs in order."""
        self._pull()
        while self._clips:
            yield self._clips.popleft()
            self._pull()

    def has_more(self) -> bool:
        """Return whether there is another item to take. Pull jobs if necessary."""
        self._pull()
        return self._current < self._pulled

    def take(self) -> tuple[int, PatchFeatures | _End]:
        """Return the next item and the number of its job. Wait until it is available.

        There must be one, see `has_more`.
        """
        number = self._current
        item = self._queues[number].get()
        with self._changed:
            if isinstance(item, _End):
                del self._queues[number]
                self._current += 1
            else:
                self._patches -= len(item.silent)
            self._changed.notify_all()
        if isinstance(item, _End):
            self._readings.pop(number).result()  # raises any unexpected error of the thread
        return number, item

    def _pull(self) -> None:
        """Pull jobs from the source and have them read, as many as may be ahead."""
        while self._more and self._pulled - self._current < _JOBS_PER_READER * self._readers:
            try:
                job = next(self._jobs, None)
            except Exception as error:  # noqa: BLE001 - of any kind; `score_jobs` raises it again
                job, self.source_error = None, error
            if job is None:
                self._more = False
                return
            number, blocks = self._pulled, _Queue()
            self._clips.append(_Clip(number, job.listeners, job.name))
            self._queues[number] = blocks
            self._readings[number] = self._pool.submit(self._read, number, job.read, blocks)
            self._pulled += 1

    def _read(self, number: int, read: Callable[[], Iterator[PatchFeatures]], blocks: _Queue) -> None:
        end: HaaqiEdgeError | None = None
        try:
            for block in read():
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._may_store(number, blocks))
                    if self._stopped:
                        return
                    self._patches += len(block.silent)
                blocks.put(block)
        except HaaqiEdgeError as error:
            end = error
        finally:
            blocks.put(_End(end))

    def _may_store(self, number: int, blocks: _Queue) -> bool:
        """Return whether a job may store a block: there is space, or the consumer waits for this job.

        In the second case all other jobs would wait as well.
        """
        return self._patches < self._max_patches or (number == self._current and blocks.empty())


class _BatchEncoder:
    """Tokens of all jobs in order. Patches of several jobs are encoded together."""

    def __init__(self, prefetcher: _Prefetcher, backend: Backend, batch: int) -> None:
        self._prefetcher, self._backend, self._batch = prefetcher, backend, batch
        self._ready: deque[tuple[int, PatchTokens | _End]] = deque()

    def take(self) -> tuple[int, PatchTokens | _End]:
        """Return the next item, encoded, and the number of its job."""
        if not self._ready:
            self._encode_batch()
        return self._ready.popleft()

    def _encode_batch(self) -> None:
        items: list[tuple[int, PatchFeatures | _End]] = []
        patches = ended = 0
        while patches < self._batch and ended < _MAX_CLIPS and self._prefetcher.has_more():
            number, item = self._prefetcher.take()
            items.append((number, item))
            if isinstance(item, _End):
                ended += 1
                if not patches:  # there is nothing to encode, and an outcome to report
                    break
            else:
                patches += len(item.silent)
        blocks = [item for _, item in items if isinstance(item, PatchFeatures)]
        if blocks:
            if self._backend.card.front_end.block > 1:  # a clip must not share a block with another one
                parts = iter([self._backend.encode(block.features) for block in blocks])
            else:
                tokens = self._backend.encode(np.concatenate([block.features for block in blocks]))
                parts = iter(np.split(tokens, np.cumsum([len(block.silent) for block in blocks])[:-1]))
        for number, item in items:
            self._ready.append((number, item if isinstance(item, _End) else PatchTokens(next(parts), item.silent)))


def _blocks(take: Callable[[], tuple[int, Patches | _End]], number: int) -> Iterator[Patches]:
    """Yield the blocks of a job, and raise its error. Jobs must be requested in order."""
    while True:
        of, item = take()
        if of < number:  # left over from a job that failed
            continue
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item


def _score_windows(
    prefetcher: _Prefetcher, length: int | None, batch: int, model: WindowModel
) -> Generator[Outcome, None, None]:
    """Score windows of the same length and number of listeners together, across clips."""
    waiting: dict[tuple[int, int], list[WindowTask]] = {}
    done: deque[ScoreAggregator | HaaqiEdgeError] = deque()

    def score_waiting() -> None:
        for tasks in waiting.values():
            model.score_windows(tasks)
        waiting.clear()

    for number, listeners, name in prefetcher.clips():
        clip = ScoreAggregator(listeners, name, model.predicts)
        try:
            for window in slice_windows(_blocks(prefetcher.take, number), length):
                index = clip.add(window)
                if window.patches.silent.all():
                    continue
                patches = len(window.patches.silent)
                tasks = waiting.setdefault((patches, len(listeners)), [])
                tasks.append(WindowTask(window.patches.features, clip, index, window.patches.silent))
                if len(tasks) >= model.windows_per_run(patches, batch):
                    model.score_windows(waiting.pop((patches, len(listeners))))
            done.append(clip)
        except HaaqiEdgeError as error:
            done.append(error)
        if not waiting or len(done) >= _MAX_CLIPS:
            score_waiting()
            while done:
                yield _scores(done.popleft())
    score_waiting()
    while done:
        yield _scores(done.popleft())


def _scores(clip: ScoreAggregator | HaaqiEdgeError) -> Outcome:
    return _outcome(clip.scores) if isinstance(clip, ScoreAggregator) else clip


def _outcome(work: Callable[[], list[Score]]) -> Outcome:
    try:
        return work()
    except HaaqiEdgeError as error:
        return error
