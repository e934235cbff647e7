"""The training loop that all tasks use: nano, the teacher, distillation and ratings.

Results depend only on the seed. They are the same for a run that was stopped and resumed, after an epoch or within one:
the checkpoint holds the networks, the optimizer, the schedule and the state of every random generator.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.errors import OptionError, TrainingError
from .configuration import NonNegativeInt
from .run_directory import Metrics, RunDirectory

Precision = Literal["auto", "fp32", "bf16", "fp16"]
B = TypeVar("B")
CHECKPOINT_INTERVAL: Final = 300.0
"""Seconds between checkpoints within an epoch."""
_TYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainerConfig:
    """How long and on which device a task is trained.

    Attributes:
        epochs: passes over the data.
        patience: number of epochs without improvement after which training stops.
        seed: of the initial weights, the order of the data and dropout.
        max_grad_norm: maximum norm of the gradient. None does not clip.
        device: `cpu`, `cuda`, or `auto`, which uses CUDA if available.
        precision: of the forward pass. `auto` is bf16 on CUDA devices that support it, fp16 on other CUDA devices, and
            fp32 on the CPU.
        threads: number of torch's threads. None does not change it.
    """

    epochs: int = 10
    patience: int = 3
    seed: NonNegativeInt = 0
    max_grad_norm: float | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    threads: int | None = None


class Task(ABC, Generic[B]):
    """A network to train, with its data, loss and optimizer.

    Attributes:
        trainable: all networks and tensors with a state. The checkpoint contains them.
        steps: number of steps per epoch.
        optimizer, schedule: the schedule makes a step after every step of the optimizer.
        monitor: the metric that selects the best epoch, and whether higher is better.
        weights: file name of the best weights.
    """

    trainable: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    steps: int
    monitor: tuple[str, bool] = ("lcc", True)
    weights: str

    @abstractmethod
    def batches(self, rng: np.random.Generator) -> Iterator[B]:
        """Yield the batches of an epoch, `steps` of them, in an order that depends only on `rng`."""

    @abstractmethod
    def loss(self, batch: B) -> Tensor:
        """Return the loss of a batch that is on the device already."""

    @abstractmethod
    def validate(self) -> Metrics:
        """Return the current metrics. Gradients are off, and dropout is off if `train_mode` turns it off."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the weights in the form in which they are used after training."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors of `trainable` that training changes. Frozen ones come from their original source."""
        frozen = {
            name for name, tensor in self.trainable.named_parameters(remove_duplicate=False) if not tensor.requires_grad
        }
        return {name: tensor for name, tensor in self.trainable.state_dict().items() if name not in frozen}

    def train_mode(self, on: bool) -> None:
        """Turn dropout on or off."""
        self.trainable.train(on)

    def on_step_end(self) -> None:
        """Do something after every step of the optimizer. The default does nothing."""


class Progress(NamedTuple):
    """Progress of a run: epoch (from 0), steps done in it, its mean loss, steps per second, max. seconds left."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    rate: float
    left: float


class TrainingInterrupted(KeyboardInterrupt):
    """Raised by Ctrl-C or SIGTERM after everything was saved. The message says how to resume."""


