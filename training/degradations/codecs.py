"""Processing of music on its way from a phone to a hearing aid: AAC, Bluetooth's SBC, packet loss, resampling.

All results are aligned in time with the input: the known delays of codecs are removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numba
import numpy as np
import numpy.typing as npt
import soxr
from scipy import signal

from .chains import Array, degradation
from .distributions import Ranges, log_uniform, one_of

if TYPE_CHECKING:
    import av

RANGES: Final[Ranges] = {
    "aac": {"kbps": log_uniform(8, 128)},
    "sbc": {"hz": one_of(16_000, 32_000, 44_100, 48_000), "bitpool": log_uniform(3, 31)},
    "packet_loss": {
        "percent": log_uniform(0.3, 30),
        "ms": one_of(3.75, 7.5, 10, 20),
        "burst": log_uniform(1, 8),
        "concealment": one_of(0, 1, 2),
    },
    "resample_pass": {
        "hz": one_of(16_000, 22_050, 32_000, 44_100, 48_000),
        "method": one_of(*range(9)),
    },
}

# AAC

AAC_RATES: Final = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""rates in Hz at which music is encoded without resampling; other music is resampled to the last one"""
AAC_FRAME: Final = 1024
"""samples"""
AAC_DELAY: Final = 1024
"""delay of libavcodec's encoder in samples; its decoder has none"""


@degradation(kbps=(6, 320))
def aac(x: Array, rate: int, rng: np.random.Generator, *, kbps: float) -> Array:  # noqa: ARG001
    """Encode as AAC-LC by libavcodec's encoder, mono, at a mean bit rate of about `kbps` kbit/s.

    A frame has at most 6,144 bits, so that 144 kbit/s is the highest rate at 24 kHz.
    """
    known = rate if rate in AAC_RATES else AAC_RATES[-1]
    scale = 0.9 / max(float(np.abs(x).max()), 1e-12)
    y = _encode_aac(_resample(x * scale, rate, known), known, min(kbps * 1000, 6 * known))[AAC_DELAY:]
    return fit_length(_resample(y, known, rate) / scale, len(x))


def _encode_aac(x: Array, rate: int, bits_per_second: float) -> Array:
    """Encode and decode `x` [n] in [-1, 1]. Return [`AAC_DELAY` + n or more] samples."""
    import av

    encoder = av.AudioCodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "fltp"
    encoder.bit_rate, encoder.thread_count = int(bits_per_second), 1
    encoder.open()
    decoder = av.AudioCodecContext.create("aac", "r")
    decoder.sample_rate, decoder.layout, decoder.thread_count = rate, "mono", 1
    decoder.extradata = encoder.extradata
    packets = [packet for frame in _frames(x, rate, AAC_FRAME) for packet in encoder.encode(frame)]
    packets += encoder.encode(None)
    decoded = [frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(packet)]
    decoded += [frame.to_ndarray()[0] for frame in decoder.decode(None)]
    return np.concatenate(decoded).astype(np.float64)


