"""Bundles of .ort files, ONNX Runtime's own format, for minimal builds that read only it and contain few operators.

The conversion matches `onnxruntime.tools.convert_onnx_models_to_ort` for ARM, except that constants are not folded. The
exporter has already folded them. The remaining ones are int8 weights that a head computes in floating point, which
folding would make four times as large.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import onnx
import onnxruntime
from onnxruntime.tools.ort_format_model import create_config_from_models

from ..runtime.bundle import ROLES, Bundle, Card, File
from ..runtime.errors import BundleError
from ..runtime.writing import check_folder, with_files, write_files
from .verify import Parity, verify_graphs

CONFIGS: Final = {"operators": "required_operators.config", "types": "required_operators_and_types.config"}
"""Configuration files for a minimal build of ONNX Runtime (--include_ops_by_config): operators, or also their types."""
FORMAT: Final = "ort"
_DISABLED_OPTIMIZERS: Final = ("NchwcTransformer", "ConstantFolding")
"""Disabled optimizations: layouts for x86 processors, and constant folding (see the module's docstring)."""


class OrtExport(NamedTuple):
    """The card of a written bundle, and the comparison of its scores with those of the original bundle."""

    card: Card
    parity: Parity


def write_ort(bundle: Bundle, folder: Path) -> OrtExport:
    """Convert a bundle of ONNX files to .ort files, with the configuration for a minimal build.

    Args:
        bundle: of any family and precision.
        folder: destination of the new bundle, see `write_bundle`.

    Raises:
        OptionError: the folder holds something that is not a bundle.
        BundleError: the files of `bundle` are not ONNX.
        ExportError: scores of the new and the old files differ. Nothing is written then.
    """
    check_folder(folder)
    formats = {role: bundle.card.files[role].format for role in ROLES}
    if set(formats.values()) != {"onnx"}:
        raise BundleError(f"{bundle.folder} holds {formats}: give the bundle of ONNX files that it was made from")
    sources = {role: bundle.path(role) for role in ROLES}
    with tempfile.TemporaryDirectory() as work:
        paths = {role: Path(work) / f"{role}.{FORMAT}" for role in ROLES}
        for role, path in paths.items():
            _convert(sources[role], path)
        graphs = {role: path.read_bytes() for role, path in paths.items()}
        configs = {role: _create_config(bundle.card, list(paths.values()), role == "types") for role in CONFIGS}
    before = {role: source.read_bytes() for role, source in sources.items()}
    parity = verify_graphs(before, graphs, bundle.card.front_end_name, "the .ort and the ONNX files")
    precisions = {role: bundle.card.files[role].precision for role in ROLES}
    card = with_files(bundle.card, graphs, precisions, FORMAT)
    listed = {
        role: File(CONFIGS[role], "config", card.precision, hashlib.sha256(content).hexdigest())
        for role, content in configs.items()
    }
    card = replace(card, files={**card.files, **listed})
    write_files(card, {**graphs, **configs}, folder)
    return OrtExport(card, parity)


def convert_fused(graph: bytes, card: Card, name: str) -> tuple[bytes, bytes]:
    """Convert a fused graph.

    Args:
        graph: the ONNX file.
        card: of the bundle that it was made from.
        name: name of the .ort file, for the comment in the configuration.

    Returns:
        The .ort file, and the configuration for a minimal build, with types.
    """
    with tempfile.TemporaryDirectory() as work:
        source, target = Path(work) / "fused.onnx", Path(work) / name
        source.write_bytes(graph)
        _convert(source, target)
        return target.read_bytes(), _create_config(card, [target], True)


def _convert(source: Path, target: Path) -> None:
    """Convert an ONNX file.

    The nodes of the new file have no names and its values have short ones, since the format repeats them.
    """
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    # ARM multiplies int8 by int8. Without this entry, activations become unsigned.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    model = onnx.load(source)
    _shorten_names(model.graph)
    onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(_DISABLED_OPTIMIZERS),
    )


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Replace the names of values that are neither inputs nor outputs by numbers, and remove those of nodes.

    Shapes are removed as well. ONNX Runtime infers them again.
    """
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    for node in graph.node:
        node.name = ""
        for values in (node.input, node.output):
            values[:] = [names.setdefault(name, f"{len(names):x}") for name in values]
    for constant in graph.initializer:
        constant.name = names.setdefault(constant.name, f"{len(names):x}")
    del graph.value_info[:]


def _create_config(card: Card, paths: Sequence[Path], types: bool) -> bytes:
    """Return the operators of all files in the format of ONNX Runtime's build, without comments that hold paths."""
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)  # it logs every file that it writes
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "config"
        create_config_from_models(list(paths), path, types)
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    names = ", ".join(path.name for path in paths)
    return "\n".join([f"# {names} of {card.name} {card.version}", *lines, ""]).encode()
