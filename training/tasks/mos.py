"""Tuning of a trained network to human ratings. Ratings are few, so that most of the network stays frozen.

Results come from cross-validation, in which the ratings of a group are never in both the training part and the test
part. Within each fold, an inner part selects the epoch. The final network is tuned on all ratings, for the median
number of epochs of the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...model.family import Network
from ...model.loss import score_tokens, score_windows
from ...model.nano import Nano
from ...model.small import Small
from ...model.student import Student
from ...model.teacher import Teacher
from ...runtime.bundle import Scale
from ...runtime.errors import CorpusError, OptionError
from .. import loop
from ..configuration import Min
from ..data.batches import Batch, Dataset, input_kind
from ..data.examples import Example, split_by_group
from ..data.feature_cache import examples_fingerprint
from ..loop import Task, TrainerConfig, resolve_device
from ..run_directory import Metrics, RunDirectory
from ..statistics import agreement
from .distillation import save_student
from .nano import save_nano
from .pipelines import Callbacks, TrainingData
from .ratings import rating_metrics, split_folds
from .teacher import save_teacher

Freeze = Literal["all-but-output", "encoder", "nothing"]
FREEZES: Final[tuple[Freeze, ...]] = ("all-but-output", "encoder", "nothing")
_OUTPUT: Final = ("head.frame.", "head.attention.", "haaqiframe_score.")
_ENCODER: Final = ("encoder", "beats_model.", "patch_embedding.", "beats_layer_norm.", "linear2.")
_SELECTION_SHARE: Final = 0.2
"""Share of a fold's training groups that select the epoch instead."""


@dataclass(frozen=True)
class MosConfig:
    """How a network is tuned to ratings.

    Attributes:
        freeze: the frozen part: all but the output layers, the encoder, or nothing.
        folds: number of folds of the cross-validation, at least 2.
        anchor_weight: weight of the squared distance from the initial weights (Li et al. 2018, "L2-SP").
        batch_size, lr: clips per step; Adam's learning rate.
        trainer: epochs, patience, seed, device and so on.
    """

    freeze: Freeze = "all-but-output"
    folds: Annotated[int, Min(2)] = 5
    anchor_weight: float = 1e-3
    batch_size: int = 16
    lr: float = 3e-3
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(epochs=60, patience=8, max_grad_norm=1.0))


class EncodedClips:
    """Clips whose tokens are computed once, for networks whose encoder is frozen.

    Args:
        clips: the clips.
        tokens: the tokens of each clip by its `Example.listening_key`, from `encode_examples`.
    """

    def __init__(self, clips: Dataset, tokens: Mapping[Any, Tensor]) -> None:
        self._clips = clips
        self._tokens = [tokens[example.listening_key] for example in clips.examples]
        self.labels = clips.labels

    def __len__(self) -> int:
        return len(self._clips)

    def steps(self, size: int) -> int:
        """Return the number of batches of an epoch."""
        return self._clips.steps(size)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Sequence[int], Batch]]:
        """Yield the clips of each batch, and the batch with tokens as inputs; see `Dataset.batches`."""
        for places, batch in self._clips.batches(size, rng):
            yield places, batch._replace(inputs=torch.stack([self._tokens[place] for place in places]))


Clips: TypeAlias = Dataset | EncodedClips


def encode_examples(network: Nano | Small, clips: Dataset, device: torch.device, size: int = 16) -> dict[Any, Tensor]:
    """Compute the tokens of clips, [patches, width] for each, by its `Example.listening_key`."""
    encoder = deepcopy(network).to(device).eval()
    found: dict[Any, Tensor] = {}
    with torch.no_grad():  # not inference mode, whose tensors cannot be used in training
        for places, batch in clips.batches(size):
            tokens = encoder.encode_clips(batch.inputs.to(device)).cpu()
            found |= {
                clips.examples[place].listening_key: one.clone() for place, one in zip(places, tokens, strict=True)
            }
    return found


