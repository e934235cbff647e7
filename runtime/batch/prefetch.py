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
from ..encoder import Encoder
from ..errors import HaaqiEdgeError
from ..gpu.io_binding import Pair, Task
from ..scores import Assembly, Score
from ..windows import Cut, Encoded, cut

BATCH: Final = 256
"""Default number of patches that are encoded together: four windows of 10 s."""
_AHEAD: Final = 3
"""Maximum number of batches that are read but not yet encoded."""
_OPEN: Final = 64
"""Maximum number of clips that are encoded, or on a device scored, together."""
_PULLED: Final = 2
"""Maximum number of clips per reader that are pulled from their source but not yet taken."""


class Job(NamedTuple):
    """A clip, and the listeners who hear the same presented signal.

    Attributes:
        read: function that yields the clip's patches, with features in place of tokens.
        listeners: the listeners.
        name: name of the clip in error messages.
    """

    read: Callable[[], Iterator[Encoded]]
    listeners: Sequence[Audiogram]
    name: str


Outcome = list[Score] | HaaqiEdgeError


def score_jobs(
    jobs: Iterable[Job],
    length: int | None,
    batch: int,
    readers: int,
    encoder: Encoder,
    heard: Callable[[Iterator[Cut], Sequence[Audiogram], str], list[Score]],
    pair: Pair | None = None,
) -> Generator[Outcome, None, None]:
    """Score jobs, and yield the outcomes in the order of the jobs.

    Jobs are pulled as they are needed, in the calling thread. At most `_OPEN` + `_PULLED` x `readers` of them are ahead
    of the outcomes.

    Args:
        jobs: the clips. If they end with an error, it is raised after the outcomes of the jobs before.
        length: patches in a window, see `windows.cut`.
        batch: patches to encode in one run.
        readers: threads that read and decode.
        encoder: encoder of the model.
        heard: function that scores windows of tokens.
        pair: encoder and head on one device. If given, it scores windows of features instead.

    Yields:
        The scores of a job, or the error of its clip.
    """
    with _Ahead(jobs, batch, readers) as ahead:
        if pair is None:
            tokens = _Encoded(ahead, encoder, batch)
            for number, listeners, name in ahead.hearings():
                windows = cut(_blocks(tokens.take, number), length)
                yield _outcome(partial(heard, windows, listeners, name))
        else:
            yield from _on_device(ahead, length, batch, pair)
        if ahead.fault is not None:
            raise ahead.fault


class _Hearing(NamedTuple):
    """What is needed of a job once it is read: the samples that its `read` may hold can be released."""

    number: int
    listeners: Sequence[Audiogram]
    name: str


class _End(NamedTuple):
    """The end of a job, with the error that caused it, if any."""

    error: HaaqiEdgeError | None


_Item = tuple[int, Encoded | _End]
_Queue = queue.SimpleQueue[Encoded | _End]


class _Ahead:
    """Features of jobs in order, read ahead by threads. Jobs are pulled from their source as they are needed."""

    def __init__(self, jobs: Iterable[Job], batch: int, readers: int) -> None:
        self._jobs, self._most, self._readers = iter(jobs), _AHEAD * batch, readers
        self._more = True  # whether the source may have further jobs
        self.fault: Exception | None = None
        """Error that the source of the jobs raised, to be raised after the outcomes of the jobs before."""
        self._pulled = 0  # jobs
        self._hearings: deque[_Hearing] = deque()
        self._queues: dict[int, _Queue] = {}
        self._reading: dict[int, Future[None]] = {}
        self._room = threading.Condition()
        self._taken = 0  # the job whose blocks are being taken
        self._waiting = 0  # patches that are read but not taken
        self._stopped = False
        self._pool = ThreadPoolExecutor(readers, "haaqi-edge-reader")

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        with self._room:
            self._stopped = True
            self._room.notify_all()
        self._pool.shutdown(cancel_futures=True)

    def hearings(self) -> Iterator[_Hearing]:
        """Yield all jobs in order."""
        self._pull()
        while self._hearings:
            yield self._hearings.popleft()
            self._pull()

    def more(self) -> bool:
        """Return whether there is another item to take. Pull jobs if necessary."""
        self._pull()
        return self._taken < self._pulled

    def take(self) -> _Item:
        """Return the next item. Wait until it is available. There must be one, see `more`."""
        number = self._taken
        item = self._queues[number].get()
        with self._room:
            if isinstance(item, _End):
                del self._queues[number]
                self._taken += 1
            else:
                self._waiting -= len(item.silent)
            self._room.notify_all()
        if isinstance(item, _End):
            self._reading.pop(number).result()  # raises any unexpected error of the thread
        return number, item

    def _pull(self) -> None:
        """Pull jobs from the source and have them read, as many as may be ahead."""
        while self._more and self._pulled - self._taken < _PULLED * self._readers:
            try:
                job = next(self._jobs, None)
            except Exception as error:  # noqa: BLE001 - of any kind; `score_jobs` raises it again
                job, self.fault = None, error
            if job is None:
                self._more = False
                return
            number, blocks = self._pulled, _Queue()
            self._hearings.append(_Hearing(number, job.listeners, job.name))
            self._queues[number] = blocks
            self._reading[number] = self._pool.submit(self._read, number, job.read, blocks)
            self._pulled += 1

    def _read(self, number: int, read: Callable[[], Iterator[Encoded]], blocks: _Queue) -> None:
        end: HaaqiEdgeError | None = None
        try:
            for block in read():
                with self._room:
                    self._room.wait_for(lambda: self._stopped or self._may_read(number, blocks))
                    if self._stopped:
                        return
                    self._waiting += len(block.silent)
                blocks.put(block)
        except HaaqiEdgeError as error:
            end = error
        finally:
            blocks.put(_End(end))

    def _may_read(self, number: int, blocks: _Queue) -> bool:
        """Return whether a job may store a block: there is space, or the consumer waits for this job.

        In the second case all other jobs would wait as well.
        """
        return self._waiting < self._most or (number == self._taken and blocks.empty())


