"""Export of bundles: graphs are traced and verified in memory, then all files are written at once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import onnx
from torch import nn

from ..calibration.finalization import finalize_model
from ..model.backend import network_interval
from ..model.nano import Nano
from ..model.small import BLOCK, Small
from ..model.student import Student
from ..runtime.audio.levels import LEVEL1
from ..runtime.bundle import HAAQI, RANDOM_WEIGHTS, ROLES, Bundle, Card, FrontEnd, Precision, Scale
from ..runtime.errors import BundleError
from ..runtime.features.familiarity import Familiarity
from ..runtime.windows import DEFAULT_WINDOW, window_patches
from ..runtime.writing import check_file, check_folder, with_files, write_files, write_group
from .fused import copy_model, fuse, fused_metadata
from .guards import GUARD, guard_head
from .random_weights import golden_weights, state_sha256
from .surgery import FoldedStudent, fold
from .tracing import encoder_input, trace_encoder, trace_front_end, trace_head
from .verify import Parity, verify_bundle, verify_fused, verify_fused_bundle

Progress = Callable[[str, int, int], None]
"""called with the current step, how much of it is done, and the total (0 if unknown)"""
_TRACING: Final = ("tracing the encoder", "tracing the head")
_TRACING_SAMPLES: Final = "tracing the encoder with the front end"
_TRACING_FRONT_END: Final = "tracing the front end"
_VERIFYING: Final = "verifying the bundle"
_VERIFYING_FUSED: Final = "verifying the fused file"


def _no_progress(step: str, done: int, total: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class ExportSource:
    """A network to export.

    Attributes:
        name: name of the bundle.
        family: `nano`, `small` or `student`.
        original: the network as loaded. Exported scores are compared with its scores.
        network: the network to trace (for the student, the folded one).
        tokens_per_patch, width: of the network's tokens.
        sha256: of the checkpoint.
        figures, notes: results and notes for the card.
        predicts: the scale of the scores.
        familiarity: measure of how far a sound is from the training data; None without one.
    """

    name: str
    family: str
    original: Nano | Small | Student
    network: Nano | Small | FoldedStudent
    tokens_per_patch: int
    width: int
    sha256: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    predicts: Scale = HAAQI
    familiarity: Familiarity | None = None


def load_nano_source(
    checkpoint: Path | None,
    name: str = "nano",
    figures: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> ExportSource:
    """Load nano for export.

    Args:
        checkpoint: None loads the shipped nano.
        name: name of the bundle.
        figures, notes: results and notes for the card. If both are None, those of the shipped nano are kept, and its
            measure of familiarity.
    """
    nano = Nano.from_checkpoint(checkpoint) if checkpoint else Nano.shipped()
    sha256, width, familiarity = _source_sha256(nano), nano.config.width, None
    if checkpoint is None and (figures, notes) == (None, None):
        shipped = Bundle("nano").card
        if shipped.source_sha256 == sha256:  # results are valid only for the weights they were measured with
            figures, notes, familiarity = shipped.figures, shipped.notes, shipped.familiarity
    return ExportSource(name, "nano", nano, nano, 1, width, sha256, figures or {}, notes or {}, familiarity=familiarity)


def load_small_source(
    checkpoint: Path,
    name: str = "small",
    figures: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> ExportSource:
    """Load small for export. See `load_nano_source`."""
    small = Small.from_checkpoint(checkpoint)
    sha256, width = _source_sha256(small), small.config.width
    return ExportSource(name, "small", small, small, 1, width, sha256, figures or {}, notes or {})


def load_student_source(checkpoint: Path, name: str = "student") -> ExportSource:
    """Load the published student from its checkpoint and fold it."""
    notes = {"source": f"HAAQI-Net's distilled student, from {checkpoint.name}"}
    return _fold_student(Student.from_checkpoint(checkpoint), name, notes)


def load_random_student_source(name: str = "student-random") -> ExportSource:
    """Create a student with random weights, see `random_weights`, and fold it."""
    student = Student()
    state = golden_weights(student)
    student.load_published(state)
    student.checkpoint_sha256 = state_sha256(state)
    return _fold_student(student.eval(), name, {"source": RANDOM_WEIGHTS, "limits": "scores mean nothing"})


def _fold_student(student: Student, name: str, notes: Mapping[str, Any]) -> ExportSource:
    folded = fold(student)
    width = folded.encoder.linear0.out_features
    return ExportSource(name, "student", student, folded, 8, width, _source_sha256(student), notes=notes)


def list_steps(*, bundle: bool, fused: bool, samples: bool = False) -> list[str]:
    """Return the names of the steps of an export, in order.

    Args:
        bundle: a bundle is written.
        fused: a fused file is written.
        samples: the bundle includes the front end.
    """
    steps = [*_TRACING]
    if bundle:
        steps += [*([_TRACING_SAMPLES] if samples else []), _VERIFYING]
    return [*steps, _TRACING_FRONT_END, _VERIFYING_FUSED] if fused else steps


def write_bundle(
    source: ExportSource, folder: Path, *, samples: bool = False, progress: Progress = _no_progress
) -> tuple[Card, Parity]:
    """Trace, verify and write a bundle.

    Args:
        source: the network.
        folder: destination of the bundle. An older bundle there is replaced. Other content is not touched.
        samples: include the front end in the encoder's graph.
        progress: see `Progress`. The steps are those of `list_steps`.

    Raises:
        OptionError: the folder holds something that is not a bundle.
        ExportError: the graphs' scores differ from the network's. Nothing is written then.
    """
    check_folder(folder)
    traced = _trace_bundle(source, samples, _trace_parts(source, progress), progress)
    write_files(traced.card, traced.graphs, folder)
    return traced.card, traced.parity


def write_fused(source: ExportSource, path: Path, progress: Progress = _no_progress) -> Parity:
    """Trace, verify and write the single waveform-to-score file.

    Args:
        source: the network.
        path: an ONNX file; an .ort file if the suffix is `.ort`. Beside the latter, a file of the same name with the
            suffix `.config` lists the operators for a minimal build of ONNX Runtime.
        progress: see `write_bundle`.

    Raises:
        OptionError: `path` is a folder, or its parent folder is missing or not writable.
        ExportError: see `write_bundle`.
    """
    check_file(path)
    files, parity = _fuse_source(source, _trace_parts(source, progress), path, progress)
    write_group(files, path.parent)
    return parity


def write_bundle_and_fused(
    source: ExportSource, folder: Path, fused: Path, *, samples: bool = False, progress: Progress = _no_progress
) -> tuple[Card, Parity, Parity]:
    """Write a bundle and the single waveform-to-score file. If one of them fails, neither is written."""
    check_folder(folder)
    check_file(fused)
    parts = _trace_parts(source, progress)
    traced = _trace_bundle(source, samples, parts, progress)
    files, parity = _fuse_source(source, parts, fused, progress)
    write_files(traced.card, traced.graphs, folder)
    write_group(files, fused.parent)
    return traced.card, traced.parity, parity


def write_fused_bundle(bundle: Bundle, path: Path) -> Parity:
    """Write the single waveform-to-score file of a bundle, in the precision of the bundle.

    Args:
        bundle: of ONNX files, in fp32 or int8.
        path: see `write_fused`.

    Returns:
        The comparison with the bundle.

    Raises:
        BundleError: the files of the bundle are not ONNX, or have no guards.
        OptionError: see `write_fused`.
        ExportError: the scores differ from those of the bundle. Nothing is written then.
    """
    check_file(path)
    card = bundle.card
    formats = {role: card.files[role].format for role in ROLES}
    if set(formats.values()) != {"onnx"}:
        raise BundleError(f"{bundle.folder} holds {formats}: give the bundle of ONNX files that it was made from")
    models = {role: onnx.load(bundle.path(role)) for role in ROLES}
    if not any(node.name.startswith(GUARD) for node in models["head"].graph.node):
        raise BundleError(f"the head of {bundle.folder} has no guards: export the bundle again with this version")
    precisions = {role: card.files[role].precision for role in ROLES}
    files = _fuse(card, trace_front_end(card.front_end_name), models, precisions, path)
    parity = verify_fused_bundle(bundle, files[path.name], window_patches(card.window))
    write_group(files, path.parent)
    return parity


class _Parts(NamedTuple):
    """The traced encoder, without the front end, and the guarded head."""

    encoder: onnx.ModelProto
    head: onnx.ModelProto


class _TracedBundle(NamedTuple):
    """A verified bundle in memory."""

    card: Card
    graphs: dict[str, bytes]
    parity: Parity


def _trace_parts(source: ExportSource, progress: Progress) -> _Parts:
    progress(_TRACING[0], 0, 0)
    encoder = trace_encoder(source.network, samples=False)
    progress(_TRACING[1], 0, 0)
    return _Parts(encoder, guard_head(trace_head(source.network, source.width)))


def _trace_bundle(source: ExportSource, samples: bool, parts: _Parts, progress: Progress) -> _TracedBundle:
    card = create_card(source, samples=samples)
    encoder = parts.encoder
    if samples:
        progress(_TRACING_SAMPLES, 0, 0)
        encoder = trace_encoder(source.network, samples=True)
    graphs = {
        role: finalize_model(copy_model(model), card.metadata())
        for role, model in (("encoder", encoder), ("head", parts.head))
    }
    parity = verify_bundle(source.original, graphs["encoder"], graphs["head"], progress=partial(progress, _VERIFYING))
    figures = {**source.figures, "parity": {"largest_difference": parity.worst.difference, "cases": parity.cases}}
    return _TracedBundle(with_files(replace(card, figures=figures), graphs), graphs, parity)


def _fuse_source(
    source: ExportSource, parts: _Parts, path: Path, progress: Progress
) -> tuple[dict[str, bytes], Parity]:
    card = create_card(source, samples=True)
    precisions = dict.fromkeys(ROLES, card.precision)
    progress(_TRACING_FRONT_END, 0, 0)
    files = _fuse(card, trace_front_end(source.network.reads), parts._asdict(), precisions, path)
    window, counter = window_patches(card.window), partial(progress, _VERIFYING_FUSED)
    return files, verify_fused(source.original, files[path.name], window, counter)


def _fuse(
    card: Card,
    front_end: onnx.ModelProto,
    models: Mapping[str, onnx.ModelProto],
    precisions: Mapping[str, Precision],
    path: Path,
) -> dict[str, bytes]:
    """Return the content of the fused file at `path`, and of the file beside an .ort file, by name."""
    model = fuse(front_end, models["encoder"], models["head"], window_patches(card.window))
    graph = finalize_model(model, fused_metadata(card, precisions))
    if path.suffix != ".ort":
        return {path.name: graph}
    from .ort import convert_fused

    converted, config = convert_fused(graph, card, path.name)
    return {path.name: converted, path.with_suffix(".config").name: config}


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable values in a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def create_card(source: ExportSource, *, samples: bool) -> Card:
    """Return the card of an fp32 bundle, without its list of files."""
    return Card(
        name=source.name,
        version=importlib.metadata.version("haaqi-edge"),
        family=source.family,
        precision="fp32",
        streamable=True,
        window=DEFAULT_WINDOW,
        level1=LEVEL1,
        encoder_input="samples" if samples else encoder_input(source.network),
        tokens_per_patch=source.tokens_per_patch,
        width=source.width,
        parameters=count_parameters(source.network),
        source_sha256=source.sha256,
        files={},
        front_end=_front_end(source.original),
        figures=source.figures,
        notes=source.notes,
        predicts=source.predicts,
        interval=network_interval(source.original),
        familiarity=source.familiarity,
    )


def _front_end(network: Nano | Small | Student) -> FrontEnd:
    if isinstance(network, Student):
        return FrontEnd()
    if isinstance(network, Small):
        return FrontEnd(texture_version=network.config.nano.texture_version, block=BLOCK)
    return FrontEnd(texture_version=network.config.texture_version)


def _source_sha256(network: Nano | Small | Student) -> str:
    assert network.checkpoint_sha256 is not None, "a network that was loaded has a SHA-256"
    return network.checkpoint_sha256
