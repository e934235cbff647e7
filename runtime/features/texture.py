"""Sound texture: statistics of a patch in 32 auditory bands, the front end of nano.

A log-mel spectrum blurs the traces of distortion in music. The texture resolves them: how tonal a band is, how deep the
valleys between its partials are, and how its envelope fluctuates at the rates that HAAQI reads (up to 125 Hz). Source:
McDermott & Simoncelli (2011), "Sound texture perception via statistics of the auditory periphery", Neuron 71(5).

There are two versions. Version 1 reads the patch as it is. A direct-current offset, a drifting zero line or rumble
below the hearing range then changes the statistics of the waveform and leaks into the lowest bands. Version 2 first
removes all three from the patch (`detrend`), and then computes the same statistics. The card of a bundle and a
checkpoint store the version that the network was trained with.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from . import patches as fe

Array = npt.NDArray[np.float32]

PLANES: Final = (
    "level",
    "tonality",
    "peak",
    "valley",
    "modulation 4 Hz",
    "modulation 12 Hz",
    "modulation 20 Hz",
    "modulation 32 Hz",
    "modulation 50 Hz",
    "modulation 80 Hz",
    "dip",
    "swell",
    "fluctuation",
    "loudness",
    "crest",
    "kurtosis",
)
"""Statistics of each band. The last three describe the whole patch and are the same in all bands."""
BANDS: Final = 32
LOWEST: Final = 70.0
"""Lower edge of the first band, Hz. The last band ends at half the sample rate."""
SPECTRUM: Final = 2048
"""Samples (128 ms) in the middle of the patch that the long spectrum reads: 7.8 Hz per bin."""
FRAME: Final = 128
HOP: Final = 64
"""Length of the frames, and from one to the next, in samples (8 and 4 ms). Their band levels are the envelopes."""
FRAMES: Final = (fe.PATCH_LENGTH - FRAME) // HOP + 1
_MODULATION_EDGES: Final = (4.0, 12.5, 20.0, 32.0, 50.0, 80.0, 126.0)
"""Edges of the modulation bands, Hz."""
FLOOR: Final = 10**-9.5
"""Mean square that is added to powers, so that lower ones are not distinguished.

It is -10 dB SPL if RMS 1.0 is 85 dB SPL, which is inaudible, and about the quantization noise of 16 bits in amplified
music.
"""
RELATIVE_FLOOR: Final = 1e-9
"""Share of the power of the whole spectrum that is added to each bin (-90 dB), the limit of single precision."""
MODULATION_FLOOR: Final = 1e-3
VERSIONS: Final = (1, 2)
"""Versions of the front end; see above."""
_TREND_COSINES: Final = 13
"""Number of cosines that version 2 removes in addition to the mean: 1 to 13 half periods in a patch, 2.9 to 37 Hz.

