"""Whole clips: two ears, and the conventions of the Cadenza challenges as pyclarity's recipes call HAAQI."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import soundfile
import soxr
from haaqi_edge.haaqi import (
    CADENZA,
    Convention,
    EarCompressor,
    Haaqi,
    Listener,
    Reference,
    level1_of,
    load_compressors,
    score_clip,
)
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.haaqi.compressor import ATTACK, CROSSOVERS, RELEASE, THRESHOLD
from haaqi_edge.runtime.audio.levels import nal_r_filter
from haaqi_edge.runtime.audiogram import Audiogram, EarPair
from haaqi_edge.runtime.ears import EARS, Ear
from haaqi_edge.runtime.errors import AudioError, AudioFileError, AudiogramError, ChannelWarning, OptionError
from numpy.typing import NDArray
from sounds import music

Array = NDArray[np.float32]
SECONDS = 0.6
CFS = [250, 500, 1000, 2000, 3000, 4000, 6000, 8000]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyclarity warns of signals below threshold."""
    for name in ("clarity.evaluator.haspi.eb", "clarity.utils.audiogram"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)


def stereo(
    rate: int, clip: str, start: float, gains: tuple[float, float] = (1.0, 0.5), seconds: float = SECONDS
) -> Array:
    """Two excerpts of the demo as left and right channel, which differ in level."""
    parts = [gain * music(seconds, rate, start + offset, clip) for gain, offset in zip(gains, (0.0, 5.0), strict=True)]
    samples = min(map(len, parts))
    return np.stack([part[:samples] for part in parts], axis=1).astype(np.float32)


def asymmetric(seed: int) -> EarPair:
    """A listener with a sloping loss that differs between the ears by 10 to 40 dB."""
    draw = np.random.default_rng(seed)
    better = np.sort(draw.uniform(0, 60, 8)).round()
    worse = np.minimum(better + draw.uniform(10, 40, 8).round(), 90)
    ears = [Audiogram(tuple(better)), Audiogram(tuple(worse))]
    return EarPair(*(ears if seed % 2 else ears[::-1]), name=f"L{seed}")


def compressors_of(seed: int) -> dict[Ear, EarCompressor]:
    """Compressors of two ears, with more compression and gain in the higher bands."""
    draw = np.random.default_rng(seed)
    return {
        ear: EarCompressor(
            tuple(np.sort(draw.uniform(1, 4, 6)).round(2)), tuple(np.sort(draw.uniform(0, 20, 6)).round(1))
        )
        for ear in EARS
    }


def compress_by_pyclarity(samples: NDArray[np.float64], rate: int, settings: EarCompressor) -> NDArray[np.float64]:
    """Compress a channel as `evaluate.py` of CAD2 does."""
    enhancer = oracle.compressor.MultibandCompressor(crossover_frequencies=list(CROSSOVERS), sample_rate=rate)
    enhancer.set_compressors(
        attack=list(ATTACK),
        release=list(RELEASE),
        threshold=[THRESHOLD] * 6,
        ratio=list(settings.ratios),
        makeup_gain=list(settings.gains),
    )
    compressed: NDArray[np.float64] = enhancer(signal=samples)[0]
    return compressed


def by_recipe(
    preset: str,
    reference: Array,
    rate: int,
    enhanced: Array,
    enhanced_rate: int,
    ears: EarPair,
    compressors: dict[Ear, EarCompressor],
) -> list[float]:
    """HAAQI of both ears, as `evaluate.py` of a recipe computes it with pyclarity."""
    scores = []
    for channel, (ear, audiogram) in enumerate(zip(EARS, (ears.left, ears.right), strict=True)):
        listener = oracle.audiogram.Audiogram(levels=np.array(audiogram.levels), frequencies=np.array(CFS))
        signal = levelled = reference[:, channel].astype(np.float64)
        if preset == "icassp24":
            enhancer = oracle.nalr.NALR(nfir=220, sample_rate=rate)
            signal = enhancer.apply(enhancer.build(listener)[0], signal)
        if preset.startswith("cad2"):
            signal = compress_by_pyclarity(signal, rate, compressors[ear])
            levelled = signal if preset == "cad2" else levelled
        scores.append(
            oracle.haaqi.compute_haaqi(
                processed_signal=soxr.resample(enhanced[:, channel], enhanced_rate, RATE, quality="HQ"),
                reference_signal=soxr.resample(signal, rate, RATE, quality="HQ"),
                processed_sample_rate=RATE,
                reference_sample_rate=RATE,
                audiogram=listener,
                equalisation=1 if preset == "cad1" else 2,
                level1=65 - 20 * np.log10(np.sqrt(np.mean(np.square(levelled)))),
            )
        )
    return scores


