"""Nano as plain C: Python's scores, whatever the chunks and the configuration; no warning, no undefined behaviour."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from compilers import c_compiler, named_compiler
from haaqi_edge.benchmarks.studies import boards
from haaqi_edge.benchmarks.studies.c import Heard, chunks, differences, sanitized, warnings_of
from haaqi_edge.export.bundle import Source, nano_source, parameter_count
from haaqi_edge.export.c.check import CNano
from haaqi_edge.export.c.constants import Weights
from haaqi_edge.export.c.writer import HEADER, SOURCE, SOURCES, CExport, operations, write_c
from haaqi_edge.export.verify import probe_signal, verify_c
from haaqi_edge.model.nano import Nano, NanoConfig
from haaqi_edge.runtime import Audiogram, Scorer
from haaqi_edge.runtime.errors import ExportError, OptionError
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import READ, music, noise, samples_for

WEIGHTS: tuple[Weights, ...] = ("float", "int8")
N3 = Audiogram.named("N3").array()
OK, TOO_SHORT, SILENT, BAD_SAMPLE, BAD_AUDIOGRAM, BAD_LEVEL = 0, -1, -2, -3, -4, -5


def source_of(nano: Nano) -> Source:
    return Source("other", "nano", nano, nano, 1, nano.config.width, "0" * 64)


def small_nano(version: int = 1) -> Nano:
    """Of odd sizes, with weights far from their initial ones, for a version of the front end."""
    torch.manual_seed(7)
    config = NanoConfig(layers=(37, 21, 50), vector=27, hidden=11, conditioning=5, texture_version=version)
    nano = Nano(config).eval()
    with torch.no_grad():
        for parameter in nano.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        nano.encoder.scale.add_(3.0)
        nano.encoder.mean.sub_(5.0)
    return nano


@dataclasses.dataclass(frozen=True)
class Made:
    """An export, a stream of it, and the network."""

    export: CExport
    ear: CNano
    nano: Nano


def made(source: Source, folder: Path, weights: Weights, window: float = 10.0) -> Iterator[Made]:
    cc = c_compiler()
    export = write_c(source, folder, weights, window)
    with CNano(folder, cc, export.ram, export.window) as ear:
        assert isinstance(source.original, Nano)
        yield Made(export, ear, source.original)


@pytest.fixture(scope="module", params=WEIGHTS)
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    yield from made(nano_source(None), tmp_path_factory.mktemp("c") / "shipped", request.param)


@pytest.fixture(scope="module", params=[("float", 1), ("int8", 1), ("float", 2), ("int8", 2)], ids=str)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A window of 5 patches."""
    weights, version = request.param
    yield from made(source_of(small_nano(version)), tmp_path_factory.mktemp("c") / "small", weights, 0.8)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("nano", threads=1)


@pytest.mark.parametrize("clip", ["clean", "degraded"])
def test_a_stream_gives_the_scores_of_python(shipped: Made, scorer: Scorer, clip: str) -> None:
    tolerance = {"float": 1e-3, "int8": 0.02}[shipped.export.weights]
    sound = Heard(music(11.0, clip=clip), Audiogram.named("N2" if clip == "clean" else "S3"))
    found = differences(shipped.ear, scorer, sound)
    assert shipped.ear.patches == shipped.export.window  # the oldest patches have left it
    assert max(found) < tolerance


def test_frame_scores_and_level_are_those_of_python(shipped: Made, scorer: Scorer) -> None:
    sound = music(4.0)
    shipped.ear.init(level1=92.0)
    with scorer.stream("N3", 16_000, level1=92.0) as stream:
        update = stream.accept_waveform(sound)[-1]
    patches = shipped.ear.push(sound)
    status, _, frames = shipped.ear.score(N3)
    assert (status, patches, shipped.ear.patches) == (OK, len(frames), len(update.frame_scores))
    np.testing.assert_allclose(frames, update.frame_scores, atol={"float": 1e-3, "int8": 0.02}[shipped.export.weights])
    assert update.level is not None
    assert shipped.ear.level()[1] == pytest.approx(update.level, abs=1e-3)


