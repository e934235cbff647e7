"""The training loop: what was stopped goes on to the same numbers, in any task and at any step."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from haaqi_edge.runtime.errors import CheckpointError, OptionError, TrainingError
from haaqi_edge.training.loop import (
    Precision,
    Progress,
    Task,
    TrainerConfig,
    TrainingInterrupted,
    resolve_device,
    train,
)
from haaqi_edge.training.run_directory import Metrics, RunDirectory
from torch import Tensor, nn

STEPS = 5
PLAN = TrainerConfig(epochs=4, patience=4, seed=3, max_grad_norm=1.0)


class Lines(Task[tuple[Tensor, Tensor]]):
    """A line through noise; dropout, noise in the batches, a schedule and a frozen part make resuming hard."""

    monitor = ("error", False)
    weights = "lines.pt"

    def __init__(self, seed: int = 3) -> None:
        torch.manual_seed(seed)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.line = nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 1))
        self.trainable = nn.ModuleDict({"frozen": self.frozen, "line": self.line})
        self.optimizer = torch.optim.Adam(self.line.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.1, total_steps=4 * STEPS)
        self.steps = STEPS

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(STEPS):
            x = torch.from_numpy(rng.standard_normal((8, 3)).astype(np.float32))
            yield x, x.sum(1, keepdim=True)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (self.line(self.frozen(batch[0])) - batch[1]).square().mean()

    def validate(self) -> Metrics:
        assert not self.line.training
        return {"error": float((self.line[1].weight - 1).abs().sum()), "lcc": 0.5}

    def save(self, path: Path) -> None:
        torch.save(self.line.state_dict(), path)


def without_times(history: list[Metrics]) -> list[Metrics]:
    """Everything but how long it took."""
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]


def stopping(at: tuple[int, int], how: signal.Signals = signal.SIGINT) -> object:
    """A report that interrupts this process after a step."""

    def report(now: Progress) -> None:
        if (now.epoch, now.step) == at:
            os.kill(os.getpid(), how)

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lines, list[Metrics], Path]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    task = Lines()
    return task, train(task, PLAN, RunDirectory(folder, {"a": 1})), folder


@pytest.mark.slow
@pytest.mark.parametrize("at", [(0, 1), (1, 3), (2, STEPS), (3, STEPS - 1)])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(
    at: tuple[int, int], how: signal.Signals, whole: tuple[Lines, list[Metrics], Path], tmp_path: Path
) -> None:
    before = signal.getsignal(how)
    with pytest.raises(
        TrainingInterrupted,
        match=rf"epoch {at[0] + 1} of 4, step {at[1]} of 5; saved in .* run the same command to resume",
    ):
        train(Lines(), PLAN, RunDirectory(tmp_path, {"a": 1}), stopping(at, how))  # type: ignore[arg-type]
    assert signal.getsignal(how) is before
    torch.manual_seed(99)
    task = Lines()
    steps = list[tuple[int, int]]()
    history = train(task, PLAN, RunDirectory(tmp_path, {"a": 1}), lambda now: steps.append((now.epoch, now.step)))
    assert without_times(history) == without_times(whole[1])
    assert steps[:1] == [(at[0], at[1] + 1) if at[1] < STEPS else (at[0] + 1, 1)]
    for ours, theirs in zip(
        task.trainable.state_dict().values(), whole[0].trainable.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    best = [torch.load(folder / "lines.pt", weights_only=True) for folder in (tmp_path, whole[2])]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_a_second_interruption_does_not_wait(tmp_path: Path) -> None:
    class Slow(Lines):
        def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().loss(batch)

    with pytest.raises(KeyboardInterrupt) as ended:
        train(Slow(), PLAN, RunDirectory(tmp_path, {}))
    assert not isinstance(ended.value, TrainingInterrupted)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    class Wild(Lines):
        def on_step_end(self) -> None:
            self.line[1].weight.data.fill_(float("nan"))

    class WildAtTheEnd(Lines):
        def validate(self) -> Metrics:
            return {"error": float("inf"), "lcc": float("nan")}

    for kind, said in ((Wild, "epoch 1: loss is nan"), (WildAtTheEnd, "epoch 1: error is inf")):
        with pytest.raises(TrainingError, match=rf"{said}.* use a lower learning rate"):
            train(kind(), PLAN, RunDirectory(tmp_path / kind.__name__, {}))
        assert not (tmp_path / kind.__name__ / "lines.pt").exists()


def test_what_a_run_leaves(whole: tuple[Lines, list[Metrics], Path]) -> None:
    _, history, folder = whole
    names = {"config.json", "metrics.jsonl", "curves.png", "checkpoint.pt", "lines.pt"}
    assert {path.name for path in folder.iterdir()} == names
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("provenance")["precision"] == "float32"
    assert config == {"a": 1}
    assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == history
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert not any(name.startswith("frozen") for name in state["task"])
    assert min(history, key=lambda epoch: epoch["error"])["epoch"] == state["best_epoch"]


def test_a_finished_run_is_not_run_again(whole: tuple[Lines, list[Metrics], Path]) -> None:
    def never(_: Progress) -> None:
        raise AssertionError("a step was taken")

    assert train(Lines(), PLAN, RunDirectory(whole[2], {"a": 1}), never) == whole[1]


def test_patience(tmp_path: Path) -> None:
    class Worse(Lines):
        turn = 0

        def validate(self) -> Metrics:
            self.turn += 1
            return {"error": float(self.turn)}

    assert len(train(Worse(), TrainerConfig(epochs=10, patience=3), RunDirectory(tmp_path, {}))) == 4


def test_another_runs_folder_is_refused(whole: tuple[Lines, list[Metrics], Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"has other settings .*a was 1 and is 2.* another folder"):
        RunDirectory(whole[2], {"a": 2})
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file: give a folder"):
        RunDirectory(tmp_path / "file", {})
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"is damaged .* remove it"):
        train(Lines(), PLAN, RunDirectory(tmp_path, {}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_reaches_the_forward_pass(precision: Precision, tmp_path: Path) -> None:
    seen = set[torch.dtype]()

    class Watched(Lines):
        def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            seen.add(self.frozen(batch[0]).dtype)
            return super().loss(batch)

    train(Watched(), TrainerConfig(epochs=1, precision=precision), RunDirectory(tmp_path, {}))
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_run_goes_on_too(tmp_path: Path) -> None:
    trainer = TrainerConfig(epochs=4, patience=4, seed=3, max_grad_norm=1.0, device="cuda")
    expected = train(Lines(), trainer, RunDirectory(tmp_path / "whole", {}))
    with pytest.raises(TrainingInterrupted):
        train(Lines(), trainer, RunDirectory(tmp_path / "cut", {}), stopping((1, 3)))  # type: ignore[arg-type]
    assert without_times(train(Lines(), trainer, RunDirectory(tmp_path / "cut", {}))) == without_times(expected)


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(OptionError, match="give cpu, cuda or auto"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="no CUDA device"):
            resolve_device("cuda")
