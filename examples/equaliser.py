"""An equaliser, trained with HAAQI as a loss.

Music with too little treble (`--chain`: it falls by 5 dB per octave) passes an equaliser and is amplified by NAL-R for
the listener. The equaliser learns its gains from nano's prediction of the quality. It has neither the clean music nor
the slope. Then HAAQI itself compares held-out pieces with the clean music. Left: the training. Middle: HAAQI of each
held-out piece, before and after the equaliser. Right: the gains.

    python examples/equaliser.py --picture equaliser.png                    # synthetic music, a minute
    python examples/equaliser.py MUSIC --held-out 32 --listener N3          # recorded music

A system that is trained in this way can learn to mislead the network. With a noise gate in 24 bands instead of the
equaliser, nano's prediction rose from 0.34 to 0.70, while HAAQI fell from 0.28 to 0.21. Give your system few
parameters, and measure the result with another method.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from haaqi_edge.haaqi.index import Listener, Reference
from haaqi_edge.model import HAAQILoss
from haaqi_edge.runtime.audio.levels import LEVEL1, amplitude, nal_r_filter
from haaqi_edge.runtime.audiogram import Audiogram
from haaqi_edge.training.corpus import synthetic
from haaqi_edge.training.corpus.clips import Corpus, Split
from haaqi_edge.training.data.features import resample_to_front_end
from haaqi_edge.training.degradations import degrade
from haaqi_edge.training.degradations.signals import rms
from haaqi_edge.training.statistics import bootstrap_interval
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 16_000
SECONDS = 5.2
LEVEL = 65.0
"""dB SPL of the music before amplification"""
CENTRES = [63, 125, 250, 500, 1000, 2000, 4000, 8000]
"""Hz, of the equaliser's bands"""
ROUGHNESS = 2e-3
"""weight of the mean squared second difference of the gains, dB^2"""
HELD_OUT_PIECES = 1_000
"""number of the first synthetic piece that is held out"""