def test_it_was_verified_and_tells_what_it_takes(shipped: Made) -> None:
    export, config = shipped.export, NanoConfig()
    assert export.parity is not None
    assert export.parity.cases == 16  # 4 lengths within the window, 4 listeners
    parameters = parameter_count(nano_source(None).network)
    assert 1 < export.constants / (parameters * {"float": 4, "int8": 1}[export.weights]) < 1.2
    assert export.ram > 4 * export.window * config.width
    products = sum(a * b for a, b in zip((512, *config.layers), (*config.layers, config.vector), strict=True))
    assert products < export.operations.encoder < 1.05 * products


def test_the_score_costs_as_much_as_the_window_is_long() -> None:
    short, long = (operations(NanoConfig(), window).score for window in (31, 62))
    assert 1.9 < long / short <= 2.0


def test_other_sizes_score_as_pytorch_does(small: Made) -> None:
    parity = verify_c(small.nano, small.ear, small.export.window, {"float": 1e-5, "int8": 0.02}[small.export.weights])
    assert parity.cases == 8  # 1 and 2 patches fit a window of 5


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * READ), min_size=1, max_size=30))
def test_how_samples_are_cut_changes_nothing(small: Made, sizes: list[int]) -> None:
    sound = probe_signal(samples_for(9) + 77, seed=3)
    small.ear.init()
    patches = small.ear.push(sound)
    expected = small.ear.score(N3)
    small.ear.init()
    parts = np.split(sound, np.minimum(np.cumsum(sizes), len(sound)))
    assert sum(small.ear.push(part) for part in parts) == patches == 9
    got = small.ear.score(N3)
    assert got[:2] == expected[:2]
    assert np.array_equal(got[2], expected[2])


@pytest.mark.parametrize("offset", [0.5, -0.3])
def test_version_2_ignores_an_offset(small: Made, offset: float) -> None:
    """Of music, and of music so soft that rounded sums of the offset would drown it."""
    for level in (1.0, 1e-3):
        sound = np.float32(level) * music(0.8)
        scores = []
        for samples in (sound, sound + np.float32(offset)):
            small.ear.init()
            small.ear.push(samples)
            scores.append(small.ear.score(N3)[1])
        if small.nano.config.texture_version == 2:
            assert scores[0] == pytest.approx(scores[1], abs=5e-4)
        else:
            assert scores[0] != pytest.approx(scores[1], abs=1e-3)


def test_the_level_is_that_of_the_samples(small: Made) -> None:
    """Offset and rumble included, whatever the front end removes."""
    sound = music(0.175)[:READ] + np.float32(0.2)
    small.ear.init()
    small.ear.push(sound)
    expected = 85 + 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)))
    assert small.ear.level()[1] == pytest.approx(expected, abs=1e-3)


def test_the_window_moves(small: Made) -> None:
    """After any audio the score is that of the window's samples alone."""
    sound = probe_signal(samples_for(14), seed=5)
    window = small.export.window
    for count in (window, window + 1, 14):
        small.ear.init()
        small.ear.push(sound[: samples_for(count)])
        moved = small.ear.score(N3)
        small.ear.init()
        small.ear.push(sound[samples_for(count) - samples_for(window) : samples_for(count)])
        assert small.ear.score(N3)[1] == moved[1]
        assert small.ear.patches == window


def test_a_listener_changes_nothing_for_the_next(small: Made) -> None:
    small.ear.init()
    small.ear.push(probe_signal(samples_for(4)))
    first = small.ear.score(N3)[1]
    other = small.ear.score(Audiogram.named("S3").array())[1]
    assert other != first
    assert small.ear.score(N3)[1] == first


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 20_000.0])
def test_bad_samples_are_refused_and_nothing_of_the_call_is_taken(small: Made, bad: float) -> None:
    sound = noise(samples_for(3))
    small.ear.init()
    small.ear.push(sound)
    expected = small.ear.score(N3)[1]
    small.ear.init()
    small.ear.push(sound[:5_000])
    broken = noise(6_000)
    broken[5_990] = bad
    assert small.ear.push(broken) == BAD_SAMPLE
    small.ear.push(sound[5_000:])
    assert small.ear.score(N3)[1] == expected


