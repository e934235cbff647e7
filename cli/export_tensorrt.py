"""`haaqi-edge export --target tensorrt`: options and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.table import Table

from ..runtime.errors import OptionError
from .console import err, out, print_json, require

if TYPE_CHECKING:
    from ..export.bundle import ExportSource
    from ..export.tensorrt.bundle import Precision
    from ..runtime.bundle import Bundle, Card
    from ..runtime.gpu.optimization_profiles import OptimizationProfile


@dataclass(frozen=True)
class TensorRTExport:
    """An export for TensorRT.

    Attributes:
        output: folder of the bundle.
        precision: of the products.
        profiles: optimization profiles, None for the default ones.
    """

    output: Path
    precision: Precision
    profiles: Sequence[OptimizationProfile] | None

    @classmethod
    def from_options(
        cls, output: Path, *, fp16: bool = False, int8: bool = False, profile: Sequence[str] | None = None
    ) -> Self:
        """Create an export from options of the command line.

        Raises:
            OptionError: options contradict each other, or a profile is invalid.
            DependencyError: int8 needs an extra that is not installed.
        """
        from ..runtime.gpu.optimization_profiles import OptimizationProfile

        if fp16 and int8:
            raise OptionError("--fp16 and --int8: choose one; layers without int8 stay in fp32")
        if int8:
            require("quantize", "onnx", "scipy", "numba")
        chosen = [OptimizationProfile.parse(text) for text in profile] if profile else None
        if chosen and len(set(chosen)) < len(chosen):
            raise OptionError(f"--profile {', '.join(map(str, chosen))}: give each profile once")
        return cls(output, "fp16" if fp16 else "int8" if int8 else "fp32", chosen)

    def write(self, source: ExportSource, as_json: bool) -> None:
        """Write the bundle, and print a report."""
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
                    "precisions": manifest.precisions,
                    "checked": manifest.checked,
                    "profiles": manifest.profiles,
                    "trtexec": manifest.trtexec,
                    "largest_difference": worst.difference if worst else None,
                    "worst_case": worst.case if worst else None,
                }
            )
            return
        agreement = "the card has the score changes by int8 (haaqi-edge inspect)"
        if parity is not None:
            agreement = (
                f"scores agree with PyTorch within {parity.worst.difference:.2g} in {parity.cases} cases on the CPU"
            )
        out.print(f"[bold]{escape(str(self.output))}[/], {card.precision}: {agreement}", soft_wrap=True)
        table = Table("part", "precision of the products")
        for part, precision in manifest.precisions.items():
            table.add_row(part, precision)
        out.print(table)
        out.print(f"  all operators and types are supported by {manifest.checked}", soft_wrap=True)
        out.print(f"  {len(manifest.profiles)} optimization profiles, in {MANIFEST}")
        build = f"haaqi-edge build-engine {escape(str(self.output))}"
        out.print(f"  build the engines on the GPU with {build}, or in that folder with", soft_wrap=True)
        for line in manifest.trtexec.values():
            out.print(f"    {escape(line)}", soft_wrap=True)


def _quantize(bundle: Bundle, work: Path) -> tuple[Card, Mapping[str, bytes]]:
    from ..calibration.calibration_data import create_synthetic_data
    from ..calibration.quantization import QuantizationSettings
    from ..calibration.targets import get_target
    from .quantize import quantize_with_progress

    result = quantize_with_progress(bundle, create_synthetic_data(), QuantizationSettings(get_target("tensorrt")), work)
    return result.card, result.chosen.graphs
