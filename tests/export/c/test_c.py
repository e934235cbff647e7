"""Nano as plain C: the scores of Python for any chunks and sizes, no warnings, no undefined behaviour."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from compilers import c_compiler, named_compiler
from haaqi_edge.benchmarks.studies import boards
from haaqi_edge.benchmarks.studies.c import (
    COMBINATIONS,
    ListenerSound,
    Parts,
    compare_optimizations,
    compare_parts,
    compiler_warnings,
    run_sanitizers,
    score_differences,
    split_chunks,
)
from haaqi_edge.export.bundle import ExportSource, count_parameters, load_nano_source
from haaqi_edge.export.c.check import CNano, compile_c
from haaqi_edge.export.c.constants import CONTROL_WORDS, QUEUE, WeightFormat, decimator_taps
from haaqi_edge.export.c.writer import (
    HEADER,
    SOURCE,
    SOURCES,
    CExport,
    count_operations,
    source_names,
    write_c,
)
from haaqi_edge.export.verify import probe_signal, verify_c
from haaqi_edge.model.nano import Nano, NanoConfig
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.runtime.audio.levels import nal_r_filter
from haaqi_edge.runtime.audiogram import STANDARD
from haaqi_edge.runtime.errors import ExportError, OptionError
from haaqi_edge.runtime.features.texture import textures
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import READ, music, noise, samples_for

pytestmark = pytest.mark.slow

WEIGHTS: tuple[WeightFormat, ...] = ("float", "int8")
N3 = Audiogram.named("N3").array()
OK, TOO_SHORT, SILENT, BAD_SAMPLE, BAD_AUDIOGRAM, BAD_LEVEL, NO_SCORE, FULL, BUSY, NOT_REQUESTED = range(0, -10, -1)


def source_of(nano: Nano) -> ExportSource:
    return ExportSource("other", "nano", nano, nano, 1, nano.config.width, "0" * 64)


def small_nano(version: int = 1) -> Nano:
    """Return a nano of odd sizes for a version of the front end, with weights far from the initial ones."""
    torch.manual_seed(7)
    sizes: dict[str, Any] = {"layers": (37, 21, 50), "vector": 27, "hidden": 11, "conditioning": 5}
    nano = Nano(NanoConfig(**sizes, texture_version=version, interval=version == 2)).eval()
    with torch.no_grad():
        for parameter in nano.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        nano.encoder.scale.add_(3.0)
        nano.encoder.mean.sub_(5.0)
        if version == 2:
            nano.head.interval_margins.copy_(torch.tensor([0.02, -0.05, 0.1, 0.03]))
    return nano


@dataclasses.dataclass(frozen=True)
class CompiledExport:
    """An export, a stream of it, and the network."""

    export: CExport
    stream: CNano
    nano: Nano


def compile_export(
    source: ExportSource, folder: Path, weights: WeightFormat, window: float = 10.0
) -> Iterator[CompiledExport]:
    cc = c_compiler()
    export = write_c(source, folder, weights, window)
    assert isinstance(source.original, Nano)
    with CNano(folder, cc, export.ram, export.window, interval=source.original.config.interval) as stream:
        yield CompiledExport(export, stream, source.original)


@pytest.fixture(scope="module", params=WEIGHTS)
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompiledExport]:
    yield from compile_export(load_nano_source(None), tmp_path_factory.mktemp("c") / "shipped", request.param)


@pytest.fixture(scope="module", params=[("float", 1), ("int8", 1), ("float", 2), ("int8", 2)], ids=str)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompiledExport]:
    """Yield an export with a window of 5 patches."""
    weights, version = request.param
    yield from compile_export(source_of(small_nano(version)), tmp_path_factory.mktemp("c") / "small", weights, 0.8)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.mark.parametrize("clip", ["clean", "degraded"])
def test_streamed_scores_equal_those_of_python(shipped: CompiledExport, scorer: Scorer, clip: str) -> None:
    tolerance = {"float": 1e-3, "int8": 0.02}[shipped.export.weights]
    sound = ListenerSound(music(11.0, clip=clip), Audiogram.named("N2" if clip == "clean" else "S3"))
    found = score_differences(shipped.stream, scorer, sound)
    assert shipped.stream.patches == shipped.export.window  # the oldest patches have left it
    assert max(found) < tolerance


def test_frame_scores_and_level_are_those_of_python(shipped: CompiledExport, scorer: Scorer) -> None:
    sound = music(4.0)
    shipped.stream.init(level1=92.0)
    with scorer.stream("N3", 16_000, level1=92.0) as stream:
        update = stream.accept_waveform(sound)[-1]
    patches = shipped.stream.push(sound)
    status, _, frames = shipped.stream.score(N3)
    assert (status, patches, shipped.stream.patches) == (OK, len(frames), len(update.frame_scores))
    np.testing.assert_allclose(frames, update.frame_scores, atol={"float": 1e-3, "int8": 0.02}[shipped.export.weights])
    assert update.level is not None
    assert shipped.stream.level()[1] == pytest.approx(update.level, abs=1e-3)


@pytest.mark.parametrize("hearing_loss", [0, 25, 40, 75])
def test_intervals_are_those_of_the_network(small: CompiledExport, hearing_loss: float) -> None:
    if not small.nano.config.interval:
        assert not small.stream.predicts_interval
        return
    audiogram = np.full(8, hearing_loss, np.float32)
    sound = music(2.0)[: samples_for(5)]
    stream = small.stream
    stream.init()
    assert stream.interval()[0] == NOT_REQUESTED
    stream.push(sound)
    status, score, _ = stream.score(audiogram)
    assert status == OK
    with torch.inference_mode():
        texture = torch.from_numpy(textures(sound, version=2))[None]
        expected = small.nano(texture, torch.from_numpy(audiogram)[None])
    assert expected.interval is not None
    tolerance = {"float": 1e-4, "int8": 0.03}[small.export.weights]
    status, low, high = stream.interval()
    assert status == OK
    assert 0 <= low <= score <= high <= 1
    assert (low, high) == pytest.approx(expected.interval[0].tolist(), abs=tolerance)
    stream.queue(sound[-2560:])
    stream.request(audiogram)
    assert stream.interval()[0] == BUSY
    while stream.work(1):
        pass
    assert stream.interval()[0] == OK
    assert stream.score(np.full(8, np.nan, np.float32))[0] == BAD_AUDIOGRAM
    assert stream.interval()[0] == OK, "a refused request leaves the last interval"


def test_the_export_reports_verification_and_cost(shipped: CompiledExport) -> None:
    export, config = shipped.export, NanoConfig()
    assert export.parity is not None
    assert export.parity.cases == 16  # 4 lengths within the window, 4 listeners
    parameters = count_parameters(load_nano_source(None).network)
    assert 1 < export.constants / (parameters * {"float": 4, "int8": 1}[export.weights]) < 1.2
    assert export.ram > 4 * export.window * config.width
    products = sum(a * b for a, b in zip((512, *config.layers), (*config.layers, config.vector), strict=True))
    assert products < export.operations.encoder < 1.05 * products


def test_the_cost_of_a_score_is_proportional_to_the_window() -> None:
    short, long = (count_operations(NanoConfig(), window).score for window in (31, 62))
    assert 1.9 < long / short <= 2.0


def test_other_sizes_equal_pytorch(small: CompiledExport) -> None:
    parity = verify_c(
        small.nano, small.stream, small.export.window, {"float": 1e-5, "int8": 0.02}[small.export.weights]
    )
    assert parity.cases == 8  # 1 and 2 patches fit a window of 5


@pytest.mark.parametrize(
    ("shipped", "parts"),
    [("float", COMBINATIONS[2]), ("int8", COMBINATIONS[0]), ("int8", COMBINATIONS[1])],
    indirect=["shipped"],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_scores_with_optional_parts_equal_those_of_score(shipped: CompiledExport, scorer: Scorer, parts: Parts) -> None:
    sounds = [music(5.0, clip=clip) for clip in ("clean", "degraded")]
    found = compare_parts(shipped.export, c_compiler(), scorer, sounds, parts, ("N1", "N5", "S2"))
    assert found["scores"] == 6
    assert found["largest"] < {"float": 0.002, "int8": 0.01}[shipped.export.weights]


@pytest.fixture(scope="module")
def float_export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompiledExport]:
    """Yield an export with float weights and a window of 5 patches."""
    yield from compile_export(source_of(small_nano(2)), tmp_path_factory.mktemp("c") / "parted", "float", 0.8)


@pytest.fixture(scope="module", params=COMBINATIONS, ids=lambda parts: parts.name)
def parted(request: pytest.FixtureRequest, float_export: CompiledExport) -> Iterator[PartedStream]:
    """Yield a stream with optional parts, and one without."""
    with request.param.compile(float_export.export, c_compiler()) as stream:
        yield PartedStream(request.param, stream, float_export)


@dataclasses.dataclass(frozen=True)
class PartedStream:
    """A stream with optional parts, and the same export without them."""

    parts: Parts
    stream: CNano
    plain: CompiledExport

    def restart(self) -> CNano:
        """Start the stream, with NAL-R for N3 if it is among the parts."""
        self.stream.init()
        assert not self.parts.nal_r or self.stream.amplify(N3) == OK
        return self.stream

    @property
    def patch_starts(self) -> int:
        """Samples of the input that complete the first patch."""
        factor = self.parts.rate // 16_000
        return factor * (READ - 1) + 1 + self.parts.delay(self.plain.export)


def test_chunks_change_nothing_with_optional_parts(parted: PartedStream) -> None:
    rate = parted.parts.rate
    sound = music(1.1, rate)
    count = 1 + (len(sound) - parted.patch_starts) // (2560 * rate // 16_000)
    stream = parted.restart()
    assert stream.push(sound) == count
    expected = stream.score(N3)
    for sizes in ([1] * 700, [parted.patch_starts - 1, 1, 0, 1], [7_001, 480, 3]):
        stream = parted.restart()
        patches = [stream.push(part) for part in np.split(sound, np.cumsum(sizes))]
        assert sum(patches) == count
        assert stream.score(N3)[:2] == expected[:2]
    assert parted.restart().push(sound[: parted.patch_starts - 1]) == 0
    assert stream.push(sound[:1]) == 1


def test_work_in_parts_is_identical_with_optional_parts(parted: PartedStream) -> None:
    stream, rate, rng = parted.restart(), parted.parts.rate, np.random.default_rng(1)
    sound = music(1.0, rate)
    stream.push(sound)
    expected = stream.score(N3)
    for budget in (0, 50_000):
        stream = parted.restart()
        for start in range(0, len(sound), rate // 100):
            assert stream.queue(sound[start : start + rate // 100]) >= 0
            for _ in range(rng.integers(0, 120)):
                stream.work(budget)
        while stream.work(budget):
            pass
        assert stream.request(N3) == OK
        while stream.work(budget):
            pass
        assert stream.result()[:2] == expected[:2]


def test_the_header_says_what_a_patch_needs_with_optional_parts(parted: PartedStream) -> None:
    header = (parted.plain.export.folder / HEADER).read_text(encoding="utf-8")
    numbers = dict(re.findall(r"#define HAAQI_(STEP|ENCODER_OPERATIONS) (\d+)", header))
    options = parted.plain.export.options
    patch = int(numbers["ENCODER_OPERATIONS"]) + 2560 * sum(options[name].operations for name in parted.parts.macros)
    factor = parted.parts.rate // 16_000
    for budget, left in ((patch + int(numbers["STEP"]), False), (int(0.9 * patch), True)):
        stream = parted.restart()
        stream.push(noise(parted.patch_starts))
        assert stream.queue(noise(2560 * factor)) == 1
        assert stream.work(budget) == left
    assert stream.queue(noise(2560 * factor + 1)) == FULL


@pytest.mark.parametrize("parted", [Parts(nal_r=True)], indirect=True, ids=lambda parts: parts.name)
def test_nal_r_that_is_not_designed_amplifies_nothing(parted: PartedStream) -> None:
    sound, plain = music(1.0), parted.plain.stream
    plain.init()
    plain.push(sound)
    parted.stream.init()
    parted.stream.push(np.append(sound, np.zeros(parted.parts.delay(parted.plain.export), np.float32)))
    assert parted.stream.score(N3)[:2] == plain.score(N3)[:2]


@pytest.mark.parametrize("parted", [Parts(nal_r=True)], indirect=True, ids=lambda parts: parts.name)
def test_nal_r_has_the_filter_of_python(parted: PartedStream) -> None:
    stream, export = parted.stream, parted.plain.export
    reach = export.options["HAAQI_NALR"].delay
    words = CONTROL_WORDS + 3 + (export.window + 8) * parted.plain.nano.config.width + READ + 240
    taps = stream.memory.view(np.float32)[words + 2 + 2 * (2 * reach + 1) :][: reach + 1]
    listeners = [Audiogram.named(name) for name in STANDARD]
    listeners += [
        Audiogram(levels) for levels in ((-10.0,) * 8, (1.0,) * 8, (120.0,) * 8, (-10.0, 0, 90, 0, 0, 5, 60, 0))
    ]
    for listener in listeners:
        stream.init()
        assert stream.amplify(listener.array()) == OK
        expected = nal_r_filter(listener, 16_000)
        np.testing.assert_allclose(taps, expected[: reach + 1], atol=1e-5 * expected.max())
    for wrong in (np.nan, 121.0, -10.5):
        levels = N3.copy()
        levels[4] = wrong
        assert stream.amplify(levels) == BAD_AUDIOGRAM
    assert taps[-1] == pytest.approx(expected[reach]), "a refused audiogram changes nothing"


def test_the_decimator_keeps_what_is_audible_and_removes_the_rest() -> None:
    half = decimator_taps().astype(np.float64)
    taps = np.append(half, half[-2::-1])
    frequencies = np.arange(0, 24_001, 20)
    response = np.abs(np.exp(-2j * np.pi * np.outer(frequencies, np.arange(len(taps))) / 48_000) @ taps)
    decibel = 20 * np.log10(response)
    assert np.abs(decibel[frequencies <= 7_300]).max() < 0.02
    assert decibel[frequencies >= 8_000].max() < -59


@pytest.mark.parametrize(
    ("language", "parts"),
    [*(("c99", parts) for parts in COMBINATIONS), ("c++17", COMBINATIONS[2])],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_optional_parts_compile_without_warnings(tmp_path: Path, parts: Parts, language: str) -> None:
    """Compile with a prefix, and check that nothing of a part is left if it is off."""
    cc, code = named_compiler("gcc" if language == "c99" else "g++"), tmp_path / "c/own_nano.c"
    write_unverified(tmp_path / "c", "own")
    options = [*COMPILER_WARNINGS, f"-std={language}", "-x", language.rstrip("0123456789")]
    flags = [flag.replace("HAAQI", "OWN") for flag in parts.flags]
    examples = [tmp_path / "c/example.c", tmp_path / "c/example_callback.c"]
    subprocess.run([cc, *options, *flags, "-O1", "-c", code, "-o", tmp_path / "code.o"], check=True)
    subprocess.run([cc, *options, *flags, "-fsyntax-only", *examples], check=True)
    used = subprocess.run([cc, *options, *flags, "-E", "-P", code], check=True, capture_output=True, text=True).stdout
    assert ("own_amplify" in used, "nalr_window" in used) == (parts.nal_r, parts.nal_r)
    assert ("decimator" in used) == parts.decimate


COMPILER_WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def write_unverified(folder: Path, prefix: str) -> None:
    """Write an export without compiling it, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("haaqi_edge.export.c.writer.find_compiler", lambda: None)
        write_c(source_of(small_nano(2)), folder, "int8", 0.8, prefix=prefix)