def test_what_cannot_be_scored(small: Made) -> None:
    ear = small.ear
    ear.init()
    assert (ear.score(N3)[0], ear.level()[0], ear.patches) == (TOO_SHORT, TOO_SHORT, 0)
    ear.push(noise(READ - 1))
    assert ear.score(N3)[0] == TOO_SHORT
    ear.push(noise(1))
    status, score, _ = ear.score(N3)
    assert status == OK
    assert 0 < score < 1
    for wrong in (-10.1, 120.5, np.nan, np.inf):
        levels = N3.copy()
        levels[7] = wrong
        status, score, _ = ear.score(levels)
        assert status == BAD_AUDIOGRAM
        assert np.isnan(score)  # left alone
    for wrong in (-1.0, 141.0, np.nan):
        assert ear.init(wrong) == BAD_LEVEL
    assert ear.init(0.0) == ear.init(140.0) == OK


def test_silence_has_no_score_until_there_is_sound(small: Made) -> None:
    ear, window = small.ear, small.export.window
    quiet = np.full(samples_for(3), 2.0**-24, np.float32)
    ear.init()
    ear.push(quiet)
    assert (ear.score(N3)[0], ear.level()[0]) == (SILENT, SILENT)
    ear.push(noise(READ))
    assert (ear.score(N3)[0], ear.level()[0]) == (OK, OK)
    ear.push(np.zeros(samples_for(3), np.float32))
    assert (ear.score(N3)[0], ear.level()[0]) == (OK, SILENT)  # the window still holds sound
    ear.push(np.zeros(samples_for(window), np.float32))
    assert ear.score(N3)[0] == SILENT


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_no_compiler_warns(small: Made, cc: str) -> None:
    assert warnings_of(small.export.folder, named_compiler(cc)) == ""


def test_no_sanitizer_reports(small: Made) -> None:
    assert sanitized(small.export.folder, named_compiler("gcc"), music(1.5)) == ""


def test_sums_of_int8_products_never_overflow(tmp_path: Path) -> None:
    """All weights and all inputs of a product as large as they can be: 512 inputs may have all of 16 bits, 600 may not.
    The sanitizer would tell."""
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
    assert sanitized(tmp_path / "c", cc, music(0.2)) == ""


def test_only_the_functions_that_are_told_of_come_from_outside(small: Made) -> None:
    code = (small.export.folder / SOURCE).read_text(encoding="utf-8")
    told = re.search(r"it calls (.*)\.", (small.export.folder / HEADER).read_text(encoding="utf-8"))
    assert told is not None
    called = set(re.findall(r"\b(\w+f)\(", code)) - {"sizeof", "if"}
    assert called == set(re.findall(r"\w+f\b", told[1]))
    assert not re.search(r"\b(malloc|calloc|realloc|free|printf|double)\b", code.split("#include <math.h>")[1])


def test_what_scores_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c_compiler()
    monkeypatch.setattr("haaqi_edge.export.c.constants._number", lambda value: f"{np.float32(1.5 * value)!s}f")
    with pytest.raises(ExportError, match="scores of the C and PyTorch differ"):
        write_c(source_of(small_nano()), tmp_path / "c", "float")
    assert not (tmp_path / "c").exists()


def test_without_a_compiler_it_is_written_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    export = write_c(source_of(small_nano()), tmp_path / "c")
    assert (export.compiler, export.parity) == (None, None)
    assert {path.name for path in (tmp_path / "c").iterdir()} == set(SOURCES)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_chunks_keep_all_samples() -> None:
    sound = noise(50_000)
    assert np.array_equal(np.concatenate(chunks(sound)), sound)


def test_a_cortex_m7_scores_alike(small: Made) -> None:
    lacks = boards.missing(boards.COMPILER, boards.SIZE, boards.EMULATOR)
    if lacks:
        pytest.skip(lacks)
    sound, audiograms = music(1.0), np.stack([N3, Audiogram.named("S2").array()])
    there = boards.run(small.export.folder, sound, audiograms)
    small.ear.init()
    small.ear.push(sound)
    expected = [small.ear.score(audiogram)[1] for audiogram in audiograms]
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(there.scores, expected, atol=1e-5)
    assert 0 < there.patch.stack < 1024
    size = boards.sizes(small.export.folder)
    assert size.flash > small.export.constants
    assert small.export.ram <= size.ram < small.export.ram + 2048
