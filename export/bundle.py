"""Writing of bundles: trace and verify the graphs in memory, then write all files at once."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import nn

from ..calibration.finalization import sealed
from ..model.nano import Nano
from ..model.student import Student
from ..runtime.audio.levels import LEVEL1
from ..runtime.bundle import HAAQI, Bundle, Card, FrontEnd, Scale
from ..runtime.writing import check_file, check_folder, with_files, write_file, write_files
from .graphs import encoder_graph, encoder_input, fused_graph, head_graph
from .surgery import FoldedStudent, fold
from .verify import Parity, verify_bundle, verify_fused

WINDOW: Final = 10.0
"""Default length in seconds of the window that a score covers."""


@dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
        name: name of the bundle.
        family: `student` or `nano`.
        original: the network as loaded from its checkpoint. Exported scores are compared with its scores.
        network: the network to trace (for the student, the folded one).
        tokens_per_patch, width: of the network's tokens.
        sha256: of the checkpoint.
        figures, notes: for the card.
        predicts: the scale of the scores.
    """

    name: str
    family: str
    original: Nano | Student
    network: Nano | FoldedStudent
    tokens_per_patch: int
    width: int
    sha256: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    predicts: Scale = HAAQI


def nano_source(
    checkpoint: Path | None,
    name: str = "nano",
    figures: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Source:
    """Load nano from a checkpoint.

    With None, load the shipped weights. If you then give no figures and notes, they come from the shipped card.
    """
    nano = Nano.from_checkpoint(checkpoint) if checkpoint else Nano.from_checkpoint()
    sha256, width = _known(nano.checkpoint_sha256), nano.config.width
    if checkpoint is None and (figures, notes) == (None, None):
        shipped = Bundle("nano").card
        if shipped.source_sha256 == sha256:  # results are valid only for the weights they were measured with
            figures, notes = shipped.figures, shipped.notes
    return Source(name, "nano", nano, nano, 1, width, sha256, figures or {}, notes or {})


def student_source(checkpoint: Path, name: str = "student") -> Source:
    """Load the published student from its checkpoint and fold it."""
    student = Student.from_checkpoint(checkpoint)
    folded = fold(student)
    width = folded.encoder.linear0.out_features
    notes = {"source": f"HAAQI-Net's distilled student, from {checkpoint.name}"}
    return Source(name, "student", student, folded, 8, width, _known(student.checkpoint_sha256), notes=notes)


def write_bundle(source: Source, folder: Path, *, samples: bool = False) -> tuple[Card, Parity]:
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
    traced = _traced_bundle(source, samples)
    write_files(traced.card, traced.graphs, folder)
    return traced.card, traced.parity


def write_fused(source: Source, path: Path) -> Parity:
    """Trace, verify and write the single waveform-to-score file.

    Raises:
        OptionError: `path` is a folder, or its parent folder is missing or not writable.
        ExportError: see `write_bundle`.
    """
    check_file(path)
    graph, parity = _traced_fused(source)
    write_file(graph, path)
    return parity


def write_both(source: Source, folder: Path, fused: Path, *, samples: bool = False) -> tuple[Card, Parity, Parity]:
    """Write a bundle and the single waveform-to-score file. If one of them fails, neither is written."""
    check_folder(folder)
    check_file(fused)
    traced, (graph, fused_parity) = _traced_bundle(source, samples), _traced_fused(source)
    write_files(traced.card, traced.graphs, folder)
    write_file(graph, fused)
    return traced.card, traced.parity, fused_parity


class _Traced(NamedTuple):
    """A verified bundle in memory."""

    card: Card
    graphs: dict[str, bytes]
    parity: Parity


def _traced_bundle(source: Source, samples: bool) -> _Traced:
    card = card_of(source, samples=samples)
    graphs = {
        "encoder": sealed(encoder_graph(source.network, samples=samples), card.metadata()),
        "head": sealed(head_graph(source.network, source.width), card.metadata()),
    }
    parity = verify_bundle(source.original, graphs["encoder"], graphs["head"])
    figures = {**source.figures, "parity": {"largest_difference": parity.worst.difference, "cases": parity.cases}}
    return _Traced(with_files(replace(card, figures=figures), graphs), graphs, parity)


def _traced_fused(source: Source) -> tuple[bytes, Parity]:
    graph = sealed(fused_graph(source.network), card_of(source, samples=True).metadata())
    return graph, verify_fused(source.original, graph)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable values in a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def card_of(source: Source, *, samples: bool) -> Card:
    """Return the card of an fp32 bundle, without its list of files."""
    return Card(
        name=source.name,
        version=importlib.metadata.version("haaqi-edge"),
        family=source.family,
        precision="fp32",
        streamable=True,
        window=WINDOW,
        level1=LEVEL1,
        encoder_input="samples" if samples else encoder_input(source.network),
        tokens_per_patch=source.tokens_per_patch,
        width=source.width,
        parameters=parameter_count(source.network),
        source_sha256=source.sha256,
        files={},
        front_end=FrontEnd(texture_version=_texture_version(source.original)),
        figures=source.figures,
        notes=source.notes,
        predicts=source.predicts,
    )


def _texture_version(network: Nano | Student) -> int:
    return network.config.texture_version if isinstance(network, Nano) else FrontEnd().texture_version


def _known(sha256: str | None) -> str:
    assert sha256 is not None, "a network read from a checkpoint knows its SHA-256"
    return sha256