def example(seed: int, preset: str, seconds: float = SECONDS) -> tuple[Array, int, Array, int, EarPair]:
    """A stereo reference, an enhanced recording, their rates, and a listener. CAD2's recordings are soft (-40 LUFS)."""
    rate, enhanced_rate = 44_100, {"cad1": 24_000, "icassp24": 32_000}.get(preset, 44_100)
    scale = 0.1 if preset.startswith("cad2") else 1.0
    gains = scale, scale * (0.1 + 0.08 * seed)
    reference = stereo(rate, "clean", 1.3 * seed, gains, seconds)
    enhanced = stereo(enhanced_rate, "degraded", 1.3 * seed, gains, seconds)
    return reference, rate, enhanced, enhanced_rate, asymmetric(seed)


def convention_of(preset: str, seed: int) -> Convention:
    """The convention of a challenge, with compressors if it has them."""
    if not preset.startswith("cad2"):
        return CADENZA[preset]
    return replace(CADENZA[preset], compressors={f"L{seed}": compressors_of(seed)})


CASES = [(seed, ("cad1", "icassp24", "cad2", "cad2-task2")[seed % 4]) for seed in range(12)]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "preset"), CASES)
def test_the_challenges_numbers_of_both_ears(seed: int, preset: str) -> None:
    reference, rate, enhanced, enhanced_rate, ears = example(seed, preset)
    expected = by_recipe(preset, reference, rate, enhanced, enhanced_rate, ears, compressors_of(seed))
    convention = convention_of(preset, seed)
    got = score_clip((reference, rate), (enhanced, enhanced_rate), ears=ears, convention=convention)
    assert [got.left.score, got.right.score] == pytest.approx(expected, abs=1e-3)
    assert got.score == pytest.approx(np.mean(expected), abs=1e-3)


GOLDEN: dict[str, tuple[int, float, float]] = {
    "cad1": (1, 0.19228, 0.22136),
    "icassp24": (4, 0.18743, 0.24091),
    "cad2": (2, 0.31378, 0.23245),
    "cad2-task2": (7, 0.22042, 0.41104),
}
"""a seed, and HAAQI of both ears of `example(seed, preset, 2.0)` by pyclarity 0.9.0 (`by_recipe`)"""


@pytest.mark.slow
@pytest.mark.parametrize("preset", GOLDEN)
def test_the_challenges_numbers_without_pyclarity(preset: str) -> None:
    seed, *expected = GOLDEN[preset]
    reference, rate, enhanced, enhanced_rate, ears = example(seed, preset, 2.0)
    convention = convention_of(preset, seed)
    got = score_clip((reference, rate), (enhanced, enhanced_rate), ears=ears, convention=convention)
    assert [got.left.score, got.right.score] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_the_defaults_of_pyclarity() -> None:
    """`compute_haaqi(processed, reference, fs, fs, audiogram)` at 44.1 kHz, as CAD1 task 2 calls it."""
    x, y, ears = music(SECONDS, 44_100, 2.0), music(SECONDS, 44_100, 2.0, "degraded"), asymmetric(3)
    listener = oracle.audiogram.Audiogram(levels=np.array(ears.left.levels), frequencies=np.array(CFS))
    expected = oracle.haaqi.compute_haaqi(y, x, 44_100, 44_100, listener)
    got = score_clip((x, 44_100), (y, 44_100), ears.left, convention=Convention(level1=65.0))
    assert got.score == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("order", "rate"), [(220, 44_100), (220, 32_000), (140, 24_000)])
