"""Fixtures shared by the packages' tests: the reference material, and networks with its weights."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# Test helpers such as sounds.py are imported by name; pytest's importlib mode leaves their folder off the path.
sys.path.insert(0, str(Path(__file__).parent))

# Time is measured by benchmarks. On a busy machine, hypothesis's deadline of 200 ms fails at random.
settings.register_profile("haaqi-edge", deadline=None)
settings.load_profile("haaqi-edge")

# A shell without job control lets programs in the background ignore Ctrl-C, and their children with them.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from excerpts import Excerpt
    from haaqi_edge.benchmarks.golden import Arrays
    from haaqi_edge.model.student import Student
    from haaqi_edge.model.teacher import Teacher
    from torch import Tensor


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material: HAAQI_EDGE_SHARED, or `shared` beside the checkout.

    Without it the test is skipped. It fails instead if HAAQI_EDGE_REQUIRE_SHARED is 1.
    """
    folder = Path(os.environ.get("HAAQI_EDGE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not folder.is_dir():
        reason = f"no reference material at {folder}: put it there, or set HAAQI_EDGE_SHARED to its folder"
        if os.environ.get("HAAQI_EDGE_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> dict[str, Arrays]:
    """The golden arrays by clip, the shortest clip first."""
    from haaqi_edge.benchmarks.golden import load_golden_files

    return load_golden_files(shared)


@pytest.fixture(scope="session")
def student_state(shared: Path) -> dict[str, Tensor]:
    """The student's published keys, filled by the golden rule."""
    from haaqi_edge.benchmarks.golden import golden_state_dict, load_published_shapes

    return golden_state_dict(load_published_shapes(shared, "haaqinet_student"))


@pytest.fixture(scope="session")
def student(student_state: dict[str, Tensor]) -> Student:
    """The golden student, whole; tests leave it as it is."""
    from haaqi_edge.model.student import Student

    network = Student()
    network.load_published(student_state)
    return network.eval()


@pytest.fixture(scope="session")
def teacher(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """The golden teacher, read from a bare state dict; tests leave it as it is."""
    import torch
    from haaqi_edge.benchmarks.golden import golden_state_dict, load_published_shapes
    from haaqi_edge.model.teacher import Teacher

    path = tmp_path_factory.mktemp("teacher") / "haaqi_net.pth"
    torch.save(golden_state_dict(load_published_shapes(shared, "haaqinet")), path)
    network = Teacher.from_checkpoint(path)
    path.unlink()
    return network


@pytest.fixture(scope="session")
def excerpt() -> Excerpt:
    """Two seconds of real music."""
    import soundfile
    from excerpts import Excerpt

    demo = Path(__file__).resolve().parents[1] / "demo" / "clean.flac"
    samples, rate = soundfile.read(demo, start=24_000, frames=48_000)
    samples.flags.writeable = False
    return Excerpt(samples, rate)
