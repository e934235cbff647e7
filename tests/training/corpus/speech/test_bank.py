"""The speech bank: built from recordings, continued, read; and what is wrong with one."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from haaqi_edge.runtime.errors import CorpusError
from haaqi_edge.training.corpus.speech import bank as speech
from haaqi_edge.training.corpus.speech.bank import HUMAN, PACKAGES, SYNTHETIC, SpeechBank, build_bank, decode_audio
from haaqi_edge.training.corpus.speech.sentences import WORDS, random_text
from haaqi_edge.training.corpus.speech.signals import active_level, frame_levels, fundamental_frequency
from numpy.typing import NDArray
from voices import write_bank

Array = NDArray[np.float64]
RATE = 16_000


def prompt(hz: float, seconds: float, seed: int, rate: int = RATE) -> Array:
    """Four syllables a second at a pitch, a long pause in their middle, and a faint floor."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 12))
    x = buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)) * (np.abs(t - seconds / 2) > 0.5)
    return np.asarray(0.1 * x + 1e-5 * rng.standard_normal(len(t)))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A package of a man's, a woman's and a noisy voice, and one of a voice that is too short."""
    root = tmp_path_factory.mktemp("packages")
    rng = np.random.default_rng(0)
    for voice, hz, form in (("he", 110.0, "wav"), ("she", 210.0, "ogg"), ("it", 150.0, "wav")):
        folder = root / "long/sounds" / voice
        folder.mkdir(parents=True)
        for number in range(4):
            x = prompt(hz, 6.0, number, 24_000)
            x += 0.03 * rng.standard_normal(len(x)) if voice == "it" else 0.0
            soundfile.write(folder / f"{number}.{form}", x, 24_000)
    (root / "short/sounds/brief").mkdir(parents=True)
    soundfile.write(root / "short/sounds/brief/a.wav", prompt(120.0, 3.0, 0), RATE)
    return {"long": root / "long", "short": root / "short"}


def source(
    voice: str, split: Literal["train", "valid", "test"], package: str = "long", also: int = 0
) -> speech._Source:
    return speech._Source(voice, package, f"sounds/{voice}", ("*.wav", "*.ogg"), split, "en", "CC0-1.0", also=also)


SOURCES = (
    source("he", "train", also=2),
    source("she", "valid", also=1),
    speech._Source("again", "long", "sounds/she", ("*.ogg",), "test", "en", "CC0-1.0", also=0),
    source("it", "train"),
    source("brief", "train", "short", also=3),
    source("gone", "train", "absent"),
    source("moved", "train"),
)
DUMB = speech._Synthesis("dumb", "flite", "no such voice", "train", "en", "BSD")


@pytest.fixture(scope="module")
def built(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank") / "speech"
    speech._build(packages, folder, SOURCES, ())
    return folder


@pytest.fixture
def bank(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "speech"))


@pytest.mark.slow
def test_what_is_built_is_what_can_be_used(built: Path) -> None:
    bank = SpeechBank(built)
    bank.verify()
    assert [(v.voice, v.split, v.kind, v.parent) for v in bank.voices] == [
        ("he", "train", "human", ""),
        ("he~1", "train", "derived", "he"),
        ("he~2", "train", "derived", "he"),
        ("she", "valid", "human", ""),
        ("she~1", "valid", "derived", "she"),
        ("again", "test", "human", ""),
    ]
    reasons = dict(line.split(": ", 1) for line in bank.left_out)
    assert reasons.keys() == {"it", "brief", "gone", "moved"}
    assert "noise" in reasons["it"]
    assert "s of speech, less than 12" in reasons["brief"]
    assert "absent was not given" in reasons["gone"]
    assert "no recordings in long" in reasons["moved"]


@pytest.mark.slow
def test_voices_are_level_and_their_pauses_short(built: Path) -> None:
    for voice in SpeechBank(built).voices:
        x, rate = soundfile.read(built / voice.file)
        assert rate == RATE
        assert len(x) == voice.frames == pytest.approx(voice.seconds * RATE, abs=0.005 * RATE)
        assert active_level(x) == pytest.approx(-26, abs=0.1)
        if voice.kind == "human":
            assert 18 < voice.seconds < 23  # 24 s less four pauses of 1 s, each shortened to 0.3 s
            runs = "".join("-" if level < -60 else "x" for level in frame_levels(x)).split("x")
            assert max(map(len, runs)) <= 45  # frames of 10 ms; a pause and the soft ends of its syllables


def test_fundamentals_and_sexes(built: Path) -> None:
    voices = {voice.voice: voice for voice in SpeechBank(built).voices}
    assert voices["he"].f0_hz == pytest.approx(110, rel=0.03)
    assert voices["she"].f0_hz == pytest.approx(210, rel=0.03)
    assert not voices["he"].female
    assert voices["she"].female
    assert voices["he~1"].female  # the first derived voice is of the other sex
    assert not voices["she~1"].female


def test_stretches_are_where_they_should_be_and_go_round(built: Path) -> None:
    voices = SpeechBank(built).of("train")
    x, _ = soundfile.read(built / voices.talkers[0].file)
    np.testing.assert_array_equal(voices.stretch(0, 1000, 500), x[1000:1500])
    np.testing.assert_array_equal(voices.stretch(0, len(x) - 10, 30), np.concatenate([x[-10:], x[:20]]))
    twice = voices.stretch(0, 0, 2 * len(x) + 1)
    np.testing.assert_array_equal(twice, np.concatenate([x, x, x[:1]]))
    twice[:] = 0  # the caller's own
    np.testing.assert_array_equal(voices.stretch(0, 0, 100), x[:100])


def test_voices_travel_to_other_processes(built: Path) -> None:
    voices = SpeechBank(built).of("valid")
    before = voices.stretch(1, 5, 100)
    data = pickle.dumps(voices)
    assert len(data) < 20_000
    np.testing.assert_array_equal(pickle.loads(data).stretch(1, 5, 100), before)


def test_the_spectrum_is_that_of_the_voices(built: Path) -> None:
    hz, amplitude = SpeechBank(built).of("test").spectrum()
    assert (hz[0], hz[-1]) == (0, 8000)
    assert amplitude.max() == pytest.approx(1)
    assert abs(hz[amplitude.argmax()] - 210) < 32  # the pitch is the strongest partial
    assert amplitude[hz > 4000].max() < 0.01


@pytest.mark.slow
def test_a_bank_is_continued_not_started_over(packages: dict[str, Path], bank: Path) -> None:
    digest = SpeechBank(bank).digest
    times = {path.name: path.stat().st_mtime_ns for path in (bank / "voices").iterdir()}
    (bank / "voices/he~2.wav").write_bytes(b"half")
    (bank / "voices/she~1.json").write_text("{")
    (bank / "VOICES.csv").unlink()
    told: list[tuple[int, int, str]] = []
    again = speech._build(packages, bank, SOURCES, (), lambda *at: told.append(at))
    assert again.digest == digest
    changed = {path.name for path in (bank / "voices").iterdir() if path.stat().st_mtime_ns != times[path.name]}
    assert changed == {"he~2.wav", "he~2.json", "she~1.wav", "she~1.json"}
    assert told[0] == (0, 13, "he")
    assert [at for at, _, _ in told] == sorted(at for at, _, _ in told)


@pytest.mark.slow
def test_other_recordings_make_another_bank(packages: dict[str, Path], bank: Path, tmp_path: Path) -> None:
    digest = SpeechBank(bank).digest
    other = {**packages, "long": Path(shutil.copytree(packages["long"], tmp_path / "long"))}
    soundfile.write(other["long"] / "sounds/he/4.wav", prompt(110.0, 5.0, 9), RATE)
    assert speech._build(other, bank, SOURCES, ()).digest != digest


def test_no_program_or_no_voice_is_reported(
    packages: dict[str, Path], bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    left_out = speech._build(packages, bank, SOURCES, (DUMB,)).left_out
    assert left_out[-1] == "dumb: the program flite is not installed: apt-get install flite"

    def fails(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", fails)
    left_out = speech._build(packages, bank, SOURCES, (DUMB,)).left_out
    assert left_out[-1].startswith("dumb: flite cannot speak with no such voice (is flite installed?)")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_synthesizers_speak(packages: dict[str, Path], bank: Path) -> None:
    chosen = [synthesis for synthesis in SYNTHETIC if synthesis.name == "de+m3"]
    built = speech._build(packages, bank, SOURCES, chosen)
    voice = built.voices[-1]
    assert (voice.kind, voice.human, voice.female, voice.language) == ("synthetic", False, False, "de")
    assert voice.seconds > 60


def test_no_packages_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CorpusError, match=r"no human voices for train: expected the packages asterisk-"):
        build_bank({}, tmp_path / "speech")


def test_a_full_disk(packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(speech, "write_file", full)
    with pytest.raises(CorpusError, match="No space left on device; what is complete will be kept"):
        speech._build(packages, tmp_path, SOURCES, ())


def test_a_broken_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF????")
    with pytest.raises(CorpusError, match=r"cannot read .*a\.wav: .*; unpack its package again"):
        decode_audio(tmp_path / "a.wav")


def test_no_bank(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no speech bank in .*VOICES\.csv is missing.*`haaqi-edge corpus build`"):
        SpeechBank(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda bank: (bank / "voices/he.wav").unlink(), r"he\.wav is missing"),
        (lambda bank: (bank / "voices/he.wav").write_bytes(b"RIFF"), r"he\.wav is damaged: expected \d+ samples"),
        (lambda bank: (bank / "SPECTRA.csv").unlink(), r"SPECTRA\.csv is missing"),
        (lambda bank: (bank / "SPECTRA.csv").write_text("hz,train\n1,2\n"), r"SPECTRA\.csv is damaged"),
        (lambda bank: (bank / "SPECTRA.csv").write_text("hz,train,valid,test\nx\n"), r"SPECTRA\.csv is damaged"),
        (lambda bank: (bank / "VOICES.csv").write_text("voice,split\nhe,train\n"), r"VOICES\.csv, line 2"),
        (lambda bank: _replace(bank / "VOICES.csv", "human", "alien"), r"VOICES\.csv, line 2: .*'alien'"),
    ],
)
def test_a_damaged_bank(bank: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(bank)
    with pytest.raises(CorpusError, match=message):
        SpeechBank(bank)


def test_a_split_without_voices(bank: Path) -> None:
    _replace(bank / "VOICES.csv", ",valid,", ",train,")
    with pytest.raises(CorpusError, match="no voices of valid"):
        SpeechBank(bank).of("valid")


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def test_changed_samples_are_found(bank: Path) -> None:
    path = bank / "voices/he.wav"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"he\.wav was changed"):
        SpeechBank(bank).verify()


def test_a_written_bank_is_read(tmp_path: Path) -> None:
    """The bank that other tests write is one."""
    assert len(SpeechBank(write_bank(tmp_path / "speech")).of("valid").talkers) == 4


def test_voices_belong_to_one_split() -> None:
    assert len({voice.voice for voice in (*HUMAN, *SYNTHETIC)}) == len(HUMAN) + len(SYNTHETIC)
    splits = {source.language: source.split for source in HUMAN}
    assert all(splits[source.language] == source.split for source in HUMAN)
    for split in ("valid", "test"):
        assert sum(source.split == split for source in HUMAN) >= 4
    assert {"klettres-data", "asterisk-core-sounds-en-g722"} <= set(PACKAGES)


@pytest.mark.parametrize("language", WORDS)
def test_sentences_are_many_and_repeatable(language: str) -> None:
    text = random_text(language, np.random.default_rng(0), 2000)
    assert 2000 <= len(text) < 2200
    assert text == random_text(language, np.random.default_rng(0), 2000)
    assert len(set(text.split(". "))) > 25
    assert any(character.isdigit() for character in text)


def test_g722_is_decoded(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.g722"
    x = prompt(120.0, 2.0, 0)
    with av.open(str(path), "w", format="g722") as file:
        stream = file.add_stream("g722", rate=RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((x * 2**15).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        file.mux([*stream.encode(frame), *stream.encode(None)])
    y = decode_audio(path)
    assert len(y) == pytest.approx(len(x), abs=400)
    assert fundamental_frequency(np.tile(y, 3)) == pytest.approx(120, rel=0.03)
    assert np.std(y) == pytest.approx(np.std(x), rel=0.05)