def resolve_device(name: str) -> torch.device:
    """Return the device with the given name.

    Raises:
        OptionError: the name is invalid, or the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise OptionError(f"device {name!r}: give cpu, cuda or auto")
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError("device cuda: there is no CUDA device, or PyTorch was built without CUDA; use cpu")
    return torch.device(name)


def train(
    task: Task[B],
    trainer: TrainerConfig,
    run: RunDirectory,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[Metrics], None] | None = None,
) -> list[Metrics]:
    """Train a task, or resume its run.

    Args:
        task: a newly created task. It is moved to the device of `trainer`.
        trainer: see `TrainerConfig`.
        run: the run's folder, for configuration, metrics, curves, checkpoint and the best weights.
        on_step: called after every step.
        on_epoch: called after every epoch.

    Returns:
        The metrics of every epoch: `epoch`, `loss`, those from `validate`, and `seconds`.

    Raises:
        OptionError: the device is not available.
        TrainingError: a loss is not finite. No weights of that epoch are saved.
        Stopped: Ctrl-C. The same call resumes the run.
    """
    return _Loop(task, trainer, run, on_step, on_epoch).train()


class _Loop(Generic[B]):
    def __init__(
        self,
        task: Task[B],
        trainer: TrainerConfig,
        run: RunDirectory,
        on_step: Callable[[Progress], None] | None,
        on_epoch: Callable[[Metrics], None] | None,
    ) -> None:
        self.task, self.trainer, self.run, self.on_step, self.on_epoch = task, trainer, run, on_step, on_epoch
        if trainer.threads is not None:
            torch.set_num_threads(trainer.threads)
        self.device = resolve_device(trainer.device)
        task.trainable.to(self.device)
        self.type = _autocast_type(trainer.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.type == torch.float16)
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.rng = np.random.default_rng(trainer.seed)
        self.order = self.rng.bit_generator.state
        self.epoch, self.losses, self.seconds = 0, list[float](), 0.0
        self.history: list[Metrics] = []
        self.best, self.best_epoch = float("-inf"), 0
        self.parameters = [p for group in task.optimizer.param_groups for p in group["params"]]
        self.stop_requested = False

    def train(self) -> list[Metrics]:
        if self.run.has_checkpoint():
            self._restore(self.run.load())
        else:
            precision = "float32" if self.type is None else str(self.type).removeprefix("torch.")
            self.run.begin({"device": str(self.device), "precision": precision})
        with self._handle_interrupts():
            while not self._is_finished():
                self._epoch()
                if self._is_finished():
                    self.run.record(self.history, last=True)
        return self.history

    def _is_finished(self) -> bool:
        behind = self.epoch - 1 - self.best_epoch
        return self.epoch >= self.trainer.epochs or (self.epoch > 0 and behind >= self.trainer.patience)

    def _epoch(self) -> None:
        task, done = self.task, len(self.losses)
        self.rng.bit_generator.state = self.order
        started = saved = time.monotonic()
        begun = started - self.seconds
        task.train_mode(True)
        for step, batch in enumerate(task.batches(self.rng)):
            if step < done:
                continue  # done before the run was stopped
            self.losses.append(self._step(batch))
            now = time.monotonic()
            self.seconds = now - begun
            if self.on_step:
                rate = (step + 1 - done) / (now - started)
                left = (self.trainer.epochs - self.epoch) * task.steps - step - 1
                loss = float(np.mean(self.losses))
                self.on_step(Progress(self.epoch, self.trainer.epochs, step + 1, task.steps, loss, rate, left / rate))
            if self.stop_requested:
                self._stop()
            if now - saved > CHECKPOINT_INTERVAL:
                self._save()
                saved = now
        task.train_mode(False)
        with torch.inference_mode(), self._autocast():
            found = task.validate()
        loss = float(np.mean(self.losses))
        result: Metrics = {"epoch": self.epoch, "loss": loss, **found, "seconds": round(time.monotonic() - begun, 3)}
        self._check(found)
        self.history.append(result)
        self.run.record(self.history)
        name, higher_is_better = task.monitor
        value = result[name] if higher_is_better else -result[name]
        if self.epoch == 0 or value > self.best:  # false for NaN
            self.best = float("-inf") if math.isnan(value) else value
            self.best_epoch = self.epoch
            task.save(self.run.folder / task.weights)
        self.epoch, self.losses, self.seconds = self.epoch + 1, [], 0.0
        self.order = self.rng.bit_generator.state
        self._save()
        if self.on_epoch:
            self.on_epoch(result)
        if self.stop_requested and not self._is_finished():
            self._stop()

    def _step(self, batch: B) -> float:
        task = self.task
        with self._autocast():
            loss = task.loss(move_to_device(batch, self.device))
        value = float(loss.item())
        if not self.scaler.is_enabled():  # the scaler of fp16 skips such a step and reduces its scale
            self._check({"loss": value})
        task.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.trainer.max_grad_norm is not None:
            self.scaler.unscale_(task.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, self.trainer.max_grad_norm)
        self.scaler.step(task.optimizer)
        self.scaler.update()
        if task.schedule is not None:
            task.schedule.step()
        task.on_step_end()
        return value

    def _check(self, found: Metrics) -> None:
        """Raise TrainingError if a loss or an error is not finite. Correlations are not checked."""
        checked = {name: value for name, value in found.items() if not name.endswith(("lcc", "srcc"))}
        other = [name for name, value in checked.items() if not math.isfinite(value)]
        if other:
            raise TrainingError(
                f"epoch {self.epoch + 1}: {', '.join(other)} is {found[other[0]]}, and the training was stopped "
                f"(precision {self.trainer.precision}): use a lower learning rate, and another folder than "
                f"{self.run.folder}"
            )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.type or torch.bfloat16, enabled=self.type is not None)

    def _save(self) -> None:
        task = self.task
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        self.run.save(
            {
                "task": task.state(),
                "optimizer": task.optimizer.state_dict(),
                "schedule": task.schedule.state_dict() if task.schedule else None,
                "scaler": self.scaler.state_dict(),
                "random": {"torch": torch.get_rng_state(), "cuda": cuda, "order": self.order},
                "epoch": self.epoch,
                "losses": self.losses,
                "seconds": self.seconds,
                "history": self.history,
                "best": self.best,
                "best_epoch": self.best_epoch,
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        task = self.task
        task.trainable.load_state_dict({**task.trainable.state_dict(), **state["task"]})
        task.optimizer.load_state_dict(state["optimizer"])
        if task.schedule is not None:
            task.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"]["torch"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
        self.order = state["random"]["order"]
        self.epoch, self.losses, self.seconds = state["epoch"], state["losses"], state["seconds"]
        self.history, self.best, self.best_epoch = state["history"], state["best"], state["best_epoch"]
        self.run.record(self.history)

    def _stop(self) -> None:
        self._save()
        self.run.record(self.history, last=True)
        where = f"epoch {self.epoch + 1} of {self.trainer.epochs}, step {len(self.losses)} of {self.task.steps}"
        raise TrainingInterrupted(f"stopped at {where}; saved in {self.run.folder}: run the same command to resume")

    @contextlib.contextmanager
    def _handle_interrupts(self) -> Iterator[None]:
        """Within this context, let the first Ctrl-C or SIGTERM finish the current step. A second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request_stop(_number: int, _frame: FrameType | None) -> None:
            if self.stop_requested:
                raise KeyboardInterrupt
            self.stop_requested = True

        before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def move_to_device(value: Any, device: torch.device) -> Any:
    """Move tensors to a device, including those in tuples and lists."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        parts = [move_to_device(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _autocast_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the type that the forward pass computes in. None means fp32."""
    if precision == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return _TYPES.get(precision)
