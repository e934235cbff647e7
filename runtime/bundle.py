"""Model bundles: folders with a `card.json`, which describes the model, and the files that the card lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from .audiogram import FREQUENCIES
from .errors import BundleError, BundleNotFoundError
from .features import patches as fe
from .features.familiarity import Familiarity
from .features.texture import VERSIONS
from .files import is_checkpoint, is_file, is_folder
from .windows import MAX_WINDOW_SECONDS

CARD: Final = "card.json"
FORMAT: Final = 1
"""Version of the card's schema."""
_SHIPPED: Final = Path(__file__).parent / "models"

ROLES: Final = ("encoder", "head")
"""Roles of the graphs of a bundle."""
Precision = Literal["fp32", "fp16", "int8"]
EncoderInput = Literal["fbank", "texture", "texture_mel", "samples"]
_ENCODER_INPUTS: Final = ("fbank", "texture", "texture_mel", "samples")
MAX_BLOCK: Final = 64
"""Maximum number of patches that an encoder reads together (10 s)."""
RANDOM_WEIGHTS: Final = "random weights, filled by the rule in haaqi_edge.export.random_weights"
"""Note on the source of a bundle whose scores mean nothing."""
TEXTURE_VERSION: Final = "texture_version"
"""Metadata key of an ONNX file for the texture version. A file without the key has version 1."""


@dataclass(frozen=True)
class FrontEnd:
    """The front end that a model was trained with.

    Only `texture_version` and `block` may differ from their defaults. This package computes the versions in
    `texture.VERSIONS`.

    Attributes:
        sample_rate: Hz.
        hop: samples from one fbank frame to the next.
        mel_bins: mel bands of the fbank features.
        patch_frames: fbank frames in a patch.
        patch_shift: samples from the start of one patch to the next.
        patch_length: samples that one patch reads.
        texture_version: version of the texture front end, see `features.texture`. A card does not store version 1, the
            only version that earlier releases of this package know.
        block: patches that the encoder reads together. The tokens of a patch depend on the other patches of its block,
            and a stream encodes whole blocks. A card does not store 1.
    """

    sample_rate: int = fe.SAMPLE_RATE
    hop: int = fe.FRAME_SHIFT
    mel_bins: int = fe.MEL_BINS
    patch_frames: int = fe.PATCH_FRAMES
    patch_shift: int = fe.PATCH_SHIFT
    patch_length: int = fe.PATCH_LENGTH
    texture_version: int = 1
    block: int = 1


@dataclass(frozen=True)
class Scale:
    """The scale of the quantity that a model predicts.

    Attributes:
        name: name of the quantity.
        low: its value at score 0.
        high: its value at score 1.
    """

    name: str = "HAAQI"
    low: float = 0.0
    high: float = 1.0

    def of_score(self, score: float) -> float:
        """Convert a score from 0 to 1 to a value on this scale."""
        return self.low + (self.high - self.low) * score

    def to_score(self, value: float) -> float:
        """Convert a value on this scale to a score from 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read a scale from what `str` returned.

        Raises:
            ValueError: the text is not of this form.
        """
        name, _, span = text.rpartition(", ")
        low, _, high = span.partition(" to ")
        return cls(name, float(low), float(high))

    def __str__(self) -> str:
        return f"{self.name}, {self.low:g} to {self.high:g}"


def front_end_name(encoder_input: str, texture_version: int) -> str:
    """Return the name of a front end in `features.front_ends.FEATURE_EXTRACTORS`.

    It is the encoder's input, followed by the version for texture versions from 2 on.
    """
    return f"texture-{texture_version}" if encoder_input == "texture" and texture_version != 1 else encoder_input


HAAQI: Final = Scale()
"""Scale of every model that was not fine-tuned to predict something else."""


@dataclass(frozen=True)
class File:
    """A file of a bundle.

    Attributes:
        file: file name, without a folder.
        format: `onnx`, `ort` or `config`.
        precision: `fp32`, `fp16` or `int8`.
        sha256: SHA-256 of the content, hex.
    """

    file: str
    format: str
    precision: Precision
    sha256: str


