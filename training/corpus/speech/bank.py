"""The speech bank: voices of people and of synthesizers without long pauses, for babble.

Human voices are prompts and words from Debian packages. Synthetic voices read generated sentences. Derived voices are
human voices with another pitch, vocal tract and tempo. A speaker, and with few exceptions a language, belongs to one
split.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import soundfile
from scipy import signal

from ....runtime.errors import CorpusError, DependencyError
from ....runtime.writing import write_file
from ...degradations.chains import Array
from ...degradations.speech import SPEECH_RATE
from ..clips import Split
from .sentences import random_text
from .signals import active_level, change_voice, fundamental_frequency, pause_depth, shorten_pauses

Kind = Literal["human", "synthetic", "derived"]
Progress = Callable[[int, int, str], None]
"""called with the number of finished voices, the total number, and the name of the next voice"""

LEVEL: Final = -26.0
"""active level of all voices, in dB re full scale"""
PAUSE: Final = 0.3
"""longest pause within a prompt, in seconds"""
LEAST: Final = 12.0
"""minimum duration of a voice in seconds"""
NOISY: Final = 25.0
"""minimum distance of a voice from its noise floor, in dB"""
LOW: Final = 155.0
"""median fundamental frequency in Hz below which a voice of unknown sex counts as male"""
_VERSION: Final = 1
"""version of the processing; voices of another version are made again"""
_HEADER: Final = 44
"""size of the header of a WAV file, in bytes"""
_MOST: Final[Mapping[Kind, float]] = {"human": 480.0, "synthetic": 100.0, "derived": 100.0}
"""maximum duration of a voice in seconds"""


@dataclass(frozen=True)
class _Source:
    """A human voice: files of a package below `folder` that match `patterns`, the split, and the speaker."""

    voice: str
    package: str
    folder: str
    patterns: tuple[str, ...]
    split: Split
    language: str
    licence: str
    sex: str = ""
    also: int = 2
    """voices derived from it"""


@dataclass(frozen=True)
class _Synthesis:
    """A synthetic voice: program, name of the voice in it, speed in words per minute, and pitch if it has one."""

    voice: str
    program: Literal["espeak-ng", "flite", "festival"]
    name: str
    split: Split
    language: str
    licence: str
    speed: int = 0
    pitch: int = 0


def _asterisk(
    package: str, voice: str, folder: str, form: str, split: Split, language: str, sex: str, licence: str
) -> _Source:
    patterns = (f"**/*.{form}",)
    return _Source(
        voice, f"asterisk-{package}", f"usr/share/asterisk/sounds/{folder}", patterns, split, language, licence, sex, 5
    )


_SHARE_ALIKE: Final = "CC-BY-SA-3.0"
_SPLITS: Final[Mapping[Split, str]] = {"test": "ru uk he el sl", "valid": "it lt ca"}
"""languages of human voices in valid and test; all others are in train"""
_KDE: Final[Mapping[str, str]] = {
    "klettres": "ar cs da de en en_GB es fr he it lt ml nb nds nl pt_BR ru uk",
    "ktuberling": "ca da de el en fr lt nn ru sl uk wa",
}
"""languages recorded in these packages, one speaker (or nearly) each; those too short or noisy are not named"""


def _split_of(language: str) -> Split:
    return next((split for split, languages in _SPLITS.items() if language in languages.split()), "train")


HUMAN: Final[tuple[_Source, ...]] = (
    # The same person reads English and Spanish.
    _asterisk("core-sounds-en-g722", "allison-en", "en_US_f_Allison", "g722", "train", "en", "female", _SHARE_ALIKE),
    _asterisk("core-sounds-es-g722", "allison-es", "es_MX_f_Allison", "g722", "train", "es", "female", _SHARE_ALIKE),
    _asterisk("core-sounds-fr-g722", "june-fr", "fr_CA_f_June", "g722", "train", "fr", "female", _SHARE_ALIKE),
    # Labelled as a man's, but at 190 Hz.
    _asterisk("core-sounds-it-g722", "carlo-it", "it_IT_m_Carlo", "g722", "valid", "it", "", "CC-BY-3.0"),
    _asterisk("core-sounds-ru-g722", "ivrvoice-ru", "ru_RU_f_IvrvoiceRU", "g722", "test", "ru", "female", "CC-BY-3.0"),
    _asterisk("prompt-it-menardi-wav", "menardi-it", "it_IT_f_Menardi", "wav", "valid", "it", "female", _SHARE_ALIKE),
    _asterisk("prompt-es-co", "avatar-es", "es", "gsm", "train", "es", "female", "GPL-2"),
    _asterisk("prompt-fr-armelle", "armelle-fr", "fr", "gsm", "train", "fr", "female", "BSD-3-Clause"),
    *(
        _Source(
            f"{package}-{language}",
            f"{package}-data",
            f"usr/share/{'klettres' if package == 'klettres' else 'ktuberling/sounds'}/{language}",
            ("**/*.ogg", "**/*.opus", "**/*.wav"),
            _split_of(language),
            language,
            "GPL-2+",
        )
        for package, languages in _KDE.items()
        for language in languages.split()
    ),
)
"""all human voices"""


def _espeak(split: Split, *voices: str) -> list[_Synthesis]:
    """Return voices of eSpeak NG from texts `language+variant speed pitch`."""
    found = []
    for number, text in enumerate(voices):
        name, speed, pitch = text.split()
        language = name.partition("+")[0].partition("-")[0]
        found.append(
            _Synthesis(
                f"espeak-{split}-{number + 1:02d}", "espeak-ng", name, split, language, "GPL-3+", int(speed), int(pitch)
            )
        )
    return found


SYNTHETIC: Final[tuple[_Synthesis, ...]] = (
    _Synthesis("flite-kal", "flite", "kal16", "train", "en", "BSD"),
    _Synthesis("flite-slt", "flite", "slt", "train", "en", "BSD"),
    _Synthesis("flite-rms", "flite", "rms", "valid", "en", "BSD"),
    _Synthesis("flite-awb", "flite", "awb", "test", "en", "BSD"),
    # The speaker of flite's slt.
    _Synthesis("festival-slt", "festival", "cmu_us_slt_arctic_hts", "train", "en", "BSD"),
    _Synthesis("festival-ona", "festival", "upc_ca_ona_hts", "valid", "ca", "LGPL-2.1+"),
    *_espeak(
        "train",
        *("en-us+m1 165 45", "en-gb+f2 175 55", "de+m3 160 40", "de+f3 170 60", "fr+f1 180 50", "fr+m4 165 35"),
        *("es+m7 175 45", "es+f4 165 55", "nl+m2 160 50", "nl+f5 170 45", "sv+m5 165 40", "sv+f2 160 60"),
        *("en-gb-scotland+m6 170 50", "en-us+f5 190 50"),
    ),
    *_espeak("valid", "it+m3 165 45", "it+f2 175 55", "pt+m8 160 40", "pt+f4 170 50"),
    *_espeak("test", "pl+m2 165 45", "pl+f3 170 55", "tr+m6 160 40", "tr+f1 175 55", "fi+f5 165 45", "fi+m1 170 40"),
)
"""all synthetic voices"""

PACKAGES: Final = tuple(sorted({source.package for source in HUMAN}))
"""Debian packages with human voices"""
_DEBIAN: Final = {"espeak-ng": "espeak-ng", "flite": "flite", "festival": "festival"}
"""Debian package of each program"""
_FESTVOX: Final = {"cmu_us_slt_arctic_hts": "festvox-us-slt-hts", "upc_ca_ona_hts": "festvox-ca-ona-hts"}


@dataclass(frozen=True)
class Voice:
    """A voice of the bank, a line of `VOICES.csv`.

    Attributes:
        voice: its name.
        split: where it belongs.
        kind: `human`, `synthetic`, or `derived` from a human voice.
        sex: `female` or `male`, from the label of the recording, or else from the fundamental frequency.
        language: of ISO 639, with a region at most.
        seconds: of speech, pauses of up to `PAUSE` included.
        f0_hz: median fundamental frequency, 0 if none was found.
        file: below the bank's folder.
        parent: the voice that it is derived from, or empty.
        origin: the Debian package.
        licence: of the recordings or the synthesizer.
        frames: samples at 16 kHz.
        sha256: of the file.
    """

    voice: str
    split: Split
    kind: Kind
    sex: str
    language: str
    seconds: float
    f0_hz: float
    file: str
    parent: str
    origin: str
    licence: str
    frames: int
    sha256: str

    @property
    def human(self) -> bool:
        """Whether the voice is a person's."""
        return self.kind != "synthetic"

    @property
    def female(self) -> bool:
        """Whether the voice sounds like a woman or a child."""
        return self.sex == "female"


