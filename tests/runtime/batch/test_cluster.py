"""A dask cluster: its one worker works, and whoever is not there or goes on the way is told of in a line."""

from __future__ import annotations

import operator
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from haaqi_edge.runtime.batch import cluster
from haaqi_edge.runtime.batch.parallel import parallel_map
from haaqi_edge.runtime.errors import OptionError, WorkerError

if TYPE_CHECKING:
    from distributed import LocalCluster

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def one() -> Iterator[LocalCluster]:
    """One worker of one thread, in a process."""
    from distributed import LocalCluster

    settings: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**settings) as found:
        yield found


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_TIMEOUT", 1)


def test_one_worker_does_the_work(one: LocalCluster) -> None:
    assert os.getpid() not in set(parallel_map(operator.call, [os.getpid], 1, scheduler=one.scheduler_address))
    assert sorted(parallel_map(abs, [-1, 2, -3], 1, scheduler=one.scheduler_address)) == [1, 2, 3]


def test_errors_of_the_work_are_raised(one: LocalCluster) -> None:
    with pytest.raises(TypeError, match="bad operand"):
        list(parallel_map(abs, ["x"], 1, scheduler=one.scheduler_address))  # type: ignore[list-item]


def test_a_worker_is_no_scheduler(one: LocalCluster) -> None:
    (worker,) = one.scheduler.workers
    with pytest.raises(OptionError, match="it is a Worker"):
        list(parallel_map(abs, [1], 1, scheduler=worker))


@pytest.mark.parametrize("address", ["", "foo://bar", "foo://a:1", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "a b:1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(OptionError, match=r"is not the address of a dask scheduler: give a host and a port"):
        list(parallel_map(abs, [1], 1, scheduler=address))


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" + 64 * b"x"])
def test_another_kind_of_server(says: bytes) -> None:
    class Server(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(says)
            self.request.recv(1 << 10)
            over.wait(10)

    over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(OptionError, match="no dask scheduler answers at tcp://"):
                list(parallel_map(abs, [1], 1, scheduler=f"tcp://127.0.0.1:{server.server_address[1]}"))
        finally:
            over.set()
            server.shutdown()


def test_all_workers_go(one: LocalCluster) -> None:
    results = parallel_map(time.sleep, [0.05] * 60, 1, scheduler=one.scheduler_address)
    next(results)
    one.scale(0)
    with pytest.raises(WorkerError, match=r"all workers .* are gone"):
        list(results)
    with pytest.raises(OptionError, match="has no workers"):
        list(parallel_map(abs, [1], 1, scheduler=one.scheduler_address))


def test_the_scheduler_goes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    code = (
        "from distributed import LocalCluster\nimport time\nif __name__ == '__main__':\n"
        f"    LocalCluster(n_workers=1, processes=False, scheduler_port={address.rsplit(':', 1)[1]}, "
        "protocol='tcp', dashboard_address=None)\n    print(flush=True)\n    time.sleep(60)"
    )
    there = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert there.stdout is not None
    with there, there.stdout:
        there.stdout.readline()
        results = parallel_map(time.sleep, [0.05] * 60, 1, scheduler=address)
        next(results)
        there.send_signal(signal.SIGKILL)
        with pytest.raises(WorkerError, match="was lost"):
            list(results)
