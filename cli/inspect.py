"""`haaqi-edge inspect`: what a bundle is, and that it is whole."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from .console import out, print_json

_RUN = ("onnx", "ort")
"""formats of files that ONNX Runtime runs; others tell something about these"""


def inspect(
    bundle: Annotated[str, typer.Argument(help="A shipped model's name, or a bundle's folder.")] = "nano",
    provider: Annotated[
        str | None, typer.Option(help="Tell where each operator runs with it, such as cuda; by default cpu.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a bundle: its card, inputs and outputs, operators and sizes; its checksums are verified."""
    from ..runtime.bundle import Bundle
    from ..runtime.gpu.provider_options import acceleration
    from ..runtime.session import Session

    opened = Bundle(bundle)
    options = acceleration(opened, provider).options
    files: dict[str, Any] = {}
    for role, entry in opened.card.files.items():
        path = opened.path(role)
        files[role] = {**asdict(entry), "bytes": path.stat().st_size}
        if entry.format not in _RUN:
            continue
        session = Session(path, provider, None, options.get(role))
        files[role] |= {
            "inputs": session.inputs,
            "outputs": session.outputs,
            "operators": _operators(path) if entry.format == "onnx" else None,
            "placement": session.placement,
            "metadata": session.metadata,
        }
    if as_json:
        print_json({"folder": str(opened.folder), "card": opened.card.to_dict(), "files": files})
        return
    card = opened.card
    what = f"[bold]{card.name}[/] {card.version}, family {card.family}, {card.precision}"
    out.print(f"{what}, in {opened.folder}", soft_wrap=True)
    facts = Table(show_header=False, box=None)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("predicts", str(card.predicts))
    facts.add_row("parameters", f"{card.parameters:,}")
    facts.add_row("window", f"{card.window:g} s")
    facts.add_row("level of RMS 1.0", f"{card.level1:g} dB SPL")
    facts.add_row("encoder reads", card.reading)
    facts.add_row("tokens", f"{card.tokens_per_patch} a patch, {card.width} wide")
    facts.add_row("streamable", "yes" if card.streamable else "no")
    facts.add_row("checkpoint SHA-256", card.source_sha256)
    test = card.figures.get("test", {}).get("all")
    if test:
        facts.add_row("test split", f"LCC {test['lcc']:.3f}, SRCC {test['srcc']:.3f}, MSE {test['mse']:.4f}")
    mos = card.figures.get("mos")
    if mos:
        told = [f"{name} LCC {mos[name]['lcc']:.3f}, MSE {mos[name]['mse']:.3f}" for name in ("before", "after")]
        facts.add_row(f"{mos['ratings']} ratings", f"{'; '.join(told)} (cross-validated)")
    if "parity" in card.figures:
        facts.add_row("parity with PyTorch", f"{card.figures['parity']['largest_difference']:.2g}")
    if "quantization" in card.figures:
        facts.add_row("against fp32", _int8(card.figures["quantization"]))
    for name, note in card.notes.items():
        if isinstance(note, str):
            facts.add_row(name, note)
    out.print(facts)
    for role, file in files.items():
        runs = file["format"] in _RUN
        what = f"{file['bytes'] / 1e6:.2f} MB, {file['format']} {file['precision']}" if runs else file["format"]
        out.print(f"\n[bold]{role}[/] {file['file']}, {what}")
        out.print(f"  SHA-256 verified {file['sha256']}", soft_wrap=True)
        if not runs:
            continue
        for kind in ("inputs", "outputs"):
            shapes = ", ".join(f"{n} \\[{', '.join(map(str, shape))}]" for n, shape in file[kind].items())
            out.print(f"  {kind:<9} {shapes}", soft_wrap=True)
        counts = file["operators"]
        if file["format"] != "onnx":
            continue
        text = "install haaqi-edge\\[export] to list them" if counts is None else _counts(counts)
        out.print(f"  operators {text}", soft_wrap=True)
        if provider is not None:
            for name, counts_ in file["placement"].items():
                out.print(f"  {name} runs {_counts(counts_)}", soft_wrap=True)


def _int8(figures: dict[str, Any]) -> str:
    """What quantization cost, and what it left alone."""
    chosen = figures["chosen"]
    change, left = chosen["change"], chosen["left_in_fp32"]
    return (
        f"99% of {figures['accuracy']['scores']} scores move by at most {change['p99']:.2g}, none by more than "
        f"{change['largest']:.2g}; {figures['fp32_bytes'] / chosen['bytes']:.1f} times smaller; left in fp32: "
        f"{', '.join(left) or 'nothing'}"
    )


def _operators(path: Path) -> dict[str, int] | None:
    """How often each operator occurs; None where the onnx package is not installed."""
    if importlib.util.find_spec("onnx") is None:
        return None
    import onnx

    counts: dict[str, int] = {}
    for node in onnx.load(path).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items())
