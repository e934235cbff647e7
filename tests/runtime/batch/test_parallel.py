"""The parallel map: results as they are ready, and a clear error if a process dies."""

from __future__ import annotations

import functools
import operator
import os
import signal

import pytest
from haaqi_edge.runtime.batch.parallel import parallel_map
from haaqi_edge.runtime.errors import WorkerError


def test_one_job_works_in_this_process() -> None:
    results = parallel_map(operator.call, [os.getpid] * 3, 1)
    assert next(results) == os.getpid()
    assert list(results) == [os.getpid()] * 2
    assert list(parallel_map(abs, [-1], 8)) == [1]  # a single item needs no other process
    assert list(parallel_map(abs, [], 2)) == []


def test_several_jobs_work_in_other_processes() -> None:
    pytest.importorskip("joblib")
    assert os.getpid() not in set(parallel_map(operator.call, [os.getpid] * 4, 2))
    assert sorted(parallel_map(abs, [-1, 2, -3], 2)) == [1, 2, 3]


def test_workers_ignore_ctrl_c() -> None:
    pytest.importorskip("joblib")
    before = signal.getsignal(signal.SIGINT)
    ask = functools.partial(signal.getsignal, signal.SIGINT)
    assert set(parallel_map(operator.call, [ask, ask], 2)) == {signal.SIG_IGN}
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_error_of_the_work_is_raised() -> None:
    pytest.importorskip("joblib")
    for jobs in (1, 2):
        with pytest.raises(TypeError, match="bad operand"):
            list(parallel_map(abs, [1, "x"], jobs))  # type: ignore[list-item]


@pytest.mark.slow
def test_a_process_that_dies_is_a_worker_error() -> None:
    pytest.importorskip("joblib")

    with pytest.raises(WorkerError, match=r"one of 2 processes was ended from outside.*: use fewer jobs") as caught:
        list(parallel_map(operator.call, [os.abort, os.getpid], 2))
    assert caught.value.exit_code == 1
