"""THE TABLE of malformed inputs: each with its error class, a part of its message and its exit code.

Every row runs through the command line in process; rows with a natural call in Python check the class there too.
Nothing may be left behind: the folder in which a row runs is the same after it as before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import soundfile
import torch
from haaqi_edge.cli import main as cli
from haaqi_edge.model import Nano, Student, Teacher
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.audio import ArrayAudio, open_audio
from haaqi_edge.runtime.errors import (
    AudioError,
    AudioFileError,
    AudioFileNotFoundError,
    AudiogramError,
    BundleError,
    BundleNotFoundError,
    CheckpointError,
    CheckpointNotFoundError,
    CorpusError,
    HaaqiEdgeError,
    OptionError,
    ProviderError,
)
from haaqi_edge.runtime.sessions import PROVIDERS
from numpy.typing import NDArray
from torch import Tensor

ABSENT = next(name for name, full in PROVIDERS.items() if full not in onnxruntime.get_available_providers())
SHIPPED = Bundle("nano").folder
RATE = 16_000


@dataclasses.dataclass(frozen=True)
class Row:
    """A malformed input.

    Attributes:
        id: what is wrong.
        argv: of the command line; `{d}` is the folder of malformed files.
        error: the class, exactly; None where the command line's own parser refuses.
        words: a part of the message, as a regular expression.
        call: the same through Python, given the folder; None where the command line is the natural way.
        code: the exit code.
    """

    id: str
    argv: list[str]
    error: type[HaaqiEdgeError] | None
    words: str
    call: Callable[[Path], object] | None = None
    code: int = 2


def audio(name: str, error: type[HaaqiEdgeError], words: str, *options: str) -> Row:
    """A row that scores a bad file."""
    argv = ["score", "{d}/" + name, "-a", "N3", "--threads", "1", *options]
    return Row(" ".join((name, *options)), argv, error, words, lambda d: scorer().score(d / name, "N3"))


def listener(text: str, words: str, id: str = "") -> Row:
    """A row that scores good audio for a bad audiogram."""
    argv = ["score", "{d}/good.wav", f"--audiogram={text}", "--threads", "1"]
    return Row(
        f"audiogram {id or text}", argv, AudiogramError, words, lambda d: Audiogram.parse(text.replace("{d}", str(d)))
    )


def option(words: str, *options: str, error: type[HaaqiEdgeError] | None = OptionError, audio: str = "good") -> Row:
    """A row that scores good audio with bad options."""
    argv = ["score", f"{{d}}/{audio}.wav", "-a", "N3", "--threads", "1", *options]
    return Row(f"{audio} {' '.join(options)}", argv, error, words)


def bundle(name: str, words: str, error: type[HaaqiEdgeError] = BundleError) -> Row:
    """A row that scores good audio with a bad bundle."""
    argv = ["score", "{d}/good.wav", "-a", "N3", "--threads", "1", "-m", "{d}/" + name]
    return Row(f"bundle {name}", argv, error, words, lambda d: Scorer(d / name, threads=1))


def checkpoint(family: str, name: str, words: str, error: type[HaaqiEdgeError] = CheckpointError) -> Row:
    """A row that exports a bad checkpoint."""
    network = {"student": Student, "nano": Nano}[family]
    argv = ["export", family, "{d}/" + name, "-o", "{d}/out", "--fused", "{d}/out.onnx"]
    return Row(f"{family} {name}", argv, error, words, lambda d: network.from_checkpoint(d / name))


def export(words: str, *options: str) -> Row:
    """A row that exports a good checkpoint to where it cannot go."""
    return Row(f"export {' '.join(options)}", ["export", "nano", *options], OptionError, words)


def train(verb: str, words: str, *options: str, error: type[HaaqiEdgeError] | None = CorpusError) -> Row:
    """A row that trains from, or labels, what is not there."""
    return Row(f"train {verb} {' '.join(options)}", ["train", verb, *options], error, words)


TABLE = [
    # Audio
    audio("empty.wav", AudioFileError, r"empty\.wav is empty \(0 bytes\)"),
    audio("headonly.wav", AudioFileError, r"holds no samples: at least 2800 samples at 16 kHz"),
    audio("nan.wav", AudioError, r"nan\.wav holds a sample that is not a finite number at 0\.125 s"),
    audio("latenan.wav", AudioError, r"not a finite number at 6\.000 s"),
    audio("nan.wav", AudioError, r"not a finite number", "--spl", "65"),
    audio("inf.wav", AudioError, r"not a finite number at 0\.250 s"),
    audio("short.wav", AudioError, r"short\.wav is shorter than one patch: at least 2800 samples"),
    audio("short44.wav", AudioError, r"shorter than one patch"),
    audio("silent.wav", AudioError, r"silent\.wav is silent throughout"),
    audio("silent44.flac", AudioError, r"is silent throughout"),
    audio("silent.wav", AudioError, r"is silent throughout", "--spl", "65"),
    audio("silent.wav", AudioError, r"is silent throughout", "--nal-r"),
    audio("cancelling.wav", AudioError, r"is silent throughout"),
    audio("rate4000.wav", AudioError, r"is 4000 Hz; give audio from 8000 to"),
    audio("rate7999.wav", AudioError, r"is 7999 Hz; give audio from 8000"),
    audio("text.wav", AudioFileError, r"text\.wav cannot be read as audio .*: give a wav, flac"),
    audio("random.mp3", AudioFileError, r"random\.mp3 (cannot be read as audio|is damaged)"),
    audio("picture.flac", AudioFileError, r"cannot be read as audio"),
    audio("absent.wav", AudioFileNotFoundError, r"absent\.wav does not exist: give the path"),
    audio("x" * 300 + ".wav", AudioFileNotFoundError, r"File name too long.*: give the path|does not exist"),
    Row(
        "a folder without audio",
        ["score", "{d}/noaudio", "-a", "N3"],
        AudioFileNotFoundError,
        r"no audio in .*noaudio: expected files that end in .*\.flac",
        lambda d: open_audio(d / "noaudio"),
    ),
    audio("cut.wav", AudioFileError, r"cut\.wav is truncated: it announces \d+ bytes and holds \d+"),
    audio("cuthead.wav", AudioFileError, r"cuthead\.wav (is truncated|cannot be read|holds no samples)"),
    audio("cut.flac", AudioFileError, r"cut\.flac is damaged or truncated after"),
    audio("cut.ogg", AudioFileError, r"cut\.ogg is truncated: its last Ogg page"),
    audio("cut.opus", AudioFileError, r"cut\.opus is truncated: its last Ogg page"),
    audio("cut.mp3", AudioFileError, r"cut\.mp3 is damaged or truncated after"),
    # Audiograms
    listener("[20, 30, 40, 50, 60, 70, 70]", r"has 8 hearing levels, got 7: give a name \(NH,"),
    listener("[20, 30, 40, 50, 60, 70, 70, 70, 70]", r"8 hearing levels, got 9"),
    listener("[]", r"8 hearing levels, got 0"),
    listener("20,30,40", r"8 hearing levels, got 3"),
    listener("[20, 30, 40, 50, 60, 70, 70, 121]", r"level 121 dB HL at 8000 Hz is outside -10 to 120"),
    listener("-10.5,0,0,0,0,0,0,0", r"level -10\.5 dB HL at 250 Hz is outside -10 to 120"),
    listener("[20, 30, NaN, 50, 60, 70, 70, 70]", r"level nan dB HL at 1000 Hz is outside"),
    listener("inf,0,0,0,0,0,0,0", r"level inf dB HL at 250 Hz is outside"),
    listener(f"[1{'0' * 400}, 0, 0, 0, 0, 0, 0, 0]", r"is not a number|is outside", "of 401 digits"),
    listener('["loud", 30, 40, 50, 60, 70, 70, 70]', r"'loud' is not a number in an audiogram"),
    listener("[true, 30, 40, 50, 60, 70, 70, 70]", r"True is not a number"),
    listener("[null, 30, 40, 50, 60, 70, 70, 70]", r"None is not a number"),
    listener("[[20, 30, 40], 50, 60, 70, 70, 70, 0, 0]", r"\[20, 30, 40\] is not a number"),
    listener("[20, 30", r"is not JSON .*: give a name"),
    listener("", r"'' is not an audiogram: give a name"),
    listener("N8", r"'N8' is not an audiogram: give a name"),
    listener("severe", r"'severe' is not an audiogram"),
    listener("y" * 300, r"is not an audiogram", "of 300 letters"),
    listener("{d}/absent.csv", r"cannot read the audiogram .*absent\.csv"),
    listener("{d}/noaudio.csv", r"cannot read the audiogram .*noaudio\.csv"),
    listener("{d}/latin.csv", r"cannot read the audiogram .*latin\.csv"),
    listener("{d}/blank.csv", r"blank\.csv is not an audiogram: expected lines of 'frequency in Hz"),
    listener("{d}/three.csv", r"three\.csv is not an audiogram: expected lines"),
    listener("{d}/words.csv", r"'mild' is not a number in an audiogram"),
    listener("{d}/one.csv", r"got 1 frequencies and 1 levels: give at least two pairs"),
    listener("{d}/twice.csv", r"frequencies \[250\.0, 250\.0, 1000\.0\] must be above 0 Hz, each once"),
    listener('{"-250": 20, "1000": 30}', r"must be above 0 Hz"),
    listener('{"0": 20, "1000": 30}', r"must be above 0 Hz"),
    listener('{"250": 20, "1000": 300}', r"level 300 dB HL at 1000 Hz is outside"),
    listener('{"frequencies": [250, 500], "levels": [20]}', r"got 2 frequencies and 1 levels"),
    listener('{"frequencies": 250, "levels": 20}', r"audiogram", "of frequencies that are no list"),
    listener("{d}/scalar.json", r"scalar\.json does not hold an audiogram"),
    listener("{d}/broken.json", r"broken\.json is not JSON"),
    # Options
    option(r"level1=-1\.0 is not a sound pressure level: give dB SPL from 0 to 140", "--level1=-1"),
    option(r"level1=141\.0 is not", "--level1=141"),
    option(r"level1=nan is not", "--level1=nan"),
    option(r"spl=inf is not a sound pressure level", "--spl=inf"),
    option(r"level1 and spl both set the level: give one", "--level1=85", "--spl=65"),
    option(r"Invalid value for '--level1'", "--level1=loud", error=None),
    option(r"a window of 0\.1 s: give 0\.16 to 60 s", "--window=0.1"),
    option(r"a window of 61 s: give", "--window=61"),
    option(r"a window of -10 s: give", "--window=-10"),
    option(r"a window of nan s: give", "--window=nan"),
    option(r"--window 'long': give a number of seconds, or `whole`", "--window=long"),
    option(r"the clip is longer than 60 s, the longest window", "--window=whole", audio="minute"),
    option(r"threads=0: give a number from 1", "--threads=0"),
    option(r"threads=-1: give a number from 1", "--threads=-1"),
    option(
        rf"provider '{ABSENT}' is not available: onnxruntime .* here has", f"--provider={ABSENT}", error=ProviderError
    ),
    option(r"provider 'abacus' is not available", "--provider=abacus", error=ProviderError),
    option(r"No such option", "--loudness=3", error=None),
    Row("no audiogram", ["score", "{d}/good.wav"], None, r"Missing option"),
    # Bundles
    bundle(
        "absent",
        r"absent' is not a model: there is no such folder; give the folder of a bundle, or .*nano",
        BundleNotFoundError,
    ),
    bundle("noaudio", r"is not a model: it has no card\.json", BundleNotFoundError),
    bundle("z" * 300, r"is not a model", BundleNotFoundError),
    Row("model nono", ["inspect", "nono"], BundleNotFoundError, r"'nono' is not a model", lambda _: Bundle("nono")),
    bundle("notjson", r"card\.json is not JSON"),
    bundle("latin1", r"cannot read .*card\.json"),
    bundle("list", r"card\.json has the schema \[\], this version reads 1"),
    bundle("schema", r"has the schema 2, this version reads 1: export it again"),
    bundle("unknown", r"unknown \['colour'\]"),
    bundle("missing", r"missing \['window'\]"),
    bundle("type", r"window is 'ten', expected float"),
    bundle("bool", r"width is True, expected int"),
    bundle("window", r"window"),
    bundle("input", r"encoder_input is 'mp3', expected fbank or samples"),
    bundle("frontend", r"asks for the front end .*hop=320"),
    bundle("frequencies", r"has audiogram frequencies other than"),
    bundle("entry", r"'encoder\.onnx' is not an entry of files"),
    bundle("path", r"names the file '\.\./good/encoder\.onnx': expected a plain name"),
    bundle("headless", r"has no 'head': it holds encoder"),
    bundle("gone", r"head\.onnx, the head of the bundle, is missing"),
    bundle("tampered", r"encoder\.onnx does not match the SHA-256 in card\.json"),
    bundle("garbage", r"onnxruntime .* cannot load .*encoder\.onnx"),
    bundle("disagrees", r"disagrees with its card on \['level1'\]"),
    bundle("swapped", r"encoder|head"),
    bundle("otherinput", r"encoder|samples"),
    Row(
        "inspect a tampered bundle",
        ["inspect", "{d}/tampered", "--json"],
        BundleError,
        r"does not match the SHA-256",
        lambda d: Bundle(d / "tampered"),
    ),
    # Checkpoints
    checkpoint("student", "absent.pth", r"absent\.pth: nothing is there", CheckpointNotFoundError),
    checkpoint("student", "noaudio", r"noaudio: a folder is there", CheckpointNotFoundError),
    checkpoint("student", "w" * 300, r"nothing is there", CheckpointNotFoundError),
    checkpoint("student", "empty.wav", r"empty\.wav is empty"),
    checkpoint("student", "code.pth", r"names .*system, which is code .*the file is refused"),
    checkpoint("student", "codezip.pth", r"names .*system, which is code .*the file is refused"),
    checkpoint("student", "cut.pth", r"cut\.pth begins as a checkpoint but is not whole"),
    checkpoint("student", "cut.safetensors", r"is safetensors cut short or altered"),
    checkpoint("student", "random.mp3", r"random\.mp3 is not a checkpoint"),
    checkpoint("student", "teacher.pth", r"not the student's: this is the teacher's checkpoint"),
    checkpoint("student", "beats.pt", r"not the student's: this is BEATs's own checkpoint"),
    checkpoint("student", "nano.safetensors", r"not the student's: this is a nano's checkpoint"),
    checkpoint("student", "optimizer.pth", r"holds a (int|float|dict) at"),
    checkpoint("student", "nanvalue.pth", r"linear2\.weight holds NaN or infinity"),
    checkpoint("student", "shape.pth", r"of another shape: linear2\.weight \[768, 511\] where \[768, 512\]"),
    checkpoint("nano", "student.pth", r"is not nano's: this is the student's checkpoint"),
    checkpoint("nano", "nanonan.safetensors", r"head\.frame\.bias holds NaN"),
    checkpoint("nano", "nanoless.safetensors", r"missing: head\.frame\.bias"),
    checkpoint("nano", "text.wav", r"is not a checkpoint"),
    # Where exports cannot go
    export(r"nothing to write: give a folder with -o, a file with --fused"),
    export(r"noaudio exists and is not a bundle", "-o", "{d}/noaudio"),
    export(r"good\.wav exists and is not a bundle|good\.wav", "-o", "{d}/good.wav"),
    export(r"good\.wav", "-o", "{d}/good.wav/bundle"),
    export(
        r"cannot write .*absent/fused\.onnx: give the path of a file in a folder that exists",
        "--fused",
        "{d}/absent/fused.onnx",
    ),
    export(r"cannot write .*noaudio", "--fused", "{d}/noaudio"),
    export(r"cannot write .*absent/fused\.onnx", "-o", "{d}/out", "--fused", "{d}/absent/fused.onnx"),
    # Training
    train(
        "nano", r"no music in .*noaudio: expected CLIPS\.csv", "--music={d}/noaudio", "--table={d}/t", "-o", "{d}/out"
    ),
    train(
        "nano", r"no label table of split train in .*absent", "--music={d}/music", "--table={d}/absent", "-o", "{d}/out"
    ),
    train("nano", r"train-0000\.parquet", "--music={d}/music", "--table={d}/badtable", "-o", "{d}/out"),
    train("nano", r"train-0000\.parquet", "--music={d}/music", "--table={d}/othertable", "-o", "{d}/out"),
    train("nano", r"good\.wav", "--music={d}/music", "--table={d}/t", "-o", "{d}/good.wav", error=OptionError),
    train(
        "nano",
        r"Invalid value for '--epochs'",
        "--music={d}/music",
        "--table={d}/t",
        "-o",
        "{d}/out",
        "--epochs=0",
        error=None,
    ),
    train("labels", r"no music in .*absent", "--music={d}/absent", "--table={d}/out"),
    train("labels", r"has no column 'split'", "--music={d}/columns", "--table={d}/out"),
    train("labels", r"'dev' is not a split", "--music={d}/splits", "--table={d}/out"),
    train("labels", r"CLIPS\.csv.*'long'", "--music={d}/durations", "--table={d}/out"),
    train("labels", r"no clip of split test", "--music={d}/music", "--table={d}/out", "--split=test", "--jobs=1"),
    train("labels", r"cannot read .*gone\.flac", "--music={d}/music", "--table={d}/out", "--jobs=1"),
    train(
        "labels",
        r"--split is one of train, valid, test",
        "--music={d}/music",
        "--table={d}/out",
        "--split=dev",
        error=OptionError,
    ),
    train("labels", r"--seconds 1 to 10", "--music={d}/music", "--table={d}/out", "--seconds=0.5", error=OptionError),
    train("labels", r"--shards at least 1", "--music={d}/music", "--table={d}/out", "--shards=0", error=OptionError),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every malformed file that the table names, and some good ones beside them."""
    d = tmp_path_factory.mktemp("malformed")
    (d / "noaudio").mkdir()
    (d / "noaudio" / "notes.md").write_text("nothing to hear\n")
    (d / "noaudio.csv").mkdir()
    for write in (_write_audio, _write_audiograms, _write_bundles, _write_checkpoints, _write_corpora):
        write(d)
    return d


