"""Tuning of a trained network to human ratings. Ratings are few, so that most of the network stays frozen.

Results come from cross-validation, in which the ratings of a group are never in both the training part and the test
part. Within each fold, an inner part selects the epoch. The final network is tuned on all ratings, for the median
number of epochs of the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...model.family import Network
from ...model.loss import windowed
from ...model.nano import Nano
from ...model.student import Student
from ...model.teacher import Teacher
from ...runtime.bundle import Scale
from ...runtime.errors import CorpusError, OptionError
from .. import loop
from ..data.batches import Batch, Clips
from ..data.examples import Example, parted
from ..data.feature_cache import FBANK, fingerprint, texture_kind
from ..loop import Plan, Task
from ..run_directory import Metrics, Run
from ..statistics import agreement
from .distillation import save_student
from .nano import save as save_nano
from .pipelines import Data, Told
from .ratings import figures, folds_of
from .teacher import save as save_teacher

Freeze = Literal["all-but-output", "encoder", "nothing"]
FREEZES: Final[tuple[Freeze, ...]] = ("all-but-output", "encoder", "nothing")
_OUTPUT: Final = ("head.frame.", "head.attention.", "haaqiframe_score.")
_ENCODER: Final = ("encoder", "beats_model.", "patch_embedding.", "beats_layer_norm.", "linear2.")
_INNER: Final = 0.2
"""Share of a fold's training groups that select the epoch instead."""


@dataclass(frozen=True)
class MosConfig:
    """How a network is tuned to ratings.

    Attributes:
        freeze: the frozen part: all but the output layers, the encoder, or nothing.
        folds: number of folds of the cross-validation, at least 2.
        anchor: weight of the squared distance from the initial weights (Li et al. 2018, "L2-SP").
        batch, lr: clips per step; Adam's learning rate.
        plan: epochs, patience, seed, device and so on.
    """

    freeze: Freeze = "all-but-output"
    folds: int = 5
    anchor: float = 1e-3
    batch: int = 16
    lr: float = 3e-3
    plan: Plan = field(default_factory=lambda: Plan(epochs=60, patience=8, clip=1.0))


class Tuned(NamedTuple):
    """The tuned network, its file, its results, and cross-validated predictions (0 to 1) before and after tuning."""

    network: Network
    weights: Path
    figures: dict[str, Any]
    before: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]


def freeze(network: Network, what: Freeze) -> list[str]:
    """Freeze parts of a network and return the names of the parameters that are tuned.

    Raises:
        OptionError: there is no such part.
    """
    if what not in FREEZES:
        raise OptionError(f"freeze {what!r}: expected one of {', '.join(FREEZES)}")
    tuned = []
    for name, parameter in network.named_parameters():
        if what == "all-but-output":
            learns = name.startswith(_OUTPUT)
        else:
            learns = what == "nothing" or not name.startswith(_ENCODER)
        parameter.requires_grad_(learns)
        if learns:
            tuned.append(name)
    return tuned


class MosTask(Task[Batch]):
    """A network, the ratings to tune it on, and ratings that select the epoch. With None, the last epoch is used."""

    def __init__(self, network: Network, config: MosConfig, train: Clips, valid: Clips | None) -> None:
        torch.manual_seed(config.plan.seed)
        self.config, self.clips, self.valid = config, train, valid
        self.network: Network = deepcopy(network)
        freeze(self.network, config.freeze)
        self.watched = ("valid_loss", False) if valid else ("epoch", True)
        self.weights = weights_name(network)
        self.tuned = [p for p in self.network.parameters() if p.requires_grad]
        start = nn.ParameterList([nn.Parameter(p.detach().clone(), requires_grad=False) for p in self.tuned])
        self.learnt = nn.ModuleDict({"network": self.network, "start": start})
        self.start = start
        self.steps = train.steps(config.batch)
        self.optimizer = torch.optim.Adam(self.tuned, lr=config.lr)

    def train_mode(self, on: bool) -> None:
        """Turn dropout on only if the whole network is tuned."""
        self.learnt.train(on and self.config.freeze == "nothing")

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        return (batch for _, batch in self.clips.batches(self.config.batch, rng))

    def loss(self, batch: Batch) -> Tensor:
        score = windowed(self.network, batch.inputs, batch.audiograms)
        moved = torch.stack([(now - then).square().sum() for now, then in zip(self.tuned, self.start, strict=True)])
        return F.mse_loss(score, batch.labels) + self.config.anchor * moved.sum()

    def validate(self) -> Metrics:
        chosen = self.valid or self.clips
        found = agreement(predict(self.network, chosen), chosen.labels)
        return {"valid_loss": found.mse, **found._asdict()}

    def save(self, path: Path) -> None:
        save(self.network, path)


