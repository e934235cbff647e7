"""`haaqi-edge stream`: files, pipes and microphone give what the scorer says; Ctrl-C and closed pipes end it well."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import Outcome, get_output, run
from comparison import TOLERANCE
from haaqi_edge.cli import console, stream_display
from haaqi_edge.cli.console import format_interval
from haaqi_edge.cli.stream_display import draw_level, format_update
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.errors import AudioError, AudioFileError, DependencyError, DeviceError, OptionError
from rich.console import Console
from sounds import DEMO, RATE, Sound, as_int16, music

COMMAND = [sys.executable, "-m", "haaqi_edge.cli.main", "stream"]
SUBTYPES = {"s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT"}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


def objects(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The updates, and the summary, which is the last line."""
    *updates, summary = [json.loads(line) for line in text.splitlines()]
    assert all(update.pop("type") == "update" for update in updates)
    assert summary.pop("type") == "summary"
    return updates, summary


def started(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def test_a_file_as_fast_as_it_goes(scorer: Scorer) -> None:
    updates, summary = objects(get_output("stream", DEMO, "-a", "N3", "-a", "s2", "--pace", "fast", "--json"))
    expected = scorer.score(DEMO, ["N3", "S2"])
    assert [one["score"] for one in summary["totals"]] == pytest.approx([s.score for s in expected], abs=TOLERANCE)
    assert [one["audiogram"] for one in summary["totals"]] == ["N3", "S2"]
    assert (summary["model"], summary["source"]) == ("nano", str(DEMO))
    assert summary["time"] == pytest.approx(expected[0].windows[-1].end)
    assert len(updates) == len(expected[0].frame_scores)
    samples, rate = soundfile.read(DEMO, dtype="float32")
    stream = scorer.stream(["N3", "S2"], rate)
    for got, update in zip(updates, stream.updates([samples]), strict=True):
        assert got == json.loads(json.dumps(update.to_dict()))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--level1", "75"], {"level1": 75.0}),
        (["--nal-r"], {"nal_r": True}),
        (["--window", "4.5", "--hop", "0.48"], {"window": 4.5, "hop": 0.48}),
    ],
)
def test_options_reach_the_stream(options: list[str], arguments: dict[str, Any], scorer: Scorer) -> None:
    updates, summary = objects(get_output("stream", DEMO, "-a", "N4", "--pace", "fast", "--json", "--frames", *options))
    samples, rate = soundfile.read(DEMO, dtype="float32")
    stream = scorer.stream("N4", rate, **arguments)
    expected = [update.to_dict(frames=True) for update in stream.updates([samples])]
    assert updates == json.loads(json.dumps(expected))
    assert summary["totals"][0]["score"] == stream.summary().score


def test_a_file_in_real_time(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "two.wav", music(2, start=3), RATE)
    process = started(str(tmp_path / "two.wav"), "-a", "N3", "--json")
    assert process.stdout
    process.stdout.readline()
    first = time.monotonic()
    rest = process.stdout.read()
    lasted = time.monotonic() - first
    assert process.wait() == 0
    assert len(rest.splitlines()) == 12
    assert lasted > 1.5  # paced: no upper bound, the machine may be busy


def test_lines_for_people(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "width", 250)
    text = get_output("stream", DEMO, "-a", "N3", "-a", "S1", "--pace", "fast")
    *rows, heading, first, second = text.splitlines()
    expected = scorer.score(DEMO, ["N3", "S1"])
    assert len(rows) == 4  # two windows, two listeners
    for row, score in zip(rows, [s.windows[k].score for k in (0, 1) for s in expected], strict=True):
        assert f"{score:.3f}" in row
        assert "dB" in row
        assert set("▁▂▃▄▅▆▇█") & set(row)
    assert "clean.flac, 19.9 s scored" in heading
    assert [line.split() for line in (first, second)] == [
        f"{score.audiogram.name} {score.score:.3f}{format_interval(score.interval)}".split() for score in expected
    ]