@pytest.mark.parametrize("shipped", ["int8"], indirect=True)
def test_the_example_amplifies_and_reads_48_khz(shipped: CompiledExport, scorer: Scorer, tmp_path: Path) -> None:
    parts, sound = Parts(nal_r=True, decimate=True), music(12.0, 48_000)
    soundfile.write(tmp_path / "sound.wav", sound, 48_000, subtype="FLOAT")
    sources = [shipped.export.folder / "example.c", shipped.export.folder / SOURCE]
    assert compile_c(sources, tmp_path / "example", c_compiler(), *parts.flags) == ""
    command = [tmp_path / "example", tmp_path / "sound.wav", ",".join(f"{level:g}" for level in N3)]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    expected = scorer.score(tmp_path / "sound.wav", "N3", nal_r=True).score
    assert float(printed.split()[-1]) == pytest.approx(expected, abs=0.01)
    soundfile.write(tmp_path / "sound.wav", sound[:16_000], 16_000, subtype="FLOAT")
    refused = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (refused.returncode, "is not at 48 kHz" in refused.stderr) == (2, True)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * READ), min_size=1, max_size=30))
def test_the_size_of_chunks_changes_nothing(small: CompiledExport, sizes: list[int]) -> None:
    sound = probe_signal(samples_for(9) + 77, seed=3)
    small.stream.init()
    patches = small.stream.push(sound)
    expected = small.stream.score(N3)
    small.stream.init()
    parts = np.split(sound, np.minimum(np.cumsum(sizes), len(sound)))
    assert sum(small.stream.push(part) for part in parts) == patches == 9
    got = small.stream.score(N3)
    assert got[:2] == expected[:2]
    assert np.array_equal(got[2], expected[2])