def _frames(x: Array, rate: int, length: int) -> Iterator[av.AudioFrame]:
    """Yield `x` [n] as frames of float32 samples. The last one is zero-padded."""
    import av

    padded = np.pad(x, (0, -len(x) % length)).astype(np.float32)
    for start in range(0, len(padded), length):
        frame = av.AudioFrame.from_ndarray(padded[None, start : start + length], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        yield frame


# SBC: Advanced Audio Distribution Profile Specification, Appendix B (Bluetooth SIG)

SBC_RATES: Final = (16_000, 32_000, 44_100, 48_000)
SUB_BANDS: Final = 8
BLOCKS: Final = 16
"""blocks of `SUB_BANDS` samples in a frame"""
SBC_DELAY: Final = 73
"""delay of both filter banks in samples"""
SBC_OFFSETS: Final = np.array(
    [
        [-2, 0, 0, 0, 0, 0, 0, 1],
        [-3, 0, 0, 0, 0, 0, 1, 2],
        [-4, 0, 0, 0, 0, 0, 1, 2],
        [-4, 0, 0, 0, 0, 0, 1, 2],
    ]
)
"""offsets of the loudness allocation, by rate and sub-band"""

# The prototype low-pass for 8 sub-bands, taps 1 to 40 of 80; tap 0 is zero and the rest mirrors these. The table of the
# specification negates every second group of 16, which the cosines below do instead.
_HALF_PROTOTYPE: Final = (
    *(1.56575398e-04, 3.43256425e-04, 5.54620202e-04, 8.23919506e-04, 1.13992507e-03, 1.47640169e-03, 1.78371725e-03),
    *(2.01182542e-03, 2.10371989e-03, 1.99454554e-03, 1.61656283e-03, 9.02154502e-04, -1.78805361e-04, -1.64973098e-03),
    *(-3.49717454e-03, -5.65949473e-03, -8.02941163e-03, -1.04584443e-02, -1.27472335e-02, -1.46525263e-02),
    *(-1.59045603e-02, -1.62208471e-02, -1.53184106e-02, -1.29371806e-02, -8.85757540e-03, -2.92408442e-03),
    *(4.91578024e-03, 1.46404076e-02, 2.61098752e-02, 3.90751381e-02, 5.31873032e-02, 6.79989431e-02, 8.29847578e-02),
    *(9.75753918e-02, 1.11196689e-01, 1.23264548e-01, 1.33264415e-01, 1.40753505e-01, 1.45389847e-01, 1.46955068e-01),
)
_PROTOTYPE: Final = np.array([0.0, *_HALF_PROTOTYPE, *_HALF_PROTOTYPE[-2::-1]])
_TAPS: Final = np.arange(len(_PROTOTYPE))[:, None]
_BANDS: Final = np.arange(SUB_BANDS) + 0.5
_ANALYSIS: Final = _PROTOTYPE[:, None] * np.cos(np.pi / SUB_BANDS * _BANDS * (_TAPS - SUB_BANDS / 2))
_SYNTHESIS: Final = -SUB_BANDS * _PROTOTYPE[:, None] * np.cos(np.pi / SUB_BANDS * _BANDS * (_TAPS + SUB_BANDS / 2))


@degradation(hz=(16_000, 48_000), bitpool=(2, 128))
def sbc(x: Array, rate: int, rng: np.random.Generator, *, hz: float, bitpool: float) -> Array:  # noqa: ARG001
    """Encode with Bluetooth's sub-band codec: mono, 8 sub-bands, 16 blocks, loudness allocation.

    Args:
        hz: sample rate of the codec, the nearest of 16, 32, 44.1 and 48 kHz. 16 kHz with a bit pool of 26 is the mSBC
            of hands-free profiles, apart from the number of blocks in a frame.
        bitpool: bits for the 8 sub-band samples of a block. A2DP recommends 19 to 31 for mono.
    """
    known = min(SBC_RATES, key=lambda known: abs(known - hz))
    scale = 0.9 * 32_768 / max(float(np.abs(x).max()), 1e-12)
    y = encode_sbc(np.round(_resample(x * scale, rate, known)), SBC_RATES.index(known), int(bitpool))
    return fit_length(_resample(y, known, rate) / scale, len(x))


def encode_sbc(pcm: Array, rate_index: int, bitpool: int) -> Array:
    """Encode and decode samples [n] on the scale of 16-bit PCM. The result [n] has no delay."""
    span = BLOCKS * SUB_BANDS
    length = len(pcm) + SBC_DELAY
    blocks = -(-length // span) * BLOCKS
    before = len(_PROTOTYPE) - SUB_BANDS  # the newest samples come last in a block's 80
    padded = np.pad(pcm, (before, blocks * SUB_BANDS - len(pcm)))
    newest_last = np.lib.stride_tricks.sliding_window_view(padded, len(_PROTOTYPE))[::SUB_BANDS]
    bands = newest_last @ _ANALYSIS[::-1]
    _quantize(bands.reshape(-1, BLOCKS, SUB_BANDS), SBC_OFFSETS[rate_index], bitpool)
    parts = (bands @ _SYNTHESIS.T).reshape(blocks, -1, SUB_BANDS)  # [block, tenth of the taps, samples]
    y = np.zeros((blocks + parts.shape[1], SUB_BANDS))
    for tenth in range(parts.shape[1]):
        y[tenth : tenth + blocks] += parts[:, tenth]
    return y.ravel()[SBC_DELAY:][: len(pcm)]


@numba.njit(cache=True)
def _quantize(frames: Array, offsets: npt.NDArray[np.int64], bitpool: int) -> None:  # pragma: no cover - compiled
    """Quantize sub-band samples [frames, blocks, bands] in place, each frame by its scale factors and bits."""
    bands = frames.shape[2]
    factors = np.empty(bands, np.int64)
    need = np.empty(bands, np.int64)
    bits = np.empty(bands, np.int64)
    for frame in frames:
        for band in range(bands):
            peak, factor = np.abs(frame[:, band]).max(), 0
            while factor < 15 and peak >= 2.0 ** (factor + 1):
                factor += 1
            factors[band] = factor
            loudness = factor - offsets[band]
            need[band] = -5 if factor == 0 else loudness // 2 if loudness > 0 else loudness
        _allocate(need, bits, bitpool)
        for band in range(bands):
            if bits[band] == 0:
                frame[:, band] = 0.0
                continue
            levels, scale = 2.0 ** bits[band] - 1.0, 2.0 ** (factors[band] + 1)
            for block in range(frame.shape[0]):
                level = np.floor((frame[block, band] / scale + 1.0) * levels / 2.0)
                level = min(max(level, 0.0), levels - 1.0)
                frame[block, band] = scale * ((2.0 * level + 1.0) / levels - 1.0)


@numba.njit(cache=True)
def _allocate(
    need: npt.NDArray[np.int64], bits: npt.NDArray[np.int64], bitpool: int
) -> None:  # pragma: no cover - compiled
    """Allocate a bit pool to sub-bands [bands] by their need (section 12.6.3 of the specification)."""
    used, last = 0, 0
    level = need.max() + 1
    while True:  # lower the level until the bits above it fill the pool
        level -= 1
        used += last
        last = 0
        for band in range(len(need)):
            if need[band] == level + 1:
                last += 2  # a sub-band starts with two bits
            elif level + 1 < need[band] < level + 16:
                last += 1
        if used + last >= bitpool:
            break
    if used + last == bitpool:
        used += last
        level -= 1
    for band in range(len(need)):
        bits[band] = 0 if need[band] < level + 2 else min(need[band] - level, 16)
    for band in range(len(need)):
        if used >= bitpool:
            return
        if 2 <= bits[band] < 16:
            bits[band] += 1
            used += 1
        elif need[band] == level + 1 and bitpool > used + 1:
            bits[band] = 2
            used += 2
    for band in range(len(need)):
        if used >= bitpool:
            return
        if bits[band] < 16:
            bits[band] += 1
            used += 1


# The radio link

SILENCE, REPETITION, SIMILARITY = 0, 1, 2
"""ways to conceal lost packets"""


@degradation(percent=(0.01, 90), ms=(1, 100), burst=(1, 100), concealment=(SILENCE, SIMILARITY))
def packet_loss(
    x: Array, rate: int, rng: np.random.Generator, *, percent: float, ms: float, burst: float, concealment: float
) -> Array:
    """Lose packets in bursts (Gilbert-Elliott model of a radio link), and conceal them.

    At least one packet is lost, and at least a tenth of the energy arrives.

    Args:
        percent: mean percentage of lost packets.
        ms: duration of a packet.
        burst: mean number of packets that are lost in a row.
        concealment: 0 is silence; 1 repeats the last packet, with a fade of 20 ms (time constant); 2 repeats the
            segment after the best match of the last 8 ms within the 40 ms before, with a fade of 40 ms.
    """
    width = max(round(rate * ms * 1e-3), 2)
    lost = _losses(rng, -(-len(x) // width), percent / 100, burst)
    energy = np.add.reduceat(x * x, np.arange(0, len(x), width))
    lost &= np.cumsum(energy * lost) <= 0.9 * energy.sum()
    return _conceal(x, lost, width, int(concealment), rate)


def _losses(rng: np.random.Generator, packets: int, share: float, burst: float) -> npt.NDArray[np.bool_]:
    """Return which packets [packets] are lost, by a chain of two states: all packets arrive, or none."""
    chances = rng.random(packets)
    recovery = 1 / burst
    failure = min(share / (1 - share) * recovery, 1.0)
    lost = np.zeros(packets, dtype=np.bool_)
    state = bool(chances[0] < share)
    for packet, chance in enumerate(chances.tolist()):
        state = chance >= recovery if state else chance < failure
        lost[packet] = state
    if not lost.any():
        lost[rng.integers(packets)] = True
    return lost


@numba.njit(cache=True)
def _conceal(
    x: Array, lost: npt.NDArray[np.bool_], width: int, concealment: int, rate: int
) -> Array:  # pragma: no cover - compiled
    """Return `x` [n] with substitutes for lost packets, faded in and out within 1 ms."""
    y = x.copy()
    ramp = max(rate // 1000, 2)
    fade = rate * (0.02 if concealment == 1 else 0.04)
    packet = 0
    while packet < len(lost):
        if not lost[packet]:
            packet += 1
            continue
        start = packet * width
        while packet < len(lost) and lost[packet]:
            packet += 1
        end = min(packet * width, len(x))
        period = 0 if concealment == 0 else width if concealment == 1 else _best_lag(y, start, rate)
        history = y[max(start - period, 0) : start].copy()
        for i in range(min(end + ramp, len(x)) - start):
            substitute = 0.0
            if period > 0 and len(history) == period:
                substitute = history[i % period] * np.exp(-i / fade)
            place = start + i
            share = min(1.0, (i + 1) / ramp)
            if place >= end:
                share = min(share, 1.0 - (place - end + 1) / (ramp + 1))
            y[place] = (1.0 - share) * x[place] + share * substitute
    return y


@numba.njit(cache=True)
def _best_lag(y: Array, start: int, rate: int) -> int:  # pragma: no cover - compiled
    """Return the lag in samples at which earlier samples best match the 8 ms before `start`, or 0 if there are none."""
    template = rate * 8 // 1000
    best, lag_of_best = -2.0, 0
    for lag in range(rate // 400, min(rate * 40 // 1000, start) - template + 1):
        product, energy = 0.0, 1e-30
        for i in range(start - template, start, 2):
            product += y[i] * y[i - lag]
            energy += y[i - lag] * y[i - lag]
        similarity = product / np.sqrt(energy)
        if lag_of_best == 0 or similarity > best:
            best, lag_of_best = similarity, lag
    return lag_of_best


# Resampling

METHODS: Final = (
    "scipy.signal.resample_poly",
    "scipy.signal.resample",
    "libswresample",
    "linear",
    "soxr VHQ",
    "soxr HQ",
    "soxr MQ",
    "soxr LQ",
    "soxr QQ",
)
"""by number"""
RATES: Final = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)


@degradation(hz=(8_000, 96_000), method=(0, len(METHODS) - 1))
def resample_pass(x: Array, rate: int, rng: np.random.Generator, *, hz: float, method: float) -> Array:  # noqa: ARG001
    """Resample to another rate and back, by one of several common resamplers with its default settings.

    Args:
        hz: the other rate, the nearest of `RATES` (a chain rounds to three digits). The own rate changes nothing.
        method: 0 `scipy.signal.resample_poly`; 1 `scipy.signal.resample` (FFT); 2 FFmpeg's libswresample; 3 linear
            interpolation; 4 to 8 soxr at the qualities VHQ, HQ (librosa's default), MQ, LQ, QQ.
    """
    other = min(RATES, key=lambda known: abs(known - hz))
    if other == rate:
        return x
    return fit_length(_by_method(_by_method(x, rate, other, int(method)), other, rate, int(method)), len(x))


def _by_method(x: Array, rate: int, other: int, method: int) -> Array:
    """Resample `x` [n] to `other` Hz, [about n other / rate]."""
    length = -(-len(x) * other // rate)
    if METHODS[method] == "scipy.signal.resample_poly":
        return np.asarray(signal.resample_poly(x, other, rate))
    if METHODS[method] == "scipy.signal.resample":
        # Padded for the sake of the FFT to whole tenths of a second, so that both lengths are whole.
        tenths = -(-len(x) * 10 // rate) + 1
        padded = np.pad(x, (0, tenths * rate // 10 - len(x)))
        return np.asarray(signal.resample(padded, tenths * other // 10)[:length])
    if METHODS[method] == "libswresample":
        return _by_libswresample(x, rate, other)
    if METHODS[method] == "linear":
        return np.asarray(np.interp(np.arange(length) * (rate / other), np.arange(len(x)), x))
    y: Array = soxr.resample(x, rate, other, quality=METHODS[method].removeprefix("soxr "))
    return y


def _by_libswresample(x: Array, rate: int, other: int) -> Array:
    import av

    resampler = av.AudioResampler(format="dblp", layout="mono", rate=other)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x[None]), format="dblp", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.asarray(np.concatenate([frame.to_ndarray()[0] for frame in frames]), dtype=np.float64)


def _resample(x: Array, rate: int, other: int) -> Array:
    return x if rate == other else np.asarray(soxr.resample(x, rate, other, quality="HQ"))


def fit_length(y: Array, length: int) -> Array:
    """Cut or zero-pad samples to a length."""
    return np.pad(y[:length], (0, max(length - len(y), 0)))