The lowest band of HAAQI is at 80 Hz. The lowest notes of music, from 41 Hz (E of the bass guitar), remain.
"""
SEGMENT: Final = 100
"""Samples (6 ms) of the segments in which the trend is a polynomial. This needs small tables and few products."""
SEGMENT_POWERS: Final = 6
"""Number of coefficients of that polynomial. Polynomials of degree 5 differ from the cosines by -108 dB."""
_START: Final = (fe.PATCH_LENGTH - SPECTRUM) // 2
_BLOCK: Final = 8
"""Patches that are computed at once. Their spectra stay in the second-level cache. With twice as many, the memory that
they need is returned to the system and claimed again for each clip, which takes a third of the time."""


def textures(samples: Array, version: int = 1) -> Array:
    """Compute the texture of a signal in whole patches.

    Args:
        samples: float32 [n] at 16 kHz, full scale 1.0. Samples after the last whole patch are ignored.
        version: version of the front end, one of `VERSIONS`.

    Returns:
        float32 [patches, 16, 32], `PLANES` by bands: natural logarithms of powers, and their differences.

    Raises:
        OptionError: if the version is unknown.
    """
    if version not in VERSIONS:
        raise OptionError(f"version {version!r} of the texture front end: expected one of {VERSIONS}")
    count = fe.patch_count(len(samples))
    if count == 0:
        return np.empty((0, len(PLANES), BANDS), dtype=np.float32)
    each = (count, fe.PATCH_SHIFT)
    patches = fe.overlapping_segments(samples, each, length=fe.PATCH_LENGTH)
    frames = fe.overlapping_segments(samples, each, (FRAMES, HOP), length=FRAME)
    out = np.empty((count, len(PLANES), BANDS), dtype=np.float32)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        signals, framed = patches[block], frames[block]
        if version != 1:
            signals = detrend(signals)
            each = (len(signals), fe.PATCH_LENGTH)
            framed = fe.overlapping_segments(signals.reshape(-1), each, (FRAMES, HOP), length=FRAME)
        _fine(signals, out[block, :4])
        _envelopes(framed, out[block, 4:13])
        _whole(signals, out[block, 13:])
    return out


def detrend(patches: Array) -> Array:
    """Remove the mean, slow drift and rumble below about 37 Hz from each patch.

    Args:
        patches: float32 [patches, 2800].

    Returns:
        float32 [patches, 2800]: the patches without their least-squares fit by `trend_basis`. A sine of 15 to 35 Hz
        loses 21 dB or more, one of 41 Hz 2.6 dB, one of 50 Hz 0.5 dB, one of 80 Hz 0.1 dB.

    Each product has the matrices of one patch, as in `_envelopes`.
    """
    trend = trend_basis()
    segments = patches.reshape(len(patches), -1, SEGMENT)
    moments = np.matmul(segments, trend.polynomials).reshape(len(patches), 1, -1)
    fitted = np.matmul(np.matmul(moments, trend.rows.T), trend.rows)
    rest: Array = np.matmul(fitted.reshape(len(patches), -1, SEGMENT_POWERS), trend.polynomials.T)
    np.subtract(segments, rest, out=rest)
    return rest.reshape(len(patches), fe.PATCH_LENGTH)


def _fine(patches: Array, out: Array) -> None:
    """Write level, tonality, peak and valley in the long spectrum to `out`, [patches, 4, 32]."""
    layout = bands()
    spectrum = np.fft.rfft(patches[:, _START : _START + SPECTRUM] * hann(SPECTRUM), axis=1)[:, layout.long]
    power = _power(spectrum)
    total = np.add.reduce(power, axis=1, keepdims=True)
    power += np.float32(RELATIVE_FLOOR) * total + np.float32(FLOOR * SPECTRUM)
    log = np.log(power)
    level = np.log(np.add.reduceat(power, layout.long_starts, axis=1) / layout.long_counts)
    out[:, 0] = level
    out[:, 1] = level - np.add.reduceat(log, layout.long_starts, axis=1) / layout.long_counts
    out[:, 2] = np.maximum.reduceat(log, layout.long_starts, axis=1) - level
    out[:, 3] = level - np.minimum.reduceat(log, layout.long_starts, axis=1)


def _envelopes(frames: Array, out: Array) -> None:
    """Write modulation powers, dip, swell and fluctuation of the bands' envelopes to `out`, [patches, 9, 32].

    `frames` are the frames of each patch, [patches, 42, 128].

    Each product has the matrices of one patch, of a constant size. The rounding of a patch is then independent of the
    number of patches, and the matrices are too small for a BLAS to start threads.
    """
    spectrum = np.fft.rfft(frames * hann(FRAME), axis=2)
    power = _power(spectrum)
    envelope = np.log(np.matmul(power, _short_mean()) + np.float32(FLOOR * FRAME))
    centred = envelope - np.add.reduce(envelope, axis=1, keepdims=True) / np.float32(FRAMES)
    strength = np.matmul(_modulation_mean(), np.square(np.matmul(modulation_kernel(), centred)))
    np.log(strength + np.float32(MODULATION_FLOOR), out=out[:, :6])
    np.negative(np.minimum.reduce(centred, axis=1), out=out[:, 6])
    np.maximum.reduce(centred, axis=1, out=out[:, 7])
    np.sqrt(np.add.reduce(np.square(centred), axis=1) / np.float32(FRAMES), out=out[:, 8])


def _power(spectrum: npt.NDArray[np.complexfloating]) -> Array:
    """Return the squared magnitudes, float32, of a complex64 array of the same shape."""
    parts = np.square(spectrum.view(np.float32))
    power: Array = parts[..., ::2] + parts[..., 1::2]
    return power


def _whole(patches: Array, out: Array) -> None:
    """Write loudness, crest and kurtosis of the waveform to `out`, [patches, 3, 32]."""
    square = np.square(patches)
    power = np.add.reduce(square, axis=1) / np.float32(fe.PATCH_LENGTH) + np.float32(FLOOR)
    highest = np.maximum.reduce(square, axis=1)
    fourth = np.add.reduce(np.square(square / power[:, None]), axis=1) / np.float32(fe.PATCH_LENGTH)
    out[:, 0] = 0.5 * np.log(power)[:, None]
    out[:, 1] = 0.5 * np.log((highest + np.float32(FLOOR)) / power)[:, None]
    out[:, 2] = np.log(fourth + np.float32(MODULATION_FLOOR))[:, None]


@cache
def edges() -> npt.NDArray[np.float64]:
    """Return the edges of the bands in Hz, float64 [33], even on the ERB-number scale (Glasberg & Moore 1990)."""
    low, high = (21.4 * np.log10(1 + 0.00437 * hz) for hz in (LOWEST, fe.SAMPLE_RATE / 2))
    return np.asarray((10 ** (np.linspace(low, high, BANDS + 1) / 21.4) - 1) / 0.00437)


class Bands(NamedTuple):
    """Positions of the bands in the spectra.

    Attributes:
        long: bins of the long spectrum that are used.
        long_starts: [32], index among them of the first bin of each band.
        long_counts: [32], number of bins of each band.
        short: bins of the spectrum of a frame, in the order of the bands. Several bands may share a bin.
        short_weights: share of each of these bins in its band.
        short_starts: [32], index among them of the first bin of each band.
    """

    long: slice
    long_starts: npt.NDArray[np.intp]
    long_counts: Array
    short: npt.NDArray[np.intp]
    short_weights: Array
    short_starts: npt.NDArray[np.intp]


@cache
def bands() -> Bands:
    """Return the positions of the bands in the spectra."""
    at = np.round(edges() * SPECTRUM / fe.SAMPLE_RATE).astype(np.intp)
    places = edges() * FRAME / fe.SAMPLE_RATE
    bins = np.arange(FRAME // 2 + 1)
    overlap = np.minimum(places[1:, None], bins + 0.5) - np.maximum(places[:-1, None], bins - 0.5)
    band, short = np.nonzero(overlap > 1e-9)
    weights = overlap[band, short] / np.diff(places)[band]
    starts = np.searchsorted(band, np.arange(BANDS))
    return Bands(
        slice(int(at[0]), int(at[-1])),
        at[:-1] - at[0],
        _constant(np.diff(at)),
        short.astype(np.intp),
        _constant(weights),
        starts.astype(np.intp),
    )


@cache
def modulation_bins() -> list[slice]:
    """Return the bins of the envelopes' spectrum in each modulation band."""
    rates = np.fft.rfftfreq(FRAMES, HOP / fe.SAMPLE_RATE)
    places = np.searchsorted(rates, _MODULATION_EDGES)
    return [slice(int(a), int(b)) for a, b in pairwise(places)]


