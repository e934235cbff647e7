"""Execution of programs that render music, with limits of time and file size."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from ....runtime.errors import CorpusError

CPU_LIMIT: Final = 60
"""limit of CPU time in seconds, which does not depend on the load of the machine"""
TIME_LIMIT: Final = 900.0
"""limit of the total time in seconds, for programs that wait instead of computing"""
SIZE_LIMIT: Final = 256 * 2**20
"""limit of the size of a file that a program writes, in bytes"""


def run_limited(
    command: Sequence[str],
    name: str,
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = TIME_LIMIT,
    cpu: int = CPU_LIMIT,
    size: int = SIZE_LIMIT,
) -> str:
    """Run a program, and stop it if it takes too long or writes too much.

    Args:
        command: the program and its arguments.
        name: of the program in messages.
        env: additional environment variables.
        seconds: limit of the total time.
        cpu: limit of the CPU time in seconds.
        size: limit of the size of a file in bytes.

    Returns:
        Its standard output and error.

    Raises:
        CorpusError: the program could not be started, was stopped, or reported an error.
    """
    # A shell sets the limits: a function that runs between fork and exec is not safe where there are threads.
    limits = f"ulimit -f {max(size // 512, 1)}; ulimit -t {cpu}"
    limited = ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh", *command]
    try:
        result = subprocess.run(
            limited,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise CorpusError(f"{name} was stopped after {seconds:g} s: leave the piece out") from error
    except OSError as error:
        raise CorpusError(f"{name} could not be started: {error}") from error
    output = result.stdout.decode("utf-8", "replace")
    if result.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise CorpusError(f"{name} was stopped after {cpu} s of CPU time: leave the piece out")
    if result.returncode == -signal.SIGXFSZ:
        raise CorpusError(f"{name} was stopped: it wrote more than {size >> 20} MiB; leave the piece out")
    if result.returncode != 0:
        tail = " ".join(output.split())[-300:]
        raise CorpusError(f"{name} failed (exit status {result.returncode}): {tail or 'no message'}")
    return output
