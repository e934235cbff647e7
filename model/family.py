"""The model family: finds out which network a checkpoint belongs to, and loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..runtime.errors import OptionError
from ..runtime.files import is_folder
from .checkpoint import read_checkpoint
from .nano import Nano
from .student import Student
from .teacher import Teacher

Network = Nano | Student | Teacher
MARKS: Final[dict[str, type[Nano] | type[Student] | type[Teacher]]] = {
    "head.gru.weight_ih_l0": Nano,
    "encoder0.fc1.weight": Student,
    "beats_model.encoder.layers.0.fc1.weight": Teacher,
}
"""A key that exists in only one network's state dict, and that network's class."""


def network_of(model: Network | str | Path) -> Network:
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
        return Nano.from_checkpoint()
    if is_folder(Path(model)):
        raise OptionError(
            f"{model} is a folder, and a network is read from a checkpoint's file: give the weights that a bundle was "
            "made from, or those in a run's folder (.pth or .safetensors)"
        )
    state = read_checkpoint(model).state
    found = next((kind for key, kind in MARKS.items() if key in state), None)
    if found is None:
        raise OptionError(f"{model} is a checkpoint of none of nano, student and teacher: give one of theirs")
    return found.from_checkpoint(model)
