"""Parallel work on all workers of a dask cluster. If a worker is lost, another one repeats its items."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import OptionError, WorkerError

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")
_TIMEOUT: Final = 10
"""Timeout in seconds for the scheduler's answers, and for the first worker to appear."""
_CHECK_INTERVAL: Final = 1
"""Seconds without a result after which to check that there are workers."""
_ADDRESS: Final = re.compile(r"((tcp|tls|ws|wss)://)?(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")


def map_on_cluster(work: Callable[[Item], Result], items: Sequence[Item], scheduler: str) -> Iterator[Result]:
    """Apply a function to each item on the workers of a cluster, and yield the results in the order of completion.

    Raises:
        OptionError: if no scheduler answers at the address, or if it has no workers.
        WorkerError: if the scheduler or all workers were lost, or if several workers died in turn on the same item.
    """
    from distributed import Client

    _check_scheduler(scheduler)
    with _silence_client():
        try:
            client = Client(scheduler, timeout=_TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
        except OSError as error:  # includes TimeoutError
            raise _no_scheduler_error(scheduler, str(error)) from error
        with client:
            yield from _results(client, work, items, scheduler)


@contextmanager
def _silence_client() -> Iterator[None]:
    """Silence the client's tracebacks about a lost scheduler. An error reports it instead."""
    log = logging.getLogger("distributed.client")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _results(client: Client, work: Callable[[Item], Result], items: Sequence[Item], scheduler: str) -> Iterator[Result]:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    done: SimpleQueue[Any] = SimpleQueue()
    waiting: dict[Any, Any] = {future.key: future for future in client.map(work, items, pure=False)}
    future: Any
    for future in waiting.values():
        future.add_done_callback(done.put)
    had_workers, last = False, time.monotonic()
    while waiting:
        try:
            future = done.get(timeout=min(_CHECK_INTERVAL, _TIMEOUT))
        except Empty:
            future = None
        else:
            try:
                result = future.result(timeout=_TIMEOUT)
            except KilledWorker as error:
                raise WorkerError(
                    f"workers of the cluster died while they processed an item ({error}): give them more memory"
                ) from error
            except FutureCancelledError as error:
                raise _lost_scheduler_error(scheduler) from error
            except OSError as error:
                if future.status == "error":  # raised by `work` itself
                    raise
                if not isinstance(error, TimeoutError):
                    raise _lost_scheduler_error(scheduler) from error
                future.add_done_callback(done.put)  # the worker was lost with its result; dask computes it again
                future = None
        if future is not None:
            had_workers, last = True, time.monotonic()
            del waiting[future.key]
            yield result
        elif _has_workers(client, scheduler):
            had_workers, last = True, time.monotonic()
        elif time.monotonic() - last >= _TIMEOUT:
            raise _no_workers_error(scheduler, had_workers)


def _check_scheduler(scheduler: str) -> None:
    """Reject an address without a scheduler before a client is created, because a client would wait forever."""
    found = _ADDRESS.fullmatch(scheduler)
    if found is None or not 0 < int(found[4]) < 1 << 16:
        raise OptionError(
            f"{scheduler!r} is not the address of a dask scheduler: give a host and a port, as tcp://10.0.0.1:8786"
        )
    try:
        kind = asyncio.run(asyncio.wait_for(_server_kind(scheduler), _TIMEOUT))
    except Exception as error:  # another kind of server can cause any exception
        why = str(error) or f"no answer in {_TIMEOUT} s"
        raise _no_scheduler_error(scheduler, why) from error
    if kind != "Scheduler":
        raise _no_scheduler_error(scheduler, f"it is a {kind}")


async def _server_kind(address: str) -> str:
    """Return dask's name for the kind of server at an address."""
    from distributed import Security, rpc

    args = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    async with rpc(address, timeout=_TIMEOUT, connection_args=args) as server:  # type: ignore[no-untyped-call]
        identity = await server.identity()
    return str(identity["type"])


def _has_workers(client: Any, scheduler: str) -> bool:
    try:
        return bool(client.sync(client.scheduler.ncores, callback_timeout=_TIMEOUT))
    except (OSError, TimeoutError, RuntimeError) as error:
        raise _lost_scheduler_error(scheduler) from error


def _no_scheduler_error(scheduler: str, why: str) -> OptionError:
    return OptionError(
        f"no dask scheduler answers at {scheduler} ({why}): start one with `dask scheduler`, workers with "
        "`dask worker`, and give its address, as tcp://10.0.0.1:8786"
    )


def _lost_scheduler_error(scheduler: str) -> WorkerError:
    return WorkerError(f"the scheduler at {scheduler} was lost during the work: start it and its workers again")


def _no_workers_error(scheduler: str, had_workers: bool) -> OptionError | WorkerError:
    if had_workers:
        return WorkerError(f"all workers of the scheduler at {scheduler} are gone: start some with `dask worker`")
    return OptionError(f"the scheduler at {scheduler} has no workers: start some with `dask worker`")
