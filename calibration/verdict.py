"""Describe a quantized model in one or two lines that state only what was measured."""

from __future__ import annotations

from .quantization import Candidate, Quantized
from .speed import Speed
from .targets import Target


def verdict(candidate: Candidate, fp32_bytes: int, target: Target) -> str:
    """Describe a candidate in words: speed, size, change of scores.

    Args:
        candidate: the int8 model.
        fp32_bytes: size of the fp32 graphs.
        target: the device that the candidate is for.
    """
    return (
        f"{candidate.method} int8: {_speed(candidate.speed, target)}, {fp32_bytes / candidate.size:.1f} times smaller "
        f"({candidate.size / 1e6:.2f} MB), 99% of scores move by at most {candidate.found.change['p99']:.2g}, "
        f"none by more than {candidate.found.change['largest']:.2g}"
    )


def advice(quantized: Quantized) -> list[str]:
    """List further notes for the user, one line each."""
    chosen = quantized.chosen
    lines = []
    if chosen.speed is not None and not chosen.speed.faster:
        lines.append(f"{chosen.method} int8 saves memory here and no time: where time counts, use the fp32 bundle")
    elif chosen.speed is not None and chosen.speed.whole_ratio.low <= 1:
        lines.append(
            f"the network is faster, scoring is not: of {1e3 * chosen.speed.whole.median:.1f} ms for 10 s of audio the "
            f"network takes {1e3 * chosen.speed.network.median:.1f}, the front end the rest"
        )
    if not quantized.card.streamable:
        lines.append("it can't stream: a dynamic encoder's scales depend on what it computes at once (--method static)")
    lines += [
        f"{one.group} meets values {100 * one.by:.0f}% beyond its calibrated range and clips them, "
        "which the measured change includes"
        for one in chosen.beyond
    ]
    return [*lines, *quantized.warnings]


def _speed(speed: Speed | None, target: Target) -> str:
    if speed is None:
        return f"speed not measured (this machine is not the target, {target.name})"
    ratio = speed.ratio
    interval = f"95%: {ratio.low:.2f} to {ratio.high:.2f}"
    if speed.faster:
        return f"{ratio.median:.2f} times faster than fp32 ({interval})"
    what = "slower than" if speed.slower else "not faster than"
    return f"{what} fp32 ({ratio.median:.2f} times its speed, {interval})"
