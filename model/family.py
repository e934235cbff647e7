"""The networks of the family: identify the network that a checkpoint belongs to, and load it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..runtime.errors import OptionError
from ..runtime.files import is_folder
from .checkpoint import CHECKPOINT_KINDS, read_checkpoint
from .nano import Nano
from .small import Small
from .student import Student
from .teacher import Teacher

Network = Nano | Small | Student | Teacher
NETWORKS: Final[dict[str, type[Nano] | type[Small] | type[Student] | type[Teacher]]] = {
    network.__name__: network for network in (Nano, Small, Student, Teacher)
}


def load_network(model: Network | str | Path) -> Network:
    """Return the network for a network object, a name or a path.

    Args:
        model: a network, returned as it is; `"nano"` for the shipped nano; or the path of a checkpoint, which is loaded
            in evaluation mode.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: the file does not hold exactly such a network.
        OptionError: the checkpoint belongs to no network of the family, or the path is a folder.
    """
    if not isinstance(model, str | Path):
        return model
    if str(model) == "nano":
        return Nano.shipped()
    if is_folder(Path(model)):
        raise OptionError(
            f"{model} is a folder; expected the file of a checkpoint: give the weights that a bundle was made from, or "
            "those in the folder of a run (.pth or .safetensors)"
        )
    state = read_checkpoint(model).state
    kind = next((kind for key, kind in CHECKPOINT_KINDS.items() if key in state), None)
    if kind is None or kind.network not in NETWORKS:
        raise OptionError(f"{model} is a checkpoint of none of nano, small, student and teacher: give one of theirs")
    return NETWORKS[kind.network].from_checkpoint(model)
