"""The feature cache: what networks read of sounds, computed once for each sound and read memory-mapped.

A cache is a folder with a subfolder for each label table (`files` for audio files), and in it a `Pack` for each kind of
array: `train/texture.npy`, `train/clean.npy`, `files/fbank.npy`. Arrays are found by the key of their example, not by
their place: a table that grows adds to its packs, and a row whose sound changes gets a new array. Features are float16:
fbank and texture lose less than a fifth of what a 16-bit file loses, and hidden layers a relative 5e-4.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ...runtime.errors import CorpusError, OptionError
from ...runtime.fbank import fbank
from ...runtime.texture import VERSIONS, textures
from ..corpus.clips import Corpus
from ..spread import spread
from .examples import Example, Single, Sounds, corpora
from .features import clean_level, digest
from .labels import CHUNK as LABEL_CHUNK
from .labels import targets_file
from .rows import SPLITS, Row
from .targets import NONE

Array = npt.NDArray[Any]
KeyName = Literal["sound", "listening", "music"]
CHUNK: Final = 40
"""sounds that a process makes before they are saved"""
_HEADER: Final = 128
"""bytes of an .npy file's header; it is rewritten as the file grows"""


class Kind(NamedTuple):
    """A kind of array.

    Attributes:
        name: of its packs.
        key: which of an example's keys the arrays have: one for each sound, sound and listener, or group's music.
        axis: along which arrays of longer sounds are longer; packs have it first.
        missing: value of arrays that are not there, for kinds that need not be complete.
    """

    name: str
    key: KeyName = "sound"
    axis: int = 0
    missing: int | None = None

    def key_of(self, example: Example) -> str:
        """Return the key of an example's array."""
        key: str = getattr(example, self.key)
        return key

    def pack(self, array: Array) -> Array:
        """Return an array as packs hold it: the axis that varies first, floating-point numbers as float16."""
        array = np.moveaxis(array, self.axis, 0)
        return array.astype(np.float16) if np.issubdtype(array.dtype, np.floating) else array


def texture_kind(version: int = 1) -> Kind:
    """Return the kind of the texture of a sound, [patches, 16, 32], by version of the front end."""
    return Kind("texture" if version == 1 else f"texture-{version}")


def clean_kind(version: int = 1) -> Kind:
    """Return the kind of the amplified clean music's level, [patches, 32]; see `features.clean_level`."""
    return Kind("clean" if version == 1 else f"clean-{version}", "music")


FBANK: Final = Kind("fbank")
"""[frames, 128]"""
FRONT_ENDS: Final[Mapping[Kind, Callable[[Single], Array]]] = {
    FBANK: fbank,
    **{texture_kind(version): partial(textures, version=version) for version in VERSIONS},
}
"""kinds that are computed from the presented sound at 16 kHz"""
DENSE: Final = Kind("targets", axis=1, missing=NONE)
"""dense targets of rows, uint8 [3, patches, 32], see `targets`; rows without them have `NONE`"""
CLEAN: Final[Mapping[Kind, int]] = {clean_kind(version): version for version in VERSIONS}
"""kinds that are computed from the clean music"""