def predict(network: Network, clips: Clips, batch: int = 16) -> npt.NDArray[np.float32]:
    """Return the scores [clips], each of the whole clip."""
    predicted, device = np.empty(len(clips), np.float32), next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for places, told in clips.batches(batch):
            score = windowed(network, told.inputs.to(device), told.audiograms.to(device))
            predicted[places] = score.float().cpu().numpy()
    return predicted


def tune(
    network: Network, config: MosConfig, data: Data, folder: Path, scale: Scale, told: Told | None = None
) -> Tuned:
    """Tune a network to the ratings in `data.train`, or resume the tuning.

    Args:
        network: a trained network, loaded from a checkpoint. It is not changed.
        config: see `MosConfig`.
        data: its `valid` is not used.
        folder: destination of the runs: one per fold, and one on all ratings.
        scale: of the ratings.
        told: callbacks.

    Raises:
        CorpusError: there are fewer groups than folds, or all ratings are equal.
        OptionError: the folder holds a run with other settings or other groups.
        Stopped: Ctrl-C.
    """
    told = told or Told()
    examples = data.train
    folds = folds_of(examples, config.folds, config.plan.seed)
    if len({example.score for example in examples}) < 2:
        raise CorpusError(f"all {len(examples)} ratings are alike: there is nothing to learn from them")
    reads = texture_kind(network.config.texture_version) if isinstance(network, Nano) else FBANK
    data.make_features([reads], examples, told)

    def clips(part: Sequence[Example]) -> Clips:
        return Clips(data.cache, part, reads)

    asked = {**asdict(config), "checkpoint": network.checkpoint_sha256, "data": [fingerprint(examples)]}
    whole = clips(examples)
    ratings, before = whole.labels, predict(network, whole)
    after, mapped, lengths = np.empty_like(before), np.empty_like(before), list[int]()
    for turn, fold in enumerate(folds):
        held = set(fold)
        rest = [example for place, example in enumerate(examples) if place not in held]
        teach, choose = parted(rest, _INNER, config.plan.seed)
        task = MosTask(network, config, clips(teach), clips(choose))
        parts = {"teach": teach, "choose": choose, "held": [examples[place] for place in fold]}
        of = {name: fingerprint(part) for name, part in parts.items()}  # groups can change while ratings do not
        run = Run(folder / f"fold-{turn}", {**asked, "fold": turn, "parts": of})
        told.begins(f"fold {turn + 1} of {len(folds)}, tuned on {len(teach)} ratings, {len(choose)} choose the epoch")
        history = loop.train(task, config.plan, run, told.step, told.epoch)
        lengths.append(1 + int(min(history, key=lambda found: found["valid_loss"])["epoch"]))
        after[fold] = predict(_read(network, run.folder / task.weights), clips([examples[i] for i in fold]))
        others = [place for place in range(len(examples)) if place not in held]
        mapped[fold] = np.polyval(np.polyfit(before[others], ratings[others], 1), before[fold])
    epochs = round(float(np.median(lengths)))
    task = MosTask(network, config, whole, None)
    run = Run(folder, {**asked, "epochs": epochs})
    told.begins(f"all {len(examples)} ratings, epochs: {epochs}")
    loop.train(task, replace(config.plan, epochs=epochs, patience=epochs), run, told.step, told.epoch)
    groups = [example.group for example in examples]
    weights = folder / task.weights
    found = {**figures(before, mapped, after, ratings, groups, scale), "folds": config.folds, "epochs": epochs}
    found["freeze"] = config.freeze
    return Tuned(_read(network, weights), weights, found, before, after)


def weights_name(network: Network) -> str:
    """Return the file name of a network's weights."""
    names = {Nano: "nano.safetensors", Student: "student.pth", Teacher: "teacher.pth"}
    return next(name for kind, name in names.items() if isinstance(network, kind))


def save(network: Network, path: Path) -> None:
    """Write a network in the format of its kind."""
    if isinstance(network, Nano):
        save_nano(network, path)
    elif isinstance(network, Student):
        save_student(network, path)
    else:
        save_teacher(network, path)


def _read(network: Network, path: Path) -> Network:
    read: Callable[[Path], Network] = type(network).from_checkpoint
    return read(path)
