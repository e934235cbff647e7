"""Resources shared by the sections: options, networks, bundles, music, and the store of finished measurements.

Bundles are created when they are needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ..calibration.calibration_data import composed
from ..calibration.candidate_scores import materials
from ..calibration.finalization import ONNX, sealed
from ..calibration.layer_groups import groups_of, names_in
from ..calibration.quantization import ROLES, Settings, quantize
from ..calibration.quantizers import static_graph, store_int8
from ..calibration.ranges import collect
from ..calibration.targets import native_target
from ..export.bundle import student_source, write_bundle
from ..export.graphs import encoder_graph, head_graph
from ..model import Nano, Student, Teacher
from ..runtime import Audiogram, Bundle
from ..runtime.audio.levels import LEVEL1, amplitude
from ..runtime.bundle import Card, file_sha256
from ..runtime.errors import CorpusError, OptionError
from ..runtime.features.patches import SAMPLE_RATE
from ..runtime.writing import putting, with_files, write_files
from ..training.corpus.clips import Corpus
from ..training.corpus.synthetic import RATE, piece
from ..training.data.features import at_front_end
from ..training.data.labels import table_for
from ..training.degradations.signals import rms
from .golden import filled, golden_files
from .report.provenance import code_digest
from .report.store import Store

Array = npt.NDArray[np.float32]
LISTENER: Final = "N3"
SPL: Final = 65.0
"""dB SPL of the music that is timed"""
_QUICK: Final = 8
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
class Workbench:
    """Networks and bundles, each created once and stored in the store's folder.

    Args:
        options: see `Options`.
        store: finished measurements.
        told: called with the current step, how much of it is done, and the total (0 if unknown).
    """

    options: Options
    store: Store
    told: Callable[[str, int, int], None] = field(default=lambda *_: None)

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
            table_for(options.table, "test", Corpus(options.music))
        if options.reference:
            golden_files(options.reference)
        from .sections.implementations import NAMES  # imported here because contenders imports this module

        taken = set(NAMES)
        for path in options.bundles:
            Bundle(path)
            if path.name in taken:
                raise OptionError(f"--bundle {path}: {path.name} is a name of ours, or given twice: rename the folder")
            taken.add(path.name)
        if options.music:
            Corpus(options.music)

    @cached_property
    def listener(self) -> Audiogram:
        """Audiogram of the listener in timed runs."""
        return Audiogram.named(LISTENER)

    @cached_property
    def nano(self) -> Nano:
        """The shipped network in PyTorch."""
        return Nano.from_checkpoint()

    @cached_property
    def student(self) -> Student:
        """The student with the weights of its checkpoint, or as published and filled by a rule."""
        return Student.from_checkpoint(self.student_checkpoint)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher with the weights of its checkpoint, or as published and filled by a rule."""
        if self.options.teacher:
            return Teacher.from_checkpoint(self.options.teacher)
        self.told("filling the teacher", 0, 0)
        teacher = Teacher()
        teacher.load_state_dict(filled(teacher))
        return teacher.eval()

    @cached_property
    def student_checkpoint(self) -> Path:
        """Checkpoint of the student, written to the store's folder if none is given."""
        if self.options.student:
            return self.options.student
        path = self.store.folder / "student.pth"
        if not path.is_file():
            self.store.folder.mkdir(parents=True, exist_ok=True)
            with putting(path) as part:
                torch.save({"model": filled(Student())}, part)
        return path

    @cached_property
    def folded(self) -> Bundle:
        """The student folded, as `haaqi-edge export student` writes it."""
        folder = self._models / "folded"
        if not folder.is_dir():
            self.told("exporting the student", 0, 0)
            write_bundle(student_source(self.student_checkpoint, "folded"), folder)
        return Bundle(folder)

    @cached_property
    def traced(self) -> Bundle:
        """The student traced before any folding; tracing leaves out what its scores do not need."""
        folder = self._models / "traced"
        if not folder.is_dir():
            self.told("tracing the student as published", 0, 0)
            _write_traced(self.student, self.folded.card, folder)
        return Bundle(folder)

    @cached_property
    def int8(self) -> Bundle:
        """The folded student in int8, as `haaqi-edge quantize` makes it.

        In a quick run, all its layers are quantized statically on a few excerpts, without a search.
        """
        folder = self._models / ("int8-quick" if self.options.quick else "int8")
        if not folder.is_dir() and self.options.quick:
            self.told("quantizing the student", 0, 0)
            _write_quick_int8(self.folded, folder)
        elif not folder.is_dir():
            settings = Settings(native_target())
            quantize(self.folded, composed(), settings, folder.with_name("int8.work"), self.told).write(folder)
        return Bundle(folder)

    @cached_property
    def corpus(self) -> Corpus | None:
        """The music, if it is given."""
        return Corpus(self.options.music) if self.options.music else None

    def clip(self, seconds: float) -> Array:
        """Return music to time with, from the test split of the corpus, or synthetic.

        Args:
            seconds: duration.

        Returns:
            float32 [samples] at 16 kHz and 65 dB SPL.
        """
        music = _joined(self.corpus, seconds) if self.corpus else (piece(self.options.seed, seconds), RATE)
        samples = at_front_end(music[0] * (amplitude(SPL - LEVEL1) / rms(music[0])), music[1], seconds)
        return np.asarray(samples[: round(seconds * SAMPLE_RATE)], dtype=np.float32)

    @property
    def provided(self) -> dict[str, str]:
        """The measured models, and where their weights come from."""
        rule = "filled by a rule from its tensors' names, not the authors' weights"
        return {
            "teacher": f"HAAQI-Net, {self.options.teacher.name if self.options.teacher else rule}",
            "student": f"the distilled student, {self.options.student.name if self.options.student else rule}",
            "nano": f"shipped, source {Bundle('nano').card.source_sha256[:12]}",
        }

    @property
    def _models(self) -> Path:
        return self.store.folder / f"models-{self._made_by}"

    @cached_property
    def _made_by(self) -> str:
        """Digest of what bundles depend on: the checkpoint, and the code that creates them."""
        code = code_digest(("runtime", "haaqi", "model", "training", "evaluation", "calibration", "export"), (".py",))
        return hashlib.sha256(f"{code} {file_sha256(self.student_checkpoint)}".encode()).hexdigest()[:12]


