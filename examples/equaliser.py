"""Train an equaliser with HAAQILoss, and let HAAQI itself say whether it helped.

    python examples/equaliser.py MUSIC --listener N3 --picture docs/equaliser.png

Music comes over a dull line (`--chain`), passes an equaliser, and is amplified by NAL-R for the listener. The
equaliser learns its gains from nano's judgement of what reaches the ear; it is never shown the clean music, nor told
what the line does. Held-out pieces, of other sources, are judged by HAAQI, which compares with the clean music and
knows nothing of the network.

A network that judges without the original can be fooled by whatever learns from it: give it few freedoms, and measure
with something else. A noise gate in 24 bands, in the equaliser's place, brought nano's prediction from 0.34 to 0.70 and
HAAQI from 0.28 down to 0.21.
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
from haaqi_edge.training.corpus.clips import Corpus, Split
from haaqi_edge.training.data.features import resample_to_front_end
from haaqi_edge.training.degradations import degrade
from haaqi_edge.training.degradations.signals import rms
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
"""weight of the mean squared bend of the gains, dB^2"""


class Equaliser(nn.Module):
    """Gains at `CENTRES`, linear in dB over log frequency between them; it begins as a wire, and keeps the level."""

    places: Tensor

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.zeros(len(CENTRES)))
        octaves = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 1.0))
        places = np.stack([np.interp(octaves, np.log2(CENTRES), unit) for unit in np.eye(len(CENTRES))], axis=1)
        self.register_buffer("places", torch.tensor(places, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, samples] -> the same"""
        factors = 10 ** (self.places @ self.gains / 20)
        y = torch.fft.irfft(torch.fft.rfft(x) * factors, n=x.shape[1])
        return y * (x.square().mean(1, keepdim=True) / y.square().mean(1, keepdim=True)).sqrt()


class Amplifier(nn.Module):
    """NAL-R for a listener, its delay taken out."""

    taps: Tensor

    def __init__(self, listener: Audiogram) -> None:
        super().__init__()
        self.register_buffer("taps", torch.tensor(nal_r_filter(listener, RATE)[::-1].copy(), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, samples] -> the same"""
        return F.conv1d(x[:, None], self.taps[None, None], padding=len(self.taps) // 2)[:, 0]


def sounds(corpus: Corpus, split: Split, count: int, chain: str) -> tuple[np.ndarray, np.ndarray]:
    """Clean and degraded music float32 [count, samples], every clip of another piece as far as there are some."""
    rng = np.random.default_rng(5)
    clips = [clip for clip in corpus.of(split) if clip.duration > SECONDS + 1]
    order = rng.permutation(len(clips))
    sources = [clips[place].source for place in order]
    first = sorted(range(len(order)), key=lambda i: sources[:i].count(sources[i]))[:count]
    clean = []
    for place in first:
        clip = clips[order[place]]
        x, rate = corpus.excerpt(clip.path, float(rng.uniform(0, clip.duration - SECONDS - 0.1)), SECONDS)
        x = resample_to_front_end(x, rate, SECONDS).astype(np.float64)
        clean.append(x * amplitude(LEVEL - LEVEL1) / rms(x) if rms(x) > 0 else x)
    clean = [x for x in clean if rms(x) > 0]
    heard = [degrade(x, RATE, chain, seed) for seed, x in enumerate(clean)]
    return np.stack(clean).astype(np.float32), np.stack(heard).astype(np.float32)


def train(equaliser: Equaliser, amplifier: Amplifier, loss: HAAQILoss, heard: Tensor, steps: int) -> list[float]:
    """Adam with a cosine schedule; gives the loss of every step."""
    optimizer = torch.optim.Adam(equaliser.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order, history = torch.Generator().manual_seed(0), list[float]()
    for step in range(steps):
        batch = heard[torch.randperm(len(heard), generator=order)[:8]]
        worth = loss(amplifier(equaliser(batch)))
        rough = equaliser.gains.diff(n=2).square().mean()  # an octave more or less alone is not what lines do
        optimizer.zero_grad()
        (worth + ROUGHNESS * rough).backward()
        optimizer.step()
        schedule.step()
        history.append(worth.item())
        if step % 10 == 9:
            print(f"step {step + 1} of {steps}: predicted HAAQI {1 - np.mean(history[-10:]):.3f}", flush=True)
    return history


def haaqi_scores(clean: np.ndarray, presented: np.ndarray, listener: Audiogram) -> np.ndarray:
    """HAAQI [clips] of presented sounds against the clean music."""
    pairs = zip(clean.astype(np.float64), presented.astype(np.float64), strict=True)
    return np.array([Reference(c, RATE, Listener(listener, level1=LEVEL1)).score(p, RATE).score for c, p in pairs])


def draw(path: Path, history: Sequence[float], before: np.ndarray, after: np.ndarray, gains: Tensor, name: str) -> None:
    """Training, HAAQI before and after of every held-out clip, and what the equaliser has become."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    curve, pairs, response = figure.subplots(1, 3)
    curve.plot(1 - np.array(history), color="0.75", linewidth=1)
    curve.plot(np.arange(7, len(history) - 7), 1 - np.convolve(history, np.ones(15) / 15, "valid"), color="tab:blue")
    curve.set(xlabel="step", ylabel="HAAQI as the network predicts it", title="training music")
    pairs.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    pairs.scatter(before, after, s=14)
    pairs.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="as it came", ylabel="equalised")
    pairs.set_title(f"HAAQI itself, held-out music: {before.mean():.3f} to {after.mean():.3f}")
    response.semilogx(CENTRES, gains - gains[CENTRES.index(1000)], marker=".")
    response.set(xlabel="Hz", ylabel="dB", title=f"what it learned for {name}")
    response.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path, help="folder of clean music with its CLIPS.csv (splits train and test)")
    parser.add_argument("--listener", default="N3")
    parser.add_argument("--model", default="nano", help="nano, or a checkpoint of the family")
    parser.add_argument("--chain", default="tilt(slope=-5)", help="what happens to the music")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--clips", type=int, default=48, help="to train on")
    parser.add_argument("--held-out", type=int, default=32, help="to judge on")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()

    torch.manual_seed(0)
    corpus, listener = Corpus(args.music), Audiogram.parse(args.listener)
    _, heard = sounds(corpus, "train", args.clips, args.chain)
    equaliser, amplifier = Equaliser(heard.shape[1]), Amplifier(listener)
    history = train(equaliser, amplifier, HAAQILoss(args.model, listener), torch.from_numpy(heard), args.steps)

    clean, held = sounds(corpus, "test", args.held_out, args.chain)
    with torch.inference_mode():
        presented = [amplifier(x).numpy() for x in (torch.from_numpy(held), equaliser(torch.from_numpy(held)))]
    before, after = (haaqi_scores(clean, x, listener) for x in presented)
    change = after - before
    rng = np.random.default_rng(0)
    means = change[rng.integers(0, len(change), (10_000, len(change)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    print(
        f"HAAQI of {len(change)} held-out clips for {listener.name}: {before.mean():.3f} as they came, "
        f"{after.mean():.3f} equalised; change {change.mean():+.3f} (95%: {low:+.3f} to {high:+.3f}), "
        f"better in {np.mean(change > 0):.0%}"
    )
    if args.picture:
        draw(args.picture, history, before, after, equaliser.gains.detach(), f"{listener.name}, {args.chain}")


if __name__ == "__main__":
    main()