@cache
def _short_mean() -> Array:
    """Return the share of each bin of a frame's spectrum in each band, float32 [65, 32]."""
    layout = bands()
    band = np.searchsorted(layout.short_starts, np.arange(len(layout.short)), side="right") - 1
    mean = np.zeros((FRAME // 2 + 1, BANDS))
    mean[layout.short, band] = layout.short_weights
    return _constant(mean)


@cache
def modulation_kernel() -> Array:
    """Return windowed cosines and sines of the bins of the envelopes' spectrum that are used, float32 [2 bins, 42]."""
    rates = modulation_bins()
    bins = np.arange(rates[0].start, rates[-1].stop)
    angle = 2 * np.pi / FRAMES * np.outer(bins, np.arange(FRAMES))
    return _constant(np.concatenate([np.cos(angle), np.sin(angle)]) * np.hanning(FRAMES))


@cache
def _modulation_mean() -> Array:
    """Return the matrix that averages the powers of the bins in each modulation band, float32 [6, 2 bins]."""
    rates = modulation_bins()
    bins = np.arange(rates[0].start, rates[-1].stop)
    mean = np.stack([((bins >= rate.start) & (bins < rate.stop)) / (rate.stop - rate.start) for rate in rates])
    return _constant(np.concatenate([mean, mean], axis=1))


class Trend(NamedTuple):
    """The curves that version 2 removes from a patch, by segments of the patch.

    Attributes:
        polynomials: float32 [100, 6], orthonormal polynomials of degree 0 to 5 over a segment.
        rows: float32 [16, 168], orthonormal; each holds the polynomials' coefficients in the 28 segments of a curve.
    """

    polynomials: Array
    rows: Array

    def curves(self) -> Array:
        """Return the orthonormal curves sample by sample, float32 [16, 2800]."""
        segments: Array = np.matmul(self.rows.reshape(len(self.rows), -1, SEGMENT_POWERS), self.polynomials.T)
        return segments.reshape(len(self.rows), -1)


@cache
def trend_basis() -> Trend:
    """Return a basis of the mean, drift and rumble of a patch.

    It spans the discrete cosines of 0 to 13 half periods, a line and a parabola. High-pass filtering by regression on
    cosines is usual for time series of functional MRI (Friston et al. 2007, "Statistical Parametric Mapping"). The
    slope of a cosine is 0 at both ends, that of rumble is not. Line and parabola fit these slopes.
    """
    places = (np.arange(fe.PATCH_LENGTH) + 0.5) / fe.PATCH_LENGTH
    cosines = np.cos(np.pi * np.outer(np.arange(_TREND_COSINES + 1), places))
    curves = np.concatenate([cosines, [2 * places - 1, (2 * places - 1) ** 2]])
    within = (2 * np.arange(SEGMENT) + 1) / SEGMENT - 1
    polynomials, _ = np.linalg.qr(np.vander(within, SEGMENT_POWERS, increasing=True))
    coefficients = np.matmul(curves.reshape(len(curves), -1, SEGMENT), polynomials).reshape(len(curves), -1)
    rows, _ = np.linalg.qr(coefficients.T)
    return Trend(_constant(polynomials), _constant(rows.T))


@cache
def hann(length: int) -> Array:
    """Return the symmetric Hann window, float32 [length]."""
    return _constant(np.hanning(length))


def _constant(values: npt.NDArray[np.floating]) -> Array:
    constant = np.ascontiguousarray(values, dtype=np.float32)
    constant.flags.writeable = False
    return constant