def _joined(corpus: Corpus, seconds: float) -> tuple[npt.NDArray[np.float64], int]:
    """Join clips of the test split, repeated as often as needed; return samples float64 [n] and their rate in Hz."""
    parts: list[npt.NDArray[np.float64]] = []
    clips, rate, held = corpus.of("test"), 0, 0.0
    while held < seconds:
        for clip in clips:
            samples, own = corpus.excerpt(clip.path, 0.0, min(clip.duration, seconds))
            if own == (rate or own) and rms(samples) > 0:
                parts.append(samples)
                rate, held = own, held + len(samples) / own
            if held >= seconds:
                break
        if not parts:
            raise CorpusError(f"{corpus.folder} has no clip of split test with sound: expected some in CLIPS.csv")
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
        "encoder": sealed(encoder_graph(network, samples=False), card.metadata()),
        "head": sealed(head_graph(network, card.width), card.metadata()),
    }
    write_files(with_files(card, graphs), graphs, folder)


def _write_quick_int8(bundle: Bundle, folder: Path) -> None:
    graphs = {role: bundle.path(role).read_bytes() for role in ROLES}
    models = {role: onnx.load_from_string(graph) for role, graph in graphs.items()}
    groups = [group for role in ROLES for group in groups_of(role, models[role])]
    heard = list(materials(composed(_QUICK, 1).calibration, bundle.card.reading))
    ranges = collect(graphs, groups, heard, ("minmax",))["minmax"]
    card = replace(bundle.card, name="int8-quick", precision="int8", files={}, figures={}, notes={})
    made = {}
    for role, model in models.items():
        static = static_graph(model, names_in(groups, role, "product"), ranges[role], native_target())
        static = store_int8(static, names_in(groups, role, "recurrent"))
        made[role] = sealed(static, card.metadata(), ONNX)
    write_files(with_files(card, made), made, folder)
