"""The feature cache: inputs and targets of networks, computed once per sound and read memory-mapped.

A cache is a folder with one subfolder per label table (`files` for audio files). Each subfolder holds one `Pack` per
kind of array: `train/texture.npy`, `train/clean.npy`, `files/fbank.npy`. Arrays are looked up by the key of their
example, not by their position: a growing table adds to its packs, and a row whose sound changes gets a new array.

Features are float16. Fbank and texture lose less than a fifth of the precision that a 16-bit audio file loses. Hidden
layers have a relative error of 5e-4.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import tokenize
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.batch.parallel import parallel_map
from ...runtime.errors import CorpusError, OptionError
from ...runtime.features.fbank import fbank
from ...runtime.features.mel import texture_mel
from ...runtime.features.texture import VERSIONS, textures
from ..corpus.clips import Corpus
from ..locks import try_lock
from .examples import Example, Single, SoundRenderer, corpora_by_table
from .features import clean_level, rows_digest
from .labels import CHUNK as LABEL_CHUNK
from .labels import targets_path
from .rows import SPLITS, Row
from .targets import MISSING

Array = npt.NDArray[Any]
KeyName = Literal["sound_key", "listening_key", "music_key"]
CHUNK: Final = 40
"""Number of sounds that a process computes before they are saved."""
_HEADER: Final = 128
"""Size in bytes of an .npy file's header, which is rewritten when the file grows."""


class FeatureKind(NamedTuple):
    """A kind of array.

    Attributes:
        name: name of its packs.
        key: the example's key under which arrays are stored: one array per sound, per sound and listener, or per group.
        axis: the axis whose size depends on the duration. Packs store it first.
        missing: value of missing arrays, for kinds that may be incomplete.
    """

    name: str
    key: KeyName = "sound_key"
    axis: int = 0
    missing: int | None = None

    def key_of(self, example: Example) -> str:
        """Return the key of an example's array."""
        key: str = getattr(example, self.key)
        return key

    def to_pack(self, array: Array) -> Array:
        """Return an array in the form of packs: the variable axis first, floating-point numbers as float16."""
        array = np.moveaxis(array, self.axis, 0)
        return array.astype(np.float16) if np.issubdtype(array.dtype, np.floating) else array


def texture_kind(version: int = 1) -> FeatureKind:
    """Return the kind of a sound's texture, [patches, 16, 32], by version of the front end."""
    return FeatureKind("texture" if version == 1 else f"texture-{version}")


def clean_kind(version: int = 1) -> FeatureKind:
    """Return the kind of the amplified clean music's level, [patches, 32]. See `features.clean_level`."""
    return FeatureKind("clean" if version == 1 else f"clean-{version}", "music_key")


FBANK: Final = FeatureKind("fbank")
"""[frames, 128]"""
TEXTURE_MEL: Final = FeatureKind("texture_mel")
"""[patches, 16, 136], the input of small."""
FRONT_ENDS: Final[Mapping[FeatureKind, Callable[[Single], Array]]] = {
    FBANK: fbank,
    TEXTURE_MEL: texture_mel,
    **{texture_kind(version): partial(textures, version=version) for version in VERSIONS},
}
"""Kinds that are computed from the presented sound at 16 kHz, and their functions."""
DENSE: Final = FeatureKind("targets", axis=1, missing=MISSING)
"""Dense targets of rows, uint8 [3, patches, 32], see `targets`. Rows without them have `MISSING`."""
CLEAN: Final[Mapping[FeatureKind, int]] = {clean_kind(version): version for version in VERSIONS}
"""Kinds that are computed from the clean music, and their versions."""