class TuningResult(NamedTuple):
    """The tuned network, its file, its results, and cross-validated predictions (0 to 1) before and after tuning."""

    network: Network
    weights: Path
    metrics: dict[str, Any]
    before: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]


def freeze_parameters(network: Network, what: Freeze) -> list[str]:
    """Freeze parts of a network and return the names of the parameters that are tuned.

    Raises:
        OptionError: there is no such part.
    """
    if what not in FREEZES:
        raise OptionError(f"freeze {what!r}: expected one of {', '.join(FREEZES)}")
    names = []
    for name, parameter in network.named_parameters():
        if what == "all-but-output":
            learns = name.startswith(_OUTPUT)
        else:
            learns = what == "nothing" or not name.startswith(_ENCODER)
        parameter.requires_grad_(learns)
        if learns:
            names.append(name)
    return names


class MosTask(Task[Batch]):
    """A network, the ratings to tune it on, and ratings that select the epoch. With None, the last epoch is used."""

    def __init__(self, network: Network, config: MosConfig, train: Clips, valid: Clips | None) -> None:
        torch.manual_seed(config.trainer.seed)
        self.config, self.clips, self.valid = config, train, valid
        self.network: Network = deepcopy(network)
        freeze_parameters(self.network, config.freeze)
        self.monitor = ("valid_loss", False) if valid else ("epoch", True)
        self.weights = weights_file_name(network)
        self.tuned_parameters = [p for p in self.network.parameters() if p.requires_grad]
        start = nn.ParameterList([nn.Parameter(p.detach().clone(), requires_grad=False) for p in self.tuned_parameters])
        self.trainable = nn.ModuleDict({"network": self.network, "start": start})
        self.start = start
        self.steps = train.steps(config.batch_size)
        self.optimizer = torch.optim.Adam(self.tuned_parameters, lr=config.lr)

    def train_mode(self, on: bool) -> None:
        """Turn dropout on only if the whole network is tuned."""
        self.trainable.train(on and self.config.freeze == "nothing")

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        return (batch for _, batch in self.clips.batches(self.config.batch_size, rng))

    def loss(self, batch: Batch) -> Tensor:
        score = _score(self.network, batch, self.clips)
        moved = torch.stack(
            [(now - then).square().sum() for now, then in zip(self.tuned_parameters, self.start, strict=True)]
        )
        return F.mse_loss(score, batch.labels) + self.config.anchor_weight * moved.sum()

    def validate(self) -> Metrics:
        chosen = self.valid or self.clips
        found = agreement(predict_scores(self.network, chosen), chosen.labels)
        return {"valid_loss": found.mse, **found._asdict()}

    def save(self, path: Path) -> None:
        save_network(self.network, path)


def _score(network: Network, batch: Batch, clips: Clips) -> Tensor:
    """Return the scores [batch] of a batch of clips."""
    if isinstance(clips, EncodedClips):
        assert isinstance(network, Nano | Small)
        return score_tokens(network, batch.inputs, batch.audiograms)
    return score_windows(network, batch.inputs, batch.audiograms)


def predict_scores(network: Network, clips: Clips, batch_size: int = 16) -> npt.NDArray[np.float32]:
    """Return the scores [clips], each of the whole clip."""
    predicted, device = np.empty(len(clips), np.float32), next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for places, batch in clips.batches(batch_size):
            moved = batch._replace(inputs=batch.inputs.to(device), audiograms=batch.audiograms.to(device))
            score = _score(network, moved, clips)
            predicted[places] = score.float().cpu().numpy()
    return predicted