@pytest.mark.parametrize("offset", [0.5, -0.3])
def test_version_2_ignores_an_offset(small: CompiledExport, offset: float) -> None:
    """Test normal music, and music that is so soft that rounding errors of the offset would mask it."""
    for level in (1.0, 1e-3):
        sound = np.float32(level) * music(0.8)
        scores = []
        for samples in (sound, sound + np.float32(offset)):
            small.stream.init()
            small.stream.push(samples)
            scores.append(small.stream.score(N3)[1])
        if small.nano.config.texture_version == 2:
            assert scores[0] == pytest.approx(scores[1], abs=5e-4)
        else:
            assert scores[0] != pytest.approx(scores[1], abs=1e-3)


def test_the_level_is_that_of_the_samples(small: CompiledExport) -> None:
    """The level includes offset and rumble, although the front end may remove them."""
    sound = music(0.175)[:READ] + np.float32(0.2)
    small.stream.init()
    small.stream.push(sound)
    expected = 85 + 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)))
    assert small.stream.level()[1] == pytest.approx(expected, abs=1e-3)


def test_the_window_moves(small: CompiledExport) -> None:
    """The score depends on the samples in the window only."""
    sound = probe_signal(samples_for(14), seed=5)
    window = small.export.window
    for count in (window, window + 1, 14):
        small.stream.init()
        small.stream.push(sound[: samples_for(count)])
        moved = small.stream.score(N3)
        small.stream.init()
        small.stream.push(sound[samples_for(count) - samples_for(window) : samples_for(count)])
        assert small.stream.score(N3)[1] == moved[1]
        assert small.stream.patches == window


