"""Building of a corpus from a recipe: recorded tracks, rendered scores, folders of clips, and the speech bank.

Each step stores its results in the folder `.build` of the corpus, so that an interrupted build can be resumed. The
table `CLIPS.csv` is written last. A folder with it is complete.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from ...runtime.batch.parallel import parallel_map
from ...runtime.errors import CorpusError
from ...runtime.writing import replace_atomically, write_file, write_json
from ..locks import hold_lock
from . import recorded
from .clips import MUSIC, SPEECH, Corpus, Split
from .cutting import PEAK, RATE, CutRules, cut_clips
from .fingerprint import Fingerprint, Index, find_repeats, fingerprint_file
from .packages import Packages, check_disk
from .recipe import Recipe, RenderedMusic
from .rendering import pieces as rendering
from .rendering.noise import NoiseFloors
from .speech import bank as speech

Array = npt.NDArray[np.float64]
STATE: Final = ".build"
TABLE: Final = "CLIPS.csv"
SUMMARY: Final = "CORPUS.json"
_FONTS: Final = {"fluid": "FluidR3_GM.sf2", "musescore": "MuseScore_General*.sf[23]"}
"""file names of the sound fonts"""
_BYTES_PER_SECOND: Final = 40_000
"""approximate size of a clip"""
_SLUG: Final = re.compile(r"[^a-z0-9]+")

Report = Callable[[str, int, int], None]
"""called with the name of a step, the number of finished parts, and the total number"""


@dataclass(frozen=True)
class Entry:
    """A line of `CLIPS.csv`.

    Attributes:
        clip: path of the clip below the corpus.
        split, source, genre, licence, attribution: of the track.
        track: unique within its source.
        start_s, duration_s: of the clip in its track, and of the clip.
        kind: `recorded` or `rendered`.
        origin_repo: Debian package, repository, or collection of scores.
        origin_path: the track in it.
        origin_sha256: of the audio file or score.
    """

    clip: str
    split: Split
    source: str
    track: str
    start_s: float
    duration_s: float
    genre: str
    licence: str
    attribution: str
    kind: str
    origin_repo: str
    origin_path: str
    origin_sha256: str


@dataclass(frozen=True)
class Omission:
    """Something that is not in the corpus, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class BuildSummary:
    """Result of a build.

    Attributes:
        entries: all clips.
        left_out: sources, tracks, pieces and voices that were not available or did not meet the rules.
        voices: of the speech bank, by split.
        digest: of the corpus, see `Corpus.digest`.
    """

    entries: list[Entry]
    left_out: list[Omission]
    voices: dict[str, int]
    digest: str

    def counts(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the numbers of tracks, clips, hours and sources by split and kind."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for split in get_args(Split):
            for kind in ("recorded", "rendered"):
                rows = [e for e in self.entries if e.split == split and e.kind == kind]
                found.setdefault(split, {})[kind] = {
                    "tracks": len({(e.source, e.track) for e in rows}),
                    "clips": len(rows),
                    "hours": round(sum(e.duration_s for e in rows) / 3600, 2),
                    "sources": len({e.source for e in rows}),
                }
        return found

    def by(self, field: str) -> dict[str, dict[str, int]]:
        """Return the number of clips by `genre`, `source` or `licence`, then by split."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for entry in self.entries:
            found[getattr(entry, field)][entry.split] += 1
        return {name: dict(counts) for name, counts in sorted(found.items())}


@dataclass(frozen=True)
class _TrackClips:
    """Clips of a recorded track, omissions, and the fingerprint of the track (`print`)."""

    entries: list[Entry]
    left_out: list[Omission]
    print: Fingerprint | None

    @property
    def name(self) -> str:
        """Source and track."""
        return f"{self.entries[0].source}/{self.entries[0].track}"


class Builder:
    """Builds a corpus.

    Args:
        recipe: content of the corpus.
        folder: destination of the corpus.
        packages: source of Debian packages.
        folders: folders of the recipe by name, such as `music` and `lieder`.
        jobs: number of processes.
        report: called with the progress.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        packages: Packages,
        folders: Mapping[str, Path],
        jobs: int = 1,
        report: Report | None = None,
    ) -> None:
        self.recipe, self.folder, self.packages, self.folders, self.jobs = recipe, folder, packages, folders, jobs
        self.report: Report = report or (lambda *_: None)
        self.state = folder / STATE
        self.left_out: list[Omission] = []

    def build(self) -> BuildSummary:
        """Build the corpus, or resume its build.

        Raises:
            CorpusError: the folder has the corpus of another recipe or cannot be written, another process builds in it,
                or nothing can be built (no disk space, no dpkg-deb, no FluidSynth). A part that is not available is
                left out and listed in the summary.
            WorkerError: a process was killed.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            with hold_lock(self.state / "lock", self._busy):
                self._prepare()
                music = self._copy_music()
                cuts = self._cut_recorded()
                entries = self._without_duplicates(music, cuts)
                entries += self._render_scores()
                voices = self._build_speech()
                return self._write_tables(entries, voices)
        except OSError as error:
            raise CorpusError(
                f"cannot build the corpus in {self.folder} ({error}): free some space or make the folder writable, "
                "then run the same command again; it continues where it stopped"
            ) from error

    def _busy(self, holder: str) -> CorpusError:
        return CorpusError(f"{holder} builds the corpus in {self.folder}: wait until it ends, or give another folder")

    def _prepare(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        mark = self.state / "recipe.json"
        state = {"recipe": self.recipe.digest}
        if mark.is_file() and _state(mark) != state:
            raise CorpusError(
                f"{self.folder} holds a corpus of another recipe: give a new folder, or delete this one to rebuild it"
            )
        if not mark.is_file() and (self.folder / TABLE).exists():
            raise CorpusError(f"{self.folder} holds clips that were not built there: give a new folder")
        missing = [name for name in self.recipe.folders if name not in self.folders]
        if missing:
            raise CorpusError(
                f"the recipe {self.recipe.name} needs the folders {', '.join(missing)}: give them with "
                + " ".join(f"--folder {name}=PATH" for name in missing)
            )
        for name, path in self.folders.items():
            if not path.is_dir():
                raise CorpusError(f"--folder {name}={path}: there is no such folder")
        fonts = [name for name in self.recipe.rendered.packages if "soundfont" in name] if self.recipe.rendered else []
        if fonts and shutil.which("fluidsynth") is None:
            raise CorpusError(rendering.NO_FLUIDSYNTH)
        write_json(state, mark)

    # Folders of clips that are taken as they are

    def _copy_music(self) -> list[Entry]:
        if MUSIC not in self.recipe.folders:
            return []
        given = Corpus(self.folders[MUSIC])
        target = self.folder / MUSIC
        with (given.folder / TABLE).open(newline="", encoding="utf-8") as file:
            tracks = {row["clip"]: row for row in csv.DictReader(file)}
        entries = []
        for number, clip in enumerate(given.clips):
            self.report("copying clips", number, len(given.clips))
            path, original = target / clip.path, given.folder / clip.path
            if not original.is_file():
                raise CorpusError(f"{original} does not exist: expected a clip there; check {given.folder / TABLE}")
            if not path.is_file() or path.stat().st_size != original.stat().st_size:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replace_atomically(path) as part:
                    shutil.copyfile(original, part)
            row = tracks[clip.path]
            try:
                start = float(row.get("start_s") or 0)
            except ValueError as error:
                raise CorpusError(f"{given.folder / TABLE}: the start of {clip.path} is not a number") from error
            entries.append(
                Entry(
                    f"{MUSIC}/{clip.path}",
                    clip.split,
                    f"{MUSIC}/{clip.source}",
                    row.get("track", clip.path),
                    start,
                    clip.duration,
                    clip.genre,
                    clip.licence,
                    row.get("attribution", clip.source),
                    "recorded",
                    clip.origin,
                    row.get("origin_path", ""),
                    row.get("origin_commit", ""),
                )
            )
        target.mkdir(exist_ok=True)
        with replace_atomically(target / TABLE) as part:
            shutil.copyfile(given.folder / TABLE, part)
        return entries

    # Recorded tracks of packages

    def _cut_recorded(self) -> list[_TrackClips]:
        music = self.recipe.recorded
        if music is None:
            return []
        self.left_out += [Omission(package, reason) for package, reason in music.left_out.items()]
        cuts: list[_TrackClips] = []
        for number, source in enumerate(music.sources):
            self.report(f"recorded: {source.source}", number, len(music.sources))
            done = self.state / "recorded" / f"{source.source}.json"
            kept = _load_cuts(done)
            if kept is None:
                try:
                    kept = self._cut_source(source, music.checksums.get(source.source, {}))
                except CorpusError as error:
                    if _is_fatal(error):
                        raise
                    self.left_out.append(Omission(source.source, str(error)))
                    continue
                _save_cuts(kept, done)
            cuts += kept
        return cuts

    def _cut_source(self, source: recorded.RecordedSource, checksums: Mapping[str, str]) -> list[_TrackClips]:
        tree = self.state / "unpacked" / source.source
        shutil.rmtree(tree, ignore_errors=True)
        problems: list[CorpusError] = []
        try:
            self.packages.unpack(source.package, tree, needed_patterns(source))
            tracks = recorded.find_tracks(source, tree, checksums, problems.append)
            work = partial(_cut_track, folder=self.folder, rules=self.recipe.cut)
            cuts = sorted(parallel_map(work, tracks, self.jobs), key=lambda c: c.entries[0].clip if c.entries else "")
            skipped = [Omission(source.source, str(problem)) for problem in problems]
            return [*cuts, _TrackClips([], skipped, None)] if skipped else cuts
        finally:
            shutil.rmtree(tree, ignore_errors=True)

    def _without_duplicates(self, music: list[Entry], cuts: list[_TrackClips]) -> list[Entry]:
        """Return the entries of all recorded tracks, with each recording in one source only.

        A new track that matches an included clip is left out. Of two new tracks that match, the one whose split comes
        first in `recorded.PRIORITY` is used, or else the one that comes first in the recipe.
        """
        self.left_out += [reason for c in cuts for reason in c.left_out]
        known = Index()
        for name, print_ in self._music_prints(music):
            known.add(name, print_)
        order = sorted((c for c in cuts if c.entries), key=lambda c: recorded.PRIORITY.index(c.entries[0].split))
        self.report("comparing recordings", 0, 0)
        found = find_repeats([(c.name, c.print) for c in order if c.print is not None], known)
        dropped = {repeat.duplicate for repeat in found}
        self.left_out += [Omission(repeat.duplicate, f"the same recording as {repeat.original}") for repeat in found]
        for one in order:
            for entry in one.entries if one.name in dropped else []:
                (self.folder / entry.clip).unlink(missing_ok=True)
        return music + [entry for c in cuts if c.entries and c.name not in dropped for entry in c.entries]

    def _music_prints(self, music: list[Entry]) -> list[tuple[str, Fingerprint]]:
        folder = self.state / "music-prints"
        folder.mkdir(exist_ok=True)
        paths = {entry.clip: folder / f"{hashlib.sha256(entry.clip.encode()).hexdigest()[:24]}.npz" for entry in music}
        todo = [clip for clip, path in paths.items() if not path.is_file()]
        for number, (clip, print_) in enumerate(parallel_map(partial(_fingerprint_clip, self.folder), todo, self.jobs)):
            self.report("fingerprints of clips", number, len(todo))
            with replace_atomically(paths[clip]) as part:
                print_.save(part)
        return [(clip, Fingerprint.load(path)) for clip, path in paths.items()]

    # Rendered scores

    def _render_scores(self) -> list[Entry]:
        rules = self.recipe.rendered
        if rules is None:
            return []
        tree = self.state / "scores"
        for name in rules.packages:
            done = self.state / f"{name}.unpacked"
            if not done.is_file():
                self.report(f"unpacking {name}", 0, 0)
                self.packages.unpack(name, tree)
                done.touch()
        collections = {name: path for name, path in self.folders.items() if name != MUSIC}
        share = tree / "usr" / "share"
        collections |= {name: share / name for name in ("mma", "hydrogen") if (share / name).is_dir()}
        fonts = {
            name: path
            for name, pattern in _FONTS.items()
            for path in sorted((share / "sounds").rglob(pattern))
            if path.is_file()
        }
        pieces = rendering.plan_pieces(collections, rules.counts)
        if shutil.which("fluidsynth") is None and any(piece.collection != "hydrogen" for piece in pieces):
            raise CorpusError(rendering.NO_FLUIDSYNTH)
        state = self.state / "rendered"
        state.mkdir(exist_ok=True)
        check_disk(self.folder, int(len(pieces) * rules.seconds * _BYTES_PER_SECOND))
        todo = [piece for piece in pieces if _state(state / f"{piece.name}.json") is None]
        work = _RenderPiece(rules, self.folder, collections, fonts, NoiseFloors.shipped())
        for number, _ in enumerate(parallel_map(work, todo, self.jobs)):
            self.report("rendering scores", len(pieces) - len(todo) + number + 1, len(pieces))
        entries: list[Entry] = []
        for piece in pieces:
            found = json.loads((state / f"{piece.name}.json").read_text(encoding="utf-8"))
            entries += [Entry(**entry) for entry in found["entries"]]
            self.left_out += [Omission(**reason) for reason in found["left_out"]]
        return entries

    # Speech, and the end

    def _build_speech(self) -> dict[str, int]:
        if not self.recipe.speech:
            return {}
        trees: dict[str, Path] = {}
        for name in self.recipe.speech:
            tree = self.state / "speech" / name
            try:
                if not (tree / ".complete").is_file():
                    shutil.rmtree(tree, ignore_errors=True)
                    self.packages.unpack(name, tree)
                    (tree / ".complete").touch()
                trees[name] = tree
            except CorpusError as error:
                if _is_fatal(error):
                    raise
                self.left_out.append(Omission(name, str(error)))
        bank = speech.build_bank(
            trees, self.folder / SPEECH, lambda done, total, _: self.report("building voices", done, total)
        )
        self.left_out += [Omission("speech", reason) for reason in bank.left_out]
        shutil.rmtree(self.state / "speech", ignore_errors=True)
        return dict(Counter(voice.split for voice in bank.voices))

    def _write_tables(self, entries: Sequence[Entry], voices: dict[str, int]) -> BuildSummary:
        if not entries:
            raise CorpusError(f"the recipe {self.recipe.name} gave no clips: {_first(self.left_out)}")
        if gone := [entry for entry in entries if not (self.folder / entry.clip).is_file()]:
            for entry in gone:
                name = f"rendered/{entry.track}" if entry.kind == "rendered" else f"recorded/{entry.source}"
                (self.state / f"{name}.json").unlink(missing_ok=True)
            raise CorpusError(
                f"{len(gone)} clips are missing in {self.folder}, the first is {gone[0].clip}: run the same command "
                "again, which makes them again"
            )
        table = io.StringIO()
        writer = csv.DictWriter(table, list(asdict(entries[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(entry) for entry in sorted(entries, key=lambda entry: entry.clip))
        write_file(table.getvalue().encode(), self.folder / TABLE)
        summary = BuildSummary(list(entries), self.left_out, voices, Corpus(self.folder).digest)
        write_json(
            {
                "recipe": self.recipe.name,
                "digest": summary.digest,
                "counts": summary.counts(),
                "voices": voices,
                "genres": summary.by("genre"),
                "sources": summary.by("source"),
                "licences": summary.by("licence"),
                "left_out": [asdict(reason) for reason in self.left_out],
            },
            self.folder / SUMMARY,
        )
        return summary


def _first(reasons: Sequence[Omission]) -> str:
    return f"{reasons[0].name}: {reasons[0].reason}" if reasons else "it names nothing"


def _is_fatal(error: CorpusError) -> bool:
    """Return whether an error concerns the machine, so that all sources would fail."""
    return any(words in str(error) for words in ("GB are free", "there is no dpkg-deb", "there is no apt-get"))


def needed_patterns(source: recorded.RecordedSource) -> list[str]:
    """Return patterns of the files of a package that hold a source's tracks.

    Both `**` and `*` of the recipe become `*`, which matches more files. The recipe's patterns are applied afterwards.
    """
    return [pattern.partition("!")[0].replace("**", "*") for pattern in source.tracks]


def make_slug(name: str) -> str:
    """Return a name that is safe in file names."""
    return _SLUG.sub("-", name.lower()).strip("-") or "x"


def _write_clip(samples: npt.NDArray[np.floating[Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replace_atomically(path) as part:
            soundfile.write(part, samples, RATE, format="FLAC", subtype="PCM_16")
    except soundfile.LibsndfileError as error:  # of a full disk, too
        raise OSError(f"cannot write {path}: {error}") from error


def _cut_track(track: recorded.Track, folder: Path, rules: CutRules) -> _TrackClips:
    refused: list[str] = []
    name = f"{track.source}/{track.name}"
    try:
        with track.open() as audio:
            clips = cut_clips(audio, rules, name=name, refused=refused)
        if not clips:
            return _TrackClips([], [Omission(name, refused[0] if refused else "no window meets the rules")], None)
        with track.open() as audio:
            print_ = fingerprint_file(audio, name=name)
    except CorpusError as error:
        return _TrackClips([], [Omission(name, str(error))], None)
    entries = []
    for number, clip in enumerate(clips, start=1):
        path = f"{track.source}/{track.name}-{number}.flac"
        _write_clip(clip.samples, folder / path)
        entries.append(
            Entry(
                path,
                track.split,
                track.source,
                track.name,
                clip.start,
                round(clip.duration, 3),
                track.genre,
                track.licence,
                track.attribution,
                "recorded",
                track.package,
                track.origin_path,
                track.sha256,
            )
        )
    return _TrackClips(entries, [], print_)


def _fingerprint_clip(folder: Path, clip: str) -> tuple[str, Fingerprint]:
    return clip, fingerprint_file(folder / clip)


def _save_cuts(cuts: Sequence[_TrackClips], path: Path) -> None:
    prints = path.with_suffix("")
    shutil.rmtree(prints, ignore_errors=True)
    prints.mkdir(parents=True)
    for number, one in enumerate(cuts):
        if one.print is not None:
            one.print.save(prints / f"{number}.npz")
    plain = [
        {"entries": [asdict(e) for e in c.entries], "left_out": [asdict(reason) for reason in c.left_out]} for c in cuts
    ]
    write_json(plain, path)


def _load_cuts(path: Path) -> list[_TrackClips] | None:
    """Return the clips of a source from its state file, or None if the file is missing or damaged."""
    cuts = []
    try:
        for number, one in enumerate(_state(path) or ()):
            entries = [Entry(**entry) for entry in one["entries"]]
            print_ = Fingerprint.load(path.with_suffix("") / f"{number}.npz") if entries else None
            cuts.append(_TrackClips(entries, [Omission(**reason) for reason in one["left_out"]], print_))
    except (CorpusError, KeyError, TypeError):
        return None
    return cuts or None


def _state(path: Path) -> Any:
    """Return the content of a JSON file of the state folder, or None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


