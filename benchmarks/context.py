"""Resources shared by the sections: options, networks, bundles, music, and the store of finished measurements.

Networks and bundles are created when they are first used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ..calibration.calibration_data import create_synthetic_data, prepare_inputs
from ..calibration.finalization import ONNX_DOMAINS, finalize_model
from ..calibration.layer_groups import find_layer_groups, node_names
from ..calibration.quantization import QuantizationSettings, quantize
from ..calibration.quantizers import quantize_static_graph, store_weights_int8
from ..calibration.ranges import collect_ranges
from ..calibration.targets import native_target
from ..export.bundle import load_student_source, write_bundle
from ..export.random_weights import golden_weights
from ..export.tracing import trace_encoder, trace_head
from ..model import Nano, Student, Teacher
from ..runtime import Audiogram, Bundle
from ..runtime.audio.levels import LEVEL1, amplitude
from ..runtime.batch.parallel import parallel_map
from ..runtime.bundle import ROLES, Card, file_sha256
from ..runtime.errors import CorpusError, OptionError
from ..runtime.features.patches import SAMPLE_RATE
from ..runtime.writing import replace_atomically, with_files, write_files
from ..training.corpus.clips import Corpus
from ..training.corpus.synthetic import RATE, synthesize_piece
from ..training.data.features import resample_to_front_end
from ..training.data.labels import resolve_table
from ..training.degradations.signals import rms
from .golden import load_golden_files
from .progress import Progress, no_progress
from .report.provenance import code_digest
from .report.store import MeasurementStore

Array = npt.NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")
LISTENER: Final = "N3"
_SPL: Final = 65.0
"""dB SPL of the music that is timed"""
_QUICK_EXCERPTS: Final = 8
"""number of excerpts for the int8 calibration of a quick run; the speed of the graph does not depend on its ranges"""


@dataclass(frozen=True)
class Options:
    """Options of a benchmark run.

    Attributes:
        quick: use fewer runs, durations and rows.
        seed: of all random choices.
        music: folder of clips with its CLIPS.csv; None uses synthetic music where that is sufficient.
        table: folder of a label table's shards.
        student, teacher: the authors' checkpoints; None fills the networks by a rule.
        reference: the folder of the golden outputs.
        bundles: other bundles to time.
        threads: numbers of threads to time with.
        jobs: number of processes for what is not timed.
    """

    quick: bool = False
    seed: int = 0
    music: Path | None = None
    table: Path | None = None
    student: Path | None = None
    teacher: Path | None = None
    reference: Path | None = None
    bundles: tuple[Path, ...] = ()
    threads: tuple[int, ...] = (1, 2)
    jobs: int = 2


@dataclass(frozen=True)
class BenchContext:
    """Networks and bundles, each created once and stored in the store's folder.

    Args:
        options: see `Options`.
        store: finished measurements.
        on_progress: called with the progress.
    """

    options: Options
    store: MeasurementStore
    on_progress: Progress = no_progress

    def check(self) -> None:
        """Open everything that the options name, so that errors are reported before anything is measured.

        Raises:
            CheckpointError, CorpusError, BundleError: a checkpoint, the music or table, or a bundle is not usable.
            OptionError: two bundles have the same name.
        """
        options = self.options
        if options.student:
            Student.from_checkpoint(options.student)
        if options.teacher:
            Teacher.from_checkpoint(options.teacher)
        if options.table and options.music:
            resolve_table(options.table, "test", Corpus(options.music))
        if options.reference:
            load_golden_files(options.reference)
        from .sections.implementations import NAMES  # imported here because that module imports this one

        names = set(NAMES)
        for path in options.bundles:
            Bundle(path)
            if path.name in names:
                raise OptionError(
                    f"--bundle {path}: {path.name} is the name of another implementation: rename the folder"
                )
            names.add(path.name)
        if options.music:
            Corpus(options.music)

    @cached_property
    def listener(self) -> Audiogram:
        """Audiogram of the listener in timed runs."""
        return Audiogram.named(LISTENER)

    @cached_property
    def nano(self) -> Nano:
        """The shipped network in PyTorch."""
        return Nano.shipped()

    @cached_property
    def student(self) -> Student:
        """The student as published, with the weights of its checkpoint."""
        return Student.from_checkpoint(self.student_checkpoint)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher with the weights of its checkpoint, or filled by a rule if none is given."""
        if self.options.teacher:
            return Teacher.from_checkpoint(self.options.teacher)
        self.on_progress("filling the teacher", 0, 0)
        teacher = Teacher()
        teacher.load_state_dict(golden_weights(teacher))
        return teacher.eval()

    @cached_property
    def student_checkpoint(self) -> Path:
        """Checkpoint of the student. If none is given, one filled by a rule is written to the store's folder."""
        if self.options.student:
            return self.options.student
        path = self.store.folder / "student.pth"
        if not path.is_file():
            self.store.folder.mkdir(parents=True, exist_ok=True)
            with replace_atomically(path) as part:
                torch.save({"model": golden_weights(Student())}, part)
        return path

    @cached_property
    def folded_student(self) -> Bundle:
        """The student folded, as `haaqi-edge export student` writes it."""
        folder = self._models_folder / "folded"
        if not folder.is_dir():
            self.on_progress("exporting the student", 0, 0)
            write_bundle(load_student_source(self.student_checkpoint, "folded"), folder)
        return Bundle(folder)

    @cached_property
    def traced_student(self) -> Bundle:
        """The student traced without folding. Tracing already omits operators that its scores do not need."""
        folder = self._models_folder / "traced"
        if not folder.is_dir():
            self.on_progress("tracing the student as published", 0, 0)
            _write_traced(self.student, self.folded_student.card, folder)
        return Bundle(folder)

    @cached_property
    def int8_student(self) -> Bundle:
        """The folded student in int8, as `haaqi-edge quantize` writes it.

        In a quick run, all its layers are quantized statically on a few excerpts, without a search.
        """
        folder = self._models_folder / ("int8-quick" if self.options.quick else "int8")
        if not folder.is_dir() and self.options.quick:
            self.on_progress("quantizing the student", 0, 0)
            _write_quick_int8(self.folded_student, folder)
        elif not folder.is_dir():
            settings = QuantizationSettings(native_target())
            quantize(
                self.folded_student, create_synthetic_data(), settings, folder.with_name("int8.work"), self.on_progress
            ).write(folder)
        return Bundle(folder)

    @cached_property
    def corpus(self) -> Corpus | None:
        """The music, if it is given."""
        return Corpus(self.options.music) if self.options.music else None

    def load_music(self, seconds: float) -> Array:
        """Return music to time with, from the test split of the corpus, or synthetic.

        Args:
            seconds: duration.

        Returns:
            float32 [samples] at 16 kHz and 65 dB SPL.
        """
        if self.corpus:
            music, rate = _join_clips(self.corpus, seconds)
        else:
            music, rate = synthesize_piece(self.options.seed, seconds), RATE
        samples = resample_to_front_end(music * (amplitude(_SPL - LEVEL1) / rms(music)), rate, seconds)
        return np.asarray(samples[: round(seconds * SAMPLE_RATE)], dtype=np.float32)

    def parallel_map(self, work: Callable[[Item], Result], items: Sequence[Item], step: str) -> list[Result]:
        """Apply a function to each item in `options.jobs` processes, with progress.

        Args:
            work: a module-level function, or a partial of one.
            items: its arguments.
            step: name of the step for the progress.

        Returns:
            the results in the order of the items.
        """
        found: dict[int, Result] = {}
        for number, result in parallel_map(partial(_call_numbered, work), list(enumerate(items)), self.options.jobs):
            found[number] = result
            self.on_progress(step, len(found), len(items))
        return [found[number] for number in range(len(items))]

    @property
    def model_descriptions(self) -> dict[str, str]:
        """The measured models, and where their weights come from."""
        rule = "filled by a rule from its tensors' names, not the authors' weights"
        return {
            "teacher": f"HAAQI-Net, {self.options.teacher.name if self.options.teacher else rule}",
            "student": f"the distilled student, {self.options.student.name if self.options.student else rule}",
            "nano": f"shipped, source {Bundle('nano').card.source_sha256[:12]}",
        }

    @property
    def _models_folder(self) -> Path:
        return self.store.folder / f"models-{self._models_digest}"

    @cached_property
    def _models_digest(self) -> str:
        """Digest of what bundles depend on: the checkpoint, and the code that creates them."""
        code = code_digest(("runtime", "haaqi", "model", "training", "evaluation", "calibration", "export"), (".py",))
        return hashlib.sha256(f"{code} {file_sha256(self.student_checkpoint)}".encode()).hexdigest()[:12]


