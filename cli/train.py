"""`haaqi-edge train`: train nano, the teacher and the student, and compute the features that training reads."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from ..runtime.errors import OptionError
from ..runtime.writing import write_json
from .console import err, out, phases, print_json, require
from .options import DATA, MODEL, OUTPUT, TRAINING, CorpusOption, JobsOption, JsonOption, with_option_groups
from .training_options import (
    DataOptions,
    FeaturesOption,
    LabelsOption,
    OutputOption,
    RunOptions,
    WeightedSumOption,
    load_settings,
    load_training_data,
    open_feature_cache,
    require_training,
    resolve_folder,
)
from .training_progress import print_result, show_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..training.data.examples import Example
    from ..training.data.feature_cache import FeatureKind
    from ..training.data.rows import Row
    from ..training.tasks.pipelines import TrainingResult

app = typer.Typer(no_args_is_help=True, help="Train networks, and compute the features that training reads.")

FORMER_TEST: Final = "test-2026-11"
"""test table of the first edition, which is reported for comparison if it exists"""


@app.command()
def features(
    table: Annotated[Path, typer.Option(help="Folder of the label tables' shards.", rich_help_panel=DATA)],
    corpus: CorpusOption,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Label table: train, valid, test, or an older one. Repeat for several. Default: train.",
            rich_help_panel=DATA,
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Use only this number of rows of each table, from its start.", rich_help_panel=DATA),
    ] = None,
    front_end: Annotated[
        Literal["texture", "texture-2", "texture_mel", "fbank"],
        typer.Option(
            help="texture-2 for nano (texture for its former version), texture_mel for small, fbank for student and "
            "teacher.",
            rich_help_panel=MODEL,
        ),
    ] = "texture-2",
    output: FeaturesOption = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the features of label tables.

    Training computes missing features itself. Interrupt the command at any time (Ctrl-C), and run it again to resume.
    If a table grows, its features remain valid.
    """
    require("train", "torch", "scipy", "numba", "pyarrow", "joblib")
    from ..runtime.session import available_cores
    from ..training.corpus.clips import Corpus
    from ..training.data.examples import load_table_examples
    from ..training.tasks.pipelines import TrainingData

    examples = {name: load_table_examples(table, name, rows) for name in split or ["train"]}
    cache = open_feature_cache(table, output)
    data = TrainingData([], [], cache, Corpus(corpus), jobs or available_cores())
    with show_progress() as callbacks:
        for name, part in examples.items():
            data.compute_features(_feature_kinds(front_end, name), part, callbacks)
    if as_json:
        print_json({"features": str(cache.folder), "rows": {name: len(part) for name, part in examples.items()}})
    else:
        counts = ", ".join(f"{len(part):,} rows of {name}" for name, part in examples.items())
        out.print(f"features of {counts} in {cache.folder}", markup=False, soft_wrap=True)


def _feature_kinds(front_end: str, table: str) -> list[FeatureKind]:
    """Return the kinds of features that a network reads. Training of nano also needs those of the clean music."""
    from ..training.data.feature_cache import FBANK, TEXTURE_MEL, clean_kind, texture_kind

    if front_end == "fbank":
        return [FBANK]
    version = 1 if front_end == "texture" else 2
    reads = TEXTURE_MEL if front_end == "texture_mel" else texture_kind(version)
    return [reads, *([clean_kind(version)] if table.startswith("train") else [])]


WorkOption = Annotated[
    Path | None,
    typer.Option(help="Folder of dense targets from `haaqi-edge label`. Default: TABLE.work.", rich_help_panel=DATA),
]


@app.command()
@with_option_groups
def nano(
    data: DataOptions,
    run: RunOptions,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Run directory: weights, metrics and bundle.", rich_help_panel=OUTPUT),
    ] = Path("runs/nano"),
    work: WorkOption = None,
) -> None:
    """Train nano on label tables, or on audio files with scores.

    The epoch is chosen on one half of the sources of the valid table, and the prediction intervals are calibrated on
    the other half. Missing features are computed first. If rows have dense targets, these are also learned. The run
    directory gets metrics on the test tables, sanity checks and a bundle. With a JSON file as --table there are no
    test tables, further targets or sanity checks. Interrupt the command at any time (Ctrl-C), and run it again to
    resume with identical results.
    """
    _train("nano", data, run, output, work)


@app.command()
@with_option_groups
def small(
    data: DataOptions,
    run: RunOptions,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Run directory: weights, metrics and bundle.", rich_help_panel=OUTPUT),
    ] = Path("runs/small"),
    pretrained: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint of mn04 (mn04_as_mAP_432.pt of EfficientAT), whose layers the training begins with.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    work: WorkOption = None,
) -> None:
    """Train small on label tables.

    Small is larger than nano. Its first layers can come from a network that was trained on AudioSet (--pretrained).
    Data, intervals and results are as for `train nano`. Interrupt the command at any time (Ctrl-C), and run it again to
    resume with identical results.
    """
    _train("small", data, run, output, work, pretrained)