def test_listeners_are_independent(small: CompiledExport) -> None:
    small.stream.init()
    small.stream.push(probe_signal(samples_for(4)))
    first = small.stream.score(N3)[1]
    other = small.stream.score(Audiogram.named("S3").array())[1]
    assert other != first
    assert small.stream.score(N3)[1] == first


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 20_000.0])
def test_a_call_with_bad_samples_is_refused_completely(small: CompiledExport, bad: float) -> None:
    sound = noise(samples_for(3))
    small.stream.init()
    small.stream.push(sound)
    expected = small.stream.score(N3)[1]
    small.stream.init()
    small.stream.push(sound[:5_000])
    broken = noise(6_000)
    broken[5_990] = bad
    assert small.stream.push(broken) == BAD_SAMPLE
    small.stream.push(sound[5_000:])
    assert small.stream.score(N3)[1] == expected


def test_signals_that_cannot_be_scored(small: CompiledExport) -> None:
    stream = small.stream
    stream.init()
    assert (stream.score(N3)[0], stream.level()[0], stream.patches) == (TOO_SHORT, TOO_SHORT, 0)
    stream.push(noise(READ - 1))
    assert stream.score(N3)[0] == TOO_SHORT
    stream.push(noise(1))
    status, score, _ = stream.score(N3)
    assert status == OK
    assert 0 < score < 1
    for wrong in (-10.1, 120.5, np.nan, np.inf):
        levels = N3.copy()
        levels[7] = wrong
        status, score, _ = stream.score(levels)
        assert status == BAD_AUDIOGRAM
        assert np.isnan(score)  # left alone
    for wrong in (-1.0, 141.0, np.nan):
        assert stream.init(wrong) == BAD_LEVEL
    assert stream.init(0.0) == stream.init(140.0) == OK


