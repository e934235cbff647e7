"""Storage of measurements in cells, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runtime.writing import write_file


class Store:
    """Cells of measurements, stored as JSON files in a folder.

    Args:
        folder: `OUTPUT.work`.
        key: everything that all measurements depend on (code, machine, versions). With another key, they are repeated.
    """

    def __init__(self, folder: Path, key: object) -> None:
        self.folder = folder
        self._key = repr(key)

    def cell(self, name: str, settings: object, make: Callable[[], Any]) -> Any:
        """Return the value of a cell, measured once for each name and settings.

        Args:
            name: name of the cell.
            settings: everything else that the value depends on.
            make: measures the value and returns it as plain values that JSON can represent.
        """
        digest = hashlib.sha256(repr((self._key, name, settings)).encode()).hexdigest()[:16]
        path = self.folder / "cells" / f"{name.replace('/', '-').replace(' ', '_')}-{digest}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(json.dumps(value).encode(), path)
        return value
