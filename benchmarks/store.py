"""What was measured is kept, cell by cell, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..runtime.writing import write_file


class Store:
    """Cells of measurements as JSON files in a folder.

    Args:
        folder: `OUTPUT.work`.
        key: all that every measurement depends on (code, machine, versions); what another key made is measured anew.
    """

    def __init__(self, folder: Path, key: object) -> None:
        self.folder = folder
        self._key = repr(key)

    def cell(self, name: str, settings: object, make: Callable[[], Any]) -> Any:
        """What `make` gives (plain values, as JSON holds them), measured once for each name and settings."""
        digest = hashlib.sha256(repr((self._key, name, settings)).encode()).hexdigest()[:16]
        path = self.folder / "cells" / f"{name.replace('/', '-').replace(' ', '_')}-{digest}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(json.dumps(value).encode(), path)
        return value
