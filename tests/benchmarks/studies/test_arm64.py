"""The benchmark on arm64 names what a machine lacks."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from haaqi_edge.benchmarks.studies import arm64, boards


def test_it_is_left_out_where_tools_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = arm64.measure(argparse.Namespace(work=tmp_path / "work"))
    assert found["skipped"].startswith("apt-get, dpkg-deb, qemu-aarch64-static not found (Debian: ")
    assert not (tmp_path / "work").exists()
    assert boards.missing(boards.COMPILER).startswith("arm-none-eabi-gcc not found (Debian: ")