def test_silence_has_no_score_until_there_is_sound(small: CompiledExport) -> None:
    stream, window = small.stream, small.export.window
    quiet = np.full(samples_for(3), 2.0**-24, np.float32)
    stream.init()
    stream.push(quiet)
    assert (stream.score(N3)[0], stream.level()[0]) == (SILENT, SILENT)
    stream.push(noise(READ))
    assert (stream.score(N3)[0], stream.level()[0]) == (OK, OK)
    stream.push(np.zeros(samples_for(3), np.float32))
    assert (stream.score(N3)[0], stream.level()[0]) == (OK, SILENT)  # the window still holds sound
    stream.push(np.zeros(samples_for(window), np.float32))
    assert stream.score(N3)[0] == SILENT


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_no_compiler_warns(small: CompiledExport, cc: str) -> None:
    assert compiler_warnings(small.export.folder, named_compiler(cc)) == ""


def test_no_sanitizer_reports(small: CompiledExport) -> None:
    assert run_sanitizers(small.export.folder, named_compiler("gcc"), music(1.5)) == ""


def test_sums_of_int8_products_never_overflow(tmp_path: Path) -> None:
    """Test the largest weights and inputs: 512 inputs may use all 16 bits, 600 may not.

    The sanitizer detects overflow.
    """
    nano = Nano(NanoConfig(layers=(8, 600), vector=8, hidden=4, conditioning=3)).eval()
    with torch.no_grad():
        nano.encoder.mean.fill_(1e6)  # every input is -1
        nano.encoder.scale.fill_(1e6)
        for linear, norm in zip(nano.encoder.layers[1::4], nano.encoder.layers[2::4], strict=True):
            assert isinstance(linear, torch.nn.Linear)
            assert isinstance(norm, torch.nn.LayerNorm)
            linear.weight.fill_(1.0)
            norm.weight.zero_()
            norm.bias.fill_(1.0)  # every unit is 1
        nano.encoder.linear.weight.fill_(-1.0)
    cc = named_compiler("gcc")
    write_c(source_of(nano), tmp_path / "c", "int8", 0.16)
    assert run_sanitizers(tmp_path / "c", cc, music(0.2)) == ""


def test_only_the_documented_functions_are_external(small: CompiledExport) -> None:
    code = (small.export.folder / SOURCE).read_text(encoding="utf-8")
    documented = re.search(r"it uses (.*)\.", (small.export.folder / HEADER).read_text(encoding="utf-8"))
    assert documented is not None
    called = set(re.findall(r"\b(\w+f)\(", code)) - {"sizeof", "if"}
    assert called == set(re.findall(r"\w+f\b", documented[1]))
    assert not re.search(r"\b(malloc|calloc|realloc|free|printf|double)\b", code.split("#include <math.h>")[1])


def test_sources_with_wrong_scores_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c_compiler()
    monkeypatch.setattr("haaqi_edge.export.c.constants._format_number", lambda value: f"{np.float32(1.5 * value)!s}f")
    with pytest.raises(ExportError, match="scores of the C and PyTorch differ"):
        write_c(source_of(small_nano()), tmp_path / "c", "float")
    assert not (tmp_path / "c").exists()


def test_without_a_compiler_sources_are_written_unverified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    export = write_c(source_of(small_nano()), tmp_path / "c")
    assert (export.compiler, export.parity) == (None, None)
    assert {path.name for path in (tmp_path / "c").iterdir()} == set(SOURCES)


