"""Recorded music: which tracks of which packages, who made them, and whether they are still the same.

The recipe (`recipes/recorded.yaml`) describes sources; a table beside it (`recipes/recorded-sha256.csv`: source, path,
sha256) holds the checksum of every track's file. `tracks` finds a source's tracks in an unpacked package.
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from reprlib import Repr
from typing import Final, cast, get_args

import yaml

from ...runtime.errors import CorpusError
from .clips import MUSIC, SPEECH, Split
from .packages import is_package

RECIPE: Final = Path(__file__).parent / "recipes" / "recorded.yaml"
CHECKSUMS: Final = Path(__file__).parent / "recipes" / "recorded-sha256.csv"
PRIORITY: Final[tuple[Split, ...]] = ("test", "valid", "train")
"""the splits in the order in which they keep a recording that several sources have"""
_REFUSED: Final = re.compile(r"\b(NC|ND|non-?commercial|no-?derivatives)\b", re.IGNORECASE)
_RESERVED: Final = frozenset({MUSIC, SPEECH, "rendered"})
"""folders of a corpus that hold something else"""
_LONGEST: Final = 200
"""characters of a track's name, so that file names stay below 255 bytes"""
_MEMBER: Final = 2 * 10**9
"""bytes, the largest member of a zip file that is read into memory"""
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, EOFError, OSError, RuntimeError)
"""what reading a member of a zip file raises; RuntimeError for encryption or an unknown compression"""
_TOLD: Final = ("licence", "attribution", "genre")


def brief(value: object) -> str:
    """A value as messages show it: nested lists are not expanded, which might take forever (YAML's aliases)."""
    short = Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    return short.repr(value)


@dataclass(frozen=True)
class Match:
    """Patterns of paths (see `recipes/recorded.yaml`)."""

    patterns: tuple[str, ...]

    def __call__(self, path: str) -> bool:
        """Whether a path below the package, `ARCHIVE!MEMBER` inside a zip file, is matched."""
        return any(pattern.fullmatch(path if whole else _file_name(path)) for pattern, whole in self._compiled)

    @cached_property
    def _compiled(self) -> list[tuple[re.Pattern[str], bool]]:
        return [(_compiled(pattern), "/" in pattern) for pattern in self.patterns]


@dataclass(frozen=True)
class Differing:
    """What differs for the tracks that match: licence, attribution and genre, each None where nothing differs."""

    match: Match
    licence: str | None = None
    attribution: str | None = None
    genre: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """Tracks that are not used, and why."""

    match: Match
    reason: str


@dataclass(frozen=True)
class RecordedSource:
    """A source of recorded music: the fields of an entry of the recipe."""

    source: str
    package: str
    split: Split
    codec: str
    tracks: tuple[str, ...]
    licence: str | None = None
    attribution: str | None = None
    genre: str | None = None
    files: tuple[Differing, ...] = ()
    leave_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """The recorded part of a recipe: sources, packages that are not used with the reason, and the checksums.

    Attributes:
        sources: in the recipe's order.
        left_out: reasons by package.
        checksums: SHA-256 by path, by source.
    """

    sources: tuple[RecordedSource, ...]
    left_out: Mapping[str, str]
    checksums: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Track:
    """A track in an unpacked package.

    Attributes:
        source, split, package, genre, licence, attribution: as in the recipe.
        name: unique in its source; lower-case letters, digits and hyphens.
        path: the file, or the zip file that holds it.
        member: its name inside the zip file, or None.
        origin_path: its path below the package, `ARCHIVE!MEMBER` inside a zip file.
        sha256: of the audio file.
    """

    source: str
    split: Split
    name: str
    path: Path
    member: str | None
    genre: str
    licence: str
    attribution: str
    package: str
    origin_path: str
    sha256: str

    def open(self) -> io.BufferedReader | io.BytesIO:
        """The audio file, open for reading and seeking; a zip file's member is read into memory.

        Raises:
            CorpusError: it cannot be read.
        """
        return _opened(self.path, self.member)


def load(recipe: Path = RECIPE, checksums: Path | None = CHECKSUMS) -> Recorded:
    """Read the recorded part of a recipe.

    Args:
        recipe: YAML file with the key `recorded`.
        checksums: CSV file with the columns source, path and sha256, or None to check nothing.

    Raises:
        CorpusError: a file is missing, or a key is missing, unknown or of the wrong type; the message names both.
    """
    try:
        data = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CorpusError(f"cannot read the recipe {recipe}: {error}") from error
    return parse(data, str(recipe), {} if checksums is None else read_checksums(checksums))


