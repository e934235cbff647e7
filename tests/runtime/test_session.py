"""Sessions: what was asked for runs, or an error says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.errors import BundleError, HaaqiEdgeError, OptionError, ProviderError
from haaqi_edge.runtime.session import PROVIDERS, Session, available_cores

CPU = "CPUExecutionProvider"


@pytest.fixture(scope="module")
def graph() -> Path:
    """A graph to load: the head of the shipped nano."""
    return Bundle("nano").path("head")


@pytest.mark.parametrize("name", [None, "cpu", "CPU", "Cpu", CPU])
def test_the_cpu_by_any_name(name: str | None, graph: Path) -> None:
    session = Session(graph, name, 1)
    assert session.provider == CPU
    assert session.threads == 1


def test_a_graph_in_memory_is_the_graph_in_its_file(graph: Path) -> None:
    rng = np.random.default_rng(0)
    sessions = Session(graph, threads=1), Session(graph.read_bytes(), threads=1)
    width = sessions[0].inputs["tokens"][2]
    tokens = rng.standard_normal((1, 9, width)).astype(np.float32)
    audiogram = rng.uniform(0, 60, (3, 8)).astype(np.float32)
    first, second = (session.run(tokens=tokens, audiogram=audiogram) for session in sessions)
    assert [out.shape for out in first] == [(3, 9), (3,), (3, 2)]
    third = sessions[0].run(audiogram=audiogram, tokens=tokens)
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(first, second, third, strict=True))


def test_what_a_session_tells_of_its_graph(graph: Path) -> None:
    session = Session(graph, threads=1)
    assert set(session.inputs) == {"tokens", "audiogram"}
    assert list(session.outputs) == ["frame_scores", "score", "interval"]
    assert session.inputs["audiogram"][1] == 8
    assert session.metadata["name"] == "nano"


def test_a_provider_that_nobody_knows(graph: Path) -> None:
    with pytest.raises(
        ProviderError, match=r"provider 'abacus' is not available: onnxruntime \S+ here has .*cpu"
    ) as info:
        Session(graph, "abacus")
    assert isinstance(info.value, HaaqiEdgeError)
    assert isinstance(info.value, RuntimeError)


@pytest.mark.parametrize("short", sorted(set(PROVIDERS) - {"cpu"}))
def test_a_provider_that_is_not_installed(short: str, graph: Path) -> None:
    if PROVIDERS[short] in onnxruntime.get_available_providers():
        pytest.skip(f"{short} is installed here")
    for name in (short, short.upper(), PROVIDERS[short]):
        with pytest.raises(ProviderError, match=f"provider '{name}' is not available"):
            Session(graph, name)
    with pytest.raises(ProviderError, match=f"provider '{short}' is not available"):
        Scorer("nano", provider=short)


def test_a_provider_that_would_leave_all_to_the_cpu_is_refused(graph: Path) -> None:
    """Azure's is in the usual wheel, takes no operator of ours, and names itself as the one that runs."""
    with pytest.raises(ProviderError, match="is not available"):
        Session(graph, "AzureExecutionProvider")


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**9])
def test_threads_that_cannot_be(threads: int, graph: Path) -> None:
    with pytest.raises(OptionError, match=f"threads={threads}: give a number from 1 to 1024"):
        Session(graph, threads=threads)
    with pytest.raises(OptionError, match=f"threads={threads}"):
        Scorer("nano", threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_as_asked(threads: int) -> None:
    scorer = Scorer("nano", threads=threads)
    assert (scorer.threads, scorer.provider) == (threads, CPU)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_threads_follow_the_affinity() -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert available_cores() == len(cores)
    code = (
        "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split()))\n"
        "from haaqi_edge.runtime import Scorer; print(Scorer('nano').threads)"
    )
    for count in {1, min(2, len(cores))}:
        command = [sys.executable, "-c", code, " ".join(map(str, cores[:count]))]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{count}\n"


def test_what_is_no_graph(tmp_path: Path, graph: Path) -> None:
    path = tmp_path / "broken.onnx"
    whole = graph.read_bytes()
    for data in (b"", b"not a graph", whole[:1000], whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(BundleError, match=r"cannot load .*broken\.onnx"):
            Session(path, threads=1)
        with pytest.raises(BundleError, match="cannot load the graph"):
            Session(data, threads=1)
    with pytest.raises(BundleError, match=r"cannot load .*absent\.onnx"):
        Session(tmp_path / "absent.onnx", threads=1)
