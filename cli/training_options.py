"""Options, settings and data of the commands that train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from ..runtime.errors import OptionError
from .console import require
from .options import DATA, OUTPUT, PROCESSING, TRAINING, JobsOption, JsonOption

if TYPE_CHECKING:
    from ..training.data.feature_cache import FeatureCache
    from ..training.tasks.pipelines import TrainingData

_REQUIRED: Final = ("torch", "safetensors", "scipy", "numba", "pyarrow", "joblib", "yaml", "matplotlib")
_VALID_SHARE: Final = 0.1
"""share of the files of a JSON file that select the epoch, if there is no file for this purpose"""

OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Run directory: settings, metrics, curves and weights.",
        rich_help_panel=OUTPUT,
    ),
]
LabelsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Use only this number of labels, chosen at random.", rich_help_panel=DATA),
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        "--features",
        help="Folder of the feature cache. Default: the name of the table or of the ratings, with .features.",
        rich_help_panel=OUTPUT,
    ),
]
WeightedSumOption = Annotated[
    bool | None,
    typer.Option(
        "--weighted-sum/--last-layer",
        help="Use the weighted sum of all layers as tokens, or the last layer.",
        rich_help_panel=TRAINING,
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """Options for the data of a training."""

    table: Annotated[
        Path | None,
        typer.Option(
            help="Folder of label tables (Parquet shards), or a JSON file such as HAAQI-Net's train.json.",
            rich_help_panel=DATA,
        ),
    ] = None
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus",
            envvar="HAAQI_EDGE_CORPUS",
            help="Folder of the corpus of the label table.",
            rich_help_panel=DATA,
        ),
    ] = None
    train_split: Annotated[
        list[str] | None,
        typer.Option(
            help="Label table for training: train, or an older one such as train-2026-11. Repeat for several. "
            "Default: train.",
            rich_help_panel=DATA,
        ),
    ] = None
    rows: Annotated[
        int | None,
        typer.Option(
            min=1, help="Use only this number of rows of each training table, from its start.", rich_help_panel=DATA
        ),
    ] = None
    valid_split: Annotated[str, typer.Option(help="Label table that selects the epoch.", rich_help_panel=DATA)] = (
        "valid"
    )
    valid_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Use only this number of rows of that table, from its start.", rich_help_panel=DATA),
    ] = None
    valid: Annotated[
        Path | None,
        typer.Option(
            help="JSON file that selects the epoch. Default: a tenth of the files in --table.", rich_help_panel=DATA
        ),
    ] = None


@dataclass(frozen=True)
class RunOptions:
    """Options for a training run. They override settings from a file."""

    config: Annotated[
        str | None,
        typer.Option(help="Settings: a YAML or JSON file, or the name of shipped settings.", rich_help_panel=TRAINING),
    ] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum number of epochs.", rich_help_panel=TRAINING)] = (
        None
    )
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after this number of epochs without improvement.", rich_help_panel=TRAINING),
    ] = None
    lr: Annotated[float | None, typer.Option("--lr", min=0, help="Learning rate.", rich_help_panel=TRAINING)] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Number of clips per step.", rich_help_panel=TRAINING)
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of initial weights, data order and dropout.", rich_help_panel=TRAINING),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(help="Device of PyTorch: cpu, cuda or auto. Default: cpu.", rich_help_panel=PROCESSING),
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        typer.Option(help="Precision of the forward pass. Default: auto.", rich_help_panel=PROCESSING),
    ] = None
    jobs: JobsOption = None
    features: FeaturesOption = None
    as_json: JsonOption = False

    def overrides(self) -> dict[str, Any]:
        """Return the options that override settings, None for options that are not given."""
        names = ("epochs", "patience", "lr", "batch_size", "seed", "device", "precision")
        return {name: getattr(self, name) for name in names}


def require_training() -> None:
    """Raise `DependencyError` unless the extra `train` is installed."""
    require("train", *_REQUIRED)


def load_settings(config: str | None, default: str | None, *, for_teacher: bool = False) -> dict[str, Any]:
    """Read the settings from a file.

    Args:
        config: value of --config.
        default: name of the shipped settings that are used without --config, if any.
        for_teacher: whether the command trains a teacher. HAAQI-Net's config.yaml is translated then.

    Raises:
        OptionError: the file cannot be read, or it is HAAQI-Net's and the command does not train a teacher.
    """
    from ..training.settings import from_haaqi_net, read_settings

    name = config or default
    settings = {} if name is None else read_settings(name)
    translated = from_haaqi_net(settings)
    if translated is None:
        return settings
    if not for_teacher:
        raise OptionError(
            f"{config} is HAAQI-Net's config.yaml, which describes its teacher: use it with `haaqi-edge train teacher`"
        )
    return translated


def load_training_data(options: DataOptions, run: RunOptions) -> TrainingData:
    """Read the examples, and open the cache of their features.

    Raises:
        OptionError: there is no table, or options contradict each other.
        CorpusError: the table or the corpus is invalid.
    """
    from ..runtime.session import available_cores
    from ..training.corpus.clips import Corpus
    from ..training.data.examples import load_json_examples, load_table_examples, split_by_group
    from ..training.tasks.pipelines import TrainingData

    table, valid = options.table, options.valid
    if table is None:
        raise OptionError("no labels: give the folder of a label table or a train.json with --table")
    if not table.exists():
        raise OptionError(f"--table {table} does not exist: give the folder of a label table, or a JSON file")
    corpus = None if options.corpus is None else Corpus(options.corpus)
    if table.is_file():
        if options.train_split:
            raise OptionError("--train-split needs label tables: give their folder with --table, not a JSON file")
        examples = load_json_examples(table)[: options.rows]
        if valid is None:
            train_part, valid_part = split_by_group(examples, _VALID_SHARE)
        else:
            train_part, valid_part = examples, load_json_examples(valid)[: options.valid_rows]
    else:
        if valid is not None:
            raise OptionError("--valid needs a JSON file as --table: use --valid-split with a label table")
        if corpus is None:
            raise OptionError("a label table is rendered from its corpus: give the folder with --corpus")
        names = options.train_split or ["train"]
        if len(set(names)) < len(names):
            raise OptionError(f"--train-split {' '.join(names)}: give each table once")
        train_part = [example for name in names for example in load_table_examples(table, name, options.rows)]
        valid_part = load_table_examples(table, options.valid_split, options.valid_rows)
    cache = open_feature_cache(table, run.features)
    return TrainingData(train_part, valid_part, cache, corpus, run.jobs or available_cores())


def open_feature_cache(table: Path, features: Path | None) -> FeatureCache:
    """Return the feature cache of a table, by default TABLE.features.

    Raises:
        OptionError: the path is a file.
    """
    from ..training.data.feature_cache import FeatureCache

    return FeatureCache(resolve_folder(table, features, "features"))


def resolve_folder(table: Path, folder: Path | None, suffix: str) -> Path:
    """Return the given folder, or TABLE.suffix.

    Raises:
        OptionError: the path is a file.
    """
    folder = folder or table.with_name(f"{table.name}.{suffix}")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file: give a folder")
    return folder
