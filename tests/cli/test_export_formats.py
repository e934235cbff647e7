"""`haaqi-edge export --target` and `export bundle`: what goes to devices that run no ONNX files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from command import printed, run
from compilers import c_compiler
from haaqi_edge.export.c.check import compiled
from haaqi_edge.runtime import Audiogram, Bundle, Scorer
from haaqi_edge.runtime.errors import OptionError
from sounds import RATE, music, noise, samples_for, write

NOWHERE = [
    ["nano", "--target", "c", "-o", "/proc/out"],
    ["nano", "-o", "/proc/out"],
    ["nano", "-o", "/proc/out", "--int8"],
    ["bundle", "nano", "-o", "/proc/out"],
    ["nano", "--fused", "/proc/out"],
]
"""where even root can put nothing"""
LEVELS = ",".join(f"{level:g}" for level in Audiogram.named("N3").levels)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of nano's C, and what the command printed."""
    folder = tmp_path_factory.mktemp("c") / "nano"
    return folder, printed("export", "nano", "--target", "c", "-o", folder)


@pytest.fixture(scope="module")
def example(exported: tuple[Path, str]) -> Path:
    """The example, compiled."""
    folder, _ = exported
    compiled([folder / "example.c", folder / "haaqi_nano.c"], folder / "example", c_compiler())
    return folder / "example"


def outcome(example: Path, *argv: object) -> tuple[int, str, str]:
    done = subprocess.run([example, *map(str, argv)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_what_c_takes_is_printed(exported: tuple[Path, str]) -> None:
    c_compiler()
    folder, text = exported
    assert {path.name for path in folder.iterdir()} >= {"haaqi_nano.h", "haaqi_nano.c", "example.c", "Makefile"}
    assert "flash" in text
    assert "RAM" in text
    assert "scores agree with PyTorch within" in text


def test_json_tells_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that nothing was verified, where there is no compiler."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    argv = ["export", "nano", "--target", "c", "-o", tmp_path / "c", "--weights", "float", "--window", "5", "--json"]
    found = json.loads(printed(*argv))
    assert (found["weights"], found["window"]) == ("float", 31)
    assert found["constants"] > 4 * 100_000
    assert f"#define HAAQI_RAM {found['ram']} " in (tmp_path / "c/haaqi_nano.h").read_text(encoding="utf-8")
    assert found["operations"]["score"] > found["operations"]["encoder"] > 0
    assert (found["compiler"], found["parity"]) == (None, None)
    assert "not verified" in printed(*argv[:-1])


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


def test_the_example_tells_of_silence(example: Path, tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(samples_for(3), np.float32), noise(samples_for(2))])
    code, out, _ = outcome(example, write(tmp_path / "song", sound, RATE, "wavfloat"), LEVELS)
    assert code == 0
    assert out.splitlines()[0].endswith("silent")
    assert out.splitlines()[-2].endswith("dB SPL")
    code, out, _ = outcome(example, write(tmp_path / "none", sound[: samples_for(3)], RATE, "wavfloat"), LEVELS)
    assert code == 0
    assert out.splitlines()[-1].split() == ["mean", "silent"]


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
        (tmp_path / "text.wav", LEVELS, "is no wav file"),
        (tmp_path / "cut.wav", LEVELS, "ends before its samples"),
        (tmp_path / "truncated.wav", LEVELS, "is truncated: copy it again"),
        (write(tmp_path / "fast", music(1.0, rate=44_100), 44_100, "wav"), LEVELS, "is not at 16 kHz"),
        (write(tmp_path / "short", noise(2_000), RATE, "wav"), LEVELS, "shorter than one patch"),
        (tmp_path / "nan.wav", LEVELS, "no number"),
        (good, "35,35,40", "8 levels"),
        (good, LEVELS.replace("35", "350", 1), "not from -10 to 120"),
        (good, LEVELS + ",1", "8 levels"),
    ):
        code, out, err = outcome(example, path, levels)
        assert code == 2, said
        assert said in err
        assert err.startswith("error: ")
        assert out == "" or said == "no number"
    for level1 in (300, "abc", "85dB", ""):
        code, out, err = outcome(example, good, LEVELS, level1)
        assert (code, out) == (2, "")
        assert "is not the level of RMS 1.0" in err
    assert outcome(example)[0] == 2


def test_ort_files_of_a_bundle(tmp_path: Path) -> None:
    text = printed("export", "bundle", "nano-int8", "-o", tmp_path / "ort")
    assert "scores agree with the ONNX files within" in text
    assert "required_operators.config" in text
    found = json.loads(printed("export", "bundle", "nano", "-o", tmp_path / "ort", "--target", "ort", "--json"))
    assert found["bytes"]["head.ort"] == (tmp_path / "ort/head.ort").stat().st_size
    assert found["parity"]["largest_difference"] < 1e-5


def test_ort_files_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing the shipped weights gives what is shipped; here without the wait."""
    for role in ("encoder", "head"):
        graph = onnx.load(Bundle("nano").path(role))
        monkeypatch.setattr(f"haaqi_edge.export.bundle.{role}_graph", lambda *_, _graph=graph, **__: _graph)
    found = json.loads(printed("export", "nano", "--target", "ort", "-o", tmp_path / "ort", "--json"))
    assert found["name"] == "nano"
    sound = (music(3.0), RATE)
    expected, got = (Scorer(model, threads=1).score(sound, "N3") for model in ("nano", tmp_path / "ort"))
    assert got.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nano", "--target", "d", "-o", "out"], "expected one of"),
        (["nano", "--target", "c"], "with -o"),
        (["nano", "--target", "c", "-o", "out", "--int8"], "--weights int8"),
        (["nano", "--target", "ort", "-o", "out", "--fused", "one.onnx"], "without --fused"),
        (["nano", "--target", "ort", "-o", "out", "--window", "5"], "--window has no meaning"),
        (["nano", "--weights", "int8", "-o", "out"], "is for --target c"),
        (["nano", "--target", "ort", "-o", "out", "--int8"], "`quantize` makes an int8 bundle"),
        (["nano", "-o", "out", "--fp16"], "is for --target tensorrt"),
        (["nano", "--target", "tensorrt", "-o", "out", "--fp16", "--int8"], "choose one"),
        (["nano", "--target", "tensorrt", "-o", "out", "--profile", "x"], "x"),
        (
            ["nano", "--target", "tensorrt", "-o", "out", "--profile", "62", "--profile", "62:62:62"],
            "each profile once",
        ),
        (["nano", "--target", "c", "-o", "out", "--window", "0.1"], "a window of 0.1 s"),
        (["nano", "--target", "c", "-o", "out", "--samples"], "--samples has no meaning"),
        (["student", "none.pth", "--target", "c", "-o", "."], "is not an export to C"),
        (["bundle", "nano", "--target", "c", "-o", "out"], "`haaqi-edge export nano --target c`"),
        (["bundle", "nano", "--target", "d", "-o", "out"], "ort and nothing else"),
        *((argv, "nothing can be put at /proc/out") for argv in NOWHERE),
    ],
)
def test_what_has_no_meaning_is_refused(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").write_text("")
    ended = run("export", *argv)
    assert ended.code == 2
    assert isinstance(ended.errors[0], OptionError)
    assert said in str(ended.errors[0])
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
