"""Targets: number formats by device, and the target of this machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from haaqi_edge.calibration.targets import TARGETS, get_target, native_target, runs_natively
from haaqi_edge.runtime.errors import OptionError

PLAIN = "processor\t: 0\nflags\t\t: fpu sse4_2 avx avx2 fma\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    name, flags = request.param
    monkeypatch.setattr(platform, "machine", lambda: name)
    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(flags)
    return path


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (("x86_64", PLAIN), "x86"),
        (("AMD64", None), "x86"),
        (("x86_64", PLAIN.replace("fma", "avx512_vnni")), "x86-vnni"),
        (("x86_64", PLAIN.replace("fma", "avx_vnni")), "x86-vnni"),
        (("aarch64", "Features : asimddp\n"), "arm64"),
        (("arm64", None), "arm64"),
    ],
    indirect=["machine"],
)
def test_a_machine_is_known_by_its_processor(machine: Path, expected: str) -> None:
    assert native_target(machine) is TARGETS[expected]
    assert runs_natively(TARGETS[expected], machine)
    assert not runs_natively(TARGETS["tensorrt"], machine)
    assert runs_natively(TARGETS["arm64"], machine) == (expected == "arm64")


@pytest.mark.parametrize("machine", [("x86_64", PLAIN)], indirect=True)
def test_a_processor_without_vnni_is_not_the_target_with_vnni(machine: Path) -> None:
    assert not runs_natively(TARGETS["x86-vnni"], machine)
    assert runs_natively(TARGETS["x86"], machine)


@pytest.mark.parametrize("machine", [("riscv64", None)], indirect=True)
def test_an_unknown_machine_is_an_error(machine: Path) -> None:
    with pytest.raises(OptionError, match=r"riscv64.*x86-vnni, x86, arm64, tensorrt"):
        native_target(machine)


def test_targets_by_name() -> None:
    assert all(get_target(name) is target for name, target in TARGETS.items())
    assert get_target("auto") is native_target()
    with pytest.raises(OptionError, match=r"'neon'.*auto"):
        get_target("neon")


def test_targets_that_would_overflow_have_seven_bit_weights() -> None:
    assert {name for name, target in TARGETS.items() if target.reduced} == {"x86"}
    assert TARGETS["tensorrt"].symmetric
    assert not TARGETS["tensorrt"].head
    assert TARGETS["tensorrt"].methods == ("static",)