def tune(
    network: Network,
    config: MosConfig,
    data: TrainingData,
    folder: Path,
    scale: Scale,
    callbacks: Callbacks | None = None,
) -> TuningResult:
    """Tune a network to the ratings in `data.train`, or resume the tuning.

    Args:
        network: a trained network, loaded from a checkpoint. It is not changed.
        config: see `MosConfig`.
        data: its `valid` is not used.
        folder: destination of the runs: one per fold, and one on all ratings.
        scale: of the ratings.
        callbacks: called with the progress.

    Raises:
        CorpusError: there are fewer groups than folds, or all ratings are equal.
        OptionError: the folder holds a run with other settings or other groups.
        Stopped: Ctrl-C.
    """
    callbacks = callbacks or Callbacks()
    examples = data.train
    folds = split_folds(examples, config.folds, config.trainer.seed)
    if len({example.score for example in examples}) < 2:
        raise CorpusError(f"all {len(examples)} ratings are equal: give ratings that differ")
    if isinstance(network, Nano | Small):
        network = deepcopy(network)
        network.drop_interval()
    reads = input_kind(network)
    data.compute_features([reads], examples, callbacks)

    tokens: dict[Any, Tensor] | None = None
    if isinstance(network, Nano | Small) and config.freeze != "nothing":  # the encoder does not change
        tokens = encode_examples(network, Dataset(data.cache, examples, reads), resolve_device(config.trainer.device))

    def clips(part: Sequence[Example]) -> Clips:
        found = Dataset(data.cache, part, reads)
        return found if tokens is None else EncodedClips(found, tokens)

    asked = {**asdict(config), "checkpoint": network.checkpoint_sha256, "data": [examples_fingerprint(examples)]}
    whole = clips(examples)
    ratings, before = whole.labels, predict_scores(network, whole)
    after, mapped, lengths = np.empty_like(before), np.empty_like(before), list[int]()
    for turn, fold in enumerate(folds):
        held = set(fold)
        rest = [example for place, example in enumerate(examples) if place not in held]
        teach, choose = split_by_group(rest, _SELECTION_SHARE, config.trainer.seed)
        task = MosTask(network, config, clips(teach), clips(choose))
        parts = {"teach": teach, "choose": choose, "held": [examples[place] for place in fold]}
        of = {
            name: examples_fingerprint(part) for name, part in parts.items()
        }  # groups can change while ratings do not
        run = RunDirectory(folder / f"fold-{turn}", {**asked, "fold": turn, "parts": of})
        callbacks.start_stage(
            f"fold {turn + 1} of {len(folds)}, tuned on {len(teach)} ratings, {len(choose)} choose the epoch"
        )
        history = loop.train(task, config.trainer, run, callbacks.on_step, callbacks.on_epoch)
        lengths.append(1 + int(min(history, key=lambda found: found["valid_loss"])["epoch"]))
        after[fold] = predict_scores(
            _load_network(network, run.folder / task.weights), clips([examples[i] for i in fold])
        )
        others = [place for place in range(len(examples)) if place not in held]
        mapped[fold] = np.polyval(np.polyfit(before[others], ratings[others], 1), before[fold])
    epochs = round(float(np.median(lengths)))
    task = MosTask(network, config, whole, None)
    run = RunDirectory(folder, {**asked, "epochs": epochs})
    callbacks.start_stage(f"all {len(examples)} ratings, epochs: {epochs}")
    loop.train(
        task, replace(config.trainer, epochs=epochs, patience=epochs), run, callbacks.on_step, callbacks.on_epoch
    )
    groups = [example.group for example in examples]
    weights = folder / task.weights
    found = {**rating_metrics(before, mapped, after, ratings, groups, scale), "folds": config.folds, "epochs": epochs}
    found["freeze"] = config.freeze
    return TuningResult(_load_network(network, weights), weights, found, before, after)


def weights_file_name(network: Network) -> str:
    """Return the file name of a network's weights."""
    names = {Nano: "nano.safetensors", Small: "small.safetensors", Student: "student.pth", Teacher: "teacher.pth"}
    return next(name for kind, name in names.items() if isinstance(network, kind))


def save_network(network: Network, path: Path) -> None:
    """Write a network in the format of its kind."""
    if isinstance(network, Nano | Small):
        save_nano(network, path)
    elif isinstance(network, Student):
        save_student(network, path)
    else:
        save_teacher(network, path)


def _load_network(network: Network, path: Path) -> Network:
    read: Callable[[Path], Network] = type(network).from_checkpoint
    return read(path)
