"""Streaming section: time of a hop, real-time factor, memory, and equality with the offline score, on one thread.

A hop is 160 ms. It is timed from the call with its samples to the updates.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Picture

from ...evaluation.timing import time_interleaved
from ...runtime import Bundle, Scorer, Tokens
from ...runtime.audiogram import Audiogram
from ...runtime.features import patches as fe
from ...runtime.features.front_ends import FEATURE_EXTRACTORS
from ...runtime.session import Session
from ...runtime.windows import PatchTokens
from ..context import LISTENER, BenchContext
from ..fresh_process import measure_peak_memory
from ..report.plots import create_axes, model_colour
from ..report.schema import Section
from ..report.section_builder import SectionBuilder
from ..studies.soak import soak

TITLE: Final = "Streaming"
_INPUTS: Final = ((fe.SAMPLE_RATE, 1), (48_000, 2))
"""sample rates in Hz and numbers of channels of the streams"""
_WINDOWS: Final = (10.0, 30.0, 60.0)
"""durations in seconds"""
_HOPS: Final = {"nano": 2_000, "nano-int8": 2_000, "folded": 300}
_QUICK_HOPS: Final = {"nano": 100, "nano-int8": 100, "folded": 30}
_SOAK_HOURS: Final = 1.0
"""hours of audio that are streamed at full speed"""
_TOLERANCE: Final = 1e-6
"""largest difference of a score that rounding may cause"""
Array = npt.NDArray[np.float32]
_STREAM_CODE: Final = f"""
import numpy as np
from haaqi_edge.runtime import Scorer

hop = np.tile(np.sin(np.arange(7680) * 0.05).astype(np.float32)[:, None] * 0.1, (1, 2))
with Scorer(sys.argv[2], threads=1).stream("{LISTENER}", 48_000, window=10.0) as stream:
    for _ in range(400):
        stream.accept_waveform(hop)
    stream.input_finished()
"""


def measure(context: BenchContext) -> Section:
    """Stream noise through each model that can stream."""
    builder, quick = SectionBuilder("streaming", TITLE), context.options.quick
    bundles = {"nano": Bundle("nano"), "nano-int8": Bundle("nano-int8"), "folded": context.folded_student}
    rows, memory = [], []
    for name, bundle in bundles.items():
        for window in _WINDOWS[:1] if quick else _WINDOWS:
            context.on_progress(f"streaming: {name}, window of {window:g} s", 0, 0)
            hops = (_QUICK_HOPS if quick else _HOPS)[name]
            found = context.store.load_or_measure(
                f"streaming/{name}, {window:g} s",
                (hops, context.model_descriptions),
                lambda of=(bundle, window, hops): _time_streams(*of),  # type: ignore[misc]
            )
            rows += [_add_hop_times(builder, name, window, what, seconds) for what, seconds in found["hops"].items()]
            parts = {
                part: builder.add_timing(f"{name}/{window:g}s/{part}", f"{name}, window {window:g} s: {part}", seconds)
                for part, seconds in found["parts"].items()
            }
            rows[-1][-1] = ", ".join(f"{part} {figure.value:.2f}" for part, figure in parts.items())
        context.on_progress(f"streaming: {name}, equality and memory", 0, 0)
        difference = max_score_difference(
            Scorer(bundle.folder, threads=1), _WINDOWS[0], (2 if quick else 3) * _WINDOWS[0]
        )
        builder.add_exact(
            f"{name}/difference", f"{name}: largest difference of a score from offline", difference, better="lower"
        )
        builder.add_target(
            f"{name}: a streamed score equals the offline score", f"{name}/difference", "at most", _TOLERANCE
        )
        peaks = [measure_peak_memory(_STREAM_CODE, str(bundle.folder)) for _ in range(1 if quick else 3)]
        peak = builder.add_measurements(
            f"{name}/peak", f"{name}: peak memory of a stream's process", peaks, of="processes", unit="MB"
        )
        memory.append([name, f"{difference:.1e}", f"{peak.value:.1f}"])
    builder.add_table(
        "A hop of 160 ms, from audio to score",
        ["", "window", "input", "ms (95%)", "p99 ms", "real-time factor", "parts, ms"],
        rows,
        "Once the window is full; one thread. The real-time factor is the mean time over 160 ms.",
    )
    builder.add_table(
        "Equality with offline scores, and memory",
        ["", "largest difference of a score", "peak MB, 48 kHz stereo"],
        memory,
    )
    if quick:
        builder.add_missing("an hour at full speed, windows of 30 and 60 s", "a quick run has no time for them")
    elif not Path("/proc/self/status").exists():
        builder.add_missing("an hour at full speed", "memory is read from Linux's /proc")
    else:
        _add_soak(context, builder)
    return builder.build()


def _time_streams(bundle: Bundle, window: float, hops: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each hop, by input (`hops`), and of each run of a part of a hop (`parts`)."""
    scorer = Scorer(bundle.folder, threads=1)
    return {
        "hops": {
            f"{rate / 1000:g} kHz, {channels} channel{'s' if channels > 1 else ''}": time_hops(
                scorer, rate, channels, window, hops
            ).tolist()
            for rate, channels in _INPUTS
        },
        "parts": time_parts(bundle, scorer, window, min(hops, 300)),
    }