def test_a_live_line_on_a_terminal(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(force_terminal=True, width=120, highlight=False, legacy_windows=False)
    monkeypatch.setattr(stream_display, "out", terminal)
    monkeypatch.setattr(stream_display, "_REFRESH_SECONDS", 0.0)
    text = get_output("stream", DEMO, "-a", "N3", "--pace", "fast", "--window", "2")
    scores = scorer.stream("N3", RATE, window=2.0).updates([music(20)])
    shown = [f"{update.score:.3f}" for update in scores if update.score is not None]
    assert sum(score in text for score in shown) > 0.9 * len(shown)  # the demo's own rate rounds some otherwise
    assert "░" in text
    assert "\x1b[" in text


def test_the_level_meter() -> None:
    assert draw_level(None) == draw_level(-300.0) == "░" * 12
    assert draw_level(65.0) == "█" * 6 + "░" * 6
    assert draw_level(300.0) == "█" * 12


def test_a_line_fits_the_terminal(scorer: Scorer) -> None:
    silence_too = np.concatenate([music(2, start=3), np.zeros(RATE * 2, np.float32)])
    for update in scorer.stream("N3", RATE, window=1.0).updates([silence_too]):
        for width in (80, 100, 200):
            (line,) = format_update(update, width)
            assert Console(width=1_000).measure(line).maximum <= width
        assert ("silence" in line) == (update.level is None)


# Pipes


@pytest.mark.slow
@pytest.mark.parametrize("form", SUBTYPES)
def test_raw_samples_on_standard_input(form: str, scorer: Scorer, tmp_path: Path) -> None:
    stereo = np.stack([music(3, 48_000, start=3), music(3, 48_000, start=9)], axis=1)
    kind = {"samplerate": 48_000, "format": "RAW", "subtype": SUBTYPES[form], "endian": "LITTLE"}
    soundfile.write(tmp_path / "raw", stereo, **kind)
    samples, _ = soundfile.read(tmp_path / "raw", channels=2, dtype="float32", **kind)
    done = subprocess.run(
        [*COMMAND, "-", "-a", "N3", "--format", form, "--rate", "48000", "--channels", "2", "--json"],
        input=(tmp_path / "raw").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    updates, summary = objects(done.stdout.decode())
    assert summary["source"] == "standard input"
    assert summary["totals"][0]["score"] == pytest.approx(scorer.score((samples, 48_000), "N3").score, abs=TOLERANCE)
    assert len(updates) == 18


def pcm(sound: Sound) -> bytes:
    return as_int16(sound).astype("<i2").tobytes()


RAW = ["-", "-a", "N3", "--format", "s16le", "--rate", "16000", "--channels", "1"]


def test_updates_come_as_the_samples_do() -> None:
    process = started(*RAW, "--json")
    assert process.stdin
    assert process.stdout
    data = pcm(music(3, start=3))
    for end in (2_800, 5_360, 7_920):
        process.stdin.write(data[2 * (end - 2_800 if end == 2_800 else end - 2_560) : 2 * end])
        assert json.loads(process.stdout.readline())["time"] == pytest.approx(end / RATE)
    process.stdin.close()
    assert json.loads(process.stdout.readline())["type"] == "summary"
    assert process.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_ends_with_the_summary(as_json: bool, scorer: Scorer) -> None:
    process = started(*RAW, *(["--json"] if as_json else ["--window", "0.5"]))
    assert process.stdin
    assert process.stdout
    assert process.stderr
    sound = music(3, start=3)
    process.stdin.write(pcm(sound))
    lines = [process.stdout.readline() for _ in range(18 if as_json else 5)]
    assert all(lines)
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read().decode()
    assert process.wait() == 0
    assert process.stderr.read() == b""
    expected = scorer.score((as_int16(sound), RATE), "N3", window=10.0 if as_json else 0.5).score
    if as_json:
        assert json.loads(rest)["totals"][0]["score"] == pytest.approx(expected, abs=TOLERANCE)
    else:
        assert rest.splitlines()[-1].split()[:2] == ["N3", f"{expected:.3f},"]


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False])
def test_a_closed_pipe_is_one_line(as_json: bool, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.tile(music(20), 6), RATE)
    options = ["--pace", "fast", *(["--json"] if as_json else ["--window", "0.16"])]
    process = started(str(tmp_path / "long.wav"), "-a", "N3", *options)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b"error: standard output was closed by its reader before everything was written\n"