def _train(
    family: Literal["nano", "small"],
    data: DataOptions,
    run: RunOptions,
    output: Path,
    work: Path | None,
    pretrained: Path | None = None,
) -> None:
    """Train a nano or a small, measure it, and write its bundle."""
    require_training()
    require("export", "onnx", "onnxscript")
    from ..benchmarks.studies.sanity import measure
    from ..export.bundle import load_nano_source, load_small_source, write_bundle
    from ..model.family import load_network
    from ..training.card import PLOTS, metrics_by_group, plot_data, training_notes, write_model_card
    from ..training.data.batches import Dataset, evaluate_network, input_kind
    from ..training.data.examples import load_table_examples
    from ..training.data.labels import table_names
    from ..training.familiarity import MIN_ROWS, add_familiarity
    from ..training.loop import resolve_device
    from ..training.settings import build_settings
    from ..training.tasks.nano import NanoTrainingConfig, SmallTrainingConfig
    from ..training.tasks.pipelines import train_nano

    if output.exists() and not output.is_dir():
        raise OptionError(f"{output} is a file: give a folder")
    settings = load_settings(run.config, family)
    kind = SmallTrainingConfig if family == "small" else NanoTrainingConfig
    config = build_settings(kind, settings, run.overrides(), run.config or "the settings")
    examples = load_training_data(data, run)
    assert data.table is not None
    config = replace(config, trainer=replace(config.trainer, threads=config.trainer.threads or examples.jobs))
    load = load_small_source if family == "small" else load_nano_source
    if data.table.is_file():
        with show_progress() as callbacks:
            result = train_nano(config, examples, output, callbacks, pretrained)
        trained_on = f"{len(examples.train)}, and {len(examples.valid)} for validation"
        notes = {"data": f"audio files with scores: {trained_on}"}
        write_bundle(load(result.weights, figures={"valid": _best_metrics(result)}, notes=notes), output / "bundle")
        print_result(result, run.as_json, output / "bundle")
        return
    corpus = examples.corpus
    assert corpus is not None
    former = [FORMER_TEST] if FORMER_TEST in table_names(data.table) else []
    tests = {name: load_table_examples(data.table, name) for name in ("test", *former)}
    test = [example for part in tests.values() for example in part]
    examples = replace(examples, test=test, work=resolve_folder(data.table, work, "work"))
    with show_progress() as callbacks:
        result = train_nano(config, examples, output, callbacks, pretrained)
    network, device = load_network(result.weights), resolve_device(config.trainer.device)
    figures: dict[str, Any] = {}
    for name, part in tests.items():
        dataset = Dataset(examples.cache, part, input_kind(network))
        _, predictions, intervals = evaluate_network(network.to(device), dataset, config.batch_size, device)
        genres = {clip.path: clip.genre for clip in corpus.part(name).clips}
        figures[name] = metrics_by_group(_group_by_table(part)[name], predictions, genres, intervals)
        figures[name][PLOTS] = plot_data(predictions, dataset.labels, intervals)
    figures["valid"] = _best_metrics(result)
    rows = _group_by_table([*examples.train, *examples.valid, *test])
    notes = training_notes(corpus, rows, asdict(config), data.train_split or ["train"], family)
    source = load(result.weights, figures=figures, notes=notes)
    write_bundle(source, output / "bundle")
    with phases() as on_progress:
        figures["sanity"] = measure(corpus.folder, output / "bundle", on_progress=on_progress)
    write_json(figures, output / "figures.json")
    _, parity = write_bundle(replace(source, figures=figures), output / "bundle")
    write_model_card(output / "bundle")
    if min(len(examples.train), len(tests["test"])) >= MIN_ROWS:
        with phases() as on_progress:
            trained_on = (data.train_split or ["train"])[0]
            add_familiarity(
                [output / "bundle"], corpus, data.table, trained_on, jobs=examples.jobs, on_progress=on_progress
            )
    if run.as_json:
        print_json({**figures, "parity": parity.worst.difference, "bundle": str(output / "bundle")})
        return
    for name in tests:
        metrics = figures[name]["all"]
        covered = f", intervals cover {metrics['coverage']:.1%}" if "coverage" in metrics else ""
        out.print(
            f"{name}: LCC {metrics['lcc']:.3f} (95% {metrics['lcc_low']:.3f} to {metrics['lcc_high']:.3f}), "
            f"SRCC {metrics['srcc']:.3f}, MSE {metrics['mse']:.4f} on {metrics['rows']} rows{covered}",
            soft_wrap=True,
        )
    out.print(f"weights and bundle in {output}", markup=False, soft_wrap=True)


