"""Without the reference material its tests are skipped, and fail if it is required."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SHARED_TEST = "def test_it(shared):\n    assert (shared / 'here').is_file()\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("present", "required", "outcome"),
    [(True, "1", "1 passed"), (False, "1", "1 error"), (False, "0", "1 skipped"), (False, None, "1 skipped")],
)
def test_reference_material(present: bool, required: str | None, outcome: str, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    if present:
        folder.mkdir()
        (folder / "here").touch()
    (tmp_path / "test_it.py").write_text(SHARED_TEST)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HAAQI_EDGE_")}
    environment |= {"HAAQI_EDGE_SHARED": str(folder), "PYTHONPATH": str(Path(__file__).parent)}
    if required is not None:
        environment["HAAQI_EDGE_REQUIRE_SHARED"] = required
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", os.devnull, "-rs", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert re.search(rf"\b{outcome}\b", done.stdout), done.stdout + done.stderr
    assert present or f"no reference material at {folder}" in done.stdout
