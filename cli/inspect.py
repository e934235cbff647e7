"""`haaqi-edge inspect`: show the contents of a bundle, and verify its checksums."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from .console import out, print_json
from .options import JsonOption, ProviderOption

if TYPE_CHECKING:
    from ..runtime.bundle import Card
    from ..runtime.session import Session

_PRECISION: Final = "precision_"
"""beginning of the metadata keys for the precision of the parts of a fused file"""
_GRAPH_FORMATS = ("onnx", "ort")
"""formats of files that ONNX Runtime runs; files in other formats describe these"""


def inspect(
    bundle: Annotated[
        str, typer.Argument(help="Name of a shipped model, folder of a bundle, or file of `export --fused`.")
    ] = "nano",
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a bundle or a fused file: its card, inputs, outputs, operators and file sizes.

    The precision of each file is that of its weights. The checksums of all files of a bundle are verified. With
    --provider, the output lists where each operator runs.
    """
    from ..runtime.files import is_graph

    folder, card, files = (_read_fused if is_graph(bundle) else _read_bundle)(bundle, provider)
    if as_json:
        print_json({"folder": str(folder), "card": card.to_dict(), "files": files})
        return
    title = f"[bold]{card.name}[/] {card.version}, family {card.family}, {card.precision}"
    out.print(f"{title}, in {folder}", soft_wrap=True)
    facts = Table(show_header=False, box=None)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("predicts", str(card.predicts))
    facts.add_row("parameters", f"{card.parameters:,}")
    facts.add_row("window", f"{card.window:g} s")
    facts.add_row("level of RMS 1.0", f"{card.level1:g} dB SPL")
    if "fused" not in files:
        facts.add_row("encoder reads", card.front_end_name)
        facts.add_row("tokens", f"{card.tokens_per_patch} per patch, width {card.width}")
    facts.add_row("streamable", "yes" if card.streamable else "no")
    facts.add_row("checkpoint SHA-256", card.source_sha256)
    test = card.figures.get("test", {}).get("all")
    if test:
        facts.add_row("test split", f"LCC {test['lcc']:.3f}, SRCC {test['srcc']:.3f}, MSE {test['mse']:.4f}")
    mos = card.figures.get("mos")
    if mos:
        results = [f"{name} LCC {mos[name]['lcc']:.3f}, MSE {mos[name]['mse']:.3f}" for name in ("before", "after")]
        facts.add_row(f"{mos['ratings']} ratings", f"{'; '.join(results)} (cross-validated)")
    if "parity" in card.figures:
        facts.add_row("parity with PyTorch", f"{card.figures['parity']['largest_difference']:.2g}")
    if "quantization" in card.figures:
        facts.add_row("against fp32", _describe_quantization(card.figures["quantization"]))
    for name, note in card.notes.items():
        if isinstance(note, str):
            facts.add_row(name, note)
    out.print(facts)
    for role, file in files.items():
        runs = file["format"] in _GRAPH_FORMATS
        description = f"{file['bytes'] / 1e6:.2f} MB, {file['format']} {file['precision']}" if runs else file["format"]
        out.print(f"\n[bold]{role}[/] {file['file']}, {description}")
        out.print(f"  SHA-256 {'' if role == 'fused' else 'verified '}{file['sha256']}", soft_wrap=True)
        if not runs:
            continue
        for kind in ("inputs", "outputs"):
            shapes = ", ".join(f"{n} \\[{', '.join(map(str, shape))}]" for n, shape in file[kind].items())
            out.print(f"  {kind:<9} {shapes}", soft_wrap=True)
        counts = file["operators"]
        if file["format"] != "onnx":
            continue
        text = "install haaqi-edge\\[export] to list them" if counts is None else _format_counts(counts)
        out.print(f"  operators {text}", soft_wrap=True)
        if provider is not None:
            for name, placed in file["placement"].items():
                out.print(f"  {name} runs {_format_counts(placed)}", soft_wrap=True)


def _read_bundle(name: str, provider: str | None) -> tuple[Path, Card, dict[str, Any]]:
    """Return the folder and the card of a bundle, and the description of each file."""
    from ..runtime.bundle import Bundle
    from ..runtime.gpu.provider_options import resolve_provider_options
    from ..runtime.session import Session

    bundle = Bundle(name)
    options = resolve_provider_options(bundle, provider).options
    files: dict[str, Any] = {}
    for role, entry in bundle.card.files.items():
        path = bundle.path(role)
        files[role] = {**asdict(entry), "bytes": path.stat().st_size}
        if entry.format in _GRAPH_FORMATS:
            files[role] |= _describe_graph(path, Session(path, provider, None, options.get(role)))
    return bundle.folder, bundle.card, files


def _read_fused(name: str, provider: str | None) -> tuple[Path, Card, dict[str, Any]]:
    """Return the folder and the card of a fused file, and the description of the file."""
    from ..runtime.bundle import file_sha256
    from ..runtime.onnx_backend import FusedBackend

    path = Path(name)
    fused = FusedBackend(path, provider=provider)
    metadata = fused.session.metadata
    parts = {part: metadata[f"{_PRECISION}{part}"] for part in ("front_end", "encoder", "head")}
    file = {
        "file": path.name,
        "format": path.suffix.removeprefix("."),
        "precision": ", ".join(f"{part.replace('_', ' ')} {precision}" for part, precision in parts.items()),
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        **_describe_graph(path, fused.session),
    }
    return path.absolute().parent, fused.card, {"fused": file}


def _describe_graph(path: Path, session: Session) -> dict[str, Any]:
    return {
        "inputs": session.inputs,
        "outputs": session.outputs,
        "operators": _count_operators(path) if path.suffix == ".onnx" else None,
        "placement": session.placement,
        "metadata": session.metadata,
    }


def _describe_quantization(metrics: dict[str, Any]) -> str:
    """Return the score changes by quantization, and the layers that stay in fp32."""
    chosen = metrics["chosen"]
    change, left = chosen["change"], chosen["left_in_fp32"]
    return (
        f"99% of {metrics['accuracy']['scores']} scores change by at most {change['p99']:.2g}, all by at most "
        f"{change['largest']:.2g}; {metrics['fp32_bytes'] / chosen['bytes']:.1f} times smaller; in fp32: "
        f"{', '.join(left) or 'no layer'}"
    )


def _count_operators(path: Path) -> dict[str, int] | None:
    """Count each operator of a graph. Return None if the package onnx is not installed."""
    if importlib.util.find_spec("onnx") is None:
        return None
    import onnx

    counts: dict[str, int] = {}
    for node in onnx.load(path).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items())
