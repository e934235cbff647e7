"""Bundles for TensorRT: graphs that its parser takes, strongly typed, with profiles and the lines that build engines."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import onnx

from ..calibration.sealing import sealed
from ..runtime.bundle import Bundle, Card
from ..runtime.errors import BundleError
from ..runtime.files import is_file
from ..runtime.writing import check_folder, with_files, write_files
from .bundle import Source, card_of
from .graphs import encoder_graph, head_graph
from .half import half_graph
from .profiles import Profile, Shape, check_profiles, default_profiles, trtexec
from .support import check_supported, support
from .verify import TOLERANCE, Parity, verify_bundle

MANIFEST: Final = "tensorrt.json"
FORMAT: Final = 1
"""version of the manifest's schema"""
ROLES: Final = ("encoder", "head")
HALF_TOLERANCE: Final = 5e-3
"""largest difference of a score that an fp16 export may show: the budget that int8 has"""
_NUMBERS: Final = re.compile(r"\[[\d,\s]+\]")
Precision = Literal["fp32", "fp16", "int8"]
Quantizer = Callable[[Bundle, Path], tuple[Card, Mapping[str, bytes]]]
"""an int8 card and graphs from an fp32 bundle, given a folder for its work"""


@dataclass(frozen=True)
class Manifest:
    """What stands beside the graphs.

    Attributes:
        profiles: each role to input to its shapes at least, best and most.
        trtexec: role to the line that builds its engine.
        checked: the table that operators and types were checked against.
    """

    profiles: Sequence[Mapping[str, Mapping[str, tuple[Shape, Shape, Shape]]]]
    trtexec: Mapping[str, str]
    checked: str

    def to_json(self) -> str:
        """The text of `tensorrt.json`."""
        content = {
            "format": FORMAT,
            "checked": self.checked,
            "profiles": self.profiles,
            "trtexec": self.trtexec,
        }
        return _NUMBERS.sub(lambda found: "".join(found[0].split()).replace(",", ", "), json.dumps(content, indent=2)) + "\n"

    @classmethod
    def of(cls, bundle: Bundle) -> Manifest:
        """That of a bundle.

        Raises:
            BundleError: there is none, or one that this version does not understand.
        """
        path = bundle.folder / MANIFEST
        if not is_file(path):
            raise BundleError(
                f"{bundle.folder} has no {MANIFEST}: export it for TensorRT first "
                f"(haaqi-edge export {bundle.card.family} --target tensorrt -o FOLDER)"
            )
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise BundleError(f"{path} has the schema {raw['format']!r}, this version reads {FORMAT}: export it again")
            profiles = [
                {
                    role: {name: _three(of) for name, of in profile[role].items()}
                    for role in ROLES
                }
                for profile in raw["profiles"]
            ]
            return cls(profiles, {role: str(raw["trtexec"][role]) for role in ROLES}, str(raw["checked"]))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(f"{path} is not a manifest ({error!r}): export it again") from error


def write_tensorrt(
    source: Source,
    folder: Path,
    precision: Precision,
    profiles: Sequence[Profile] | None = None,
    quantize: Quantizer | None = None,
) -> tuple[Card, Manifest, Parity | None]:
    """Trace, convert, check, verify and write a bundle for TensorRT; ONNX Runtime scores with it too.

    The front end is in the encoder. The head's tokens may be those of several clips: [clips, tokens, width], where clips
    is 1 or as many as audiograms.

    Args:
        source: the network.
        folder: as for `export.bundle.write_bundle`.
        precision: fp32; fp16, see `half`; int8, the encoder's products in explicit symmetric Q/DQ.
        profiles: None takes `default_profiles` of the card's window.
        quantize: makes int8 of the fp32 bundle; needed for int8 alone.

    Returns:
        The card, the manifest, and the parity with PyTorch (None for int8: its card tells what it was measured on).

    Raises:
        OptionError: the folder holds something else.
        ExportError: TensorRT would refuse a graph, a shape stays unknown, or scores are not the network's. Nothing is
            written then.
    """
    check_folder(folder)
    card = replace(card_of(source, samples=True), precision="fp32" if precision == "int8" else precision)
    models = {"encoder": encoder_graph(source.network, samples=True), "head": head_graph(source.network, source.width)}
    for_clips(models["head"])
    parity: Parity | None = None
    if precision == "fp16":
        models = {role: half_graph(model) for role, model in models.items()}
    graphs: Mapping[str, bytes] = {role: sealed(model, card.metadata()) for role, model in models.items()}
    if precision == "int8":
        assert quantize is not None, "int8 needs a quantizer"
        card, graphs = _quantized(card, graphs, quantize)
    else:
        parity = verify_bundle(
            source.original, graphs["encoder"], graphs["head"], TOLERANCE if precision == "fp32" else HALF_TOLERANCE
        )
        told = {"largest_difference": parity.worst.difference, "cases": parity.cases}
        card = replace(card, figures={**(source.figures if precision == "fp32" else {}), "parity": told})
    models = {role: onnx.load_from_string(graph) for role, graph in graphs.items()}
    for role, model in models.items():
        check_supported(model, f"the {role} of {card.name}")
    profiles = default_profiles(card.window) if profiles is None else profiles
    check_profiles(models, card, profiles)
    card = with_files(card, graphs)
    manifest = manifest_of(card, profiles)
    write_files(card, graphs, folder, {MANIFEST: manifest.to_json().encode()})
    return card, manifest, parity


def manifest_of(card: Card, profiles: Sequence[Profile]) -> Manifest:
    """The manifest of a bundle whose files are named by its card."""
    shapes = [profile.shapes(card) for profile in profiles]
    lines = {
        role: trtexec(
            card.files[role].file,
            f"{card.name}-{role}.engine",
            [one[role] for one in shapes],
            ["--noTF32", "--timingCacheFile=timing.cache"],
        )
        for role in ROLES
    }
    return Manifest(shapes, lines, f"{support().version} ({support().source})")


def for_clips(head: onnx.ModelProto) -> None:
    """Let a head take tokens of several clips, one for each audiogram: its first axis is freed, and nothing else needs
    to change, for its operators broadcast."""
    (tokens,) = (value for value in head.graph.input if value.name == "tokens")
    tokens.type.tensor_type.shape.dim[0].dim_param = "clips"
    del head.graph.value_info[:]


def _quantized(card: Card, graphs: Mapping[str, bytes], quantize: Quantizer) -> tuple[Card, Mapping[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        fp32 = Path(folder) / card.name
        write_files(with_files(card, graphs), graphs, fp32)
        return quantize(Bundle(fp32), Path(folder) / "work")


def _three(shapes: Sequence[Sequence[int]]) -> tuple[Shape, Shape, Shape]:
    least, best, most = (tuple(int(size) for size in shape) for shape in shapes)
    return least, best, most