def _noise(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    return 0.1 * np.random.default_rng(0).standard_normal(int(seconds * rate)).astype(np.float32)


def _write_audio(d: Path) -> None:
    good = _noise(3)
    for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
        path = d / f"cut.{suffix}"
        if suffix == "opus":
            soundfile.write(path, good, RATE, format="OGG", subtype="OPUS")
        else:
            soundfile.write(path, good, RATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    soundfile.write(d / "good.wav", good[:RATE], RATE)
    (d / "cuthead.wav").write_bytes((d / "good.wav").read_bytes()[:30])
    soundfile.write(d / "minute.wav", _noise(61, 8_000), 8_000)
    (d / "empty.wav").write_bytes(b"")
    soundfile.write(d / "headonly.wav", good[:0], RATE)
    for name, value, at in (("nan", math.nan, 0.125), ("inf", -math.inf, 0.25), ("latenan", math.nan, 6.0)):
        bad = _noise(7)
        bad[int(at * RATE)] = value
        soundfile.write(d / f"{name}.wav", bad, RATE, subtype="FLOAT")
    soundfile.write(d / "short.wav", good[:2799], RATE)
    soundfile.write(d / "short44.wav", good[: 2799 * 441 // 160], 44_100)
    soundfile.write(d / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(d / "silent44.flac", np.zeros((44_100, 2)), 44_100)
    soundfile.write(d / "cancelling.wav", np.stack([good, -good], axis=1), RATE, subtype="FLOAT")
    for rate in (4000, 7999):
        soundfile.write(d / f"rate{rate}.wav", good, rate)
    (d / "text.wav").write_text("This is not a sound.\n" * 100)
    (d / "random.mp3").write_bytes(np.random.default_rng(1).bytes(20_000))
    (d / "picture.flac").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))


def _write_audiograms(d: Path) -> None:
    (d / "blank.csv").write_text("\n\n")
    (d / "three.csv").write_text("250,20,left\n500,30,left\n")
    (d / "words.csv").write_text("Hz,dB\n250,mild\n500,severe\n")
    (d / "one.csv").write_text("250,20\n")
    (d / "twice.csv").write_text("250,20\n250,30\n1000,40\n")
    (d / "latin.csv").write_bytes("Fréquence,dB\n250,20\n500,30\n".encode("latin-1"))
    (d / "scalar.json").write_text("20")
    (d / "broken.json").write_text('{"250": 20,')


def _write_bundles(d: Path) -> None:
    card = json.loads((SHIPPED / "card.json").read_text(encoding="utf-8"))

    def make(name: str, **changes: Any) -> Path:
        """A copy of the shipped bundle, values of its card replaced; None takes one away."""
        made = d / name
        shutil.copytree(SHIPPED, made)
        kept = {key: value for key, value in (card | changes).items() if value is not None}
        (made / "card.json").write_text(json.dumps(kept))
        return made

    encoder, head = card["files"]["encoder"], card["files"]["head"]
    (make("notjson") / "card.json").write_text("name: nano")
    (make("latin1") / "card.json").write_bytes('{"name": "modèle"}'.encode("latin-1"))
    (make("list") / "card.json").write_text("[]")
    make("schema", format=2)
    make("unknown", colour="blue")
    make("missing", window=None)
    make("type", window="ten")
    make("bool", width=True)
    make("window", window=0.0)
    make("input", encoder_input="mp3")
    make("frontend", front_end=card["front_end"] | {"hop": 320})
    make("frequencies", audiogram_frequencies=[250, 500, 1000, 2000, 3000, 4000, 6000, 9000])
    make("entry", files={"encoder": "encoder.onnx", "head": head})
    make("path", files={"encoder": encoder | {"file": "../good/encoder.onnx"}, "head": head})
    make("headless", files={"encoder": encoder})
    (make("gone") / "head.onnx").unlink()
    altered = make("tampered") / "encoder.onnx"
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(content)
    garbage = b"not a graph" * 100
    made = make("garbage", files={"encoder": encoder | {"sha256": hashlib.sha256(garbage).hexdigest()}, "head": head})
    (made / "encoder.onnx").write_bytes(garbage)
    make("disagrees", level1=65.0)
    make("swapped", files={"encoder": head, "head": encoder})
    make("otherinput", encoder_input="samples")


class _RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


def _write_checkpoints(d: Path) -> None:
    def blank(network: type[Student | Teacher]) -> dict[str, Tensor]:
        """All keys and shapes; every tensor is one zero seen many times, so that files stay small."""
        with torch.device("meta"):
            shapes = network().state_dict()
        return {key: torch.zeros(()).expand(tensor.shape) for key, tensor in shapes.items()}

    student, teacher = blank(Student), blank(Teacher)
    (d / "code.pth").write_bytes(pickle.dumps({"model": _RunsCode(d / "ran")}))
    torch.save({"model": _RunsCode(d / "ran")}, d / "codezip.pth")
    torch.save({"model": student}, d / "student.pth")
    (d / "cut.pth").write_bytes((d / "student.pth").read_bytes()[:5000])
    torch.save({"cfg": {}, "model": teacher}, d / "teacher.pth")
    prefix = "beats_model."
    beats = {key.removeprefix(prefix): value for key, value in teacher.items() if key.startswith(prefix)}
    torch.save({"cfg": {}, "model": beats}, d / "beats.pt")
    torch.save({"epoch": 3, "state": {}}, d / "optimizer.pth")
    torch.save(student | {"linear2.weight": torch.full((768, 512), math.nan)}, d / "nanvalue.pth")
    torch.save(student | {"linear2.weight": torch.zeros(768, 511)}, d / "shape.pth")
    nano = dict(Nano().state_dict())
    safetensors.torch.save_file(nano, d / "nano.safetensors")
    (d / "cut.safetensors").write_bytes((d / "nano.safetensors").read_bytes()[:50_000])
    safetensors.torch.save_file(nano | {"head.frame.bias": torch.tensor([math.nan])}, d / "nanonan.safetensors")
    del nano["head.frame.bias"]
    safetensors.torch.save_file(nano, d / "nanoless.safetensors")


def _write_corpora(d: Path) -> None:
    heading = "clip,split,source,genre,duration_s\n"
    for name, table in {
        "music": heading + "gone.flac,train,a,b,10\ngone.flac,valid,c,d,10\n",
        "columns": "clip,source,genre,duration_s\nx.flac,a,b,10\n",
        "splits": heading + "x.flac,dev,a,b,10\n",
        "durations": heading + "x.flac,train,a,b,long\n",
    }.items():
        (d / name).mkdir()
        (d / name / "CLIPS.csv").write_text(table)
    import pyarrow
    import pyarrow.parquet

    (d / "badtable").mkdir()
    (d / "badtable" / "train-0000.parquet").write_bytes(b"PAR1 no more")
    (d / "othertable").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"clip": ["gone.flac"]}), d / "othertable" / "train-0000.parquet")


