"""`haaqi-edge export --target tensorrt`: what it is told, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.markup import escape

from ..runtime.errors import OptionError
from .console import err, out, print_json, require

if TYPE_CHECKING:
    from ..export.bundle import Source
    from ..export.tensorrt.bundle import Precision
    from ..runtime.bundle import Bundle, Card
    from ..runtime.gpu.optimization_profiles import Profile


@dataclass(frozen=True)
class TensorRT:
    """An export for TensorRT: its folder, precision and profiles (None for the default ones)."""

    output: Path
    precision: Precision
    profiles: Sequence[Profile] | None

    @classmethod
    def told(
        cls, output: Path, *, fp16: bool = False, int8: bool = False, profile: Sequence[str] | None = None
    ) -> Self:
        """From the command line."""
        from ..runtime.gpu.optimization_profiles import Profile

        if fp16 and int8:
            raise OptionError("--fp16 and --int8: choose one; the layers that int8 leaves out stay in fp32")
        if int8:
            require("quantize", "onnx", "scipy", "numba")
        chosen = [Profile.parse(text) for text in profile] if profile else None
        if chosen and len(set(chosen)) < len(chosen):
            raise OptionError(f"--profile {', '.join(map(str, chosen))}: give each profile once")
        return cls(output, "fp16" if fp16 else "int8" if int8 else "fp32", chosen)

    def export(self, source: Source, as_json: bool) -> None:
        """Export, and say what came of it."""
        from ..export.tensorrt.bundle import write_tensorrt
        from ..export.tensorrt.manifest import MANIFEST

        if self.precision == "int8":
            card, manifest, parity = write_tensorrt(source, self.output, "int8", self.profiles, _quantize)
        else:
            with err.status("tracing, checking and verifying"):
                card, manifest, parity = write_tensorrt(source, self.output, self.precision, self.profiles)
        if as_json:
            worst = None if parity is None else parity.worst
            print_json(
                {
                    "path": str(self.output),
                    "name": card.name,
                    "precision": card.precision,
                    "checked": manifest.checked,
                    "profiles": manifest.profiles,
                    "trtexec": manifest.trtexec,
                    "largest_difference": worst.difference if worst else None,
                    "worst_case": worst.case if worst else None,
                }
            )
            return
        agreed = "what int8 costs stands in its card (haaqi-edge inspect)"
        if parity is not None:
            agreed = (
                f"scores agree with PyTorch within {parity.worst.difference:.2g} in {parity.cases} cases on the CPU"
            )
        out.print(f"[bold]{escape(str(self.output))}[/], {card.precision}: {agreed}", soft_wrap=True)
        out.print(f"  operators and types are in the list of {manifest.checked}", soft_wrap=True)
        out.print(f"  {len(manifest.profiles)} profiles, in {MANIFEST}; every shape is known at the ends of each")
        build = f"haaqi-edge build-engine {escape(str(self.output))}"
        out.print(f"  to build the engines on their GPU: {build}, or, in that folder,", soft_wrap=True)
        for line in manifest.trtexec.values():
            out.print(f"    {escape(line)}", soft_wrap=True)


def _quantize(bundle: Bundle, work: Path) -> tuple[Card, Mapping[str, bytes]]:
    from ..calibration.calibration_data import composed
    from ..calibration.quantization import Settings
    from ..calibration.targets import target_of
    from .quantize import quantized

    found = quantized(bundle, composed(), Settings(target_of("tensorrt")), work)
    return found.card, found.chosen.graphs
