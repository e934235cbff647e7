"""Recorded music: tracks in packages, their credits, and their checksums.

The recipe (`recipes/recorded.yaml`) describes sources. A table beside it (`recipes/recorded-sha256.csv`: source, path,
sha256) has the checksum of every track's file. `find_tracks` finds the tracks of a source in an unpacked package.
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
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import yaml

from ...runtime.errors import CorpusError
from ..configuration import Check, ConfigReader, Convert, Label, NonEmpty
from .clips import MUSIC, SPEECH, Split
from .packages import PackageName

RECIPE: Final = Path(__file__).parent / "recipes" / "recorded.yaml"
CHECKSUMS: Final = Path(__file__).parent / "recipes" / "recorded-sha256.csv"
PRIORITY: Final[tuple[Split, ...]] = ("test", "valid", "train")
"""splits by priority for a recording that several sources have"""
_READER: Final = ConfigReader(CorpusError)
_UNUSABLE_LICENCES: Final = re.compile(r"\b(NC|ND|non-?commercial|no-?derivatives)\b", re.IGNORECASE)
_RESERVED_NAMES: Final = frozenset({MUSIC, SPEECH, "rendered"})
"""folders of a corpus with another purpose"""
_MAX_NAME: Final = 200
"""maximum length of a track's name, so that file names stay below 255 bytes"""
_MAX_MEMBER: Final = 2 * 10**9
"""maximum size in bytes of a member of a zip file that is read into memory"""
_ZIP_ERRORS: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, EOFError, OSError, RuntimeError)
"""errors while reading a member of a zip file; RuntimeError for encryption or an unknown compression"""
_CREDITS: Final = ("licence", "attribution", "genre")


@dataclass(frozen=True)
class Match:
    """Patterns of paths (see `recipes/recorded.yaml`)."""

    patterns: tuple[str, ...]

    def __call__(self, path: str) -> bool:
        """Return whether a path below the package matches. A member of a zip file is `ARCHIVE!MEMBER`."""
        return any(pattern.fullmatch(path if whole else _file_name(path)) for pattern, whole in self._compiled)

    @cached_property
    def _compiled(self) -> list[tuple[re.Pattern[str], bool]]:
        return [(_compile_pattern(pattern), "/" in pattern) for pattern in self.patterns]


