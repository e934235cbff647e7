"""Safe reading and strict loading of checkpoints.

No code in a file is ever run. A file that does not fit the network is rejected, and the error says what the file is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..runtime.errors import CheckpointError, CheckpointNotFoundError
from ..runtime.files import is_file, is_folder

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
LEGACY_PICKLES = 5
"""Number of consecutive pickles at the start of a file in torch's old format."""
MAX_LISTED_KEYS = 12
"""Maximum number of keys of each kind that a message lists. The rest are counted."""
EXPECTED = "a file with nothing but tensors: torch.save of a state dict or of a dict with 'model', or safetensors"
MAX_LISTED_GLOBALS = 3
TRUSTED_GLOBALS = re.compile(
    r"collections\.OrderedDict|_codecs\.encode|torch\._(utils|tensor)\._rebuild_\w+|torch\.(\w+\.)*(\w+Storage|b?float\d+)"
)


class CheckpointKind(NamedTuple):
    """A kind of checkpoint.

    Attributes:
        network: name of its network's class: `Nano`, `Small`, `Student`, `Teacher` or `Beats`.
        description: for messages.
    """

    network: str
    description: str


CHECKPOINT_KINDS: Final = {
    "beats_model.encoder.layers.0.fc1.weight": CheckpointKind(
        "Teacher", "the teacher's checkpoint (haaqi_net.pth): load it with Teacher"
    ),
    "encoder.layers.0.fc1.weight": CheckpointKind(
        "Beats",
        "BEATs's own checkpoint (BEATs_iter3_plus_AS2M.pt), which predicts no score: it is for training a teacher",
    ),
    "encoder0.fc1.weight": CheckpointKind(
        "Student", "the student's checkpoint (haaqi_net_distillBEATs.pth): load it with Student"
    ),
    "encoder.mix.weight": CheckpointKind("Small", "a small's checkpoint: load it with Small"),
    "head.gru.weight_ih_l0": CheckpointKind("Nano", "a nano's checkpoint: load it with Nano"),
}
"""Kinds of checkpoints, by a key that exists in only one kind of state dict."""


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, the file that it came from, and the sizes stored in that file (its `cfg`)."""

    path: Path
    sha256: str
    state: dict[str, Tensor]
    sizes: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the tensors of a checkpoint file.

    Supported are torch's formats (a state dict, or a dict with `model`) and safetensors. No code in the file is run.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: the file is unreadable, truncated, not a checkpoint, or a pickle that would run code.
    """
    path = Path(path)
    if not is_file(path):
        problem = "is a folder" if is_folder(path) else "does not exist"
        raise CheckpointNotFoundError(f"{path} {problem}; expected a checkpoint file: check the path")
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY_MAGIC))
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not start:
        raise CheckpointError(f"{path} is empty; expected {EXPECTED}: obtain it again")
    content = _read_safetensors(path) if start[8:9] == b"{" else _read_torch(path, start)
    cfg = content.get("cfg") if isinstance(content, dict) and isinstance(content.get("model"), Mapping) else None
    return Checkpoint(path, sha256, _extract_state(content, path), cfg if isinstance(cfg, dict) else {})


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or damaged safetensors ({error}): obtain it again") from error


def _read_torch(path: Path, start: bytes) -> object:
    try:
        with warnings.catch_warnings(action="ignore"):  # about unusual pickles, which are rejected here anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malformed pickle can raise any exception
        code = _find_code(path, is_zip=start.startswith(ZIP_MAGIC))
        if code:
            message = (
                f"{path} is a pickle that names {code}, which is code and not weights: loading would run it, so the "
                f"file is refused. Expected {EXPECTED}. If you trust it, load it where it was made and save its "
                "state_dict() alone"
            )
        elif start.startswith(ZIP_MAGIC) or LEGACY_MAGIC.startswith(start):
            message = f"{path} begins as a checkpoint but is truncated or damaged: obtain it again"
        else:
            message = f"{path} is not a checkpoint; expected {EXPECTED}: check that the path is the right one"
        raise CheckpointError(message) from error


