"""Test whether tuning to ratings helps: nano is tuned to a simulated listener whose ratings differ from HAAQI.

    haaqi-edge bench study mos MUSIC --work runs/mos-simulated

The listener (`opinion`) perceives only three things: noise and distortion (the SNR against the clean, amplified music),
lost bandwidth (in octaves), and clipping (the loss of crest factor). Their annoyances add up. Quality falls
exponentially with the sum, and is then shifted towards the upper end, because people rarely give the worst marks.
Raters differ in strictness, and each rating has an error of half a mark. The listener contains no auditory model, and
hearing loss has an effect only through the amplification.
"""

from __future__ import annotations

import argparse
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
from ...training.data.examples import Example, of_table, waveforms
from ...training.data.feature_cache import FeatureCache
from ...training.data.features import at_front_end
from ...training.data.rendering import reference_of
from ...training.data.rows import Row
from ...training.degradations.signals import rms
from ...training.statistics import agreement
from ...training.tasks.mos import FREEZES, MosConfig, Tuned, tune
from ...training.tasks.pipelines import Data
from ..program import told_in_a_line
from .distillation import TABLE, told

MOS: Final = Scale("MOS", 1.0, 5.0)
RATERS: Final = 6
Array = npt.NDArray[np.float64]


def opinion(clean: Array, heard: Array) -> float:
    """Return the quality of a signal, 0 to 1, compared with the clean, amplified music.

    Args:
        clean: float64 [samples] at 16 kHz, the clean, amplified music.
        heard: float64 [samples] at 16 kHz, the signal to rate.
    """
    gain = float(clean @ heard / max(float(heard @ heard), 1e-12))
    residue = clean - gain * heard
    snr = 10 * np.log10(float(np.mean(clean**2)) / max(float(np.mean(residue**2)), 1e-12))
    noise = np.clip((25 - snr) / 30, 0, 1)
    lost = np.clip(np.log2(_width(clean) / _width(heard)), 0, 4) / 4
    crest = [float(np.quantile(np.abs(x), 0.999)) / rms(x) for x in (clean, heard)]
    clipped = np.clip(1 - crest[1] / crest[0], 0, 1)
    return float(np.exp(-(1.6 * noise + 1.2 * lost + 2.0 * clipped)) ** 0.7)


def _width(x: Array) -> float:
    """Return the frequency in Hz below which 99% of the power lies."""
    frequencies, power = (np.asarray(found) for found in signal.welch(x, SAMPLE_RATE, nperseg=1024))
    below = np.searchsorted(np.cumsum(power), 0.99 * power.sum())
    return float(frequencies[below]) + 1.0


def rated(examples: Sequence[Example], corpus: Corpus, seed: int = 0) -> list[Example]:
    """Replace the HAAQI of each sound by the mean of `RATERS` simulated ratings in whole marks."""
    rng = np.random.default_rng([43, seed])
    strictness = rng.normal(0, 0.3, 40)
    found = []
    for example, heard in zip(examples, waveforms(examples, corpus), strict=True):
        row = example.source
        assert isinstance(row, Row)
        music, rate = reference_of(row, corpus)
        amplified = nal_r(music.astype(np.float32), rate, Audiogram(row.audiogram)).astype(np.float64)
        clean = at_front_end(amplified, rate, row.duration).astype(np.float64)
        marks = MOS.of_score(opinion(clean, heard.astype(np.float64)))
        own = marks + rng.choice(strictness, RATERS, replace=False) + rng.normal(0, 0.5, RATERS)
        found.append(replace(example, score=MOS.to_score(float(np.clip(np.round(own), MOS.low, MOS.high).mean()))))
    return found


def measure(music: Path, table: Path, work: Path, count: int, config: MosConfig) -> tuple[dict[str, Any], Tuned]:
    """Rate the first rows of the split valid, and tune the shipped nano to the ratings.

    Args:
        music: folder of clean music with its CLIPS.csv.
        table: folder of the label table.
        work: folder for features and the run directory.
        count: number of rows.
        config: options of the tuning.

    Returns:
        the results, and the tuned network.
    """
    corpus = Corpus(music)
    heard = of_table(table, "valid", count)
    examples = rated(heard, corpus)
    haaqi, ratings = (np.array([e.score for e in part]) for part in (heard, examples))
    data = Data(examples, [], FeatureCache(work / "features"), corpus)
    tuned = tune(Nano.from_checkpoint(), config, data, work, MOS, told("tuning"))
    return {"haaqi_itself": agreement(haaqi, ratings)._asdict(), **tuned.figures}, tuned


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path, help="folder of clean music with its CLIPS.csv")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--work", type=Path, default=Path("runs/mos-simulated"))
    parser.add_argument("--ratings", type=int, default=800)
    parser.add_argument("--freeze", choices=FREEZES, default=MosConfig.freeze)
    parser.add_argument("--lr", type=float, default=MosConfig.lr)
    args = parser.parse_args()
    config = MosConfig(freeze=args.freeze, lr=args.lr)
    with told_in_a_line():
        found, _ = measure(args.music, args.table, args.work, args.ratings, config)
    write_json(found, args.work / "figures.json")
    print(f"HAAQI itself follows the simulated ratings with LCC {found['haaqi_itself']['lcc']:.3f}")
    for name in ("before", "line", "after"):
        print(f"{name:>6}: LCC {found[name]['lcc']:.3f}, SRCC {found[name]['srcc']:.3f}, MSE {found[name]['mse']:.3f}")
    for name in ("after_against_before", "after_against_line"):
        change = found[name]
        print(
            f"{name.replace('_', ' ')}, 95%: LCC {change['lcc']}, SRCC {change['srcc']}, MSE {change['mse']}; "
            f"p of equal LCCs {change['lcc_p']:.2g}, of equal errors {change['error_p']:.2g}"
        )


if __name__ == "__main__":
    main()
