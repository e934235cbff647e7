"""Whole clips: two ears, and the conventions of the Cadenza challenges as pyclarity's recipes call HAAQI."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import soundfile
import soxr
from haaqi_edge.haaqi import CADENZA, Convention, Haaqi, Listener, Reference, level1_of, score_clip
from haaqi_edge.haaqi.cochlea import RATE
from haaqi_edge.runtime.audio.levels import nal_r_filter
from haaqi_edge.runtime.audiogram import Audiogram, EarPair
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


def stereo(rate: int, clip: str, start: float, gains: tuple[float, float] = (1.0, 0.5)) -> Array:
    """Two excerpts of the demo as left and right channel, which differ in level."""
    parts = [gain * music(SECONDS, rate, start + offset, clip) for gain, offset in zip(gains, (0.0, 5.0), strict=True)]
    samples = min(map(len, parts))
    return np.stack([part[:samples] for part in parts], axis=1).astype(np.float32)


def asymmetric(seed: int) -> EarPair:
    """A listener with a sloping loss that differs between the ears by 10 to 40 dB."""
    draw = np.random.default_rng(seed)
    better = np.sort(draw.uniform(0, 60, 8)).round()
    worse = np.minimum(better + draw.uniform(10, 40, 8).round(), 90)
    ears = [Audiogram(tuple(better)), Audiogram(tuple(worse))]
    return EarPair(*(ears if seed % 2 else ears[::-1]), name=f"L{seed}")


def by_recipe(
    preset: str, reference: Array, rate: int, enhanced: Array, enhanced_rate: int, ears: EarPair
) -> list[float]:
    """HAAQI of both ears, as `evaluate.py` of a recipe computes it with pyclarity."""
    scores = []
    for channel, audiogram in enumerate((ears.left, ears.right)):
        listener = oracle.audiogram.Audiogram(levels=np.array(audiogram.levels), frequencies=np.array(CFS))
        signal = reference[:, channel]
        if preset == "icassp24":
            enhancer = oracle.nalr.NALR(nfir=220, sample_rate=rate)
            signal = enhancer.apply(enhancer.build(listener)[0], signal)
        scores.append(
            oracle.haaqi.compute_haaqi(
                processed_signal=soxr.resample(enhanced[:, channel], enhanced_rate, RATE, quality="HQ"),
                reference_signal=soxr.resample(signal, rate, RATE, quality="HQ"),
                processed_sample_rate=RATE,
                reference_sample_rate=RATE,
                audiogram=listener,
                equalisation=1 if preset == "cad1" else 2,
                level1=65 - 20 * np.log10(np.sqrt(np.mean(np.square(reference[:, channel])))),
            )
        )
    return scores


CASES = [(seed, ("cad1", "icassp24", "cad2")[seed % 3]) for seed in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "preset"), CASES)
def test_the_challenges_numbers_of_both_ears(seed: int, preset: str) -> None:
    rate, enhanced_rate = 44_100, {"cad1": 24_000, "icassp24": 32_000, "cad2": 44_100}[preset]
    reference = stereo(rate, "clean", 1.3 * seed, (1.0, 0.1 + 0.08 * seed))
    enhanced = stereo(enhanced_rate, "degraded", 1.3 * seed, (1.0, 0.1 + 0.08 * seed))
    ears = asymmetric(seed)
    expected = by_recipe(preset, reference, rate, enhanced, enhanced_rate, ears)
    got = score_clip((reference, rate), (enhanced, enhanced_rate), ears=ears, convention=CADENZA[preset])
    assert [got.left.score, got.right.score] == pytest.approx(expected, abs=1e-3)
    assert got.score == pytest.approx(np.mean(expected), abs=1e-3)


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