def _find_code(path: Path, *, is_zip: bool) -> str:
    """Return the globals in the pickle that tensors do not need. The pickle is parsed, not run."""
    names: dict[str, None] = {}
    try:
        with path.open("rb") as file:
            if not is_zip:
                names.update(dict.fromkeys(_foreign_globals(file)))
            else:
                with zipfile.ZipFile(file) as archive:
                    pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
                    for name in pickles[:1]:
                        names.update(dict.fromkeys(_foreign_globals(io.BytesIO(archive.read(name)))))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
        pass  # the caller reports unreadable files
    return ", ".join(list(names)[:MAX_LISTED_GLOBALS])


def _foreign_globals(file: IO[bytes]) -> Iterator[str]:
    strings = ["", ""]
    with contextlib.suppress(ValueError, OverflowError):  # at the end of an old-format or truncated pickle
        for _ in range(LEGACY_PICKLES):
            for operation, argument, _position in pickletools.genops(file):
                if operation.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                    name = ".".join(strings) if argument is None else str(argument).replace(" ", ".")
                    if not TRUSTED_GLOBALS.fullmatch(name):
                        yield name
                elif isinstance(argument, str):
                    strings = [strings[1], argument]


def _extract_state(content: object, path: Path) -> dict[str, Tensor]:
    state = content["model"] if isinstance(content, dict) and isinstance(content.get("model"), Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{path} contains a {type(state).__name__}, not a state dict; expected {EXPECTED}")
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            raise CheckpointError(
                f"{path} contains a {type(value).__name__} at {key!r}; expected {EXPECTED}: save the state dict alone"
            )
    return dict(state)


def load_strictly(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    network_name: str,
    source: str,
    spare: Mapping[str, torch.Size] | None = None,
    check: Callable[[Mapping[str, Tensor], str], None] | None = None,
) -> None:
    """Load `state` into `network` if its keys and shapes match exactly and all values are finite.

    Args:
        network: receives the tensors. It is unchanged if an error is raised.
        state: the state dict.
        network_name, source: names of the network and of the state in messages.
        spare: keys and shapes that `state` must hold as well, but that are not loaded.
        check: an additional check, called with `state` and `source`. It may raise CheckpointError.

    Raises:
        CheckpointError: the message lists keys that are missing, unexpected or of another shape.
    """
    own = network.state_dict()
    expected = {key: tensor.shape for key, tensor in own.items()} | dict(spare or {})
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shapes = [
        f"{key} {list(state[key].shape)} where {list(shape)} was expected"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    ]
    findings = [
        f"{label}: {_join_names(items)}"
        for label, items in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if items
    ]
    if findings:
        kind = next((kind for key, kind in CHECKPOINT_KINDS.items() if key in state and key not in expected), None)
        fix = f"this is {kind.description}" if kind else f"give a checkpoint with exactly the keys of {network_name}"
        raise CheckpointError(f"{source} is not {network_name}'s: {fix}. {'; '.join(findings)}")
    for key, tensor in state.items():
        if key in own and tensor.dtype == own[key].dtype == torch.int64:
            continue  # a batch norm's counter
        if not (tensor.is_floating_point() and bool(tensor.isfinite().all())):
            what = "NaN or infinity" if tensor.is_floating_point() else f"{tensor.dtype} values"
            raise CheckpointError(f"{source}: {key} holds {what}; expected finite floats: obtain the file again")
    if check is not None:
        check(state, source)
    network.load_state_dict({key: state[key] for key in own})


def _join_names(items: Collection[str]) -> str:
    listed = ", ".join(list(items)[:MAX_LISTED_KEYS])
    return f"{listed} and {len(items) - MAX_LISTED_KEYS} more" if len(items) > MAX_LISTED_KEYS else listed