class Pack:
    """Arrays of one kind in one file, which only grows; found by key.

    `NAME.npy` holds all arrays, joined along their first axis; `NAME.index` has a line `KEY LENGTH` for each, in the
    same order. An interrupted write leaves at most bytes behind the last indexed array; the next write replaces them.

    Args:
        path: of the .npy file, whether it exists or not.

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
        """Return where an array begins in `array`, and its length.

        Raises:
            KeyError: no such array.
        """
        return self._places[key]

    def get(self, key: str) -> Array:
        """Return an array, memory-mapped."""
        start, length = self._places[key]
        return self.array[start : start + length]

    @contextlib.contextmanager
    def writing(self) -> Iterator[Pack]:
        """Keep other processes from writing, and read what they have written.

        Raises:
            OptionError: another process is writing, or the folder cannot be written to.
        """
        with _explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.index.open("ab")
        with lock:
            _lock(lock, self.path)
            self._load()
            yield self

    def append(self, arrays: Sequence[tuple[str, Array]]) -> None:
        """Write arrays that are not there yet; a reader sees all of them or none. Call it within `writing`.

        Args:
            arrays: with their keys, all of one type, and of one shape but for the first axis.

        Raises:
            OptionError: the disk is full, or the file cannot be written.
            CorpusError: arrays of another shape than those that are there.
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
        with _explained(self.path):
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
        text = text[: text.rfind(b"\n") + 1]  # without a line that was being written
        try:
            with self.path.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
                self._tail = shape[1:]
            pairs = [line.split(" ") for line in text.decode("ascii").splitlines()]
            places, size = {}, 0
            for key, length in pairs:
                places[key] = (size, int(length))
                size += int(length)
        except (OSError, ValueError) as error:
            if not text:
                return  # the first write was interrupted
            raise CorpusError(
                f"{self.path} or {self.index.name} is damaged ({error}): remove both, so that features are made again"
            ) from error
        if self.path.stat().st_size < self._offset(size):
            raise CorpusError(f"{self.path} is cut short: remove it and {self.index.name}, so that it is made again")
        self._places, self._size, self._index_size, self._array = places, size, len(text), None


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the .npy header of an array, `_HEADER` bytes whatever its length."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    magic = np.lib.format.magic(1, 0)
    length = _HEADER - len(magic) - 2
    return magic + length.to_bytes(2, "little") + text.ljust(length - 1).encode("latin1") + b"\n"


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise OptionError where the system lets nothing be written."""
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "make the folder writable"
        raise OptionError(
            f"cannot write features to {path} ({error.strerror}): {advice}, or give another folder with --features"
        ) from error


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock a file until it is closed, where the system can; a killed process loses its locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OptionError(
            f"another process is writing {path}: wait for it to finish, or give another folder with --features"
        ) from error


class FeatureCache:
    """A folder of packs.

    Args:
        folder: whether it exists or not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._packs: dict[tuple[str, str], Pack] = {}

    def pack(self, kind: Kind, table: str) -> Pack:
        """Return the arrays of one kind and table."""
        place = table, kind.name
        if place not in self._packs:
            self._packs[place] = Pack(self.folder / table / f"{kind.name}.npy")
        return self._packs[place]

    def load(self, kind: Kind, example: Example) -> Array:
        """Return the array of an example, memory-mapped.

        Raises:
            KeyError: it is not there.
        """
        return np.moveaxis(self.pack(kind, example.table).get(kind.key_of(example)), 0, kind.axis)

    def missing(self, kind: Kind, examples: Sequence[Example]) -> list[int]:
        """List the places of examples that have no array; of several with the same key, the first."""
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
        kinds: Sequence[Kind],
        examples: Sequence[Example],
        corpus: Corpus | None,
        jobs: int = 1,
        done: Callable[[int, int], None] | None = None,
    ) -> None:
        """Make the features that are missing; finished ones are kept if it is interrupted.

        Args:
            kinds: of `FRONT_ENDS` and, for rows of label tables, `CLEAN`.
            examples: their sounds are made once for all kinds; consecutive rows of a group share their clean music.
            corpus: of the label tables; not needed where nothing is missing.
            jobs: processes.
            done: called with the number of sounds that have their features, and of all.

        Raises:
            CorpusError: no corpus, or one that is not the tables'; a clip that is missing or silent.
            AudioError: a file that cannot be read.
            OptionError: features cannot be written, or another process writes the same ones.
            WorkerError: a process was killed.
        """
        if done:
            done(len(examples) - len(self._wanted(kinds, examples)), len(examples))
        if not self._wanted(kinds, examples):
            return
        with contextlib.ExitStack() as stack:
            for table in sorted({example.table for example in examples}):
                for kind in kinds:
                    stack.enter_context(self.pack(kind, table).writing())
            wanted = self._wanted(kinds, examples)
            parts = _checked([example for example, _ in wanted], corpus)
            finished = len(examples) - len(wanted)
            chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
            for made in spread(partial(_make, parts), chunks, jobs, advice="use fewer --jobs, then run it again"):
                for kind, table, arrays in made.arrays:
                    self.pack(kind, table).append(arrays)
                finished += made.sounds
                if done:
                    done(finished, len(examples))

    def fill_with(
        self,
        kind: Kind,
        examples: Sequence[Example],
        compute: Callable[[Example], Array],
        done: Callable[[int, int], None] | None = None,
    ) -> None:
        """Make the arrays that are missing in this process, such as the outputs of a network.

        Args:
            kind: of the arrays.
            examples: of which.
            compute: gives the array of an example.
            done: called with the number of arrays that are there, and of all.

        Raises:
            OptionError: see `fill`.
        """
        tables = sorted({example.table for example in examples})
        with contextlib.ExitStack() as stack:
            if self.missing(kind, examples):
                for table in tables:
                    stack.enter_context(self.pack(kind, table).writing())
            wanted = self.missing(kind, examples)
            finished = len(examples) - len(wanted)
            for place in wanted:
                if done:
                    done(finished, len(examples))
                example = examples[place]
                self.pack(kind, example.table).append([(kind.key_of(example), kind.pack(compute(example)))])
                finished += 1
            if done:
                done(len(examples), len(examples))

    def put(self, kind: Kind, table: str, arrays: Sequence[tuple[str, Array]]) -> None:
        """Write arrays with their keys; those that are there already stay.

        Raises:
            OptionError: see `fill`.
        """
        pack = self.pack(kind, table)
        if any(key not in pack for key, _ in arrays):
            with pack.writing():
                pack.append([(key, kind.pack(array)) for key, array in arrays])

    def add_targets(self, examples: Sequence[Example], work: Path) -> int:
        """Add the dense targets that labelling kept (`labels.Labelling.targets`).

        Args:
            examples: the first rows of label tables; chunks of labelling that are not whole in them have no targets.
            work: folder that labelling worked in.

        Returns:
            the number of examples with dense targets.

        Raises:
            CorpusError: a file of dense targets is damaged or of other rows.
            OptionError: see `fill`.
        """
        for split in SPLITS:
            of_split = [example for example in examples if example.table == split]
            for number in range(len(of_split) // LABEL_CHUNK):
                part = of_split[number * LABEL_CHUNK : (number + 1) * LABEL_CHUNK]
                path = targets_file(work, split, number)
                if self.missing(DENSE, part) and path.exists():
                    self.put(DENSE, split, _read_targets(path, part))
        return sum(DENSE.key_of(example) in self.pack(DENSE, example.table) for example in examples)

    def _wanted(self, kinds: Sequence[Kind], examples: Sequence[Example]) -> list[tuple[Example, list[Kind]]]:
        """Examples without some of their features, in order, and which."""
        lacking: dict[int, list[Kind]] = {}
        for kind in kinds:
            for place in self.missing(kind, examples):
                lacking.setdefault(place, []).append(kind)
        return [(examples[place], lacking[place]) for place in sorted(lacking)]


def _read_targets(path: Path, examples: Sequence[Example]) -> list[tuple[str, Array]]:
    """Read the dense targets of a chunk of labelling, with the keys of its rows."""
    rows = [example.source for example in examples if isinstance(example.source, Row)]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays, made_of = file["targets"], str(file["digest"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{path} is damaged ({error}): remove it to train without these dense targets") from error
    if made_of != digest(rows) or len(arrays) != len(rows):
        raise CorpusError(
            f"{path} has dense targets of other rows than the label table: give the folder of its labelling with "
            "--work, or remove the file to train without these targets"
        )
    return [(DENSE.key_of(example), array) for example, array in zip(examples, arrays, strict=True)]


class _Made(NamedTuple):
    """Features by kind and table, and of how many sounds they are."""

    sounds: int
    arrays: list[tuple[Kind, str, list[tuple[str, Array]]]]


def _make(parts: Mapping[str, Corpus], wanted: Sequence[tuple[Example, Sequence[Kind]]]) -> _Made:
    """Make features of sounds, each with the kinds that it lacks."""
    sounds = Sounds(parts)
    found: dict[tuple[Kind, str], list[tuple[str, Array]]] = {}
    for example, kinds in wanted:
        heard = sounds.presented(example) if any(kind in FRONT_ENDS for kind in kinds) else None
        for kind in kinds:
            if kind in FRONT_ENDS:
                assert heard is not None
                array = FRONT_ENDS[kind](heard)
            else:
                assert isinstance(example.source, Row)
                array = clean_level(example.source, *sounds.music(example), CLEAN[kind])
            found.setdefault((kind, example.table), []).append((kind.key_of(example), kind.pack(array)))
    return _Made(len(wanted), [(kind, table, arrays) for (kind, table), arrays in found.items()])


def _checked(examples: Sequence[Example], corpus: Corpus | None) -> dict[str, Corpus]:
    """Return the corpora of label tables by name, or raise CorpusError if a table was made from another one."""
    parts = corpora(examples, corpus)
    for table in parts:
        made_of = next(example.corpus for example in examples if example.table == table)
        if made_of is not None and made_of != parts[table].digest:
            raise CorpusError(
                f"table {table} was made from corpus {made_of}, {parts[table].folder} is {parts[table].digest}: build "
                "the corpus from the same recipe, or make the labels again"
            )
    return parts


def batched(
    lengths: Sequence[int], size: int, rng: np.random.Generator | None = None, whole: bool = False
) -> list[list[int]]:
    """Group places in batches of equally long sounds, in a random order if there is an `rng`.

    Sounds of a table are equally long; files may not be, and are never cut or padded to each other.

    Args:
        lengths: of the sounds.
        size: places in a batch, at most.
        rng: of the order.
        whole: leave out batches of fewer places.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    by_length: dict[int, list[int]] = {}
    for place in order.tolist():
        by_length.setdefault(lengths[place], []).append(place)
    batches = [sorted(group[i : i + size]) for group in by_length.values() for i in range(0, len(group), size)]
    if whole:
        batches = [batch for batch in batches if len(batch) == size]
    if rng is not None:
        batches = [batches[place] for place in rng.permutation(len(batches))]
    return batches


def fingerprint(examples: Sequence[Example]) -> str:
    """Return a fingerprint of examples, their listeners and labels."""
    text = "\n".join(f"{example.listening} {example.score:.6f}" for example in examples)
    return f"{len(examples)} examples, {hashlib.sha256(text.encode()).hexdigest()[:16]}"