def _call_numbered(work: Callable[[Item], Result], item: tuple[int, Item]) -> tuple[int, Result]:
    number, argument = item
    return number, work(argument)


def _join_clips(corpus: Corpus, seconds: float) -> tuple[npt.NDArray[np.float64], int]:
    """Join clips of the test split, repeated as often as needed; return samples float64 [n] and their rate in Hz."""
    parts: list[npt.NDArray[np.float64]] = []
    clips, rate, duration = corpus.of("test"), 0, 0.0
    while duration < seconds:
        for clip in clips:
            samples, own = corpus.excerpt(clip.path, 0.0, min(clip.duration, seconds))
            if own == (rate or own) and rms(samples) > 0:
                parts.append(samples)
                rate, duration = own, duration + len(samples) / own
            if duration >= seconds:
                break
        if not parts:
            raise CorpusError(f"{corpus.folder} has no clip of split test that is not silent: add some to CLIPS.csv")
    return np.concatenate(parts)[: round(seconds * rate)], rate


class _Unfolded:
    """The student in the form that the tracer of the graphs expects."""

    reads: Final = "fbank"

    def __init__(self, student: Student) -> None:
        self.encoder, self.head = _Encoder(student), _Head(student)


class _Encoder(torch.nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        return self.student.encode(fbank)


class _Head(_Encoder):
    def forward(self, tokens: torch.Tensor, audiogram: torch.Tensor) -> Any:  # type: ignore[override]
        return self.student.head(tokens, audiogram)


def _write_traced(student: Student, folded: Card, folder: Path) -> None:
    card = replace(folded, name="traced", width=student.config.width, files={}, figures={}, notes={})
    network = _Unfolded(student)
    graphs = {
        "encoder": finalize_model(trace_encoder(network, samples=False), card.metadata()),
        "head": finalize_model(trace_head(network, card.width), card.metadata()),
    }
    write_files(with_files(card, graphs), graphs, folder)


def _write_quick_int8(bundle: Bundle, folder: Path) -> None:
    graphs = {role: bundle.path(role).read_bytes() for role in ROLES}
    models = {role: onnx.load_from_string(graph) for role, graph in graphs.items()}
    groups = [group for role in ROLES for group in find_layer_groups(role, models[role])]
    inputs = list(prepare_inputs(create_synthetic_data(_QUICK_EXCERPTS, 1).calibration, bundle.card.front_end_name))
    ranges = collect_ranges(graphs, groups, inputs, ("minmax",))["minmax"]
    card = replace(bundle.card, name="int8-quick", precision="int8", files={}, figures={}, notes={})
    quantized = {}
    for role, model in models.items():
        static = quantize_static_graph(model, node_names(groups, role, "product"), ranges[role], native_target())
        static = store_weights_int8(static, node_names(groups, role, "recurrent"))
        quantized[role] = finalize_model(static, card.metadata(), ONNX_DOMAINS)
    write_files(with_files(card, quantized), quantized, folder)