def parse(data: object, place: str, checksums: Mapping[str, Mapping[str, str]] | None = None) -> Recorded:
    """The recorded part of a recipe from what YAML gave.

    Args:
        data: a mapping with the key `recorded` (others are ignored, save `left_out`).
        place: what messages call the file.
        checksums: as `read_checksums` gives them.

    Raises:
        CorpusError: as in `load`.
    """
    top = _mapping(data, place)
    if "recorded" not in top:
        raise CorpusError(f"{place}: no key 'recorded'; expected a list of sources there")
    sources = tuple(_source(entry, f"{place}, recorded[{i}]") for i, entry in enumerate(_list(top, "recorded", place)))
    seen: set[str] = set()
    for source in sources:
        if source.source in seen:
            raise CorpusError(f"{place}: the source {source.source!r} is there twice; a source belongs to one split")
        seen.add(source.source)
    left_out = _mapping(top.get("left_out", {}), f"{place}, left_out")
    return Recorded(sources, {key: str(value) for key, value in left_out.items()}, checksums or {})


def read_checksums(path: Path) -> dict[str, dict[str, str]]:
    """SHA-256 of files by path, by source, from a CSV file.

    Raises:
        CorpusError: no such file, a column is missing or a checksum is not one.
    """
    found: dict[str, dict[str, str]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                if not {"source", "path", "sha256"} <= row.keys():
                    raise CorpusError(f"{path}: expected the columns source, path and sha256, found {', '.join(row)}")
                if not re.fullmatch(r"[0-9a-f]{64}", row["sha256"] or ""):
                    raise CorpusError(
                        f"{path}, line {line}: sha256 is {row['sha256']!r}; expected 64 hexadecimal digits"
                    )
                found.setdefault(row["source"], {})[row["path"]] = row["sha256"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"cannot read the checksums {path}: {error}") from error
    return found


def by_priority(found: Iterable[Track]) -> list[Track]:
    """Tracks in the order in which they keep a recording that several have: by `PRIORITY`, else as they come."""
    return sorted(found, key=lambda track: PRIORITY.index(track.split))


def tracks(
    source: RecordedSource,
    root: Path,
    checksums: Mapping[str, str] | None = None,
    report: Callable[[CorpusError], None] | None = None,
) -> list[Track]:
    """The tracks of a source in an unpacked package.

    A file is accepted by its checksum, wherever it lies: another version of the package may hold the same audio.

    Args:
        source: of the recipe.
        root: where its package is unpacked.
        checksums: SHA-256 by path of this source (`Recorded.checksums[source.source]`); None to check nothing.
        report: takes the error of each track that is missing, changed or not in `checksums`; the track is left out.
            The first one is raised if not given.

    Returns:
        In the order of paths.

    Raises:
        CorpusError: no track was found at all, a zip file is damaged, or no licence, attribution or genre is told of a
            track; without `report`, also what it would take.
    """
    found = sorted(_found(source, root), key=lambda place: place[2])
    if not found:
        raise CorpusError(
            f"{source.source}: no file below {root} matches {', '.join(source.tracks)}; "
            f"expected the package {source.package} unpacked there"
        )
    problems: list[CorpusError] = []
    names = _names([origin for _, _, origin in found])
    accepted = set(checksums.values()) if checksums is not None else set()
    kept: list[Track] = []
    met: set[str] = set()
    for (path, member, origin), digest in zip(found, _digests(found), strict=True):
        if checksums is not None and digest not in accepted:
            expected = checksums.get(origin) or _by_name(checksums, origin)
            told = f"expected {expected}" if expected else "it is not in the table of checksums"
            problems.append(CorpusError(f"{source.package}: {origin} has the SHA-256 {digest}, {told}; it is left out"))
            met.add(_file_name(origin))
            continue
        met |= {digest, _file_name(origin)}
        kept.append(_track(source, path, member, origin, names[origin], digest))
    problems += [
        CorpusError(f"{source.package}: {origin} is missing; expected a file with the SHA-256 {digest}")
        for origin, digest in (checksums or {}).items()
        if digest not in met and _file_name(origin) not in met
    ]
    for problem in problems:
        if report is None:
            raise problem
        report(problem)
    return kept


def _track(source: RecordedSource, path: Path, member: str | None, origin: str, name: str, digest: str) -> Track:
    told = {key: _told(source, origin, key) for key in _TOLD}
    return Track(
        source=source.source,
        split=source.split,
        name=name,
        path=path,
        member=member,
        package=source.package,
        origin_path=origin,
        sha256=digest,
        **told,
    )


def _told(source: RecordedSource, origin: str, key: str) -> str:
    """Licence, attribution or genre of a track: of the first entry that tells it, or the source's."""
    for entry in source.files:
        value = getattr(entry, key)
        if value is not None and entry.match(origin):
            return str(value)
    value = getattr(source, key)
    if value is None:
        raise CorpusError(f"{source.source}: the recipe tells no {key} of {origin}; add it to `files`, or leave it out")
    return str(value)


def _found(source: RecordedSource, root: Path) -> Iterator[tuple[Path, str | None, str]]:
    """File or zip file, member, and path below the package, of every track that is not left out; each once."""
    seen: set[str] = set()
    for pattern in source.tracks:
        outer, _, inner = pattern.partition("!")
        for path in _files(root, outer):
            relative = _readable(path.relative_to(root).as_posix())
            members: list[str | None] = [None]
            if inner:
                match = Match((inner if "/" in inner else f"**{inner}",))
                members = [member for member in _members(path) if match(member)]
            for member in members:
                origin = f"{relative}!{member}" if member is not None else relative
                if origin not in seen and not any(left.match(origin) for left in source.leave_out):
                    seen.add(origin)
                    yield path, member, origin


def _files(root: Path, pattern: str) -> list[Path]:
    """The files below a folder that a pattern matches; links are not followed."""
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    start = root.joinpath(*parts[:fixed])
    if start.is_file():
        return [start] if fixed == len(parts) else []
    compiled = _compiled(pattern)
    return [
        path
        for path in start.rglob("*")
        if path.is_file() and not path.is_symlink() and compiled.fullmatch(path.relative_to(root).as_posix())
    ]


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.filename for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise CorpusError(f"cannot read {path}: {error}; expected a zip file; unpack its package again") from error


def _opened(path: Path, member: str | None) -> io.BufferedReader | io.BytesIO:
    try:
        if member is None:
            return path.open("rb")
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(_member(archive, member))
    except _BROKEN as error:
        raise _unreadable(path, member, error) from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's content, which is at most as long as the archive says."""
    if (size := archive.getinfo(name).file_size) > _MEMBER:
        raise OSError(f"{size / 1e9:.1f} GB, more than {_MEMBER / 1e9:g} are not read into memory")
    return archive.read(name)


def _digests(places: list[tuple[Path, str | None, str]]) -> list[str]:
    """SHA-256 of the audio files; each zip file is opened once, for its directory may be long."""
    digests: list[str] = []
    with ExitStack() as stack:
        archives: dict[Path, zipfile.ZipFile] = {}
        for path, member, _ in places:
            try:
                if member is not None and path not in archives:
                    archives[path] = stack.enter_context(zipfile.ZipFile(path))
                if member is None:
                    with path.open("rb") as file:
                        digests.append(hashlib.file_digest(file, "sha256").hexdigest())
                else:
                    digests.append(hashlib.sha256(_member(archives[path], member)).hexdigest())
            except _BROKEN as error:
                raise _unreadable(path, member, error) from error
    return digests


def _unreadable(path: Path, member: str | None, error: Exception) -> CorpusError:
    return CorpusError(f"cannot read {path}{f'!{member}' if member else ''}: {error}; unpack its package again")


def _by_name(checksums: Mapping[str, str], origin: str) -> str | None:
    """The checksum of the only file of that name, if there is just one."""
    same = [digest for path, digest in checksums.items() if _file_name(path) == _file_name(origin)]
    return same[0] if len(same) == 1 else None


def _names(origins: list[str]) -> dict[str, str]:
    """A name for each path: its file's; with the folder's before it where several are the same."""
    return {
        origin: name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for origin, name in _long_names(origins).items()
    }


def _long_names(origins: list[str]) -> dict[str, str]:
    parts = {origin: re.split(r"[/!]", origin) for origin in origins}
    names = {origin: _slug(Path(part[-1]).stem) for origin, part in parts.items()}
    for depth in range(2, max((len(part) for part in parts.values()), default=1) + 1):
        counts: dict[str, int] = {}
        for name in names.values():
            counts[name] = counts.get(name, 0) + 1
        if max(counts.values(), default=1) == 1:
            return names
        for origin, part in parts.items():
            if counts[names[origin]] > 1 and len(part) >= depth:
                names[origin] = f"{_slug(part[-depth])}-{names[origin]}"
    if len(set(names.values())) < len(names):  # names that differ in signs alone
        names = {origin: f"{name}-{i}" for i, (origin, name) in enumerate(names.items(), start=1)}
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "track"


def _readable(path: str) -> str:
    """A path whose bytes that are not UTF-8 are replaced, so that tables can hold it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _file_name(path: str) -> str:
    return re.split(r"[/!]", path)[-1]


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression: `**` any characters, `*` and `?` none that is a slash, `[...]` a set."""
    out = []
    for token in re.findall(r"\*\*|\*|\?|\[[^\]]+\]|.", pattern):
        if len(token) > 2 and token[0] == "[":
            out.append("[" + re.sub(r"^!", "^", token[1:-1].replace("\\", "\\\\")) + "]")
        else:
            out.append({"**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token) or re.escape(token))
    return re.compile("".join(out))


# Reading the recipe


def _source(entry: object, place: str) -> RecordedSource:
    data = _mapping(entry, place)
    if isinstance(data.get("source"), str):
        place = f"{place} ({data['source']})"
    allowed = {"source", "package", "split", "codec", "tracks", "files", "leave_out", *_TOLD}
    _known(data, allowed, place)
    split = _text(data, "split", place)
    if split not in get_args(Split):
        raise CorpusError(f"{place}: split is {split!r}; expected one of {', '.join(get_args(Split))}")
    name = _text(data, "source", place)
    if _slug(name) != name or len(name) > _LONGEST:
        raise CorpusError(f"{place}: source is {name!r:.60}; expected lower-case letters, digits and hyphens")
    if name in _RESERVED:
        raise CorpusError(f"{place}: source is {name!r}, a folder that corpora have already; give another name")
    package = _text(data, "package", place)
    if not is_package(package):
        raise CorpusError(f"{place}: package is {package!r}; expected the name of a Debian package")
    return RecordedSource(
        source=name,
        package=package,
        split=cast(Split, split),
        codec=_text(data, "codec", place),
        tracks=_patterns(data, "tracks", place),
        files=tuple(_differing(item, f"{place}, files[{i}]") for i, item in enumerate(_list(data, "files", place, []))),
        leave_out=tuple(
            _left_out(item, f"{place}, leave_out[{i}]") for i, item in enumerate(_list(data, "leave_out", place, []))
        ),
        **_told_by(data, place),
    )


def _differing(entry: object, place: str) -> Differing:
    data = _mapping(entry, place)
    _known(data, {"match", *_TOLD}, place)
    return Differing(Match(_patterns(data, "match", place)), **_told_by(data, place))


def _left_out(entry: object, place: str) -> LeftOut:
    data = _mapping(entry, place)
    _known(data, {"match", "reason"}, place)
    return LeftOut(Match(_patterns(data, "match", place)), _text(data, "reason", place))


def _told_by(data: Mapping[str, object], place: str) -> dict[str, str]:
    told = {key: _text(data, key, place) for key in _TOLD if key in data}
    if _REFUSED.search(told.get("licence", "")):
        raise CorpusError(
            f"{place}: licence is {told['licence']!r}; music under non-commercial or no-derivatives terms is not used"
        )
    return told


def _known(data: Mapping[str, object], allowed: set[str], place: str) -> None:
    unknown = sorted(data.keys() - allowed)
    if unknown:
        raise CorpusError(f"{place}: unknown key {unknown[0]!r}; expected {', '.join(sorted(allowed))}")


def _mapping(value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CorpusError(f"{place}: {brief(value)} is not a mapping of names to values")
    return value


def _list(data: Mapping[str, object], key: str, place: str, default: list[object] | None = None) -> list[object]:
    value = data.get(key, default)
    if not isinstance(value, list):
        raise CorpusError(f"{place}: {key} is {brief(value)}; expected a list")
    return value


def _text(data: Mapping[str, object], key: str, place: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise CorpusError(f"{place}: {key} is {brief(value)}; expected text")
    return value.strip()


def _texts(data: Mapping[str, object], key: str, place: str) -> tuple[str, ...]:
    values = _list(data, key, place)
    if not values or not all(isinstance(value, str) and value for value in values):
        raise CorpusError(f"{place}: {key} is {brief(values)}; expected one or more texts")
    return tuple(str(value) for value in values)


def _patterns(data: Mapping[str, object], key: str, place: str) -> tuple[str, ...]:
    patterns = _texts(data, key, place)
    for pattern in patterns:
        try:
            _compiled(pattern)
        except re.error as error:
            raise CorpusError(f"{place}: {key}: {pattern!r} is not a pattern ({error})") from error
        if ".." in re.split(r"[/!]", pattern):
            raise CorpusError(f"{place}: {key}: {pattern!r} leads outside the package; expected a path below it")
    return patterns