def _best_metrics(result: TrainingResult) -> dict[str, float]:
    """Return the metrics of the epoch that was chosen, on the examples that chose it."""
    best = max(result.history, key=lambda epoch: epoch["lcc"])
    return {name: best[name] for name in ("lcc", "srcc", "mse", "rows")}


def _group_by_table(examples: Sequence[Example]) -> dict[str, list[Row]]:
    """Return the rows of the examples by label table."""
    from ..training.data.rows import Row

    rows: dict[str, list[Row]] = {}
    for example in examples:
        if isinstance(example.source, Row):
            rows.setdefault(example.table, []).append(example.source)
    return rows


@app.command()
@with_option_groups
def teacher(
    data: DataOptions,
    run: RunOptions,
    beats: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of BEATs, such as BEATs_iter3_plus_AS2M.pt.", rich_help_panel=MODEL),
    ] = None,
    output: OutputOption = Path("runs/teacher"),
    unfrozen_layers: Annotated[
        str | None,
        typer.Option(
            help="Number of BEATs' layers to train, counted from the last, or `all`. Default: 0.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    weighted_sum: WeightedSumOption = None,
) -> None:
    """Train HAAQI-Net's teacher on BEATs, with the published settings by default.

    The loss is MSE(clip) + MSE(frames); the optimizer is Adam, with early stopping. The output of the frozen layers is
    computed once per sound and cached. Weights are saved in the published layout. Interrupt the command at any time
    (Ctrl-C), and run it again to resume with identical results.
    """
    require_training()
    from ..model.beats import Beats
    from ..training.settings import build_settings
    from ..training.tasks.pipelines import train_teacher
    from ..training.tasks.teacher import TeacherConfig, frozen_layers_bytes, frozen_layers_kind

    settings = load_settings(run.config, "teacher", for_teacher=True)
    table, valid = _to_path(settings.pop("table", None)), _to_path(settings.pop("valid", None))
    data = replace(data, table=data.table or table, valid=data.valid or valid)
    beats_path = _to_path(settings.pop("beats_path", None))
    beats = beats or beats_path
    network = None if beats is None else Beats.from_checkpoint(beats)
    overrides = {
        **run.overrides(),
        "unfrozen_layers": None if unfrozen_layers == "all" else _parse_layers(unfrozen_layers),
        "weighted_sum": weighted_sum,
    }
    config = build_settings(TeacherConfig, settings, overrides, run.config or "the settings")
    layers = network.config.layers if network else config.beats.layers if config.beats else 0
    if unfrozen_layers == "all":
        config = replace(config, unfrozen_layers=layers)
    examples = load_training_data(data, run)
    if network and config.unfrozen_layers < layers:
        kind = frozen_layers_kind(network.checkpoint_sha256 or "", layers - config.unfrozen_layers)
        sounds = len(examples.cache.missing(kind, [*examples.train, *examples.valid]))
        size = frozen_layers_bytes(network.config, config.unfrozen_layers, sounds, patches=32)
        size_text = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
        if sounds:
            err.print(
                f"the frozen layers' output of {sounds:,} sounds will be cached in {examples.cache.folder}: "
                f"{size_text} for sounds of 5 s",
                markup=False,
                soft_wrap=True,
            )
    with show_progress() as callbacks:
        result = train_teacher(config, network, examples, output, callbacks)
    print_result(result, run.as_json)


@app.command()
@with_option_groups
def student(
    data: DataOptions, run: RunOptions, output: OutputOption = Path("runs/student"), labels: LabelsOption = None
) -> None:
    """Train the student from scratch on labels, without a teacher.

    The student has 22.6 million parameters, and 16.6 million after export. Interrupt the command at any time
    (Ctrl-C), and run it again to resume.
    """
    require_training()
    from ..training.settings import build_settings
    from ..training.tasks.distillation import DistilConfig
    from ..training.tasks.pipelines import distil

    settings = load_settings(run.config, "student-scratch")
    config = build_settings(DistilConfig, settings, run.overrides(), run.config or "the settings")
    examples = load_training_data(data, run).with_labels(labels, config.trainer.seed)
    with show_progress() as callbacks:
        result = distil(config, None, examples, output, callbacks)
    print_result(result, run.as_json)


def _to_path(text: object) -> Path | None:
    return None if text is None else Path(str(text))


def _parse_layers(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise OptionError(f"--unfrozen-layers {text!r}: give a number of layers, or `all`") from None