class SpeechVoices:
    """The voices of one split, for random access. When pickled, only the names of files are stored.

    Implements `degradations.chains.Speech`.
    """

    def __init__(self, folder: Path, talkers: Sequence[Voice], spectrum: tuple[Array, Array]) -> None:
        self.folder = folder
        self.talkers: Sequence[Voice] = tuple(talkers)
        self._spectrum = spectrum
        self._open: dict[int, npt.NDArray[np.int16]] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_open": {}}

    def stretch(self, talker: int, start: int, length: int) -> Array:
        """Return samples float64 [length] in [-1, 1) of a voice from sample `start` on. It repeats after its end.

        Raises:
            CorpusError: its file is missing or shorter than the table says.
        """
        samples = self._open.get(talker)
        if samples is None:
            samples = self._open[talker] = self._map_samples(self.talkers[talker])
        start %= len(samples)
        out = np.empty(length)
        done = 0
        while done < length:
            part = samples[start : start + length - done]
            np.multiply(part, 2.0**-15, out=out[done : done + len(part)])
            done, start = done + len(part), 0
        return out

    def spectrum(self) -> tuple[Array, Array]:
        """Return frequencies in Hz [bins], 0 to 8 kHz, and the long-term average amplitudes there, maximum 1."""
        return self._spectrum

    def _map_samples(self, voice: Voice) -> npt.NDArray[np.int16]:
        path = self.folder / voice.file
        _check_size(path, voice.frames)
        return np.memmap(path, dtype="<i2", mode="r", offset=_HEADER, shape=(voice.frames,))