_SCORERS: list[Scorer] = []


def scorer() -> Scorer:
    """The shipped model, loaded once."""
    if not _SCORERS:
        _SCORERS.append(Scorer("nano", threads=1))
    return _SCORERS[0]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int | str | None
    out: str
    err: str
    errors: list[HaaqiEdgeError]


def run(monkeypatch: pytest.MonkeyPatch, *argv: str) -> Outcome:
    """The command line in process, from `main` on; what it reported is kept as it was raised."""
    errors: list[HaaqiEdgeError] = []
    reported = cli.print_error

    def kept(error: HaaqiEdgeError) -> None:
        errors.append(error)
        reported(error)

    monkeypatch.setattr(cli, "print_error", kept)
    monkeypatch.setattr(sys, "argv", ["haaqi-edge", *argv])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main()
    return Outcome(ended.value.code, out.getvalue(), err.getvalue(), errors)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything in a folder, with sizes and times."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_the_table_is_long_and_has_no_row_twice() -> None:
    assert len(TABLE) >= 60
    assert len({row.id for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id[:60])
def test_it_is_refused(row: Row, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)
    outcome = run(monkeypatch, *(argument.replace("{d}", str(folder)) for argument in row.argv))
    assert outcome.code == row.code, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert [type(error) for error in outcome.errors] == ([row.error] if row.error else [])
    if row.error:
        assert outcome.err.startswith("error: ")
    assert Searched(row.words) == (str(outcome.errors[0]) if row.error else outcome.err)
    assert contents(folder) == before
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("row", [row for row in TABLE if row.call], ids=lambda row: row.id[:60])
def test_it_is_refused_in_python(row: Row, folder: Path) -> None:
    assert row.call
    assert row.error
    with pytest.raises(row.error) as caught:
        row.call(folder)
    builtins = (ValueError, FileNotFoundError, RuntimeError)
    assert isinstance(caught.value, builtins)
    assert len(str(caught.value)) > 20
    assert not (folder / "ran").exists()


class Searched(str):
    """A regular expression that equals what it is found in: a failing assert shows both."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        import re

        return isinstance(other, str) and re.search(str(self), other) is not None


@pytest.mark.parametrize(
    "row",
    [row for row in TABLE if row.id in ("nan.wav", "bundle tampered", "student code.pth", "no audiogram")],
    ids=lambda row: row.id,
)
def test_it_is_refused_by_the_installed_command(row: Row, folder: Path) -> None:
    before = contents(folder)
    argv = [argument.replace("{d}", str(folder)) for argument in row.argv]
    done = subprocess.run(
        [sys.executable, "-m", "haaqi_edge.cli.main", *argv], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == row.code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert Searched(row.words) == done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros(0, np.float32), RATE, "the audio is empty"),
        (np.zeros((0, 2), np.float32), RATE, "the audio is empty"),
        (np.zeros(RATE, np.complex64), RATE, "type complex64: expected"),
        (np.zeros(RATE, np.uint8), RATE, "type uint8: expected"),
        (np.zeros((2, 2, 2), np.float32), RATE, r"shape \(2, 2, 2\)"),
        (np.zeros((2, RATE), np.float32), RATE, "look like .channels, n.: transpose"),
        (_noise(1), 0, "is 0 Hz"),
        (_noise(1), -RATE, "is -16000 Hz"),
        (_noise(1), 16_000.5, "whole number of Hz"),
        (_noise(1), math.nan, "whole number of Hz"),
        (_noise(1), "16 kHz", "whole number of Hz"),
        (_noise(1), 7_999, "give audio from 8000"),
        (_noise(1), 10**9, "to 768000 Hz"),
    ],
)
def test_samples_are_refused(samples: NDArray[Any], rate: Any, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        ArrayAudio(samples, rate)


def test_a_pair_in_another_form_is_refused() -> None:
    bad: Any = [_noise(1), RATE]
    with pytest.raises(AudioError, match=r"cannot read audio from list: give a path, or \(samples, rate\)"):
        scorer().score(bad, "N3")


@pytest.fixture
def mixed(folder: Path, tmp_path: Path) -> Path:
    """A folder of two good files and two bad ones."""
    for name in ("good.wav", "nan.wav", "silent.wav"):
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "deeper").mkdir()
    shutil.copy(folder / "good.wav", tmp_path / "deeper" / "again.wav")
    return tmp_path


def test_bad_files_among_many_are_reported_and_the_rest_are_scored(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run(monkeypatch, "score", str(mixed), "-a", "N3", "-a", "NH", "--threads", "1", "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert [Path(result["file"]).name for result in found["results"]] == ["again.wav", "good.wav"]
    assert all(len(result["scores"]) == 2 for result in found["results"])
    assert [(Path(error["file"]).name, error["type"]) for error in found["errors"]] == [
        ("nan.wav", "AudioError"),
        ("silent.wav", "AudioError"),
    ]
    assert "not a finite number" in found["errors"][0]["message"]
    alone = scorer().score(mixed / "good.wav", ["N3", "NH"])[0].score
    assert found["results"][1]["scores"][0]["score"] == alone


def test_bad_files_among_many_in_the_table(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run(monkeypatch, "score", str(mixed), "-a", "N3", "--threads", "1")
    assert outcome.code == 1
    assert "again.wav" in outcome.out
    assert "good.wav" in outcome.out
    assert "nan.wav" not in outcome.out
    assert "nan.wav holds a sample that is not a finite number" in outcome.err
    assert "silent.wav is silent throughout" in outcome.err
    assert "2 of 4 files could not be scored" in outcome.err


def test_one_bad_file_of_two_that_were_named(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(mixed / name) for name in ("nan.wav", "good.wav", "absent.wav")]
    outcome = run(monkeypatch, "score", *files, "-a", "N3", "--threads", "1", "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert [result["file"] for result in found["results"]] == files[1:2]
    assert [(error["file"], error["type"]) for error in found["errors"]] == [
        (files[0], "AudioError"),
        (files[2], "AudioFileNotFoundError"),
    ]


def test_a_bad_option_is_not_the_fault_of_each_file(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run(monkeypatch, "score", str(mixed), "-a", "N3", "--threads", "1", "--window", "99", "--json")
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == [OptionError]