@dataclass(frozen=True)
class Card:
    """Description of a bundle: the model, its origin and its measured results.

    Attributes:
        name: name of the model.
        version: version of the model.
        family: `nano`, `small`, `student` or `teacher`.
        precision: `fp32`, `fp16` or `int8`.
        streamable: whether a patch's tokens are independent of the other blocks of patches in a batch
            (`FrontEnd.block`).
        window: seconds that one score covers by default.
        level1: dB SPL of RMS 1.0 in the samples that the encoder expects.
        encoder_input: `fbank`, `texture`, `texture_mel`, or `samples` if the graph contains the front end.
        tokens_per_patch: tokens that the encoder computes for each patch.
        width: size of a token.
        parameters: number of parameters of encoder and head together.
        source_sha256: SHA-256 of the checkpoint from which the bundle was made.
        files: files by role. Roles are `encoder` and `head`; bundles with .ort files add `operators` and `types`, for
            builds of ONNX Runtime.
        front_end: the front end that the model was trained with.
        audiogram_frequencies: Hz of the levels that the head expects.
        figures: measured results by name.
        notes: free text by topic: data, attribution, limits, how to reproduce the model.
        predicts: scale of the predicted quantity.
        interval: probability that the prediction interval of a score contains the label, such as 0.9; None if the head
            predicts no interval.
        familiarity: measure of how far a sound is from the training data; None without one.
        format: version of the card's schema.
    """

    name: str
    version: str
    family: str
    precision: Precision
    streamable: bool
    window: float
    level1: float
    encoder_input: EncoderInput
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
    interval: float | None = None
    familiarity: Familiarity | None = None
    format: int = FORMAT

    @property
    def front_end_name(self) -> str:
        """Name of the front end, a key of `features.front_ends.FEATURE_EXTRACTORS`."""
        return front_end_name(self.encoder_input, self.front_end.texture_version)

    @property
    def has_random_weights(self) -> bool:
        """Whether the weights are random, so that scores mean nothing. Such bundles are for trying the export."""
        return self.notes.get("source") == RANDOM_WEIGHTS

    def metadata(self) -> dict[str, str]:
        """Return the metadata that every ONNX file of the bundle carries."""
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
            **({} if self.front_end.block == 1 else {"block": str(self.front_end.block)}),
            **({} if self.predicts == HAAQI else {"predicts": str(self.predicts)}),
            **({} if self.interval is None else {"interval": f"{self.interval:g}"}),
            **({"source": RANDOM_WEIGHTS} if self.has_random_weights else {}),
        }

    @property
    def head_outputs(self) -> list[str]:
        """Names of the outputs of the head's graph, in order."""
        return ["frame_scores", "score", *([] if self.interval is None else ["interval"])]

    def to_dict(self) -> dict[str, Any]:
        """Return the card as a dict for JSON.

        `predicts` is left out if it is HAAQI, `texture_version` and `block` if they are 1, and `interval` and
        `familiarity` if they are None.
        """
        values = asdict(self)
        if self.interval is None:
            del values["interval"]
        if self.familiarity is None:
            del values["familiarity"]
        if self.predicts == HAAQI:
            del values["predicts"]
        if self.front_end.texture_version == 1:
            del values["front_end"]["texture_version"]
        if self.front_end.block == 1:
            del values["front_end"]["block"]
        return values

    def to_json(self) -> str:
        """Return the text of `card.json`."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the card, hex. Cards with the same content have the same digest."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, origin: str) -> Card:
        """Read a card.

        Args:
            text: content of `card.json`.
            origin: name of the card in error messages.

        Raises:
            BundleError: if the text is not JSON, if a key is missing or unknown, if a value has the wrong type or is
                out of range, or if this version does not support the schema or the front end.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{origin} is not JSON ({error}): restore it, or export the bundle again") from error
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            given = raw.get("format") if isinstance(raw, dict) else raw
            raise BundleError(f"{origin} has the schema {given!r}, this version reads {FORMAT}: export it again")
        card: Card = _build(cls, raw, origin)
        given, known = card.front_end, replace(card.front_end, texture_version=1, block=1) == FrontEnd()
        if not known or given.texture_version not in VERSIONS or not 1 <= given.block <= MAX_BLOCK:
            raise BundleError(
                f"{origin} asks for the front end {given}; this version computes {FrontEnd()}, with "
                f"texture_version one of {', '.join(map(str, VERSIONS))} and block from 1 to {MAX_BLOCK}: update "
                "haaqi-edge, or export the model again"
            )
        if not fe.PATCH_SECONDS <= card.window <= MAX_WINDOW_SECONDS:
            raise BundleError(
                f"{origin}: window is {card.window} s, expected {fe.PATCH_SECONDS:g} to {MAX_WINDOW_SECONDS:g}"
            )
        if card.interval is not None and not 0 < card.interval < 1:
            raise BundleError(f"{origin}: interval is {card.interval}, expected a probability between 0 and 1")
        if card.familiarity is not None:
            try:
                card.familiarity.check(card.width)
            except ValueError as error:
                raise BundleError(f"{origin}, familiarity: {error}: export the bundle again") from error
        if card.audiogram_frequencies != FREQUENCIES:
            raise BundleError(f"{origin} has audiogram frequencies other than {FREQUENCIES}")
        return card


