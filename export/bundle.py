"""Export of bundles: graphs are traced and verified in memory, then all files are written at once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..calibration.finalization import finalize_model
from ..model.backend import network_interval
from ..model.nano import Nano
from ..model.small import BLOCK, Small
from ..model.student import Student
from ..runtime.audio.levels import LEVEL1
from ..runtime.bundle import HAAQI, Bundle, Card, FrontEnd, Scale
from ..runtime.features import patches as fe
from ..runtime.windows import DEFAULT_WINDOW, window_patches
from ..runtime.writing import check_file, check_folder, with_files, write_file, write_files
from .guards import guard_fused, guard_head, most_samples
from .surgery import FoldedStudent, fold
from .tracing import encoder_input, trace_encoder, trace_fused, trace_head
from .verify import Parity, verify_bundle, verify_fused


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
        figures, notes: results and notes for the card. If both are None, those of the shipped nano are kept.
    """
    nano = Nano.from_checkpoint(checkpoint) if checkpoint else Nano.shipped()
    sha256, width = _source_sha256(nano), nano.config.width
    if checkpoint is None and (figures, notes) == (None, None):
        shipped = Bundle("nano").card
        if shipped.source_sha256 == sha256:  # results are valid only for the weights they were measured with
            figures, notes = shipped.figures, shipped.notes
    return ExportSource(name, "nano", nano, nano, 1, width, sha256, figures or {}, notes or {})


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
    student = Student.from_checkpoint(checkpoint)
    folded = fold(student)
    width = folded.encoder.linear0.out_features
    notes = {"source": f"HAAQI-Net's distilled student, from {checkpoint.name}"}
    return ExportSource(name, "student", student, folded, 8, width, _source_sha256(student), notes=notes)


def write_bundle(source: ExportSource, folder: Path, *, samples: bool = False) -> tuple[Card, Parity]:
    """Trace, verify and write a bundle.

    Args:
        source: the network.
        folder: destination of the bundle. An older bundle there is replaced. Other content is not touched.
        samples: include the front end in the encoder's graph.

    Raises:
        OptionError: the folder holds something that is not a bundle.
        ExportError: the graphs' scores differ from the network's. Nothing is written then.
    """
    check_folder(folder)
    traced = _trace_bundle(source, samples)
    write_files(traced.card, traced.graphs, folder)
    return traced.card, traced.parity


def write_fused(source: ExportSource, path: Path) -> Parity:
    """Trace, verify and write the single waveform-to-score file.

    Raises:
        OptionError: `path` is a folder, or its parent folder is missing or not writable.
        ExportError: see `write_bundle`.
    """
    check_file(path)
    graph, parity = _trace_fused(source)
    write_file(graph, path)
    return parity


def write_bundle_and_fused(
    source: ExportSource, folder: Path, fused: Path, *, samples: bool = False
) -> tuple[Card, Parity, Parity]:
    """Write a bundle and the single waveform-to-score file. If one of them fails, neither is written."""
    check_folder(folder)
    check_file(fused)
    traced, (graph, fused_parity) = _trace_bundle(source, samples), _trace_fused(source)
    write_files(traced.card, traced.graphs, folder)
    write_file(graph, fused)
    return traced.card, traced.parity, fused_parity


class _TracedBundle(NamedTuple):
    """A verified bundle in memory."""

    card: Card
    graphs: dict[str, bytes]
    parity: Parity


def _trace_bundle(source: ExportSource, samples: bool) -> _TracedBundle:
    card = create_card(source, samples=samples)
    graphs = {
        "encoder": finalize_model(trace_encoder(source.network, samples=samples), card.metadata()),
        "head": finalize_model(guard_head(trace_head(source.network, source.width)), card.metadata()),
    }
    parity = verify_bundle(source.original, graphs["encoder"], graphs["head"])
    figures = {**source.figures, "parity": {"largest_difference": parity.worst.difference, "cases": parity.cases}}
    return _TracedBundle(with_files(replace(card, figures=figures), graphs), graphs, parity)


def _trace_fused(source: ExportSource) -> tuple[bytes, Parity]:
    card = create_card(source, samples=True)
    window = window_patches(card.window)
    limits = {
        "window": f"{card.window:g}",
        "min_samples": str(fe.PATCH_LENGTH),
        "max_samples": str(most_samples(window)),
    }
    graph = finalize_model(guard_fused(trace_fused(source.network), window), card.metadata() | limits)
    return graph, verify_fused(source.original, graph, window)


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