def test_the_enhancer_of_pyclarity(order: int, rate: int) -> None:
    for seed in range(3):
        audiogram = asymmetric(seed).left
        listener = oracle.audiogram.Audiogram(levels=np.array(audiogram.levels), frequencies=np.array(CFS))
        expected, _ = oracle.nalr.NALR(order, rate).build(listener)
        np.testing.assert_allclose(nal_r_filter(audiogram, rate, order), expected, rtol=0, atol=1e-9)


def test_each_ear_is_its_channel_with_its_audiogram() -> None:
    x, y = stereo(RATE, "clean", 2.0), stereo(RATE, "degraded", 2.0)
    y[:, 0] = x[:, 0]
    got = score_clip((x, RATE), (y, RATE), ears=("N2", "N4"), convention=Convention(amplify_processed=True))
    for channel, listener, one in (("left", "N2", got.left), ("right", "N4", got.right)):
        alone = score_clip(
            (x, RATE),
            (y, RATE),
            listener,
            channel=channel,
            convention=Convention(amplify_processed=True),  # type: ignore[call-overload]
        )
        assert one == alone
    assert got.left.score > got.right.score + 0.1
    assert got.score == (got.left.score + got.right.score) / 2
    assert (got.better_ear, got.better) == ("left", got.left)
    assert got.to_dict()["better"] == {"ear": "left", "score": got.left.score}
    with pytest.warns(ChannelWarning, match="one channel: both ears hear the same signal"):
        score_clip((x, RATE), (y[:, 0], RATE), ears=("N2", "N4"))


