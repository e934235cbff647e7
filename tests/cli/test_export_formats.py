"""Tests of `haaqi-edge export --format`, `--target` and `export bundle`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from command import get_output, run
from compilers import c_compiler
from haaqi_edge.export.c.check import compile_c
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.errors import BundleNotFoundError, OptionError
from sounds import RATE, as_int16, music, noise, samples_for, write
from wav_cases import CASES, WavCase

NOWHERE = [
    ["nano", "--format", "c", "-o", "/proc/out"],
    ["nano", "-o", "/proc/out"],
    ["nano", "-o", "/proc/out", "--int8"],
    ["bundle", "nano", "-o", "/proc/out"],
    ["nano", "--fused", "/proc/out"],
]
"""paths that even root cannot write"""
LEVELS = ",".join(f"{level:g}" for level in Audiogram.named("N3").levels)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of nano's C, and the output of the command."""
    folder = tmp_path_factory.mktemp("c") / "nano"
    return folder, get_output("export", "nano", "--format", "c", "-o", folder)


@pytest.fixture(scope="module")
def example(exported: tuple[Path, str]) -> Path:
    """The example, compiled."""
    folder, _ = exported
    compile_c([folder / "example.c", folder / "haaqi_nano.c"], folder / "example", c_compiler())
    return folder / "example"


