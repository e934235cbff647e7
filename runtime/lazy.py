"""Resolve the public names of a package at their first use (PEP 562), so that importing the package is fast."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def resolve(package: str, name: str, homes: Mapping[str, str]) -> Any:
    """Import a public name of a package, and store it in the package.

    Args:
        package: `__name__` of the package.
        name: the name.
        homes: for each public name, the module of the package that defines it.

    Raises:
        AttributeError: if the package has no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(import_module(f".{homes[name]}", package), name)
    setattr(sys.modules[package], name, value)
    return value
