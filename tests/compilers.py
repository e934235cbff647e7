"""Compilers that tests need; where CI is set, a machine without a C compiler fails."""

from __future__ import annotations

import os
import shutil

import pytest
from haaqi_edge.export.c.check import find_compiler


def c_compiler() -> str:
    """The C compiler; the test is skipped where there is none, and fails where CI is set."""
    found = find_compiler()
    if found is None:
        reason = "no C compiler here: install gcc"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def named_compiler(name: str) -> str:
    """A compiler by name; only gcc is asked of CI."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI") and name == "gcc":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