def outcome(example: Path, *argv: object) -> tuple[int, str, str]:
    done = subprocess.run([example, *map(str, argv)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_resources_of_c_are_printed(exported: tuple[Path, str]) -> None:
    c_compiler()
    folder, text = exported
    assert {path.name for path in folder.iterdir()} >= {"haaqi_nano.h", "haaqi_nano.c", "example.c", "Makefile"}
    assert "flash" in text
    assert "RAM" in text
    assert "scores agree with PyTorch within" in text


@pytest.mark.slow
def test_json_has_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, nothing is verified, and the report says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    argv = ["export", "nano", "--format", "c", "-o", tmp_path / "c", "--weights", "float", "--window", "5", "--json"]
    found = json.loads(get_output(*argv))
    assert (found["weights"], found["window"]) == ("float", 31)
    assert found["constants"] > 4 * 100_000
    assert f"#define HAAQI_RAM {found['ram']} " in (tmp_path / "c/haaqi_nano.h").read_text(encoding="utf-8")
    assert found["operations"]["score"] > found["operations"]["encoder"] > 0
    assert (found["compiler"], found["parity"]) == (None, None)
    assert "not verified" in get_output(*argv[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav", "wav24", "wavfloat", "wavex"])
def test_the_example_scores_a_file(example: Path, tmp_path: Path, kind: str) -> None:
    sound = music(4.0)
    left = np.stack([sound * 0.5, sound * 1.5], axis=1) if kind == "wavex" else sound  # channels are averaged
    code, out, err = outcome(example, write(tmp_path / "song", left * 0.5, RATE, kind), LEVELS, 91.0206)
    assert (code, err) == (0, "")
    *lines, _ = [line.split() for line in out.splitlines()]
    with Scorer("nano", threads=1).stream("N3", RATE) as stream:
        updates = [update for part in np.array_split(sound, 20) for update in stream.accept_waveform(part)]
    assert len(lines) == len(updates)
    for (seconds, _, score, level, *unit), update in zip(lines, updates, strict=True):
        assert update.score is not None
        assert update.level is not None
        assert float(seconds) == pytest.approx(update.time, abs=1e-3)
        assert float(score) == pytest.approx(update.score, abs=0.02)
        assert float(level) == pytest.approx(update.level, abs=0.06)
        assert unit == ["dB", "SPL"]


@pytest.mark.slow
def test_the_example_tells_of_silence(example: Path, tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(samples_for(3), np.float32), noise(samples_for(2))])
    code, out, _ = outcome(example, write(tmp_path / "song", sound, RATE, "wavfloat"), LEVELS)
    assert code == 0
    assert out.splitlines()[0].endswith("silent")
    assert out.splitlines()[-2].endswith("dB SPL")
    code, out, _ = outcome(example, write(tmp_path / "none", sound[: samples_for(3)], RATE, "wavfloat"), LEVELS)
    assert code == 0
    assert out.splitlines()[-1].split() == ["mean", "silent"]


@pytest.mark.slow
@pytest.mark.parametrize("patches", [40, 62, 100])
def test_the_examples_mean_is_that_of_score(example: Path, tmp_path: Path, patches: int) -> None:
    """Less than a window, one, and one with a rest; the first two seconds are silent."""
    sound = np.concatenate([np.zeros(2 * RATE, np.float32), music(20.0)])[: samples_for(patches)]
    path = write(tmp_path / "song", sound, RATE, "wavfloat")
    code, out, _ = outcome(example, path, LEVELS)
    assert code == 0
    name, mean = out.splitlines()[-1].split()
    assert name == "mean"
    assert float(mean) == pytest.approx(Scorer("nano", threads=1).score(path, "N3").score, abs=0.02)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_example_follows_the_table_of_wav_headers(case: WavCase, example: Path, tmp_path: Path) -> None:
    pcm = np.stack([as_int16(music(1.5, start=5.0 + 3 * i)) for i in range(2)], axis=1)
    path, plain = tmp_path / "case.wav", tmp_path / "plain.wav"
    path.write_bytes(case.build(pcm, RATE))
    code, out, err = outcome(example, path, LEVELS)
    if isinstance(case.frames, str):
        assert (code, out) == (2, "")
        assert case.frames in err
        return
    plain.write_bytes(CASES[0].build(pcm[: case.frames(len(pcm))], RATE))
    assert (code, out, err) == outcome(example, plain, LEVELS)
    assert code == 0


def test_the_example_refuses_what_it_cannot_score(example: Path, tmp_path: Path) -> None:
    good = write(tmp_path / "good", music(1.0), RATE, "wav")
    (tmp_path / "text.wav").write_text("no music at all, though as long as a header is")
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:30])
    (tmp_path / "truncated.wav").write_bytes(good.read_bytes()[:20_000])
    broken = music(1.0)
    broken[8_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, RATE, subtype="FLOAT")
    for path, levels, said in (
        (tmp_path / "absent.wav", LEVELS, "cannot be opened"),
        (tmp_path / "text.wav", LEVELS, "is not a wav file"),
        (tmp_path / "cut.wav", LEVELS, "ends before its samples"),
        (tmp_path / "truncated.wav", LEVELS, "is truncated: copy it again"),
        (write(tmp_path / "fast", music(1.0, rate=44_100), 44_100, "wav"), LEVELS, "is not at 16 kHz"),
        (write(tmp_path / "short", noise(2_000), RATE, "wav"), LEVELS, "shorter than one patch"),
        (tmp_path / "nan.wav", LEVELS, "a sample that is not a number"),
        (good, "35,35,40", "8 levels"),
        (good, LEVELS.replace("35", "350", 1), "outside -10 to 120 dB HL"),
        (good, LEVELS + ",1", "8 levels"),
    ):
        code, out, err = outcome(example, path, levels)
        assert code == 2, said
        assert said in err
        assert err.startswith("error: ")
        assert out == "" or "not a number" in said
    for level1 in (300, "abc", "85dB", ""):
        code, out, err = outcome(example, good, LEVELS, level1)
        assert (code, out) == (2, "")
        assert "is not a level of RMS 1.0" in err
    assert outcome(example)[0] == 2


def test_ort_files_of_a_bundle(tmp_path: Path) -> None:
    text = get_output("export", "bundle", "nano-int8", "-o", tmp_path / "ort")
    assert "scores agree with the ONNX files within" in text
    assert "required_operators.config" in text
    found = json.loads(get_output("export", "bundle", "nano", "-o", tmp_path / "ort", "--format", "ort", "--json"))
    assert found["bytes"]["head.ort"] == (tmp_path / "ort/head.ort").stat().st_size
    assert found["parity"]["largest_difference"] < 1e-5


def test_a_bundle_is_not_converted_onto_itself(tmp_path: Path) -> None:
    shutil.copytree(Bundle("nano-int8").folder, tmp_path / "mine")
    outcome = run("export", "bundle", tmp_path / "mine", "-o", tmp_path / "other" / ".." / "mine")
    assert outcome.code == 2
    assert "is the bundle itself" in str(outcome.errors[0])
    assert (tmp_path / "mine" / "head.onnx").is_file()


@pytest.mark.slow
def test_one_file_of_a_bundle(tmp_path: Path) -> None:
    found = json.loads(get_output("export", "bundle", "nano-int8", "--fused", tmp_path / "one.onnx", "--json"))
    assert found["written"][0]["largest_difference"] < 1e-3
    text = get_output("inspect", tmp_path / "one.onnx")
    assert "front end fp32, encoder int8, head int8" in text
    sound = music(14.0)  # more than a window
    argv = (write(tmp_path / "song", sound, RATE, "wav"), "-a", "N3", "--json", "--threads", "1", "--model")
    one, other = (json.loads(get_output("score", *argv, model)) for model in (tmp_path / "one.onnx", "nano-int8"))
    scores = [found["results"][0]["scores"][0]["score"] for found in (one, other)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    said = run("score", *argv, tmp_path / "one.onnx", "--window", "12")
    assert said.code == 2
    assert "scores up to 10 s" in str(said.errors[0])
    assert run("check", tmp_path / "one.onnx", "--against", "nano-int8", "--audio", tmp_path, "-a", "N3").code == 0


def test_ort_files_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing the shipped weights gives what is shipped; here without the wait."""
    for role in ("encoder", "head"):
        graph = onnx.load(Bundle("nano").path(role))
        monkeypatch.setattr(f"haaqi_edge.export.bundle.trace_{role}", lambda *_, _graph=graph, **__: _graph)
    monkeypatch.setattr("haaqi_edge.export.bundle.guard_head", lambda graph: graph)  # it has guards already
    found = json.loads(get_output("export", "nano", "--format", "ort", "-o", tmp_path / "ort", "--json"))
    assert found["name"] == "nano"
    sound = (music(3.0), RATE)
    expected, got = (Scorer(model, threads=1).score(sound, "N3") for model in ("nano", tmp_path / "ort"))
    assert got.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nano", "--target", "d", "-o", "out"], "expected auto or one of x86-vnni"),
        (["nano", "--target", "arm64", "-o", "out"], "--target arm64 needs --int8"),
        (["nano", "--target", "tensorrt", "--format", "c", "-o", "out"], "cannot be used with --format c"),
        (["nano", "--format", "c"], "with -o"),
        (["nano", "--format", "c", "-o", "out", "--int8"], "use --weights int8"),
        (["nano", "--format", "ort", "-o", "out", "--fused", "one.onnx"], "without --fused"),
        (["nano", "--format", "ort", "-o", "out", "--window", "5"], "--window cannot be used with --format ort"),
        (["nano", "--weights", "int8", "-o", "out"], "it is for --format c"),
        (["nano", "--format", "ort", "-o", "out", "--int8"], "make an int8 bundle with `haaqi-edge quantize`"),
        (["nano", "--fused", "fused.bin"], "a name that ends in .onnx or .ort"),
        (["nano", "--target", "tensorrt", "-o", "out", "--fused", "one.onnx"], "an engine is built for fixed numbers"),
        (["bundle", "nano"], "give a folder with -o, or a file with --fused"),
        (["nano", "-o", "out", "--fp16"], "it is for --target tensorrt"),
        (["nano", "--target", "tensorrt", "-o", "out", "--fp16", "--int8"], "choose one"),
        (["nano", "--target", "tensorrt", "-o", "out", "--profile", "x"], "x"),
        (
            ["nano", "--target", "tensorrt", "-o", "out", "--profile", "62", "--profile", "62:62:62"],
            "each profile once",
        ),
        (["nano", "--format", "c", "-o", "out", "--window", "0.1"], "a window of 0.1 s"),
        (["nano", "--format", "c", "-o", "out", "--window", "whole"], "C has a fixed window"),
        (["nano", "--format", "c", "-o", "out", "--samples"], "--samples cannot be used with --format c"),
        (["student", "none.pth", "--format", "c", "-o", "."], "is not an export to C"),
        *((argv, "cannot write /proc/out") for argv in NOWHERE),
    ],
)
def test_contradicting_options_are_refused(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").write_text("")
    ended = run("export", *argv)
    assert ended.code == 2
    assert isinstance(ended.errors[0], OptionError)
    assert said in str(ended.errors[0])
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("old", [["--target", "c"], ["--target=c"]])
def test_the_old_spelling_works_with_a_warning(old: list[str]) -> None:
    ended = run("export", "nano", *old)
    assert "--target c is deprecated and will be removed in version" in ended.err
    assert "use --format c" in ended.err
    assert "--format c writes a folder: give it with -o" in str(ended.errors[0])
    converted = run("export", "bundle", "absent", "--target", "ort", "-o", "out")
    assert "use --format ort" in converted.err
    assert isinstance(converted.errors[0], BundleNotFoundError)


def test_a_bundle_becomes_ort_files_only() -> None:
    ended = run("export", "bundle", "nano", "--format", "c", "-o", "out")
    assert ended.code == 2
    assert "Invalid value for '--format'" in ended.err
