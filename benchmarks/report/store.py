"""Storage of single measurements, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runtime.writing import write_file


class MeasurementStore:
    """Measurements, stored as JSON files in a folder.

    Args:
        folder: `OUTPUT.work`.
        key: everything that all measurements depend on (code, machine, versions). With another key, they are repeated.
    """

    def __init__(self, folder: Path, key: object) -> None:
        self.folder = folder
        self._key = repr(key)

    def load_or_measure(self, name: str, settings: object, measure: Callable[[], Any]) -> Any:
        """Return a measurement, made once for each name and settings.

        Args:
            name: name of the measurement.
            settings: everything else that the value depends on.
            measure: measures the value and returns it as plain values that JSON can represent.
        """
        digest = hashlib.sha256(repr((self._key, name, settings)).encode()).hexdigest()[:16]
        path = self.folder / "measurements" / f"{name.replace('/', '-').replace(' ', '_')}-{digest}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        value = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(json.dumps(value).encode(), path)
        return value
