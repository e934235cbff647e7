"""The audit measures what it says, on sounds whose modulation and spectrum are known; and writes its plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from haaqi_edge.training.corpus.speech import audit as speech_audit
from haaqi_edge.training.corpus.speech.audit import (
    _THIRDS,
    LTASS,
    MODULATIONS,
    audit_speech,
    modulation_spectrum,
    third_octave_levels,
)
from haaqi_edge.training.corpus.speech.bank import SpeechBank
from voices import write_bank


@pytest.mark.parametrize(("hz", "depth"), [(4.0, 1.0), (1.0, 0.5), (8.0, 0.8)])
def test_a_modulation_is_found_at_its_rate_and_depth(hz: float, depth: float) -> None:
    t = np.arange(16 * 16_000) / 16_000
    tones = sum(np.sin(2 * np.pi * f * t) for f in (250, 500, 1000, 2000, 4000))
    index = modulation_spectrum(np.asarray(tones * np.sqrt(1 + depth * np.cos(2 * np.pi * hz * t))))
    assert MODULATIONS[index.argmax()] == pytest.approx(hz, rel=0.01)
    assert index.max() == pytest.approx(depth, rel=0.05)
    assert np.sort(index)[-2] < 0.2 * depth


def test_steady_noise_is_hardly_modulated() -> None:
    noise = np.random.default_rng(0).standard_normal(16 * 16_000)
    assert modulation_spectrum(noise).max() < 0.35


def test_third_octave_levels_of_known_spectra() -> None:
    hz = np.linspace(0, 8000, 2049)
    white = third_octave_levels((hz, np.ones(2049)))
    assert np.diff(white) == pytest.approx(np.full(18, 10 * np.log10(2 ** (1 / 3))), abs=0.2)
    density = LTASS - 10 * np.log10(_THIRDS)
    speech = third_octave_levels((hz, 10 ** (np.interp(np.log(hz + 1), np.log(_THIRDS), density) / 20)))
    assert np.abs(speech - LTASS).max() < 1.0


@pytest.mark.slow
def test_plots_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_audit, "_SECONDS", 3)
    found = audit_speech(SpeechBank(write_bank(tmp_path / "speech")), tmp_path / "audit")
    assert found["voices"] == {"test human": 4, "train human": 4, "valid human": 4}
    assert found["hours"]["train human"] == pytest.approx(12 / 3600, abs=5e-4)
    assert found["women"] == {"train": 0.5, "valid": 0.5, "test": 0.5}
    assert found["f0_hz"]["test"] == [150] * 5
    assert found["modulation_index"]["babble of 4"] > found["modulation_index"]["babble of 20"]
    for name in ("babble", "modulation", "spectrum", "fundamentals"):
        assert (tmp_path / "audit" / f"{name}.png").stat().st_size > 5000