def _add_hop_times(builder: SectionBuilder, name: str, window: float, what: str, seconds: list[float]) -> list[str]:
    """Add the times of hops, and return a row of the table; its last cell is empty."""
    key = f"{name}/{window:g}s/{what}"
    hop = builder.add_timing(key, f"{name}, window {window:g} s, {what}: a hop", seconds)
    real_time_factor = float(np.mean(seconds)) / fe.PATCH_SECONDS
    builder.add_estimate(
        f"{key}/real-time factor",
        f"{name}, window {window:g} s, {what}: real-time factor",
        real_time_factor,
        better="lower",
    )
    tail = 1e3 * float(np.quantile(seconds, 0.99))
    time_text = f"{hop.value:.2f} ({hop.low:.2f} to {hop.high:.2f})"
    return [name, f"{window:g} s", what, time_text, f"{tail:.2f}", f"{real_time_factor:.4f}", ""]


def _add_soak(context: BenchContext, builder: SectionBuilder) -> None:
    """Add the growth of memory and the drift of scores over an hour of audio."""
    context.on_progress("streaming: an hour at full speed", 0, 0)
    found = context.store.load_or_measure(
        "streaming/soak", _SOAK_HOURS, lambda: soak(Scorer("nano", threads=1), _SOAK_HOURS)._asdict()
    )
    builder.add_estimate(
        "nano/soak/growth", "nano: growth of memory over an hour after its first minute", found["growth"], "MB", "lower"
    )
    builder.add_exact("nano/soak/drift", "nano: drift of scores over an hour", found["drift"], better="lower")
    builder.add_table(
        f"{_SOAK_HOURS:g} hour of audio at full speed",
        ["", "growth after the first minute, MB", "largest drift of a score", "ms per hop, first and last"],
        [
            [
                "nano",
                f"{found['growth']:.2f}",
                f"{found['drift']:.1e}",
                f"{1e3 * found['first']:.2f}, {1e3 * found['last']:.2f}",
            ]
        ],
    )


def plot(section: Section) -> dict[str, tuple[Picture, str]]:
    """Plot the distribution of the times of a hop."""
    times = {
        key: series.values for key, series in section.series.items() if "kHz" in key and key.split("/")[1] == "10s"
    }
    picture, ax = create_axes(size=(9.0, 1.2 + 0.45 * len(times)))
    boxes = ax.boxplot(
        list(times.values()),
        orientation="horizontal",
        whis=(1, 99),
        showfliers=False,
        patch_artist=True,
        widths=0.6,
        medianprops={"color": "black"},
    )
    for box, key in zip(boxes["boxes"], times, strict=True):
        box.set_facecolor(model_colour(key.split("/")[0]))
    ax.set_yticks(range(1, len(times) + 1), [f"{key.split('/')[0]}, {key.split('/')[2]}" for key in times])
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="ms")
    ax.axvline(1e3 * fe.PATCH_SECONDS, color="#b42318", linestyle="--", linewidth=1)
    caption = (
        "Time of a hop with a window of 10 s (box: quartiles, whiskers: 1st to 99th percentile); dashed: real time."
    )
    return {"streaming": (picture, caption)}


