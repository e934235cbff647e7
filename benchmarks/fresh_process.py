"""Run code in a fresh process, as when a user's program starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Final

_PEAK: Final = """
import json, sys
def peak():
    try:
        with open("/proc/self/status") as status:  # of this program alone, without its parent's before the fork
            return next(int(line.split()[1]) * 1024e-6 for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1e-6 if sys.platform == "darwin" else 1024e-6)
"""


def user_environment(threads: int = 1) -> dict[str, str]:
    """Return the environment of a user's program: the bytecode of modules is stored when they are first imported.

    Args:
        threads: value of `OMP_NUM_THREADS`.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run_fresh_process(code: str, *arguments: str, threads: int = 1) -> Any:
    """Run code in a fresh process, and return the last line that it prints, parsed as JSON.

    Args:
        code: Python code. `sys.argv[1]` holds the time (of `time.time`) at which the process was started.
        arguments: `sys.argv[2:]` of the code.
        threads: value of `OMP_NUM_THREADS`.

    Raises:
        RuntimeError: the code failed.
    """
    argv = [sys.executable, "-c", code, repr(time.time()), *arguments]
    completed = subprocess.run(argv, capture_output=True, text=True, check=False, env=user_environment(threads))
    if completed.returncode:
        raise RuntimeError(f"a fresh process failed: {completed.stderr.strip()[-2000:]}")
    return json.loads(completed.stdout.splitlines()[-1])


def measure_peak_memory(code: str, *arguments: str) -> float:
    """Return the peak memory of a fresh process that runs this code, in MB (10^6 bytes)."""
    return float(run_fresh_process(f"{_PEAK}\n{code}\nprint(json.dumps(peak()))", *arguments))
