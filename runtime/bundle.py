"""Bundles: a folder with `card.json`, which says what the model is, and the files that the card names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from . import frontend as fe
from .audiogram import FREQUENCIES
from .errors import BundleError, BundleNotFoundError
from .files import is_file, is_folder
from .texture import VERSIONS
from .windows import LONGEST

CARD: Final = "card.json"
FORMAT: Final = 1
"""version of the card's schema"""
SHIPPED: Final = Path(__file__).parent / "models"

Precision = Literal["fp32", "fp16", "int8"]
ENCODER_INPUTS: Final = ("fbank", "texture", "samples")
TEXTURE_VERSION: Final = "texture_version"
"""key of an ONNX file's metadata; a file without it has version 1"""


@dataclass(frozen=True)
class FrontEnd:
    """The front end that a model was trained with. Only `texture_version` has several values that can be computed.

    Attributes:
        texture_version: of the texture front end, see `runtime.texture`. A card does not name version 1, the only one
            that earlier versions of this package know.
    """

    sample_rate: int = fe.SAMPLE_RATE
    hop: int = fe.FRAME_SHIFT
    mel_bins: int = fe.MEL_BINS
    patch_frames: int = fe.PATCH_FRAMES
    patch_shift: int = fe.PATCH_SHIFT
    patch_length: int = fe.PATCH_LENGTH
    texture_version: int = 1


@dataclass(frozen=True)
class Scale:
    """What scores from 0 to 1 stand for: the name of what is predicted, and its values at 0 and at 1."""

    name: str = "HAAQI"
    low: float = 0.0
    high: float = 1.0

    def of_score(self, score: float) -> float:
        """The value that a score stands for."""
        return self.low + (self.high - self.low) * score

    def to_score(self, value: float) -> float:
        """The score that stands for a value."""
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.name}, {self.low:g} to {self.high:g}"


def reading_name(encoder_input: str, texture_version: int) -> str:
    """Name of a front end in `encoder.READINGS`: the encoder's input, and the version of a texture from 2 on."""
    return f"texture-{texture_version}" if encoder_input == "texture" and texture_version != 1 else encoder_input


HAAQI: Final = Scale()
"""what every model predicts that was not tuned to something else"""


@dataclass(frozen=True)
class File:
    """A file of a bundle: its plain name, format (onnx, ort, config), precision and SHA-256 (hex)."""

    file: str
    format: str
    precision: Precision
    sha256: str


