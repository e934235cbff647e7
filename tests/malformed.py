"""The table of malformed inputs: for each, the error class, a part of the message and the exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnxruntime
from haaqi_edge.model import Nano, Student
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.audio.reading import open_audio
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
    GraphError,
    HaaqiEdgeError,
    OptionError,
    ProviderError,
)
from haaqi_edge.runtime.session import PROVIDERS

ABSENT = next(name for name, full in PROVIDERS.items() if full not in onnxruntime.get_available_providers())


@cache
def scorer() -> Scorer:
    """Return the shipped model, loaded once."""
    return Scorer("nano", threads=1)


@dataclasses.dataclass(frozen=True)
class Row:
    """A malformed input.

    Attributes:
        id: name of the test.
        argv: arguments of the command line. `{d}` is the folder of malformed files.
        error: exact class of the error. None if typer reports it.
        words: regular expression of a part of the message.
        call: function that does the same in Python, given the folder. None if only the command line does it.
        code: exit code.
    """

    id: str
    argv: list[str]
    error: type[HaaqiEdgeError] | None
    words: str
    call: Callable[[Path], object] | None = None
    code: int = 2


def audio(name: str, error: type[HaaqiEdgeError], words: str, *options: str) -> Row:
    """Return a row that scores a bad file."""
    argv = ["score", "{d}/" + name, "-a", "N3", "--threads", "1", *options]
    return Row(" ".join((name, *options)), argv, error, words, lambda d: scorer().score(d / name, "N3"))


def listener(text: str, words: str, id: str = "") -> Row:
    """Return a row that scores good audio for a bad audiogram."""
    argv = ["score", "{d}/good.wav", f"--audiogram={text}", "--threads", "1"]
    return Row(
        f"audiogram {id or text}", argv, AudiogramError, words, lambda d: Audiogram.parse(text.replace("{d}", str(d)))
    )


def option(words: str, *options: str, error: type[HaaqiEdgeError] | None = OptionError, audio: str = "good") -> Row:
    """Return a row that scores good audio with bad options."""
    argv = ["score", f"{{d}}/{audio}.wav", "-a", "N3", "--threads", "1", *options]
    return Row(f"{audio} {' '.join(options)}", argv, error, words)


def bundle(name: str, words: str, error: type[HaaqiEdgeError] = BundleError) -> Row:
    """Return a row that scores good audio with a bad bundle."""
    argv = ["score", "{d}/good.wav", "-a", "N3", "--threads", "1", "-m", "{d}/" + name]
    return Row(f"bundle {name}", argv, error, words, lambda d: Scorer(d / name, threads=1))


def checkpoint(family: str, name: str, words: str, error: type[HaaqiEdgeError] = CheckpointError) -> Row:
    """Return a row that exports a bad checkpoint."""
    network = {"student": Student, "nano": Nano}[family]
    argv = ["export", family, "{d}/" + name, "-o", "{d}/out", "--fused", "{d}/out.onnx"]
    return Row(f"{family} {name}", argv, error, words, lambda d: network.from_checkpoint(d / name))


def haaqi(
    words: str, reference: str, processed: str, *options: str, error: type[HaaqiEdgeError] | None = AudioError
) -> Row:
    """Return a row that computes HAAQI of invalid files."""
    argv = ["haaqi", "{d}/" + reference, "{d}/" + processed, "-a", "N3", "--jobs", "1", *options]
    return Row(f"haaqi {reference} {processed} {' '.join(options)}", argv, error, words)


def stream(
    words: str, *argv: str, error: type[HaaqiEdgeError] | None = OptionError, call: Callable[[], object] | None = None
) -> Row:
    """Return a row that streams invalid input."""
    in_python = None if call is None else lambda _: call()
    return Row(f"stream {' '.join(argv)}", ["stream", "-a", "N3", *argv], error, words, in_python)


def export(words: str, *options: str) -> Row:
    """Return a row that exports to an invalid path."""
    return Row(f"export {' '.join(options)}", ["export", "nano", *options], OptionError, words)


def train(network: str, words: str, *options: str, error: type[HaaqiEdgeError] | None = CorpusError) -> Row:
    """Return a row that trains with invalid options."""
    return Row(f"train {network} {' '.join(options)}", ["train", network, *options], error, words)


def label(words: str, *options: str, error: type[HaaqiEdgeError] | None = CorpusError) -> Row:
    """Return a row that labels with invalid options."""
    return Row(f"label {' '.join(options)}", ["label", *options], error, words)


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
    audio("cut.wav", AudioFileError, r"cut\.wav is truncated: .* announces \d+ bytes and \d+ are there"),
    audio("cuthead.wav", AudioFileError, r"cuthead\.wav (is truncated|cannot be read|holds no samples)"),
    audio("cut.flac", AudioFileError, r"cut\.flac is truncated: its header announces \d+ samples, and \d+ are there"),
    audio("cut.ogg", AudioFileError, r"cut\.ogg is truncated: its last Ogg page"),
    audio("cut.opus", AudioFileError, r"cut\.opus is truncated: its last Ogg page"),
    audio("cut.mp3", AudioFileError, r"cut\.mp3 is truncated: its last frame"),
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
    option(r"--window 'long': give a number of seconds, `default` or `whole`", "--window=long"),
    option(r"the clip is longer than 60 s, the longest window", "--window=whole", audio="minute"),
    option(r"threads=0: give a number from 1", "--threads=0"),
    option(r"threads=-1: give a number from 1", "--threads=-1"),
    option(
        rf"provider '{ABSENT}' is not available: onnxruntime .* here has", f"--provider={ABSENT}", error=ProviderError
    ),
    option(r"provider 'abacus' is not available", "--provider=abacus", error=ProviderError),
    option(r"No such option", "--loudness=3", error=None),
    option(r"--frames adds to the output of --json: give both", "--frames"),
    Row("no audiogram", ["score", "{d}/good.wav"], None, r"Missing option"),
    # Streams
    stream(r"no audio, or two sources: give a file, - .* or --mic"),
    stream(r"no audio, or two sources: give a file", "{d}/good.wav", "--mic"),
    stream(r"absent\.wav does not exist: give the path", "{d}/absent.wav", error=AudioFileNotFoundError),
    stream(r"text\.wav cannot be read as audio", "{d}/text.wav", error=AudioFileError),
    stream(r"nan\.wav holds a sample that is not a finite", "{d}/nan.wav", "--pace=fast", error=AudioError),
    stream(r"short\.wav is shorter than one patch", "{d}/short.wav", "--pace=fast", error=AudioError),
    stream(r"--format, --rate cannot be used with a file: leave out", "{d}/good.wav", "--format=s16le", "--rate=48000"),
    stream(r"--pace cannot be used with standard input: leave out --pace", "-", "--pace=fast"),
    stream(r"--format cannot be used with the microphone: leave out --format", "--mic", "--format=s16le"),
    stream(r"raw samples have no header: give --channels as well as", "-", "--format=s16le", "--rate=48000"),
    stream(
        r"silent\.wav is silent throughout: a quality needs sound", "{d}/silent.wav", "--pace=fast", error=AudioError
    ),
    stream(r"window=.whole.: a stream has no end", "{d}/good.wav", "--window=whole"),
    stream(r"--window 'long': give a number of seconds, `default` or `whole`", "{d}/good.wav", "--window=long"),
    stream(r"Invalid value for '--pace'", "{d}/good.wav", "--pace=slow", error=None),
    stream(
        r"a hop of 0\.1 s: give a multiple of 0\.16 s",
        "{d}/good.wav",
        "--hop=0.1",
        call=lambda: scorer().stream("N3", 16_000, hop=0.1),
    ),
    stream(
        r"a window of 61 s: give 0\.16 to 60 s",
        "{d}/good.wav",
        "--window=61",
        call=lambda: scorer().stream("N3", 16_000, window=61),
    ),
    stream(
        r"'N9' is not an audiogram",
        "{d}/good.wav",
        "--audiogram=N9",
        error=AudiogramError,
        call=lambda: scorer().stream(["N3", "N9"], 16_000),
    ),
    stream(r"--spl 65 scales a whole clip, .* give --level1", "{d}/good.wav", "--spl=65"),
    stream(r"nono' is not a model", "{d}/good.wav", "--model=nono", error=BundleNotFoundError),
    # HAAQI
    haaqi(r"good\.wav cannot be compared with .*silent\.wav: the reference signal is silent", "silent.wav", "good.wav"),
    haaqi(r"tiny\.wav cannot be compared .* the processed signal ends after 150\.00 ms", "good.wav", "tiny.wav"),
    haaqi(r"tiny\.wav: the reference signal sounds for 150\.\d\d ms only: .* 200 ms or more", "tiny.wav", "good.wav"),
    haaqi(r"nan\.wav holds a sample that is not a finite number at 0\.125 s", "nan.wav", "good.wav"),
    haaqi(r"latenan\.wav holds a sample that is not a finite number at 6\.000 s", "good.wav", "latenan.wav"),
    haaqi(r"long\.wav lasts more than 120 s: .* give excerpts", "long.wav", "good.wav"),
    haaqi(r"rate4000\.wav is 4000 Hz; give audio from 8000", "good.wav", "rate4000.wav"),
    haaqi(r"empty\.wav is empty \(0 bytes\)", "good.wav", "empty.wav", error=AudioFileError),
    haaqi(r"cut\.flac is truncated", "good.wav", "cut.flac", error=AudioFileError),
    haaqi(r"text\.wav cannot be read as audio", "text.wav", "good.wav", error=AudioFileError),
    haaqi(
        r"absent\.wav does not exist: give two audio files, or two folders of them",
        "absent.wav",
        "good.wav",
        error=AudioFileNotFoundError,
    ),
    haaqi(r"absent does not exist: give two", "pairs", "absent", error=AudioFileNotFoundError),
    haaqi(r"no audio in .*noaudio: expected files that end in", "pairs", "noaudio", error=AudioFileNotFoundError),
    haaqi(
        r"no file of .*others has the name of one in .*pairs: expected the same paths",
        "pairs",
        "others",
        error=AudioFileNotFoundError,
    ),
    haaqi(r"pairs is a folder and .*good\.wav a file: give two files", "pairs", "good.wav", error=OptionError),
    haaqi(r"level1=141\.0 is not a sound pressure level", "good.wav", "good.wav", "--level1=141", error=OptionError),
    haaqi(r"Invalid value for '--jobs'", "good.wav", "good.wav", "--jobs=0", error=None),
    haaqi(r"'N9' is not an audiogram", "good.wav", "good.wav", "--audiogram=N9", error=AudiogramError),
    Row("haaqi of one file", ["haaqi", "{d}/good.wav", "-a", "N3"], OptionError, r"no files: give the clean music"),
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
    bundle("input", r"encoder_input is 'mp3', expected one of fbank, texture, .*samples"),
    bundle("frontend", r"asks for the front end .*hop=320"),
    bundle("frequencies", r"has audiogram frequencies other than"),
    bundle("entry", r"'encoder\.onnx' is not an entry of files"),
    bundle("path", r"names the file '\.\./good/encoder\.onnx': expected a plain name"),
    bundle("headless", r"has no 'head': it holds encoder"),
    bundle("gone", r"head\.onnx, the head of the bundle, is missing"),
    bundle("tampered", r"encoder\.onnx does not match the SHA-256 in card\.json"),
    bundle("garbage", r"onnxruntime .* cannot load .*encoder\.onnx", GraphError),
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
    checkpoint("student", "absent.pth", r"absent\.pth does not exist", CheckpointNotFoundError),
    checkpoint("student", "noaudio", r"noaudio is a folder", CheckpointNotFoundError),
    checkpoint("student", "w" * 300, r"does not exist", CheckpointNotFoundError),
    checkpoint("student", "empty.wav", r"empty\.wav is empty"),
    checkpoint("student", "code.pth", r"names .*system, which is code .*the file is refused"),
    checkpoint("student", "codezip.pth", r"names .*system, which is code .*the file is refused"),
    checkpoint("student", "cut.pth", r"cut\.pth begins as a checkpoint but is truncated or damaged"),
    checkpoint("student", "cut.safetensors", r"is truncated or damaged safetensors"),
    checkpoint("student", "random.mp3", r"random\.mp3 is not a checkpoint"),
    checkpoint("student", "teacher.pth", r"not the student's: this is the teacher's checkpoint"),
    checkpoint("student", "beats.pt", r"not the student's: this is BEATs's own checkpoint"),
    checkpoint("student", "nano.safetensors", r"not the student's: this is a nano's checkpoint"),
    checkpoint("student", "optimizer.pth", r"contains a (int|float|dict) at"),
    checkpoint("student", "nanvalue.pth", r"linear2\.weight holds NaN or infinity"),
    checkpoint("student", "shape.pth", r"of another shape: linear2\.weight \[768, 511\] where \[768, 512\]"),
    checkpoint("nano", "student.pth", r"is not nano's: this is the student's checkpoint"),
    checkpoint("nano", "nanonan.safetensors", r"head\.frame\.bias holds NaN"),
    checkpoint("nano", "nanoless.safetensors", r"missing: head\.frame\.bias"),
    checkpoint("nano", "text.wav", r"is not a checkpoint"),
    # Paths of exports
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
        "nano",
        r"no music in .*noaudio: expected CLIPS\.csv",
        "--corpus={d}/noaudio",
        "--table={d}/badtable",
        "-o",
        "{d}/out",
    ),
    train(
        "nano", r"absent does not exist", "--corpus={d}/music", "--table={d}/absent", "-o", "{d}/out", error=OptionError
    ),
    train("nano", r"train-0000\.parquet", "--corpus={d}/music", "--table={d}/badtable", "-o", "{d}/out"),
    train("nano", r"train-0000\.parquet", "--corpus={d}/music", "--table={d}/othertable", "-o", "{d}/out"),
    train("nano", r"good\.wav", "--corpus={d}/music", "--table={d}/t", "-o", "{d}/good.wav", error=OptionError),
    train(
        "nano",
        r"Invalid value for '--epochs'",
        "--corpus={d}/music",
        "--table={d}/t",
        "-o",
        "{d}/out",
        "--epochs=0",
        error=None,
    ),
    label(r"no music in .*absent", "--corpus={d}/absent", "--table={d}/out"),
    label(r"has no column 'split'", "--corpus={d}/columns", "--table={d}/out"),
    label(r"'dev' is not a split", "--corpus={d}/splits", "--table={d}/out"),
    label(r"CLIPS\.csv.*'long'", "--corpus={d}/durations", "--table={d}/out"),
    label(r"no clip of split test", "--corpus={d}/music", "--table={d}/out", "--split=test", "--jobs=1"),
    label(r"gone\.flac does not exist", "--corpus={d}/music", "--table={d}/out", "--jobs=1"),
    label(
        r"--split 'dev': expected one of train, valid, test",
        "--corpus={d}/music",
        "--table={d}/out",
        "--split=dev",
        error=OptionError,
    ),
    label(r"good\.wav is a file: give a folder", "--corpus={d}/music", "--table={d}/good.wav", error=OptionError),
    label(
        r"Invalid value for '--shards'",
        "--corpus={d}/music",
        "--table={d}/out",
        "--shards=0",
        error=None,
    ),
]