def _white_noise(rate: int, channels: int, seconds: float) -> Array:
    """Return white noise with an RMS of 0.1, float32 [n, channels]."""
    return 0.1 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels)).astype(np.float32)


def time_hops(scorer: Scorer, rate: int, channels: int, window: float, hops: int) -> npt.NDArray[np.float64]:
    """Return the seconds of each of `hops` hops, from audio to score, after the window is full."""
    step = int(rate * fe.PATCH_SECONDS)
    sound = _white_noise(rate, channels, 20.0)
    chunks = [sound[at : at + step] for at in range(0, len(sound) - step + 1, step)]
    seconds = np.empty(hops)
    with scorer.stream(LISTENER, rate, window=window) as stream:
        before = round(stream.window / fe.PATCH_SECONDS) + 10
        for index in range(before + hops):
            chunk = chunks[index % len(chunks)]
            started = time.perf_counter()
            stream.accept_waveform(chunk)
            if index >= before:
                seconds[index - before] = time.perf_counter() - started
    return seconds


def time_parts(bundle: Bundle, scorer: Scorer, window: float, runs: int) -> dict[str, list[float]]:
    """Time the parts of a hop: front end and encoder on a patch, the head on a window.

    Returns:
        seconds of each run, by part.
    """
    card = scorer.card
    sound = _white_noise(fe.SAMPLE_RATE, 1, window + 1)[:, 0]
    patch = sound[: fe.PATCH_LENGTH]
    tokens = scorer.encode((sound, fe.SAMPLE_RATE)).encoded.tokens[: int(window / fe.PATCH_SECONDS + 1e-9)]
    listener = Audiogram.named(LISTENER).array()[None]
    front_end = FEATURE_EXTRACTORS[card.front_end_name]
    features = front_end(patch)
    encoder, head = (Session(bundle.path(role), threads=1) for role in ("encoder", "head"))
    parts: dict[str, Callable[[], object]] = {
        "front end": lambda: front_end(patch),
        "encoder": lambda: encoder.run(**{card.encoder_input: features}),
        "head": lambda: head.run(tokens=tokens.reshape(1, -1, card.width), audiogram=listener),
    }
    return time_interleaved(parts, runs)


def max_score_difference(scorer: Scorer, window: float, seconds: float) -> float:
    """Return the largest difference of a score between a stream and the offline head on the same patches.

    The stream gets its samples in chunks of random sizes.

    Args:
        scorer: the model.
        window: seconds of a window.
        seconds: duration of the audio.
    """
    sound = _white_noise(44_100, 2, seconds)
    tokens = scorer.encode((sound, 44_100))
    largest, at = 0.0, 0
    with scorer.stream(LISTENER, 44_100, window=window) as stream:
        length = round(stream.window / fe.PATCH_SECONDS)
        sizes = np.random.default_rng(0).integers(1, 9_000, len(sound))
        chunks = np.split(sound, np.cumsum(sizes[np.cumsum(sizes) < len(sound)]))
        for at, update in enumerate(stream.updates(chunks), 1):
            expected = scorer.score(_part(tokens, max(0, at - length), at), LISTENER, window="whole").score
            assert update.score is not None
            largest = max(largest, abs(update.score - expected))
        total = stream.summary().score
        assert total is not None
        assert at == len(tokens.encoded.silent)
    return max(largest, abs(total - scorer.score((sound, 44_100), LISTENER, window=window).score))


def _part(tokens: Tokens, start: int, stop: int) -> Tokens:
    encoded = tokens.encoded
    return dataclasses.replace(tokens, encoded=PatchTokens(encoded.tokens[start:stop], encoded.silent[start:stop]))