class Bundle:
    """A model bundle: the card and the folder of its files. The checksums of all files are verified.

    Args:
        model: name of a shipped model (see `shipped_models`), or path of a bundle's folder.

    Attributes:
        folder: path of the bundle's folder.
        card: description of the model.

    Raises:
        BundleNotFoundError: if `model` is neither.
        BundleError: if the card cannot be read, or if a file is missing or altered.
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
        """Return the path of the file with a role, such as `encoder` or `head`.

        Raises:
            BundleError: if the bundle has no file with this role.
        """
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
    """Return the names of the models that are shipped with the package, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{CARD}"))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate(model: str | Path) -> Path:
    if str(model) in shipped_models():
        return _SHIPPED / str(model)
    folder = Path(model)
    if is_file(folder / CARD):
        return folder
    why = f"it has no {CARD}" if is_folder(folder) else "there is no such folder"
    if is_file(folder):
        why = "it is a file, and a bundle is a folder"
        if is_checkpoint(folder):
            why = (
                "it is a checkpoint (load it with haaqi_edge.model.backend.load_backend, which needs PyTorch, and pass "
                "the result to Scorer; or export it)"
            )
    raise BundleNotFoundError(
        f"{str(model)!r} is not a model: {why}; give the folder of a bundle, "
        f"or a shipped name ({', '.join(shipped_models()) or 'none is shipped'})"
    )


_CHECKS: Final[Mapping[str, Any]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "float | None": (int, float),
    "Precision": str,
    "EncoderInput": str,
    "tuple[int, ...]": list,
}


def _build(cls: Any, raw: Mapping[str, Any], origin: str) -> Any:
    """Build a dataclass from JSON. Raise `BundleError` for missing or unknown keys and values of the wrong type."""
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
        if "familiarity" in values:
            values["familiarity"] = _build(Familiarity, values["familiarity"], f"{origin}, familiarity")
        if not values["predicts"].low < values["predicts"].high:
            raise BundleError(f"{origin}: predicts has no range: {values['predicts']}")
        files = values["files"].items()
        values["files"] = {role: _build(File, _mapping(entry, origin), f"{origin}, {role}") for role, entry in files}
        if values["encoder_input"] not in _ENCODER_INPUTS:
            given = values["encoder_input"]
            raise BundleError(f"{origin}: encoder_input is {given!r}, expected one of {', '.join(_ENCODER_INPUTS)}")
    return cls(**values)


def _mapping(value: Any, origin: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{origin}: {value!r} is not an entry of files")
    return value