def test_equalisation_and_level_of_the_reference() -> None:
    x, y = (music(SECONDS, RATE, 2.0, clip).astype(np.float64) for clip in ("clean", "degraded"))
    n4 = Audiogram.named("N4")
    assert level1_of(x) == pytest.approx(65 - 20 * np.log10(np.sqrt(np.mean(x**2))))
    plain = score_clip((x, RATE), (y, RATE), n4, convention=Convention(None, 65.0))
    assert plain == Reference(x, RATE, Listener(n4, level1=level1_of(x))).score(y, RATE)
    amplified = np.convolve(x, nal_r_filter(n4, RATE))
    given = score_clip((amplified, RATE), (y, RATE), n4, convention=Convention(None, 65.0, 2), level_from=(x, RATE))
    listener = Listener(n4, level1=level1_of(x))
    wanted = Reference(amplified, RATE, listener, equalisation=2)
    assert given.score == pytest.approx(wanted.score(y, RATE).score, abs=1e-4)
    assert given.score == pytest.approx(plain.score, abs=2e-3)  # HAAQI's own amplification is of the same filter
    twice = Reference(amplified, RATE, listener).score(y, RATE)
    assert abs(twice.score - plain.score) > 0.005
    quiet_clip = score_clip((1e-4 * x, RATE), (1e-4 * y, RATE), n4, convention=Convention(None, 65.0))
    assert quiet_clip.score == pytest.approx(plain.score, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Convention(equalisation=0), r"equalisation=0: 0 is for intelligibility \(HASPI\)"),  # type: ignore[arg-type]
        (lambda: Convention(equalisation=3), r"equalisation=3: give 1 .* or 2"),  # type: ignore[arg-type]
        (lambda: Convention(85.0, 65.0), r"level1=85.0 and spl=65.0: give one"),
        (lambda: Convention(None), r"level1=None and spl=None: give one"),
        (lambda: Convention(None, 650.0), r"spl=650.0 is not a sound pressure level"),
        (lambda: Convention(amplify_reference=True), r"would amplify the reference twice"),
        (lambda: Convention(compressors={}), r"compressors amplify the reference already: give equalisation=2"),
        (lambda: Convention(enhancer="camfit"), r"enhancer='camfit': give 'haaqi-edge' or 'pyclarity'"),  # type: ignore[arg-type]
    ],
)
def test_conventions_that_contradict_themselves(call: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        call()


def test_what_cannot_be_compared() -> None:
    x = music(SECONDS, RATE, 2.0)
    with pytest.raises(AudiogramError, match="give an audiogram, or for stereo recordings ears"):
        score_clip((x, RATE), (x, RATE))  # type: ignore[call-overload]
    with pytest.raises(AudiogramError, match="several audiograms: call score_clip for each"):
        score_clip((x, RATE), (x, RATE), ["N2", "N3"])  # type: ignore[call-overload]
    with pytest.raises(AudioError, match=r"the samples given cannot be compared with .*its level cannot be set"):
        score_clip((0 * x, RATE), (x, RATE), "N2", convention=CADENZA["cad1"])


def test_scaled_flac_files_of_pyclarity(tmp_path: Path) -> None:
    x, y = music(SECONDS, RATE, 2.0), music(SECONDS, RATE, 2.0, "degraded")
    peak = float(np.abs(y).max())
    soundfile.write(tmp_path / "x.flac", x, RATE)
    soundfile.write(tmp_path / "y.flac", y / peak * 0.999, RATE)
    (tmp_path / "y.txt").write_text(f"{peak / 0.999}")
    paths = tmp_path / "x.flac", tmp_path / "y.flac"
    scaled = score_clip(*paths, "N4", convention=CADENZA["cad1"])
    plain = score_clip((x, RATE), (y, RATE), "N4", convention=CADENZA["cad1"])
    assert isinstance(scaled, Haaqi)
    assert scaled.score == pytest.approx(plain.score, abs=1e-3)
    assert abs(score_clip(*paths, "N4", convention=Convention(None, 65.0)).score - plain.score) > 0.002
    (tmp_path / "y.txt").write_text("notes")
    with pytest.raises(AudioFileError, match=r"y.txt is not the scale factor of a FLAC file"):
        score_clip(*paths, "N4", convention=CADENZA["cad1"])


def test_listeners_of_the_challenges(tmp_path: Path) -> None:
    x, y = stereo(RATE, "clean", 2.0), stereo(RATE, "degraded", 2.0)
    pair = asymmetric(1)
    record = {
        "name": "L5001",
        "audiogram_cfs": CFS,
        "audiogram_levels_l": pair.left.levels,
        "audiogram_levels_r": pair.right.levels,
    }
    path = tmp_path / "listeners.json"
    path.write_text(json.dumps({"L5001": record}))
    got = score_clip((x, RATE), (y, RATE), ears=f"{path}:L5001", convention=CADENZA["cad1"])
    expected = score_clip((x, RATE), (y, RATE), ears=pair, convention=CADENZA["cad1"])
    assert (got.left, got.right) == (expected.left, expected.right)
    assert got.name == "listeners:L5001"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_compressor_of_pyclarity(rate: int) -> None:
    for ear, settings in compressors_of(5).items():
        samples = 0.2 * music(SECONDS, rate, 2.0 if ear == "left" else 9.0).astype(np.float64)
        samples[100:200] = 0.0
        expected = compress_by_pyclarity(samples.copy(), rate, settings)
        np.testing.assert_allclose(settings.apply(samples, rate), expected, rtol=0, atol=1e-6)


def test_a_compressor_that_does_nothing_keeps_the_spectrum() -> None:
    samples = 0.2 * music(1.0, RATE, 2.0).astype(np.float64)
    got = EarCompressor((1.0,) * 6, (0.0,) * 6).apply(samples, RATE)
    spectra = [np.abs(np.fft.rfft(one, 2 * len(one))) for one in (samples, got)]
    np.testing.assert_allclose(spectra[1], spectra[0], rtol=0, atol=0.01 * spectra[0].max())
    louder = EarCompressor((1.0,) * 6, (6.0,) * 6).apply(samples, RATE)
    np.testing.assert_allclose(louder, got * 10 ** (6 / 20), rtol=1e-9)
    with pytest.raises(AudioError, match=r"a rate of 8000 Hz: the bands of the compressor reach above 5656.85 Hz"):
        EarCompressor((1.0,) * 6, (0.0,) * 6).apply(samples, 8000)


def test_the_compressors_of_listeners(tmp_path: Path) -> None:
    path = tmp_path / "compressor_params.json"
    record = {"cr_l": [1.5] * 6, "gain_l": [3] * 6, "cr_r": [2.5] * 6, "gain_r": [9] * 6}
    path.write_text(json.dumps({"L1": record}))
    found = load_compressors(path)
    assert found == {
        "L1": {"left": EarCompressor((1.5,) * 6, (3.0,) * 6), "right": EarCompressor((2.5,) * 6, (9.0,) * 6)}
    }
    x = 0.1 * stereo(RATE, "clean", 2.0)
    convention = replace(CADENZA["cad2"], compressors=found)
    one = asymmetric(1)
    got = score_clip((x, RATE), (x, RATE), ears=EarPair(one.left, one.right, "listeners:L1"), convention=convention)
    compressed = np.stack([found["L1"][ear].apply(x[:, place], RATE) for place, ear in enumerate(EARS)], axis=1)
    by_hand = score_clip((compressed, RATE), (x, RATE), ears=one, convention=CADENZA["cad2"])
    assert (got.left.score, got.right.score) == pytest.approx((by_hand.left.score, by_hand.right.score), abs=1e-5)
    with pytest.raises(OptionError, match="no compressor for the listener L7: give listeners by the names L1"):
        score_clip((x, RATE), (x, RATE), ears=EarPair(one.left, one.right, "L7"), convention=convention)
    with pytest.raises(OptionError, match="compressors are those of ears: give ears="):
        score_clip((x, RATE), (x, RATE), "N3", convention=convention)
    with pytest.raises(OptionError, match="the level is that of the reference before the compressor"):
        score_clip((x, RATE), (x, RATE), ears=("N2", "N3"), convention=CADENZA["cad2-task2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "has no compressors: expected a record for each listener"),
        ('{"L1": {"cr_l": [1, 1, 1, 1, 1, 1]}}', "L1: cr_l and gain_l must be lists of numbers"),
        (
            '{"L1": {"cr_l": [1, 1], "gain_l": [0, 0], "cr_r": [1, 1], "gain_r": [0, 0]}}',
            r"L1, left ear: ratios=\(1.0, 1.0\): give 6 finite numbers",
        ),
        (
            '{"L1": {"cr_l": [1, 1, 1, 1, 1, 0.5], "gain_l": [0, 0, 0, 0, 0, 0]}}',
            "L1, left ear: .*a compression ratio is 1 or more",
        ),
    ],
)
def test_files_that_are_no_compressors(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "compressors.json"
    path.write_text(text)
    with pytest.raises(OptionError, match=message):
        load_compressors(path)


OF_THE_SCRIPT = [(0.22199, 0.21249), (0.23830, 0.20931), (0.21687, 0.24359)]
"""HAAQI of the left and right ear of the listeners of `write_corpus`, by pyclarity 0.9.0 as CAD1's recipe calls it"""


def write_corpus(folder: Path) -> None:
    """Write a stereo recording, an enhanced one, and three listeners, as the page on HAAQI names them."""
    for name, clip in (("stereo.wav", "clean"), ("enhanced.wav", "degraded")):
        soundfile.write(folder / name, stereo(44_100, clip, 4.0, (0.8, 0.4), 2.0), 44_100, subtype="FLOAT")
    records = {}
    for number in range(1, 4):
        pair = asymmetric(number)
        levels = {"audiogram_levels_l": pair.left.levels, "audiogram_levels_r": pair.right.levels}
        records[f"L500{number}"] = {"name": f"L500{number}", "audiogram_cfs": CFS, **levels}
    (folder / "listeners.json").write_text(json.dumps(records), encoding="utf-8")


@pytest.mark.slow
def test_the_script_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The five lines in docs/how-to/haaqi.md give pyclarity's numbers for the listeners of a `listeners.json`."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "haaqi.md").read_text(encoding="utf-8")
    (script,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "load_listeners(" in block]
    assert len([line for line in script.splitlines() if line]) == 5
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "haaqi.md", "exec"), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in printed] == ["listeners:L5001", "listeners:L5002", "listeners:L5003"]
    for line, expected in zip(printed, OF_THE_SCRIPT, strict=True):
        assert [float(value) for value in line[1:3]] == pytest.approx(expected, abs=1.5e-3)  # three digits are printed
        assert float(line[3]) == pytest.approx(np.mean(expected), abs=1.5e-3)