class _Encoded:
    """Tokens of all jobs in order. Patches of several jobs are encoded together."""

    def __init__(self, ahead: _Ahead, encoder: Encoder, batch: int) -> None:
        self._ahead, self._encoder, self._batch = ahead, encoder, batch
        self._ready: deque[_Item] = deque()

    def take(self) -> _Item:
        """Return the next item, encoded."""
        if not self._ready:
            self._fill()
        return self._ready.popleft()

    def _fill(self) -> None:
        """Encode the next batch."""
        taken: list[_Item] = []
        patches = ended = 0
        while patches < self._batch and ended < _OPEN and self._ahead.more():
            item = self._ahead.take()
            taken.append(item)
            if isinstance(item[1], _End):
                ended += 1
                if not patches:  # there is nothing to encode, and an outcome to tell
                    break
            else:
                patches += len(item[1].silent)
        blocks = [block for _, block in taken if isinstance(block, Encoded)]
        if blocks:
            tokens = self._encoder.tokens(np.concatenate([block.tokens for block in blocks]))
            parts = iter(np.split(tokens, np.cumsum([len(block.silent) for block in blocks])[:-1]))
        for of, item_ in taken:
            self._ready.append((of, item_._replace(tokens=next(parts)) if isinstance(item_, Encoded) else item_))


def _blocks(take: Callable[[], _Item], number: int) -> Iterator[Encoded]:
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


def _on_device(ahead: _Ahead, length: int | None, batch: int, pair: Pair) -> Iterator[Outcome]:
    """Score windows of the same length and number of listeners together, across clips."""
    waiting: dict[tuple[int, int], list[Task]] = {}
    done: deque[Assembly | HaaqiEdgeError] = deque()

    def hear_all() -> None:
        for tasks in waiting.values():
            pair.hear(tasks)
        waiting.clear()

    for number, listeners, name in ahead.hearings():
        clip = Assembly(listeners, name, pair.predicts)
        try:
            for window in cut(_blocks(ahead.take, number), length):
                place = clip.add(window)
                if window.patches.silent.all():
                    continue
                patches = len(window.patches.silent)
                tasks = waiting.setdefault((patches, len(listeners)), [])
                tasks.append(Task(window.patches.tokens, clip, place))
                if len(tasks) >= pair.together(patches, batch):
                    pair.hear(waiting.pop((patches, len(listeners))))
            done.append(clip)
        except HaaqiEdgeError as error:
            done.append(error)
        if len(done) >= _OPEN:
            hear_all()
            while done:
                yield _scores(done.popleft())
    hear_all()
    while done:
        yield _scores(done.popleft())


def _scores(clip: Assembly | HaaqiEdgeError) -> Outcome:
    return _outcome(clip.scores) if isinstance(clip, Assembly) else clip


def _outcome(work: Callable[[], list[Score]]) -> Outcome:
    try:
        return work()
    except HaaqiEdgeError as error:
        return error