class Equaliser(nn.Module):
    """Gains at `CENTRES`, linear in dB over log frequency between them. They start at 0 dB. The level is kept."""

    places: Tensor

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.zeros(len(CENTRES)))
        octaves = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 1.0))
        places = np.stack([np.interp(octaves, np.log2(CENTRES), unit) for unit in np.eye(len(CENTRES))], axis=1)
        self.register_buffer("places", torch.tensor(places, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Filter signals [batch, samples]."""
        factors = 10 ** (self.places @ self.gains / 20)
        y = torch.fft.irfft(torch.fft.rfft(x) * factors, n=x.shape[1])
        return y * (x.square().mean(1, keepdim=True) / y.square().mean(1, keepdim=True)).sqrt()


class Amplifier(nn.Module):
    """NAL-R for a listener, without its delay."""

    taps: Tensor

    def __init__(self, listener: Audiogram) -> None:
        super().__init__()
        self.register_buffer("taps", torch.tensor(nal_r_filter(listener, RATE)[::-1].copy(), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Amplify signals [batch, samples]."""
        return F.conv1d(x[:, None], self.taps[None, None], padding=len(self.taps) // 2)[:, 0]


def load_corpus_clips(corpus: Corpus, split: Split, count: int) -> list[np.ndarray]:
    """Return excerpts of a corpus [samples at RATE], from different sources as far as possible."""
    rng = np.random.default_rng(5)
    clips = [clip for clip in corpus.of(split) if clip.duration > SECONDS + 1]
    order = rng.permutation(len(clips))
    sources = [clips[place].source for place in order]
    first = sorted(range(len(order)), key=lambda i: sources[:i].count(sources[i]))[:count]
    excerpts = []
    for place in first:
        clip = clips[order[place]]
        x, rate = corpus.excerpt(clip.path, float(rng.uniform(0, clip.duration - SECONDS - 0.1)), SECONDS)
        excerpts.append(resample_to_front_end(x, rate, SECONDS).astype(np.float64))
    return excerpts


def synthesize_clips(first: int, count: int) -> list[np.ndarray]:
    """Return synthetic pieces [samples at RATE]."""
    pieces = [synthetic.synthesize_piece(number, SECONDS) for number in range(first, first + count)]
    return [resample_to_front_end(x, synthetic.RATE, SECONDS).astype(np.float64) for x in pieces]


def degrade_clips(clips: Sequence[np.ndarray], chain: str) -> tuple[np.ndarray, np.ndarray]:
    """Return clean and degraded clips, float32 [count, samples] each, at `LEVEL`. Silent clips are left out."""
    clean = [x * amplitude(LEVEL - LEVEL1) / rms(x) for x in clips if rms(x) > 0]
    degraded = [degrade(x, RATE, chain, seed) for seed, x in enumerate(clean)]
    return np.stack(clean).astype(np.float32), np.stack(degraded).astype(np.float32)


def train(equaliser: Equaliser, amplifier: Amplifier, loss: HAAQILoss, degraded: Tensor, steps: int) -> list[float]:
    """Train with Adam and a cosine schedule. Return the loss of each step."""
    optimizer = torch.optim.Adam(equaliser.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order, history = torch.Generator().manual_seed(0), list[float]()
    for step in range(steps):
        batch = degraded[torch.randperm(len(degraded), generator=order)[:8]]
        value = loss(amplifier(equaliser(batch)))
        rough = equaliser.gains.diff(n=2).square().mean()  # prefer smooth gains
        optimizer.zero_grad()
        (value + ROUGHNESS * rough).backward()
        optimizer.step()
        schedule.step()
        history.append(value.item())
        if step % 10 == 9:
            print(f"step {step + 1} of {steps}: predicted HAAQI {1 - np.mean(history[-10:]):.3f}", flush=True)
    return history


def haaqi_scores(clean: np.ndarray, presented: np.ndarray, listener: Audiogram) -> np.ndarray:
    """Compute HAAQI [clips] of presented sounds."""
    pairs = zip(clean.astype(np.float64), presented.astype(np.float64), strict=True)
    return np.array([Reference(c, RATE, Listener(listener, level1=LEVEL1)).score(p, RATE).score for c, p in pairs])


def draw(path: Path, history: Sequence[float], before: np.ndarray, after: np.ndarray, gains: Tensor, name: str) -> None:
    """Draw the training, HAAQI before and after of each held-out clip, and the learned gains."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    curve, pairs, response = figure.subplots(1, 3)
    curve.plot(1 - np.array(history), color="0.75", linewidth=1)
    curve.plot(np.arange(7, len(history) - 7), 1 - np.convolve(history, np.ones(15) / 15, "valid"), color="tab:blue")
    curve.set(xlabel="step", ylabel="predicted HAAQI", title="training music")
    pairs.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    pairs.scatter(before, after, s=14)
    pairs.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="before", ylabel="after")
    pairs.set_title(f"HAAQI of held-out music: {before.mean():.3f} to {after.mean():.3f}")
    response.semilogx(CENTRES, gains - gains[CENTRES.index(1000)], marker=".")
    response.set(xlabel="Hz", ylabel="dB", title=f"gains learned for {name}")
    response.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "music", type=Path, nargs="?", help="folder of clean music with CLIPS.csv (splits train and test)"
    )
    parser.add_argument("--listener", default="N3", help="audiogram")
    parser.add_argument("--model", default="nano", help="nano, or a checkpoint")
    parser.add_argument("--chain", default="tilt(slope=-5)", help="degradations of the music")
    parser.add_argument("--steps", type=int, default=60, help="number of training steps")
    parser.add_argument("--clips", type=int, default=48, help="number of clips for training")
    parser.add_argument("--held-out", type=int, default=6, help="number of clips for the evaluation")
    parser.add_argument("--picture", type=Path, help="PNG file to write")
    args = parser.parse_args()

    torch.manual_seed(0)
    listener = Audiogram.parse(args.listener)
    if args.music:
        corpus = Corpus(args.music)
        train_clips = load_corpus_clips(corpus, "train", args.clips)
        test_clips = load_corpus_clips(corpus, "test", args.held_out)
    else:
        train_clips = synthesize_clips(0, args.clips)
        test_clips = synthesize_clips(HELD_OUT_PIECES, args.held_out)
    _, degraded = degrade_clips(train_clips, args.chain)
    equaliser, amplifier = Equaliser(degraded.shape[1]), Amplifier(listener)
    history = train(equaliser, amplifier, HAAQILoss(args.model, listener), torch.from_numpy(degraded), args.steps)

    clean, test = degrade_clips(test_clips, args.chain)
    with torch.inference_mode():
        presented = [amplifier(x).numpy() for x in (torch.from_numpy(test), equaliser(torch.from_numpy(test)))]
    before, after = (haaqi_scores(clean, x, listener) for x in presented)
    change = after - before
    low, high = bootstrap_interval(np.mean, change, resamples=10_000)
    print(
        f"HAAQI of {len(change)} held-out clips for {listener.name}: {before.mean():.3f} before, {after.mean():.3f} "
        f"after; change {change.mean():+.3f} (95%: {low:+.3f} to {high:+.3f}), better in {np.mean(change > 0):.0%}"
    )
    if args.picture:
        draw(args.picture, history, before, after, equaliser.gains.detach(), f"{listener.name}, {args.chain}")


if __name__ == "__main__":
    main()
