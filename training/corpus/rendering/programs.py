"""Running programs that render music, within bounds of time and disk."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from ...runtime.errors import CorpusError

CPU_LIMIT: Final = 60
"""seconds of CPU time; this bounds a program on a busy machine as on an idle one"""
TIME_LIMIT: Final = 900.0
"""seconds that a program may take in all, for those that wait instead of computing"""
SIZE_LIMIT: Final = 256 * 2**20
"""bytes of a file that a program may write"""


def run_limited(
    command: Sequence[str],
    name: str,
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = TIME_LIMIT,
    cpu: int = CPU_LIMIT,
    size: int = SIZE_LIMIT,
) -> str:
    """Run a program and stop it when it takes too long or writes too much.

    Args:
        command: the program and its arguments.
        name: what messages call it.
        env: variables of the environment to add.
        seconds: how long it may run.
        cpu: seconds of CPU time that it may take.
        size: the largest file in bytes that it may write.

    Returns:
        What it wrote to standard output and error.

    Raises:
        CorpusError: it could not be started, was stopped, or reported an error.
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