@dataclass(frozen=True)
class _RenderPiece:
    """Renders a piece, cuts it into clips, and writes its state file."""

    rules: RenderedMusic
    folder: Path
    collections: Mapping[str, Path]
    fonts: Mapping[str, Path]
    floors: NoiseFloors

    def __call__(self, piece: rendering.Piece) -> str:
        entries: list[Entry] = []
        left_out: list[Omission] = []
        state = self.folder / STATE
        try:
            samples, rate = rendering.render_piece(
                piece, self.collections, self.fonts, self.floors, state, self.rules.seconds
            )
            entries = self._clips(piece, samples, rate)
            if not entries:
                left_out.append(Omission(piece.name, "no window of the rendering meets the rules"))
        except CorpusError as error:
            if _is_fatal(error):
                raise
            left_out.append(Omission(piece.name, str(error)))
        plain = {"entries": [asdict(e) for e in entries], "left_out": [asdict(reason) for reason in left_out]}
        write_json(plain, state / "rendered" / f"{piece.name}.json")
        return piece.name

    def _clips(self, piece: rendering.Piece, samples: Array, rate: int) -> list[Entry]:
        if rate != RATE:
            raise CorpusError(f"{piece.name} was rendered at {rate} Hz, expected {RATE}")
        file = io.BytesIO()
        soundfile.write(
            file,
            samples * min(1.0, PEAK / max(float(np.abs(samples).max()), 1e-9)),
            rate,
            format="WAV",
            subtype="FLOAT",
        )
        file.seek(0)
        entries = []
        for number, clip in enumerate(cut_clips(file, self.rules.cut, name=piece.name), start=1):
            path = f"rendered/{piece.collection}/{make_slug(piece.name)}-{number}.flac"
            _write_clip(clip.samples, self.folder / path)
            entries.append(
                Entry(
                    path,
                    piece.split,
                    f"rendered/{piece.collection}",
                    piece.name,
                    clip.start,
                    round(clip.duration, 3),
                    piece.genre,
                    piece.licence,
                    piece.composer,
                    "rendered",
                    piece.collection,
                    f"{piece.score} ({piece.ensemble}, {piece.font})",
                    f"seed {piece.seed}",
                )
            )
        return entries