def test_other_folders_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(OptionError, match="is not an export to C"):
        write_c(source_of(small_nano()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["main.c"]
    write_c(source_of(small_nano()), tmp_path / "c")
    (tmp_path / "c/main.c").write_text("// mine\n")
    write_c(source_of(small_nano()), tmp_path / "c", "float")  # replaced, what is beside it stays
    assert (tmp_path / "c/main.c").read_text() == "// mine\n"
    assert "#define HAAQI_INT8 0" in (tmp_path / "c" / HEADER).read_text(encoding="utf-8")


def test_chunks_contain_all_samples() -> None:
    sound = noise(50_000)
    assert np.array_equal(np.concatenate(split_chunks(sound)), sound)


def test_a_cortex_m7_gives_the_same_scores(small: CompiledExport) -> None:
    lacks = boards.missing_programs(boards.COMPILER, boards.SIZE, boards.EMULATOR)
    if lacks:
        pytest.skip(lacks)
    sound, audiograms = music(1.0), np.stack([N3, Audiogram.named("S2").array()])
    there = boards.run_on_board(small.export.folder, sound, audiograms)
    small.stream.init()
    small.stream.push(sound)
    expected = [small.stream.score(audiogram)[1] for audiogram in audiograms]
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(there.scores, expected, atol=1e-5)
    assert 0 < there.patch.stack < 1024
    assert 0 < there.push.instructions < 100 * FRAME
    assert there.step.instructions < 60_000  # the maximum of one call of haaqi_work
    assert there.work.instructions < 10 * 100_000  # at most 10 instructions per operation of the budget
    assert max(there.step.stack, there.work.stack) < 1024
    size = boards.program_size(small.export.folder)
    assert size.flash > small.export.constants
    assert small.export.ram <= size.ram < small.export.ram + 2048


@pytest.mark.parametrize("parted", [COMBINATIONS[2]], indirect=True, ids=lambda parts: parts.name)
def test_a_cortex_m7_runs_optional_parts(parted: PartedStream) -> None:
    lacks = boards.missing_programs(boards.COMPILER, boards.SIZE, boards.EMULATOR)
    if lacks:
        pytest.skip(lacks)
    sound, folder, flags = music(0.4, parted.parts.rate), parted.plain.export.folder, parted.parts.flags
    there = boards.run_on_board(folder, sound, N3[None], options=flags)
    stream = parted.restart()
    stream.push(sound)
    assert there.scores == pytest.approx([stream.score(N3)[1]], abs=1e-5)
    assert there.step.instructions < 60_000  # filters run in steps, too
    assert there.work.instructions < 10 * 100_000
    assert there.push.instructions < 100 * FRAME * 3
    assert 0 < there.amplify.instructions < 1_000_000
    ram = boards.program_size(folder, options=flags).ram
    assert parted.parts.ram(parted.plain.export) <= ram < parted.parts.ram(parted.plain.export) + 2048


NOT_FINITE = [np.nan, np.float32(-np.nan), np.inf, -np.inf]
MATH_FLAGS = [("-Ofast",), ("-O2", "-ffast-math"), ("-Ofast", "-march=native")]


@pytest.mark.parametrize("flags", MATH_FLAGS, ids=" ".join)
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_fast_math_neither_accepts_nor_returns_what_is_not_finite(
    small: CompiledExport, cc: str, flags: tuple[str, ...]
) -> None:
    export = small.export
    sound = probe_signal(samples_for(6), seed=3)
    small.stream.push(sound)
    small.stream.init()
    small.stream.push(sound)
    expected = small.stream.score(N3)
    with CNano(export.folder, named_compiler(cc), export.ram, export.window, flags=flags) as stream:
        stream.push(sound)
        status, score, frames = stream.score(N3)
        assert status == OK
        assert score == pytest.approx(expected[1], abs=1e-4)
        np.testing.assert_allclose(frames, expected[2], atol=1e-3)
        for wrong in NOT_FINITE:
            for place in (0, 3, 7):
                levels = N3.copy()
                levels[place] = wrong
                assert stream.score(levels)[0] == BAD_AUDIOGRAM
            for length in (1, 2, 3, 500, 4097):
                broken = noise(length)
                broken[length // 2] = wrong
                assert stream.push(broken) == BAD_SAMPLE
        assert stream.score(N3)[:2] == (status, score)  # nothing of the refused samples was used
        for wrong in NOT_FINITE:
            assert stream.init(float(wrong)) == BAD_LEVEL


@pytest.mark.parametrize("flags", [(), *MATH_FLAGS], ids=" ".join)
def test_a_result_that_is_not_finite_is_not_returned(small: CompiledExport, flags: tuple[str, ...]) -> None:
    """Overwrite the memory of a stream, as a fault elsewhere in the firmware would."""
    export = small.export
    with CNano(export.folder, named_compiler("gcc"), export.ram, export.window, flags=flags) as stream:
        stream.push(noise(samples_for(4)))
        assert stream.score(N3)[0] == OK
        memory = stream.memory.view(np.float32)
        memory[2] = np.nan  # `power`
        assert stream.level()[0] == NO_SCORE
        if export.weights == "int8":  # rounding to integers removes NaN
            return
        memory[CONTROL_WORDS : CONTROL_WORDS + 4 * small.nano.config.width] = np.nan
        status, score, frames = stream.score(N3)
        assert status == NO_SCORE
        assert np.isnan(score)
        assert np.isnan(frames).all()  # left alone


@pytest.mark.parametrize("prefix", ["left", "Model_2"])
def test_names_have_the_prefix(tmp_path: Path, prefix: str) -> None:
    export = write_c(source_of(small_nano()), tmp_path / "c", "float", 0.8, prefix=prefix)
    assert {path.name for path in export.folder.iterdir()} == set(source_names(prefix))
    assert f"{prefix}_nano.h" in source_names(prefix)
    for path in export.folder.iterdir():
        assert not re.search(r"haaqi_|HAAQI_", path.read_text(encoding="utf-8"))
    assert f"#define {prefix.upper()}_RAM {export.ram} " in (export.folder / f"{prefix}_nano.h").read_text()
    write_c(source_of(small_nano()), tmp_path / "c", "float", 0.8, prefix="other")  # beside the first
    assert (tmp_path / f"c/{prefix}_nano.c").exists()


@pytest.mark.parametrize("prefix", ["", "_x", "x_", "a__b", "9a", "a-b", "a b", "\u00e9", "a" * 13, "x\n"])
def test_a_prefix_must_start_names_in_c(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(OptionError, match="is not a prefix for names in C"):
        write_c(source_of(small_nano()), tmp_path / "c", prefix=prefix)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("language", ["c", "c++"])
def test_two_models_in_one_program(tmp_path: Path, language: str) -> None:
    """Compile two models with different prefixes, weights and windows together, and compare their scores."""
    cc = named_compiler("gcc" if language == "c" else "g++")
    flags = ["-std=c99", "-Wpedantic"] if language == "c" else ["-std=c++17"]
    sound, expected, sources = noise(samples_for(3)), [], []
    sound.tofile(tmp_path / "sound")
    exports: list[tuple[str, WeightFormat, float, int]] = [("left", "float", 0.8, 1), ("right", "int8", 0.48, 2)]
    for prefix, weights, window, version in exports:
        export = write_c(source_of(small_nano(version)), tmp_path / prefix, weights, window, prefix=prefix)
        with CNano(export.folder, c_compiler(), export.ram, export.window, prefix) as stream:
            stream.push(sound)
            expected.append(stream.score(N3)[1])
        flags.append(f"-I{export.folder}")
        sources.append(export.folder / f"{prefix}_nano.c")
    main = tmp_path / "main.c"
    main.write_text(TWO_MODELS % ", ".join(f"{level:g}" for level in N3))
    command = [cc, "-O1", "-Wall", "-Wextra", "-Werror", *flags, "-x", language, main, *sources, "-x", "none"]
    subprocess.run([*command, "-o", tmp_path / "main", "-lm"], check=True)
    printed = subprocess.run([tmp_path / "main", tmp_path / "sound"], check=True, capture_output=True, text=True)
    np.testing.assert_allclose([float(word) for word in printed.stdout.split()], expected, atol=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-4


TWO_MODELS = """
#include "left_nano.h"
#include "right_nano.h"
#include <stdio.h>
static left_nano first;
static right_nano second;
static float sound[LEFT_PATCH_LENGTH + 2 * LEFT_PATCH_SHIFT];
int main(int argc, char **argv)
{
    const float audiogram[LEFT_LEVELS] = {%s};
    float a = 0.0f, b = 0.0f;
    FILE *file = fopen(argv[argc - 1], "rb");
    size_t count = fread(sound, sizeof sound[0], sizeof sound / sizeof sound[0], file);
    left_init(&first, LEFT_LEVEL1);
    right_init(&second, RIGHT_LEVEL1);
    if (left_process(&first, sound, count) != 3 || right_process(&second, sound, count) != 3)
        return 1;
    if (left_score(&first, audiogram, &a, NULL) != LEFT_OK || right_score(&second, audiogram, &b, NULL) != RIGHT_OK)
        return 2;
    printf("%%.8f %%.8f\\n", (double)a, (double)b);
    return 0;
}
"""


FRAME = 160
"""samples of 10 ms"""


@pytest.mark.parametrize("budget", [0, 50_000, 10_000_000])
def test_work_in_parts_gives_identical_results(small: CompiledExport, budget: int) -> None:
    """Push frames of 10 ms, and request a score at random times while patches are encoded."""
    stream, rng = small.stream, np.random.default_rng(budget)
    sound = probe_signal(samples_for(12), seed=3)
    stream.init()
    assert stream.result()[0] == NOT_REQUESTED
    requests = []
    for start in range(0, len(sound), FRAME):
        assert stream.queue(sound[start : start + FRAME]) >= 0
        if rng.random() < 0.2 and stream.patches and stream.result()[0] != BUSY:
            if requests and requests[-1][1] is None:
                requests[-1][1] = stream.result()
            assert stream.request(N3) == OK
            assert (stream.request(N3), stream.result()[0]) == (BUSY, BUSY)
            requests.append([start + FRAME, None])
        for _ in range(rng.integers(0, 40)):
            stream.work(budget)
    while stream.work(budget):
        pass
    requests[-1][1] = stream.result()
    level, final = stream.level(), stream.score(N3)
    assert len(requests) >= 3
    stream.init()
    stream.push(sound)
    assert (stream.level(), stream.score(N3)[:2]) == (level, final[:2])
    expected = []
    for count in range(1, 13):  # of the patches that may have been encoded at the request
        stream.init()
        stream.push(sound[: samples_for(count)])
        expected.append(stream.score(N3))
    for arrived, (status, score, frames) in requests:
        assert status == OK
        number = next(n for n, one in enumerate(expected) if one[1] == score)
        assert samples_for(number + 1) <= arrived
        assert np.array_equal(frames[: len(expected[number][2])], expected[number][2])


def test_a_full_queue_refuses_the_whole_call(small: CompiledExport) -> None:
    stream, sound = small.stream, noise(READ + QUEUE)
    stream.init()
    assert stream.queue(sound[: QUEUE + 1]) == FULL
    assert stream.queue(sound[:QUEUE]) == 0
    assert stream.queue(sound[:1]) == FULL
    while stream.work(0):
        pass
    assert stream.queue(sound[QUEUE:READ]) == 1
    assert stream.score(N3)[0] == OK


def test_a_slow_score_delays_patches_but_changes_nothing(small: CompiledExport) -> None:
    """Let only one step of a score follow each patch, until the ring buffer has no room for another token."""
    stream, window = small.stream, small.export.window
    sound = probe_signal(samples_for(40), seed=6)
    stream.init()
    stream.push(sound[: samples_for(window)])
    expected = stream.score(N3)[1]
    stream.init()
    stream.push(sound[: samples_for(window)])
    assert stream.request(N3) == OK
    at = samples_for(window)
    while stream.result()[0] == BUSY:
        if at < len(sound) and stream.queue(sound[at : at + 500]) >= 0:
            at += 500
        stream.work(0)
    assert stream.result()[:2] == (OK, expected)
    assert window < (at - READ) // (READ - 240) + 1  # patches arrived meanwhile
    while stream.work(0):
        pass
    encoded = stream.score(N3)[1]
    stream.init()
    stream.push(sound[:at])
    assert stream.score(N3)[1] == encoded


def test_budgets_hold(small: CompiledExport) -> None:
    """Test that the numbers of the header are what a patch and a score need."""
    header = (small.export.folder / HEADER).read_text(encoding="utf-8")
    numbers = dict(re.findall(r"#define HAAQI_(STEP|ENCODER_OPERATIONS|SCORE_OPERATIONS) (\d+)", header))
    step, patch, score = (int(numbers[name]) for name in ("STEP", "ENCODER_OPERATIONS", "SCORE_OPERATIONS"))
    stream, sound = small.stream, noise(samples_for(small.export.window))

    def is_left(budget: int) -> bool:
        stream.init()
        stream.push(sound[: READ - 240])
        stream.queue(sound[:240])
        return stream.work(budget)

    assert not is_left(patch + step)
    assert is_left(int(0.9 * patch))
    for budget, left in ((score + step, False), (int(0.9 * score), True)):
        stream.init()
        stream.push(sound)
        assert stream.request(N3) == OK
        assert stream.work(budget) == left


def test_the_callback_example_prints_a_score_a_second(small: CompiledExport, tmp_path: Path) -> None:
    cc = named_compiler("gcc")
    sound = (music(4.0) * 32767).astype("<i2")
    program = tmp_path / "example_callback"
    messages = compile_c([small.export.folder / "example_callback.c", small.export.folder / SOURCE], program, cc)
    assert messages == ""
    command = [program, ",".join(f"{level:g}" for level in N3)]
    printed = subprocess.run(command, input=sound.tobytes(), capture_output=True, check=True).stdout.decode()
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines] == ["1.99", "2.99", "3.99"]
    for second, line in enumerate(lines, start=1):
        stream = small.stream
        stream.init()
        complete = 1 + (16_000 * second - READ) // (READ - 240)
        choices = []
        for patches in (complete - 1, complete):
            stream.init()
            stream.push(sound[: samples_for(patches)].astype(np.float32) / 32768)
            choices.append(stream.score(N3)[1])
        assert min(abs(float(line[2]) - choice) for choice in choices) < 2e-6
    assert subprocess.run([program], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("queue", [0, 480])
def test_other_queues(small: CompiledExport, queue: int, tmp_path: Path) -> None:
    """Without a queue, the stream is smaller, and scores are the same. The compiler checks the size."""
    cc = named_compiler("gcc")
    soundfile.write(tmp_path / "sound.wav", music(1.5), 16_000, subtype="FLOAT")
    outputs = []
    for flags in ((), (f"-DHAAQI_QUEUE={queue}",)):
        sources = [small.export.folder / "example.c", small.export.folder / SOURCE]
        assert compile_c(sources, tmp_path / "example", cc, "-Werror", *flags) == ""
        command = [tmp_path / "example", tmp_path / "sound.wav", ",".join(f"{level:g}" for level in N3)]
        outputs.append(subprocess.run(command, capture_output=True, check=True).stdout)
    assert outputs[0] == outputs[1]
    dry_run = ["make", "-n", "-C", small.export.folder, f"OPTIONS=-DHAAQI_QUEUE={queue}"]
    built = subprocess.run(dry_run, capture_output=True, text=True, check=True).stdout
    assert ("example_callback" in built) == (queue > 0)


@pytest.mark.parametrize("small", [("int8", 2)], indirect=True, ids=str)
def test_the_study_compares_levels_of_optimization(small: CompiledExport) -> None:
    found = compare_optimizations(small.export, c_compiler(), music(1.0), rounds=3)
    assert set(found["this machine"]) == {"-Os", "-O2", "-O3", "-Ofast"}
    assert all(one["patch_ms"] > 0 and one["score_ms"] > 0 for one in found["this machine"].values())
