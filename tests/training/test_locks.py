"""Locks between processes: one holder at a time, which errors name, and locks of killed processes are free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from haaqi_edge.training.locks import hold_lock

pytest.importorskip("fcntl")
HOLDER = """
import sys, time
from pathlib import Path
from haaqi_edge.training.locks import hold_lock
with hold_lock(Path(sys.argv[1]), RuntimeError):
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_file_is_removed_afterwards_and_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with hold_lock(path, RuntimeError):
        assert f"process {os.getpid()} on " in path.read_text()
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt), hold_lock(path, RuntimeError):
        raise KeyboardInterrupt
    assert not path.exists()


def test_another_process_is_named_and_its_lock_is_free_once_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with held_elsewhere(path) as process:
        with pytest.raises(RuntimeError, match=f"process {process.pid} on "), hold_lock(path, RuntimeError):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()  # stale: it is taken over
        with hold_lock(path, RuntimeError):
            assert f"process {os.getpid()} on " in path.read_text()
    assert not path.exists()


def test_a_lock_is_not_held_by_a_file_that_was_removed(tmp_path: Path) -> None:
    """A process that removes its lock file must not leave others with a lock on the removed file."""
    path = tmp_path / "x.lock"
    with hold_lock(path, RuntimeError):
        path.unlink()
        with hold_lock(path, RuntimeError):
            assert path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), hold_lock(tmp_path / "absent" / "x.lock", RuntimeError):
        pass