class Pack:
    """Arrays of one kind in a file that only grows, looked up by key.

    `NAME.npy` holds all arrays, joined along their first axis. `NAME.index` has a line `KEY LENGTH` for each, in the
    same order. An interrupted write can only leave bytes after the last indexed array. The next write replaces them.

    Args:
        path: of the .npy file, which need not exist.

    Raises:
        CorpusError: the files are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.index = path, path.with_name(f"{path.stem}.index")
        self._places: dict[str, tuple[int, int]] = {}
        self._size, self._index_size = 0, 0
        self._dtype: np.dtype[Any] | None = None
        self._tail: tuple[int, ...] = ()
        self._array: Array | None = None
        self._load()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    @property
    def array(self) -> Array:
        """All arrays, joined along their first axis, memory-mapped for reading."""
        if self._array is None:
            assert self._dtype is not None, f"{self.path} has no arrays"
            shape = (self._size, *self._tail)
            self._array = np.memmap(self.path, self._dtype, "r", _HEADER, shape)
        return self._array

    def place(self, key: str) -> tuple[int, int]:
        """Return the start of an array in `array`, and its length.

        Raises:
            KeyError: there is no such array.
        """
        return self._places[key]

    def get(self, key: str) -> Array:
        """Return an array, memory-mapped."""
        start, length = self._places[key]
        return self.array[start : start + length]

    @contextlib.contextmanager
    def lock(self) -> Iterator[Pack]:
        """Lock the pack for writing, and load the arrays that other processes have written.

        Raises:
            OptionError: another process is writing, or the folder is not writable.
        """
        with _translate_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.index.open("ab")
        with lock:
            if not try_lock(lock):
                raise OptionError(
                    f"another process is writing {self.path}: wait until it ends, or give another folder with "
                    "--features"
                )
            self._load()
            yield self

    def append(self, arrays: Sequence[tuple[str, Array]]) -> None:
        """Write the arrays that do not exist yet. Readers see all of them or none. Call this within `lock`.

        Args:
            arrays: with their keys. All have the same type, and the same shape except for the first axis.

        Raises:
            OptionError: the disk is full, or the file is not writable.
            CorpusError: the shape differs from that of the existing arrays.
        """
        new = {key: np.ascontiguousarray(array) for key, array in arrays if key not in self._places}
        if not new:
            return
        first = next(iter(new.values()))
        if self._dtype is None:
            self._dtype, self._tail = first.dtype, first.shape[1:]
        for array in new.values():
            if array.dtype != self._dtype or array.shape[1:] != self._tail:
                raise CorpusError(
                    f"{self.path} has arrays of {self._dtype} [n, {', '.join(map(str, self._tail))}], got "
                    f"{array.dtype} {list(array.shape)}: remove it, so that its features are made again"
                )
        size = self._size + sum(len(array) for array in new.values())
        lines = "".join(f"{key} {len(array)}\n" for key, array in new.items()).encode()
        with _translate_os_errors(self.path):
            with self.path.open("r+b" if self.path.exists() else "w+b") as file:
                file.seek(self._offset(self._size))
                for array in new.values():
                    file.write(array.tobytes())
                file.truncate()
                file.seek(0)
                file.write(_header(self._dtype, (size, *self._tail)))
            with self.index.open("r+b") as file:
                file.seek(self._index_size)
                file.write(lines)
                file.truncate()
        start = self._size
        for key, array in new.items():
            self._places[key] = (start, len(array))
            start += len(array)
        self._size, self._index_size, self._array = size, self._index_size + len(lines), None

    def _offset(self, size: int) -> int:
        assert self._dtype is not None
        return _HEADER + size * self._dtype.itemsize * int(np.prod(self._tail))

    def _load(self) -> None:
        if not self.index.exists() or self.index.stat().st_size == self._index_size:
            return
        text = self.index.read_bytes()
        text = text[: text.rfind(b"\n") + 1]  # without a partially written line
        try:
            with self.path.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
                self._tail = shape[1:]
            pairs = [line.split(" ") for line in text.decode("ascii").splitlines()]
            places, size = {}, 0
            for key, length in pairs:
                if int(length) < 0:
                    raise ValueError(f"an array of length {length}")
                places[key] = (size, int(length))
                size += int(length)
        except (OSError, ValueError, tokenize.TokenError) as error:
            if not text:
                return  # the first write was interrupted
            raise CorpusError(
                f"{self.path} or {self.index.name} is damaged ({error}): remove both, so that features are made again"
            ) from error
        if self.path.stat().st_size < self._offset(size):
            raise CorpusError(f"{self.path} is cut short: remove it and {self.index.name}, so that it is made again")
        self._places, self._size, self._index_size, self._array = places, size, len(text), None


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the .npy header of an array, always of `_HEADER` bytes."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    magic = np.lib.format.magic(1, 0)
    length = _HEADER - len(magic) - 2
    return magic + length.to_bytes(2, "little") + text.ljust(length - 1).encode("latin1") + b"\n"


@contextlib.contextmanager
def _translate_os_errors(path: Path) -> Iterator[None]:
    """Convert an OSError while writing to OptionError."""
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "make the folder writable"
        raise OptionError(
            f"cannot write features to {path} ({error.strerror}): {advice}, or give another folder with --features"
        ) from error


class FeatureCache:
    """A folder of packs.

    Args:
        folder: need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._packs: dict[tuple[str, str], Pack] = {}

    def pack(self, kind: FeatureKind, table: str) -> Pack:
        """Return the pack of one kind and table."""
        place = table, kind.name
        if place not in self._packs:
            self._packs[place] = Pack(self.folder / table / f"{kind.name}.npy")
        return self._packs[place]

    def load(self, kind: FeatureKind, example: Example) -> Array:
        """Return the array of an example, memory-mapped.

        Raises:
            KeyError: it does not exist.
        """
        return np.moveaxis(self.pack(kind, example.table).get(kind.key_of(example)), 0, kind.axis)

    def missing(self, kind: FeatureKind, examples: Sequence[Example]) -> list[int]:
        """List the indices of examples without an array. Of examples with the same key, only the first is listed."""
        seen: set[tuple[str, str]] = set()
        places = []
        for place, example in enumerate(examples):
            key = example.table, kind.key_of(example)
            if key not in seen and key[1] not in self.pack(kind, example.table):
                places.append(place)
            seen.add(key)
        return places

    def fill(
        self,
        kinds: Sequence[FeatureKind],
        examples: Sequence[Example],
        corpus: Corpus | None,
        jobs: int = 1,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute the missing features. Finished ones are kept if this is interrupted.

        Args:
            kinds: from `FRONT_ENDS` and, for rows of label tables, from `CLEAN`.
            examples: each sound is rendered once for all kinds. Consecutive rows of a group share their clean music.
            corpus: of the label tables. Not needed if nothing is missing.
            jobs: number of processes.
            on_progress: called with the number of sounds that have their features, and the total number.

        Raises:
            CorpusError: there is no corpus, it is not the one of the tables, or a clip is missing or silent.
            AudioError: a file cannot be read.
            OptionError: features cannot be written, or another process writes the same ones.
            WorkerError: a process was killed.
        """
        if on_progress:
            on_progress(len(examples) - len(self._wanted(kinds, examples)), len(examples))
        if not self._wanted(kinds, examples):
            return
        with contextlib.ExitStack() as stack:
            for table in sorted({example.table for example in examples}):
                for kind in kinds:
                    stack.enter_context(self.pack(kind, table).lock())
            wanted = self._wanted(kinds, examples)
            parts = _matching_corpora([example for example, _ in wanted], corpus)
            finished = len(examples) - len(wanted)
            chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
            for made in parallel_map(
                partial(_compute_features, parts), chunks, jobs, advice="use fewer --jobs, then run it again"
            ):
                for kind, table, arrays in made.arrays:
                    self.pack(kind, table).append(arrays)
                finished += made.sounds
                if on_progress:
                    on_progress(finished, len(examples))

    def fill_with(
        self,
        kind: FeatureKind,
        examples: Sequence[Example],
        compute: Callable[[Example], Array],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute the missing arrays in this process, such as the outputs of a network.

        Args:
            kind: of the arrays.
            examples: those that need an array.
            compute: returns the array of an example.
            on_progress: called with the number of arrays that exist, and the total number.

        Raises:
            OptionError: see `fill`.
        """
        tables = sorted({example.table for example in examples})
        with contextlib.ExitStack() as stack:
            if self.missing(kind, examples):
                for table in tables:
                    stack.enter_context(self.pack(kind, table).lock())
            wanted = self.missing(kind, examples)
            finished = len(examples) - len(wanted)
            for place in wanted:
                if on_progress:
                    on_progress(finished, len(examples))
                example = examples[place]
                self.pack(kind, example.table).append([(kind.key_of(example), kind.to_pack(compute(example)))])
                finished += 1
            if on_progress:
                on_progress(len(examples), len(examples))

    def put(self, kind: FeatureKind, table: str, arrays: Sequence[tuple[str, Array]]) -> None:
        """Write arrays with their keys. Existing arrays are not replaced.

        Raises:
            OptionError: see `fill`.
        """
        pack = self.pack(kind, table)
        if any(key not in pack for key, _ in arrays):
            with pack.lock():
                pack.append([(key, kind.to_pack(array)) for key, array in arrays])

    def add_targets(self, examples: Sequence[Example], work: Path) -> int:
        """Add the dense targets that labelling has saved (`labels.Labelling.targets`).

        Args:
            examples: the first rows of label tables. Chunks of labelling that are incomplete in them have no targets.
            work: the work folder of labelling.

        Returns:
            The number of examples with dense targets.

        Raises:
            CorpusError: a file of dense targets is damaged, or belongs to other rows.
            OptionError: see `fill`.
        """
        for split in SPLITS:
            of_split = [example for example in examples if example.table == split]
            for number in range(len(of_split) // LABEL_CHUNK):
                part = of_split[number * LABEL_CHUNK : (number + 1) * LABEL_CHUNK]
                path = targets_path(work, split, number)
                if self.missing(DENSE, part) and path.exists():
                    self.put(DENSE, split, _read_targets(path, part))
        return sum(DENSE.key_of(example) in self.pack(DENSE, example.table) for example in examples)

    def _wanted(
        self, kinds: Sequence[FeatureKind], examples: Sequence[Example]
    ) -> list[tuple[Example, list[FeatureKind]]]:
        """Return the examples that lack features, in order, with the missing kinds."""
        lacking: dict[int, list[FeatureKind]] = {}
        for kind in kinds:
            for place in self.missing(kind, examples):
                lacking.setdefault(place, []).append(kind)
        return [(examples[place], lacking[place]) for place in sorted(lacking)]


def _read_targets(path: Path, examples: Sequence[Example]) -> list[tuple[str, Array]]:
    """Read the dense targets of a chunk of labelling, and return them with the keys of its rows."""
    rows = [example.source for example in examples if isinstance(example.source, Row)]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays, made_of = file["targets"], str(file["digest"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{path} is damaged ({error}): remove it to train without these dense targets") from error
    if made_of != rows_digest(rows) or len(arrays) != len(rows):
        raise CorpusError(
            f"{path} has dense targets of other rows than the label table: give the folder of its labelling with "
            "--work, or remove the file to train without these targets"
        )
    return [(DENSE.key_of(example), array) for example, array in zip(examples, arrays, strict=True)]


class _ComputedFeatures(NamedTuple):
    """Features by kind and table, and the number of sounds that they belong to."""

    sounds: int
    arrays: list[tuple[FeatureKind, str, list[tuple[str, Array]]]]


def _compute_features(
    parts: Mapping[str, Corpus], wanted: Sequence[tuple[Example, Sequence[FeatureKind]]]
) -> _ComputedFeatures:
    """Compute the features of sounds, for each the kinds that it lacks."""
    sounds = SoundRenderer(parts)
    found: dict[tuple[FeatureKind, str], list[tuple[str, Array]]] = {}
    for example, kinds in wanted:
        heard = sounds.render(example) if any(kind in FRONT_ENDS for kind in kinds) else None
        for kind in kinds:
            if kind in FRONT_ENDS:
                assert heard is not None
                array = FRONT_ENDS[kind](heard)
            else:
                assert isinstance(example.source, Row)
                array = clean_level(example.source, *sounds.clean_music(example), CLEAN[kind])
            found.setdefault((kind, example.table), []).append((kind.key_of(example), kind.to_pack(array)))
    return _ComputedFeatures(len(wanted), [(kind, table, arrays) for (kind, table), arrays in found.items()])


def _matching_corpora(examples: Sequence[Example], corpus: Corpus | None) -> dict[str, Corpus]:
    """Return the corpora of label tables by name. Raise CorpusError if a table was made from another corpus."""
    parts = corpora_by_table(examples, corpus)
    for table in parts:
        made_of = next(example.corpus for example in examples if example.table == table)
        if made_of is not None and made_of != parts[table].digest:
            raise CorpusError(
                f"table {table} was made from corpus {made_of}, {parts[table].folder} is {parts[table].digest}: build "
                "the corpus from the same recipe, or make the labels again"
            )
    return parts


def make_batches(
    lengths: Sequence[int], size: int, rng: np.random.Generator | None = None, drop_last: bool = False
) -> list[list[int]]:
    """Group indices into batches of sounds of equal length, in a random order if `rng` is given.

    Sounds of a label table have equal lengths. Audio files may differ, and are never cut or padded.

    Args:
        lengths: of the sounds.
        size: maximum number of sounds per batch.
        rng: for the random order.
        drop_last: leave out batches of fewer sounds.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    by_length: dict[int, list[int]] = {}
    for place in order.tolist():
        by_length.setdefault(lengths[place], []).append(place)
    batches = [sorted(group[i : i + size]) for group in by_length.values() for i in range(0, len(group), size)]
    if drop_last:
        batches = [batch for batch in batches if len(batch) == size]
    if rng is not None:
        batches = [batches[place] for place in rng.permutation(len(batches))]
    return batches


def examples_fingerprint(examples: Sequence[Example]) -> str:
    """Return a fingerprint of examples with their listeners and labels."""
    text = "\n".join(f"{example.listening_key} {example.score:.6f}" for example in examples)
    return f"{len(examples)} examples, {hashlib.sha256(text.encode()).hexdigest()[:16]}"