def _check_pattern(pattern: str) -> None:
    try:
        _compile_pattern(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a pattern ({error})") from error
    if ".." in re.split(r"[/!]", pattern):
        raise ValueError(f"{pattern!r} leads outside the package, expected a path below it")


def _check_source(name: str) -> None:
    if _slug(name) != name or len(name) > _MAX_NAME:
        raise ValueError(f"{name!r:.60} is not a name of lower-case letters, digits and hyphens")
    if name in _RESERVED_NAMES:
        raise ValueError(f"{name!r} is a folder that every corpus has, give another name")


def _check_licence(licence: str) -> None:
    if _UNUSABLE_LICENCES.search(licence):
        raise ValueError(f"music with non-commercial or no-derivatives terms is not used, got {licence!r}")


_Patterns = Annotated[tuple[Annotated[str, Check(_check_pattern)], ...], NonEmpty()]
_Match = Annotated[Match, Convert(_Patterns, Match)]
_Licence = Annotated[str, Check(_check_licence)]


@dataclass(frozen=True)
class TrackOverride:
    """Licence, attribution and genre of the tracks that match. None is as for the source."""

    match: _Match
    licence: _Licence | None = None
    attribution: str | None = None
    genre: str | None = None


@dataclass(frozen=True)
class Exclusion:
    """Tracks that are not used, and the reason."""

    match: _Match
    reason: str


@dataclass(frozen=True)
class RecordedSource:
    """A source of recorded music: the fields of an entry of the recipe."""

    source: Annotated[str, Check(_check_source), Label()]
    package: PackageName
    split: Split
    codec: str
    tracks: _Patterns
    licence: _Licence | None = None
    attribution: str | None = None
    genre: str | None = None
    files: tuple[TrackOverride, ...] = ()
    leave_out: tuple[Exclusion, ...] = ()


@dataclass(frozen=True)
class _Document:
    """The keys of a recipe's YAML file that are read here. Others are ignored."""

    recorded: tuple[RecordedSource, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedMusic:
    """The recorded part of a recipe: sources, packages that are not used with the reason, and checksums.

    Attributes:
        sources: in the order of the recipe.
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
        name: unique in its source, of lower-case letters, digits and hyphens.
        path: the file, or the zip file that contains it.
        member: name inside the zip file, or None.
        origin_path: path below the package, `ARCHIVE!MEMBER` inside a zip file.
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
        """Open the audio file for reading and seeking. A member of a zip file is read into memory.

        Raises:
            CorpusError: the file cannot be read.
        """
        return _open_audio(self.path, self.member)


def load_recorded(recipe: Path = RECIPE, checksums: Path | None = CHECKSUMS) -> RecordedMusic:
    """Read the recorded part of a recipe.

    Args:
        recipe: YAML file with the key `recorded`.
        checksums: CSV file with the columns source, path and sha256, or None to check nothing.

    Raises:
        CorpusError: a file is missing, or a key is missing, unknown or of the wrong type. The message names both.
    """
    try:
        data = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CorpusError(f"cannot read the recipe {recipe}: {error}") from error
    return parse_recorded(data, str(recipe), {} if checksums is None else read_checksums(checksums))


def parse_recorded(data: object, place: str, checksums: Mapping[str, Mapping[str, str]] | None = None) -> RecordedMusic:
    """Read the recorded part of a recipe from the content of a YAML file.

    Args:
        data: a mapping with the key `recorded`. Other keys except `left_out` are ignored.
        place: name of the file in messages.
        checksums: see `read_checksums`.

    Raises:
        CorpusError: see `load_recorded`.
    """
    keys = [key.name for key in fields(_Document)]
    given = _READER.mapping(data, place)
    document = _READER.read(_Document, {key: given[key] for key in keys if key in given}, place)
    seen: set[str] = set()
    for source in document.recorded:
        if source.source in seen:
            raise CorpusError(f"{place}: the source {source.source!r} occurs twice; a source belongs to one split")
        seen.add(source.source)
    return RecordedMusic(document.recorded, document.left_out, checksums or {})


def read_checksums(path: Path) -> dict[str, dict[str, str]]:
    """Read SHA-256 checksums by path, by source, from a CSV file.

    Raises:
        CorpusError: the file or a column is missing, or a checksum is invalid.
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


def sort_by_priority(found: Iterable[Track]) -> list[Track]:
    """Sort tracks by `PRIORITY`. The first of several tracks with the same recording is used."""
    return sorted(found, key=lambda track: PRIORITY.index(track.split))


def find_tracks(
    source: RecordedSource,
    root: Path,
    checksums: Mapping[str, str] | None = None,
    report: Callable[[CorpusError], None] | None = None,
) -> list[Track]:
    """Find the tracks of a source in an unpacked package.

    A file is accepted by its checksum, not by its path, because another version of the package may contain the same
    audio elsewhere.

    Args:
        source: of the recipe.
        root: folder into which the package was unpacked.
        checksums: SHA-256 by path of this source (`RecordedMusic.checksums[source.source]`). None checks nothing.
        report: called with the error of each track that is missing, changed or not in `checksums`, and left out. None
            raises the first error.

    Returns:
        The tracks in the order of paths.

    Raises:
        CorpusError: no track was found, a zip file is damaged, or a track has no licence, attribution or genre. Without
            `report`, also the first of its errors.
    """
    found = sorted(_find_files(source, root), key=lambda place: place[2])
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
    told = {key: _credit(source, origin, key) for key in _CREDITS}
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


def _credit(source: RecordedSource, origin: str, key: str) -> str:
    """Return licence, attribution or genre of a track: that of the first matching entry, or that of the source."""
    for entry in source.files:
        value = getattr(entry, key)
        if value is not None and entry.match(origin):
            return str(value)
    value = getattr(source, key)
    if value is None:
        raise CorpusError(
            f"{source.source}: the recipe has no {key} for {origin}; add it to `files`, or leave the track out"
        )
    return str(value)


def _find_files(source: RecordedSource, root: Path) -> Iterator[tuple[Path, str | None, str]]:
    """Yield file or zip file, member, and path below the package, once for every track that is not left out."""
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
    """Return the files below a folder that match a pattern. Links are not followed."""
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    start = root.joinpath(*parts[:fixed])
    if start.is_file():
        return [start] if fixed == len(parts) else []
    compiled = _compile_pattern(pattern)
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


def _open_audio(path: Path, member: str | None) -> io.BufferedReader | io.BytesIO:
    try:
        if member is None:
            return path.open("rb")
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(_member(archive, member))
    except _ZIP_ERRORS as error:
        raise _unreadable(path, member, error) from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of a member. Its size is at most the one that the archive states."""
    if (size := archive.getinfo(name).file_size) > _MAX_MEMBER:
        raise OSError(f"{size / 1e9:.1f} GB, more than {_MAX_MEMBER / 1e9:g} are not read into memory")
    return archive.read(name)


def _digests(places: list[tuple[Path, str | None, str]]) -> list[str]:
    """Return the SHA-256 of audio files. Each zip file is opened once, because its directory may be long."""
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
            except _ZIP_ERRORS as error:
                raise _unreadable(path, member, error) from error
    return digests


def _unreadable(path: Path, member: str | None, error: Exception) -> CorpusError:
    return CorpusError(f"cannot read {path}{f'!{member}' if member else ''}: {error}; unpack its package again")


def _by_name(checksums: Mapping[str, str], origin: str) -> str | None:
    """Return the checksum of the file with that name if there is exactly one."""
    same = [digest for path, digest in checksums.items() if _file_name(path) == _file_name(origin)]
    return same[0] if len(same) == 1 else None


def _names(origins: list[str]) -> dict[str, str]:
    """Return a unique name for each path: the name of its file, preceded by that of its folder where needed."""
    return {
        origin: name
        if len(name) <= _MAX_NAME
        else f"{name[:_MAX_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
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
    """Replace bytes of a path that are not UTF-8, so that tables can contain it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _file_name(path: str) -> str:
    return re.split(r"[/!]", path)[-1]


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    """Convert a pattern to a regular expression: `**` is any text, `*` and `?` match no slash, `[...]` is a set."""
    out = []
    for token in re.findall(r"\*\*|\*|\?|\[[^\]]+\]|.", pattern):
        if len(token) > 2 and token[0] == "[":
            out.append("[" + re.sub(r"^!", "^", token[1:-1].replace("\\", "\\\\")) + "]")
        else:
            out.append({"**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token) or re.escape(token))
    return re.compile("".join(out))
