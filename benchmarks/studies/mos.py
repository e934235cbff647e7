"""Test whether tuning to ratings helps: `haaqi-edge bench study mos MUSIC`.

Nano is tuned to a simulated listener whose ratings differ from HAAQI. The listener (`simulate_quality`) perceives only
three things: noise and distortion (the SNR against the clean, amplified music), lost bandwidth (in octaves), and
clipping (the loss of crest factor). Their annoyances add up. Quality falls exponentially with the sum, and is then
shifted towards the upper end, because people rarely give the worst marks. Raters differ in strictness, and each rating
has an error of half a mark. The listener contains no auditory model, and hearing loss has an effect only through the
amplification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import signal

from ...model.nano import Nano
from ...runtime.audio.levels import nal_r
from ...runtime.audiogram import Audiogram
from ...runtime.bundle import Scale
from ...runtime.features.patches import SAMPLE_RATE
from ...runtime.writing import write_json
from ...training.corpus.clips import Corpus
from ...training.data.examples import Example, load_table_examples, render_waveforms
from ...training.data.feature_cache import FeatureCache
from ...training.data.features import resample_to_front_end
from ...training.data.labels import resolve_table
from ...training.data.rendering import render_reference
from ...training.data.rows import Row
from ...training.degradations.signals import rms
from ...training.statistics import agreement
from ...training.tasks.mos import MosConfig, tune
from ...training.tasks.pipelines import TrainingData
from ..progress import Progress, no_progress
from .distillation import RESULTS_FILE, training_callbacks

MOS: Final = Scale("MOS", 1.0, 5.0)
_RATERS: Final = 6
Array = npt.NDArray[np.float64]


def simulate_quality(clean: Array, processed: Array) -> float:
    """Return the quality that the simulated listener perceives, 0 to 1, compared with the clean, amplified music.

    Args:
        clean: float64 [samples] at 16 kHz, the clean, amplified music.
        processed: float64 [samples] at 16 kHz, the signal to rate.
    """
    gain = float(clean @ processed / max(float(processed @ processed), 1e-12))
    residue = clean - gain * processed
    snr = 10 * np.log10(float(np.mean(clean**2)) / max(float(np.mean(residue**2)), 1e-12))
    noise = np.clip((25 - snr) / 30, 0, 1)
    lost = np.clip(np.log2(_bandwidth(clean) / _bandwidth(processed)), 0, 4) / 4
    crest = [float(np.quantile(np.abs(x), 0.999)) / rms(x) for x in (clean, processed)]
    clipped = np.clip(1 - crest[1] / crest[0], 0, 1)
    return float(np.exp(-(1.6 * noise + 1.2 * lost + 2.0 * clipped)) ** 0.7)


def _bandwidth(x: Array) -> float:
    """Return the frequency in Hz below which 99% of the power lies."""
    frequencies, power = (np.asarray(values) for values in signal.welch(x, SAMPLE_RATE, nperseg=1024))
    below = np.searchsorted(np.cumsum(power), 0.99 * power.sum())
    return float(frequencies[below]) + 1.0


def rate_examples(examples: Sequence[Example], corpus: Corpus, seed: int = 0) -> list[Example]:
    """Replace the HAAQI of each sound by the mean of `_RATERS` simulated ratings in whole marks."""
    rng = np.random.default_rng([43, seed])
    strictness = rng.normal(0, 0.3, 40)
    rated = []
    for example, processed in zip(examples, render_waveforms(examples, corpus), strict=True):
        row = example.source
        assert isinstance(row, Row)
        music, rate = render_reference(row, corpus)
        amplified = nal_r(music.astype(np.float32), rate, Audiogram(row.audiogram)).astype(np.float64)
        clean = resample_to_front_end(amplified, rate, row.duration).astype(np.float64)
        marks = MOS.of_score(simulate_quality(clean, processed.astype(np.float64)))
        own = marks + rng.choice(strictness, _RATERS, replace=False) + rng.normal(0, 0.5, _RATERS)
        rated.append(replace(example, score=MOS.to_score(float(np.clip(np.round(own), MOS.low, MOS.high).mean()))))
    return rated


def measure(
    music: Path, table: Path, work: Path, count: int, config: MosConfig, on_progress: Progress = no_progress
) -> dict[str, Any]:
    """Rate the first rows of the split valid, and tune the shipped nano to the ratings.

    Args:
        music: folder of clean music with its CLIPS.csv.
        table: folder of the label table.
        work: folder for features, the run directory and the results.
        count: number of rows.
        config: options of the tuning.
        on_progress: called with the progress.

    Returns:
        the agreement of HAAQI itself with the ratings, and the metrics of the tuning.
    """
    corpus = Corpus(music)
    labelled = load_table_examples(table, resolve_table(table, "valid", corpus), count)
    rated = rate_examples(labelled, corpus)
    haaqi, ratings = (np.array([example.score for example in part]) for part in (labelled, rated))
    data = TrainingData(rated, [], FeatureCache(work / "features"), corpus)
    tuned = tune(Nano.shipped(), config, data, work, MOS, training_callbacks("tuning", on_progress))
    results = {"haaqi_itself": agreement(haaqi, ratings)._asdict(), **tuned.metrics}
    write_json(results, work / RESULTS_FILE)
    return results


def format_lines(results: dict[str, Any]) -> list[str]:
    """Format the results as text."""
    lines = [f"HAAQI itself: LCC {results['haaqi_itself']['lcc']:.3f} with the simulated ratings"]
    for name in ("before", "line", "after"):
        metrics = results[name]
        lines.append(f"{name:>6}: LCC {metrics['lcc']:.3f}, SRCC {metrics['srcc']:.3f}, MSE {metrics['mse']:.3f}")
    for name in ("after_against_before", "after_against_line"):
        change = results[name]
        lines.append(
            f"{name.replace('_', ' ')}, 95%: LCC {change['lcc']}, SRCC {change['srcc']}, MSE {change['mse']}; "
            f"p of equal LCCs {change['lcc_p']:.2g}, of equal errors {change['error_p']:.2g}"
        )
    return lines