@dataclass(frozen=True)
class Card:
    """What a bundle is, how it was made and what was measured.

    Attributes:
        family: `nano`, `student` or `teacher`.
        streamable: whether a patch's tokens are independent of what it is batched with.
        window: seconds that one score covers by default.
        level1: dB SPL of RMS 1.0 in the samples that the encoder expects.
        encoder_input: `fbank`, `texture`, or `samples` (the front end is then in the graph).
        tokens_per_patch, width: of the encoder's tokens.
        parameters: of encoder and head together.
        source_sha256: of the checkpoint that the bundle was made from.
        files: role (`encoder`, `head`; beside .ort files `operators` and `types`, for builds of ONNX Runtime) to file.
        figures: measured figures, by name.
        notes: free text by topic: data, attribution, limits, how to make it again.
        predicts: what scores stand for.
    """

    name: str
    version: str
    family: str
    precision: Precision
    streamable: bool
    window: float
    level1: float
    encoder_input: Literal["fbank", "texture", "samples"]
    tokens_per_patch: int
    width: int
    parameters: int
    source_sha256: str
    files: Mapping[str, File]
    front_end: FrontEnd = FrontEnd()
    audiogram_frequencies: tuple[int, ...] = FREQUENCIES
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    predicts: Scale = HAAQI
    format: int = FORMAT

    @property
    def reading(self) -> str:
        """What computes the encoder's input from samples, by its name in `encoder.READINGS`."""
        return reading_name(self.encoder_input, self.front_end.texture_version)

    def metadata(self) -> dict[str, str]:
        """What every ONNX file of the bundle carries."""
        return {
            "name": self.name,
            "version": self.version,
            "family": self.family,
            "precision": self.precision,
            "sample_rate": str(self.front_end.sample_rate),
            "hop": str(self.front_end.hop),
            "patch": str(self.front_end.patch_frames),
            "level1": f"{self.level1:g}",
            "audiogram_frequencies": ",".join(map(str, self.audiogram_frequencies)),
            "source_sha256": self.source_sha256,
            **({} if self.front_end.texture_version == 1 else {TEXTURE_VERSION: str(self.front_end.texture_version)}),
            **({} if self.predicts == HAAQI else {"predicts": str(self.predicts)}),
        }

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without what scores stand for where it is HAAQI, and without version 1 of the texture."""
        values = asdict(self)
        if self.predicts == HAAQI:
            del values["predicts"]
        if self.front_end.texture_version == 1:
            del values["front_end"]["texture_version"]
        return values

    def to_json(self) -> str:
        """The text of `card.json`."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> Card:
        """Read a card; `origin` is what messages call it.

        Raises:
            BundleError: not JSON, a key missing, a value of the wrong type, or a schema or front end that this version
                does not know.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{origin} is not JSON ({error}): restore it, or export the bundle again") from error
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            given = raw.get("format") if isinstance(raw, dict) else raw
            raise BundleError(f"{origin} has the schema {given!r}, this version reads {FORMAT}: export it again")
        card: Card = _build(cls, raw, origin)
        if replace(card.front_end, texture_version=1) != FrontEnd() or card.front_end.texture_version not in VERSIONS:
            raise BundleError(
                f"{origin} asks for the front end {card.front_end}; this version computes {FrontEnd()}, with "
                f"texture_version one of {', '.join(map(str, VERSIONS))}: update haaqi-edge, or export the model again"
            )
        if not fe.PATCH_SECONDS <= card.window <= LONGEST:
            raise BundleError(f"{origin}: window is {card.window} s, expected {fe.PATCH_SECONDS:g} to {LONGEST:g}")
        if card.audiogram_frequencies != FREQUENCIES:
            raise BundleError(f"{origin} has audiogram frequencies other than {FREQUENCIES}")
        return card


class Bundle:
    """A card and its folder, checksums verified.

    Args:
        model: the name of a shipped model, or the folder of a bundle.

    Raises:
        BundleNotFoundError: neither.
        BundleError: the card cannot be read, or a file is missing or altered.
    """

    def __init__(self, model: str | Path) -> None:
        self.folder = _locate(model)
        path = self.folder / CARD
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"cannot read {path}: {error}") from error
        self.card = Card.from_json(text, str(path))
        for role in self.card.files:
            self._verify(role)

    def path(self, role: str) -> Path:
        """The file of a role."""
        if role not in self.card.files:
            raise BundleError(
                f"the bundle {self.folder} has no {role!r}: it holds {', '.join(self.card.files) or 'no files'}"
            )
        return self.folder / self.card.files[role].file

    def _verify(self, role: str) -> None:
        path, entry = self.path(role), self.card.files[role]
        if Path(entry.file).name != entry.file:
            raise BundleError(f"{self.folder / CARD} names the file {entry.file!r}: expected a plain name")
        if not is_file(path):
            raise BundleError(f"{path}, the {role} of the bundle, is missing: copy the whole folder again")
        if file_sha256(path) != entry.sha256:
            raise BundleError(
                f"{path} does not match the SHA-256 in {CARD}: it was altered or damaged; copy or export it again"
            )


def shipped_models() -> list[str]:
    """Names of the models in the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate(model: str | Path) -> Path:
    if str(model) in shipped_models():
        return SHIPPED / str(model)
    folder = Path(model)
    if is_file(folder / CARD):
        return folder
    why = f"it has no {CARD}" if is_folder(folder) else "there is no such folder"
    why = "it is a file (a checkpoint is exported first)" if is_file(folder) else why
    raise BundleNotFoundError(
        f"{str(model)!r} is not a model: {why}; give the folder of a bundle, "
        f"or a shipped name ({', '.join(shipped_models()) or 'none is shipped'})"
    )


_CHECKS: Final[Mapping[str, Any]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "Precision": str,
    "Literal['fbank', 'texture', 'samples']": str,  # as annotations come back, whatever quotes they have here
    "tuple[int, ...]": list,
}


def _build(cls: Any, raw: Mapping[str, Any], origin: str) -> Any:
    """A dataclass from JSON: all keys known, all values of their types."""
    known = {f.name: f for f in fields(cls)}
    missing = [n for n, f in known.items() if n not in raw and f.default is MISSING and f.default_factory is MISSING]
    unknown = sorted(raw.keys() - known.keys())
    if missing or unknown:
        raise BundleError(f"{origin}: missing {missing}, unknown {unknown}: export the bundle again with this version")
    values: dict[str, Any] = {}
    for name, value in raw.items():
        wanted = _CHECKS.get(str(known[name].type), dict)
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise BundleError(f"{origin}: {name} is {value!r}, expected {known[name].type}")
        values[name] = tuple(value) if isinstance(value, list) else value
    if cls is Card:
        values["front_end"] = _build(FrontEnd, values.get("front_end", {}), origin)
        values["predicts"] = _build(Scale, values.get("predicts", {}), origin)
        if not values["predicts"].low < values["predicts"].high:
            raise BundleError(f"{origin}: predicts has no range: {values['predicts']}")
        files = values["files"].items()
        values["files"] = {role: _build(File, _mapping(entry, origin), f"{origin}, {role}") for role, entry in files}
        if values["encoder_input"] not in ENCODER_INPUTS:
            given = values["encoder_input"]
            raise BundleError(f"{origin}: encoder_input is {given!r}, expected one of {', '.join(ENCODER_INPUTS)}")
    return cls(**values)


def _mapping(value: Any, origin: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{origin}: {value!r} is not an entry of files")
    return value