class SpeechBank:
    """A folder of voices with its `VOICES.csv`, as `build_bank` writes it.

    Attributes:
        folder: where it is.
        voices: all of them.
        digest: SHA-256 of the tables, which hold the checksum of every file.
        left_out: what was not available when the bank was built.

    Raises:
        CorpusError: there is none, or files are missing or truncated.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        table, spectra = self.folder / "VOICES.csv", self.folder / "SPECTRA.csv"
        for path in (table, spectra):
            if not path.is_file():
                raise CorpusError(
                    f"no speech bank in {self.folder}: {path.name} is missing; build it with `haaqi-edge corpus build`"
                )
        self.voices = _read_voices(table)
        for voice in self.voices:
            _check_size(self.folder / voice.file, voice.frames)
        self._spectra = _read_spectra(spectra)
        self.digest = hashlib.sha256(table.read_bytes() + spectra.read_bytes()).hexdigest()
        notes = self.folder / "LEFT_OUT.txt"
        self.left_out = tuple(notes.read_text(encoding="utf-8").splitlines()) if notes.is_file() else ()

    def of(self, split: Split) -> SpeechVoices:
        """Return the voices of a split, in the order of the table.

        Raises:
            CorpusError: there are none.
        """
        talkers = [voice for voice in self.voices if voice.split == split]
        if not talkers:
            raise CorpusError(f"no voices of {split} in {self.folder}: build the speech bank again")
        return SpeechVoices(self.folder, talkers, (self._spectra["hz"], self._spectra[split]))

    def verify(self) -> None:
        """Compare all files with their checksums.

        Raises:
            CorpusError: a file was changed.
        """
        for voice in self.voices:
            if _sha256(self.folder / voice.file) != voice.sha256:
                raise CorpusError(f"{self.folder / voice.file} was changed: delete it and build the speech bank again")


def build_bank(packages: Mapping[str, Path], folder: Path, progress: Progress | None = None) -> SpeechBank:
    """Build the speech bank, or resume its build. Complete voices are kept.

    Args:
        packages: folders into which Debian packages of `PACKAGES` were unpacked, by name. The programs `espeak-ng`,
            `flite` and `text2wave` (festival) must be installed.
        folder: destination of a WAV file per voice, `VOICES.csv`, `SPECTRA.csv` and `LEFT_OUT.txt`.
        progress: called for each voice.

    Returns:
        The bank. Its `left_out` lists missing packages and programs, and voices that are too short or noisy.

    Raises:
        CorpusError: a split is left without human voices, or the folder cannot be written.
        DependencyError: PyAV, which decodes G.722, is not installed.
    """
    return _build(packages, folder, HUMAN, SYNTHETIC, progress)


def _build(
    packages: Mapping[str, Path],
    folder: Path,
    human: Sequence[_Source],
    synthetic: Sequence[_Synthesis],
    progress: Progress | None = None,
) -> SpeechBank:
    """Build a bank of given voices. See `build_bank`."""
    left_out: list[str] = []
    voices: list[Voice] = []
    total, done = len(human) + sum(source.also for source in human) + len(synthetic), 0

    def add(name: str, make: Callable[[], Voice | str]) -> Voice | None:
        nonlocal done
        if progress is not None:
            progress(done, total, name)
        done += 1
        made = make()
        if isinstance(made, str):
            left_out.append(f"{name}: {made}")
            return None
        voices.append(made)
        return made

    try:
        (folder / "voices").mkdir(parents=True, exist_ok=True)
        for source in human:
            parent = add(source.voice, partial(_make_human, source, packages, folder))
            if parent is None:
                done += source.also
                continue
            for number in range(source.also):
                name = f"{parent.voice}~{number + 1}"
                add(name, partial(_make_derived, name, number, parent, folder))
        for synthesis in synthetic:
            add(synthesis.voice, partial(_make_synthetic, synthesis, folder))
        for split in get_args(Split):
            if not any(voice.split == split and voice.kind == "human" for voice in voices):
                raise CorpusError(
                    f"no human voices for {split}: expected the packages {', '.join(PACKAGES)}; left out:\n"
                    + "\n".join(left_out)
                )
        write_file(_spectra_table(voices, folder), folder / "SPECTRA.csv")
        write_file("".join(f"{line}\n" for line in left_out).encode(), folder / "LEFT_OUT.txt")
        write_file(_voices_table(voices), folder / "VOICES.csv")
    except OSError as error:
        raise CorpusError(
            f"cannot build the speech bank in {folder}: {error}; what is complete will be kept"
        ) from error
    return SpeechBank(folder)


# One voice


def _make_human(source: _Source, packages: Mapping[str, Path], folder: Path) -> Voice | str:
    """Make a human voice, or return the reason why it is left out."""
    root = packages.get(source.package)
    if root is None or not root.is_dir():
        return f"the package {source.package} was not given"
    below = root / source.folder
    files = sorted(path for pattern in source.patterns for path in below.glob(pattern) if "silence" not in path.parts)
    if not files:
        return f"no recordings in {source.package} at {source.folder}: another version of the package?"
    listing = [[path.relative_to(root).as_posix(), path.stat().st_size] for path in files]

    def make() -> tuple[Array, str] | str:
        prompts = [decode_audio(path) for path in files]
        everything = np.concatenate(prompts)
        noise, level = pause_depth(everything), active_level(everything)
        speech = [shorten_pauses(prompt, PAUSE, level, level - noise) for prompt in prompts]
        order = _rng(source.voice).permutation(len(speech))
        samples = np.concatenate([speech[place] for place in order])
        if len(samples) < LEAST * SPEECH_RATE:
            return f"{len(samples) / SPEECH_RATE:.0f} s of speech, less than {LEAST:g}"
        if noise < NOISY:
            return f"noise {noise:.0f} dB below the speech, less than {NOISY:g}"
        return samples, source.sex

    like = Voice(
        source.voice,
        source.split,
        "human",
        source.sex,
        source.language,
        0,
        0,
        "",
        "",
        source.package,
        source.licence,
        0,
        "",
    )
    return _cached_voice(like, folder, [asdict(source), listing], make)


def _make_derived(name: str, number: int, parent: Voice, folder: Path) -> Voice | str:
    """Make a voice derived from a human one: the first has the other sex, the others are similar to it."""
    rng = _rng(name)
    if number == 0:
        pitch, tract = (rng.uniform(0.52, 0.62), rng.uniform(0.82, 0.88))
        if not parent.female:
            pitch, tract = (rng.uniform(1.6, 1.85), rng.uniform(1.13, 1.2))
    elif number == 1:
        pitch, tract = rng.uniform(0.78, 0.9), rng.uniform(0.9, 0.97)
    elif number == 2 and parent.female:
        pitch, tract = rng.uniform(0.6, 0.72), rng.uniform(0.86, 0.92)
    else:
        pitch, tract = rng.uniform(1.08, 1.25), rng.uniform(1.03, 1.1)
    tempo = rng.uniform(0.85, 1.18)

    def make() -> tuple[Array, str] | str:
        samples = _read(folder / parent.file)
        most = round(_MOST["derived"] * SPEECH_RATE * tempo)
        # Another part than its siblings' where there is enough.
        spare = max(len(samples) - most, 0)
        begin = int(rng.integers(spare + 1))
        return change_voice(samples[begin : begin + most], pitch, tract, tempo), ""

    like = Voice(
        name,
        parent.split,
        "derived",
        *("", parent.language, 0, 0, "", parent.voice, parent.origin, parent.licence, 0, ""),
    )
    return _cached_voice(like, folder, [name, pitch, tract, tempo, parent.sha256], make)


def _make_synthetic(synthesis: _Synthesis, folder: Path) -> Voice | str:
    """Make a synthetic voice, or return the reason why it is left out."""
    program = "text2wave" if synthesis.program == "festival" else synthesis.program
    package = _DEBIAN[synthesis.program]
    if shutil.which(program) is None:
        return f"the program {program} is not installed: apt-get install {package}"
    text = random_text(synthesis.language, _rng(synthesis.voice), round(16 * _MOST["synthetic"]))

    def make() -> tuple[Array, str] | str:
        try:
            samples = _speak(synthesis, text)
        except (subprocess.SubprocessError, soundfile.LibsndfileError, OSError) as error:
            needs = _FESTVOX.get(synthesis.name, package)
            return f"{program} cannot speak with {synthesis.name} (is {needs} installed?): {error}"
        level = active_level(samples)
        return shorten_pauses(samples, PAUSE, level, -90.0), ""

    origin = _FESTVOX.get(synthesis.name, package)
    like = Voice(
        synthesis.voice,
        synthesis.split,
        "synthetic",
        *("", synthesis.language, 0, 0, "", "", origin, synthesis.licence, 0, ""),
    )
    return _cached_voice(like, folder, [asdict(synthesis), text], make)


def _speak(synthesis: _Synthesis, text: str) -> Array:
    """Synthesize a text, and return samples [n] at 16 kHz."""
    # Short texts, because flite and festival need more than linear time for long ones.
    texts = [text] if synthesis.program == "espeak-ng" else _pieces(text, 400)
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        # Files, because flite hangs on a pipe.
        said, spoken = f"{folder}/said.txt", f"{folder}/spoken.wav"
        speed, pitch = str(synthesis.speed), str(synthesis.pitch)
        command = {
            "espeak-ng": ["espeak-ng", "-f", said, "-w", spoken, "-v", synthesis.name, "-s", speed, "-p", pitch],
            "flite": ["flite", "-voice", synthesis.name, "-f", said, "-o", spoken],
            "festival": ["text2wave", "-eval", f"(voice_{synthesis.name})", "-o", spoken, said],
        }[synthesis.program]
        for part in texts:
            Path(said).write_text(part, encoding="utf-8")
            Path(spoken).unlink(missing_ok=True)
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
            samples, rate = soundfile.read(spoken, dtype="float64")
            parts.append(_resample(samples, rate))
    return np.concatenate(parts)


def _pieces(text: str, characters: int) -> list[str]:
    """Split a text between sentences into parts of about `characters` characters."""
    parts = [""]
    for sentence in text.replace("? ", "?\n").replace(". ", ".\n").split("\n"):
        if len(parts[-1]) > characters:
            parts.append("")
        parts[-1] += sentence + " "
    return parts


def _cached_voice(
    like: Voice, folder: Path, recipe: object, make: Callable[[], tuple[Array, str] | str]
) -> Voice | str:
    """Return a voice from its file if it was made from the same recipe, otherwise make it.

    Args:
        like: the voice without measured values.
        folder: of the bank.
        recipe: everything that its samples depend on.
        make: returns its samples and sex (empty if unknown), or the reason why it is left out.
    """
    key = hashlib.sha256(json.dumps([_VERSION, recipe], sort_keys=True).encode()).hexdigest()
    path = folder / "voices" / f"{like.voice}.wav"
    note = path.with_suffix(".json")
    voice = _read_note(note, key)
    if voice is not None and path.is_file() and _sha256(path) == voice.sha256:
        return voice
    made = make()
    if isinstance(made, str):
        return made
    samples, sex = made
    samples = samples[: round(_MOST[like.kind] * SPEECH_RATE)]
    samples = samples * 10 ** ((LEVEL - active_level(samples)) / 20)
    f0 = fundamental_frequency(samples)
    data = _wav(samples)
    write_file(data, path)
    voice = Voice(
        **{
            **vars(like),
            "sex": sex or ("male" if 0 < f0 < LOW else "female"),
            "seconds": round(len(samples) / SPEECH_RATE, 2),
            "f0_hz": round(f0, 1),
            "file": path.relative_to(folder).as_posix(),
            "frames": len(samples),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    )
    write_file(json.dumps({"key": key, "voice": asdict(voice)}).encode(), note)
    return voice


def _read_note(note: Path, key: str) -> Voice | None:
    """Return the voice of a note if it was made from the recipe with this key."""
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
        return Voice(**said["voice"]) if said["key"] == key else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or of another version
        return None


# Sound files


def decode_audio(path: Path) -> Array:
    """Decode a recording to [n] samples at 16 kHz with channels averaged: G.722 by PyAV, others by libsndfile.

    Raises:
        CorpusError: the file cannot be read.
        DependencyError: PyAV is not installed.
    """
    try:
        if path.suffix == ".g722":
            return _g722(path)
        if path.suffix == ".gsm":
            samples, rate = soundfile.read(path, format="RAW", subtype="GSM610", channels=1, samplerate=8000)
        else:
            samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
            samples = samples.mean(axis=1)
    except (soundfile.LibsndfileError, OSError) as error:
        raise CorpusError(f"cannot read {path}: {error}; unpack its package again") from error
    return _resample(np.asarray(samples, dtype=np.float64), int(rate))


def _g722(path: Path) -> Array:
    try:
        import av
    except ImportError as error:
        raise DependencyError("the speech bank needs PyAV to decode G.722: pip install 'haaqi-edge[train]'") from error
    with av.open(io.BytesIO(path.read_bytes()), "r", format="g722") as container:
        parts = [frame.to_ndarray().ravel().astype(np.float64) for frame in container.decode(audio=0)]
    return np.concatenate(parts) / 2.0**15 if parts else np.empty(0)


def _resample(samples: Array, rate: int) -> Array:
    return samples if rate == SPEECH_RATE else np.asarray(signal.resample_poly(samples, SPEECH_RATE, rate))


def _wav(samples: Array) -> bytes:
    """Return a 16-bit WAV file at 16 kHz, with samples from byte `_HEADER` on."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, SPEECH_RATE, 0, "NONE", ""))
        out.writeframes(np.clip(np.round(samples * 2.0**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
    return file.getvalue()


def _read(path: Path) -> Array:
    return np.asarray(soundfile.read(path, dtype="float64")[0])


def _check_size(path: Path, frames: int) -> None:
    if not path.is_file():
        raise CorpusError(f"{path} is missing from the speech bank: build it again, what is complete is kept")
    if path.stat().st_size != _HEADER + 2 * frames:
        raise CorpusError(f"{path} is damaged: expected {frames} samples; build the speech bank again")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rng(name: str) -> np.random.Generator:
    """Return a random generator that depends on a name."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


# Tables


def _voices_table(voices: Iterable[Voice]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Voice)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(voice) for voice in voices)
    return text.getvalue().encode()


def _read_voices(table: Path) -> list[Voice]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    voices = []
    for line, row in enumerate(rows, start=2):
        try:
            if row["split"] not in get_args(Split) or row["kind"] not in get_args(Kind):
                raise CorpusError(f"{table}, line {line}: unknown split {row['split']!r} or kind {row['kind']!r}")
            numbers = {"seconds": float(row["seconds"]), "f0_hz": float(row["f0_hz"]), "frames": int(row["frames"])}
            known = {field.name: row[field.name] for field in fields(Voice)}
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CorpusError):
                raise
            raise CorpusError(f"{table}, line {line}: {error!r}; build the speech bank again") from error
        voices.append(Voice(**cast("dict[str, object]", known | numbers)))  # type: ignore[arg-type]
    return voices


def _spectra_table(voices: Sequence[Voice], folder: Path) -> bytes:
    """Return a table of the long-term average spectrum of each split: the columns hz, and one amplitude per split
    (maximum 1).
    """
    columns = {"hz": np.fft.rfftfreq(512, 1 / SPEECH_RATE)}
    for split in get_args(Split):
        powers = [
            signal.welch(_read(folder / voice.file), SPEECH_RATE, nperseg=512)[1]
            for voice in voices
            if voice.split == split and voice.human
        ]
        amplitude = np.sqrt(np.mean(powers, axis=0))
        columns[split] = amplitude / amplitude.max()
    lines = [
        ",".join(columns),
        *(",".join(f"{value:.6g}" for value in row) for row in zip(*columns.values(), strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _read_spectra(path: Path) -> dict[str, Array]:
    try:
        with path.open(encoding="utf-8") as file:
            names = file.readline().strip().split(",")
            values = np.loadtxt(file, delimiter=",", ndmin=2)
    except ValueError as error:
        raise CorpusError(f"{path} is damaged: {error}; build the speech bank again") from error
    if names != ["hz", *get_args(Split)] or values.shape[1:] != (len(names),):
        raise CorpusError(f"{path} is damaged: expected columns hz, {', '.join(get_args(Split))}")
    return dict(zip(names, np.ascontiguousarray(values.T), strict=True))