def test_input_that_ends_within_a_frame() -> None:
    done = subprocess.run([*COMMAND, *RAW], input=pcm(music(1, start=3)) + b"\0", capture_output=True, check=False)
    assert done.returncode == 0  # all complete frames are in the summary
    assert b"warning" in done.stderr
    assert b"end 1 of 2 bytes into a frame: --format s16le and --channels 1 are not" in done.stderr
    assert b"N3" in done.stdout.splitlines()[-1]
    assert b"Traceback" not in done.stderr


# Files on standard input


def standard_input(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file the standard input of this process."""
    monkeypatch.setattr(sys, "stdin", path.open())


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_header_on_standard_input(
    suffix: str, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{suffix}"
    stereo = np.stack([music(3, 44_100, start=3), music(3, 44_100, start=9)], axis=1)
    soundfile.write(path, stereo, 44_100)
    for channel in ("mix", "right", "1"):
        standard_input(path, monkeypatch)
        _, summary = objects(get_output("stream", "-", "-a", "N3", "--json", "--channel", channel))
        chosen: Any = int(channel) if channel.isdecimal() else channel
        expected = scorer.score(path, "N3", channel=chosen)
        assert summary["totals"][0]["score"] == pytest.approx(expected.score, abs=TOLERANCE)
        assert summary["time"] == pytest.approx(expected.windows[-1].end)
    standard_input(path, monkeypatch)
    get_output("stream", "-", "-a", "N3", "--json", "--rate", "44100")
    standard_input(path, monkeypatch)
    outcome = run("stream", "-", "-a", "N3", "--rate", "48000")
    assert [type(error) for error in outcome.errors] == [OptionError]
    assert "--rate 48000, but the header of standard input says 44100: leave out --rate" in outcome.err
    standard_input(path, monkeypatch)
    outcome = run("stream", "-", "-a", "N3", "--channel", "7")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioError])


def test_a_wav_header_contradicts_the_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", music(1, start=3), RATE)
    standard_input(tmp_path / "a.wav", monkeypatch)
    outcome = run("stream", "-", "-a", "N3", "--channels", "2")
    assert "--channels 2, but the header of standard input says 1: leave out --channels" in outcome.err


def test_updates_of_a_wav_file_come_as_its_samples_do(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(3, start=3), RATE)
    data = (tmp_path / "a.wav").read_bytes()
    process = started("-", "-a", "N3", "--json")
    assert process.stdin
    assert process.stdout
    process.stdin.write(data[: 44 + 2 * 2_800])
    assert json.loads(process.stdout.readline())["time"] == pytest.approx(0.175)
    process.stdin.write(data[44 + 2 * 2_800 :])
    process.stdin.close()
    assert len(process.stdout.readlines()) == 18
    assert process.wait() == 0


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_file_declared_as_raw_samples(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, music(3, 44_100, start=3), 44_100)
    standard_input(path, monkeypatch)
    outcome = run("stream", *RAW)
    assert (outcome.code, outcome.out) == (2, "")
    assert [type(error) for error in outcome.errors] == [AudioError]
    assert "not raw samples: leave out the format, rate and channels" in outcome.err


def test_the_last_samples_are_scored(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = music(1, start=3)
    for data, words in ((pcm(sound), ""), (pcm(sound) + b"\0", "end 1 of 2 bytes into a frame")):
        (tmp_path / "raw").write_bytes(data)
        standard_input(tmp_path / "raw", monkeypatch)
        outcome = run("stream", *RAW, "--json")
        assert outcome.code == 0
        assert words in outcome.err
        _, summary = objects(outcome.out)
        expected = scorer.score((as_int16(sound), RATE), "N3").score
        assert summary["totals"][0]["score"] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(("data", "words"), [(b"", "is empty"), (b"%PDF-1.4" * 100, "a PDF document")])
def test_standard_input_without_audio(data: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(data)
    standard_input(tmp_path / "data", monkeypatch)
    outcome = run("stream", "-", "-a", "N3")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioFileError])
    assert words in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --format (s16le, s24le, s32le, f32le), --rate (Hz) and --channels, for example"),
        (["--rate", "16000"], "give --format (s16le, s24le, s32le, f32le) and --channels as well as --rate, for"),
        (["--format", "s16le"], "give --rate (Hz) and --channels as well as --format, for example"),
        (["--format", "s16le", "--rate", "16000"], "give --channels as well as --format and --rate, for example"),
        (["--format", "s16le", "--channels", "2"], "give --rate (Hz) as well as --format and --channels, for example"),
    ],
)
def test_raw_samples_without_their_format(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw").write_bytes(pcm(music(1, start=3)))
    standard_input(tmp_path / "raw", monkeypatch)
    outcome = run("stream", "-", "-a", "N3", *options)
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])
    assert f"raw samples have no header: {words}" in outcome.err


@pytest.mark.parametrize("source", ["file", "standard input"])
@pytest.mark.parametrize("as_json", [True, False])
def test_silence_has_no_score(source: str, as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(2 * RATE), RATE)
    arguments = ["-a", "N3", *(["--json"] if as_json else [])]
    if source == "file":
        outcome, name = run("stream", path, "--pace", "fast", *arguments), str(path)
    else:
        standard_input(path, monkeypatch)
        outcome, name = run("stream", "-", *arguments), source
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioError])
    assert str(outcome.errors[0]) == str(run("score", path, "-a", "N3").errors[0]).replace(str(path), name)
    assert "summary" not in outcome.out


def test_one_ear_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "left.wav"
    soundfile.write(path, np.stack([music(2, start=3), np.zeros(2 * RATE)], axis=1), RATE)
    arguments = (path, "-a", "N3", "-a", "N5", "--ears")
    outcome = run("stream", *arguments, "--pace", "fast", "--json")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [AudioError])
    assert str(outcome.errors[0]) == str(run("score", *arguments).errors[0])
    assert "(right ear) is silent throughout" in outcome.err


def test_a_stream_has_no_level_of_the_whole() -> None:
    outcome = run("stream", DEMO, "-a", "N3", "--spl", "65")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [OptionError])
    assert "--spl 65 scales a whole clip, and a stream does not know what comes: give --level1" in outcome.err
    assert "--spl" not in get_output("stream", "--help")


# The microphone


class Recording:
    """Stands in for sounddevice's input, which needs a sound card: the demo clip, then Ctrl-C."""

    seconds = 4.0

    def __init__(self, samplerate: int, channels: int, dtype: str, device: object, latency: str) -> None:
        assert (dtype, latency, device) in (("float32", "low", None), ("float32", "low", 3))
        self.sound = np.repeat(music(self.seconds, samplerate, start=3)[:, None], channels, axis=1)
        self.at = 0
        self.open = False

    def __enter__(self) -> Recording:
        self.open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def read(self, frames: int) -> tuple[Sound, bool]:
        assert self.open
        if self.at >= len(self.sound):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        part = self.sound[self.at : self.at + frames]
        self.at += frames
        return part, self.at == 2 * frames


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A machine with a microphone."""
    module = types.ModuleType("sounddevice")
    spec = importlib.util.spec_from_loader("sounddevice", None)
    monkeypatch.setattr(module, "__spec__", spec)
    failure = type("PortAudioError", (Exception,), {})

    def query(device: object, kind: str) -> dict[str, object]:
        assert kind == "input"
        if device not in (None, 3):
            raise ValueError(f"No input device matching {device!r}")
        return {"name": "a microphone", "default_samplerate": 44_100.0}

    for name, value in {"PortAudioError": failure, "query_devices": query, "InputStream": Recording}.items():
        monkeypatch.setattr(module, name, value, raising=False)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def recorded(*argv: str) -> Outcome:
    return run("stream", "--mic", "-a", "N3", *argv)


@pytest.mark.parametrize(
    ("options", "rate"), [([], 44_100), (["--rate", "16000", "--channels", "2", "--input-device", "3"], 16_000)]
)
@pytest.mark.usefixtures("card")
def test_the_microphone_until_ctrl_c(options: list[str], rate: int, scorer: Scorer) -> None:
    outcome = recorded("--json", *options)
    assert outcome.code == 0
    assert outcome.err == "some samples of the microphone were lost: this machine is too busy\n"
    _, summary = objects(outcome.out)
    assert summary["source"] == "a microphone"
    expected = scorer.score((music(4, rate, start=3), rate), "N3").score
    assert summary["totals"][0]["score"] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.usefixtures("card")
def test_ctrl_c_before_the_first_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recording, "seconds", 0.1)
    outcome = recorded("--json")
    assert (outcome.code, outcome.out, outcome.errors) == (130, "", [])


@pytest.mark.usefixtures("card")
def test_a_microphone_that_is_not_there() -> None:
    outcome = recorded("--input-device", "flute")
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [DeviceError])
    assert "cannot record from the input 'flute' (No input device matching 'flute'): list" in str(outcome.errors[0])


def test_a_microphone_that_stops(card: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Recording, frames: int) -> tuple[Sound, bool]:
        if self.at:
            raise card.PortAudioError("Device unavailable")
        self.at = frames
        return self.sound[:frames], False

    monkeypatch.setattr(Recording, "read", read)
    outcome = recorded()
    assert outcome.code == 2
    assert "cannot record from the default input (Device unavailable)" in str(outcome.errors[0])


@pytest.mark.parametrize("missing", ["sounddevice", "PortAudio"])
def test_what_the_microphone_needs(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if missing == "sounddevice":
        found = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == missing else found(name, *rest)
        )
        words = "needs sounddevice, which the base installation does not include: run pip install 'haaqi-edge[mic]'"
    else:
        (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
        words = "not PortAudio, which it needs (PortAudio library not found): install PortAudio"
    outcome = recorded()
    assert (outcome.code, [type(error) for error in outcome.errors]) == (2, [DependencyError])
    assert words in str(outcome.errors[0])


def test_nothing_is_piped_in() -> None:
    master, terminal = os.openpty()
    done = subprocess.run([*COMMAND, *RAW], stdin=terminal, capture_output=True, check=False)
    os.close(master)
    os.close(terminal)
    assert done.returncode == 2
    assert b"standard input is a terminal: give a file or --mic, or pipe raw samples" in done.stderr


def test_options_of_another_source() -> None:
    outcome = run("stream", DEMO, "-a", "N3", "--rate", "48000", "--input-device", "3")
    assert [type(error) for error in outcome.errors] == [OptionError]
    assert "--rate, --input-device cannot be used with a file: leave out --rate, --inp" in str(outcome.errors[0])


def test_two_ears(scorer: Scorer, tmp_path: Path) -> None:
    sound = np.stack([music(3, start=2), music(3, start=2, clip="degraded")], axis=1)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    expected = scorer.score(path, ears=("N2", "N4"))
    arguments = ("-a", "N2", "-a", "N4", "--ears")
    updates, summary = objects(get_output("stream", path, *arguments, "--pace", "fast", "--json"))
    for result in (summary["ears"][0], updates[-1]["ears"][0]):
        assert result["listener"] == "N2, N4"
    assert summary["ears"][0]["score"] == pytest.approx(expected.score, abs=TOLERANCE)
    assert [one["score"] for one in summary["totals"]] == pytest.approx(
        [expected.left.score, expected.right.score], abs=TOLERANCE
    )
    assert f"N2, N4: both ears {expected.score:.3f}" in get_output("stream", path, *arguments, "--pace", "fast")
    process = started("-", *arguments, "--format", "f32le", "--rate", str(RATE), "--channels", "2", "--json")
    text = process.communicate(sound.tobytes())[0].decode()
    assert objects(text)[1]["ears"][0]["score"] == pytest.approx(expected.score, abs=TOLERANCE)
    outcome = run("stream", path, *arguments[:4], "--pace", "fast")
    assert "stereo.wav has 2 channels, which are averaged" in outcome.err
