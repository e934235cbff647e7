"""The demonstration pair: a short piece of music as it was played, and the same performance spoiled.

    python demo/render.py

writes two files beside this script, mono, 24 kHz, 16-bit FLAC, 20 seconds each:

    clean.flac      eight bars in D major for two plucked strings, a bass, a soft pad and brushes, in a small hall
    degraded.flac   the same notes with noise 8 dB below the music, hard peak clipping and no treble, sample for
                    sample in step with the first and at the same RMS level

The piece was composed for this project and every sound in it is computed here, with seeded random numbers: a second
run gives the same music (another numpy may change a last bit here and there, another FLAC encoder the files' bytes).

Licence: CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/): to the extent possible under law, the authors
waive all copyright and related rights in this script and in the two recordings that it renders.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Sound = NDArray[np.float64]
Curve = Callable[[Sound], Sound]  # the gain at each frequency in Hz

RATE = 24_000
SECONDS = 20.0
LENGTH = int(SECONDS * RATE)
BEAT = 0.6  # seconds: 100 beats a minute, so a bar of four takes 2.4 s and the last chord rings for 3.2 s
BAR = 4  # beats
SEED = 1995
LEVEL_DB = -20.0  # RMS of both files, dB re full scale

HARMONY = [  # beats, what the bass plays, and what the guitar picks and the pad holds, lowest first
    (4, "D2 A2", "D3 A3 C#4 F#4"),  # Dmaj7
    (4, "B1 F#2", "B2 F#3 A3 D4"),  # Bm7
    (4, "G2 D2", "G3 B3 D4 F#4"),  # Gmaj7
    (2, "A1", "E3 G3 D4 E4"),  # A7sus4
    (2, "A1", "E3 G3 C#4 E4"),  # A7
    (4, "F#2 C#2", "F#3 A3 C#4 E4"),  # F#m7
    (4, "B1 F#2", "F#3 B3 D4 A4"),  # Bm7
    (2, "E2", "G3 B3 D4 F#4"),  # Em9
    (2, "A1", "G3 C#4 E4 F#4"),  # A13
    (4, "D2", "D3 A3 E4 F#4 B4"),  # D6/9, rolled and left to ring
]
MELODY = """
    F#5:1.5 A5:.5 F#5:1 E5:.5 D5:.5      B4:1.5 D5:.5 E5:.5 F#5:1.5
    -:.5 D5:.5 F#5:.5 B5:1 A5:.5 F#5:1   E5:1.5 F#5:.5 E5:.5 C#5:1.5
    -:.5 E5:.5 A5:.5 C#6:1 B5:.5 A5:1    F#5:1.5 A5:.5 B5:1 D6:1
    B5:.5 G5:.5 F#5:1 E5:1 C#5:.5 E5:.5  D5:4
"""  # note:beats, two bars to a line; "-" is a rest
DYNAMICS = [0.55, 0.6, 0.7, 0.75, 0.85, 1.0, 0.8, 0.6]  # how loud each bar is played: it grows to the sixth
PICKING = [0, 2, 3, 1, 2, 3, 1, 2]  # which note of the voicing the guitar picks on each half beat
ENDING = BAR * (len(DYNAMICS) - 1)  # the beat of the last chord


def pitch(name: str) -> float:
    """The frequency in Hz of a note such as F#4, with A4 at 440 Hz in equal temperament."""
    step = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0, "B": 2}[name[0]] + ("#" in name)
    return float(440.0 * 2.0 ** (step / 12 + int(name[-1]) - 4))


def loudness(beat: float) -> float:
    """How hard the players play at this beat: from one bar's dynamic smoothly to the next one's."""
    return float(np.interp(beat / BAR, np.arange(len(DYNAMICS)), DYNAMICS))


def rms(sound: Sound) -> float:
    """The root-mean-square level."""
    return float(np.sqrt(np.mean(sound**2)))


def equalise(sound: Sound, curve: Curve) -> Sound:
    """The sound with the gain of the curve at each frequency and no delay."""
    padded = len(sound) + RATE // 4  # room for the filter's ringing, which would otherwise wrap around
    hz = np.arange(padded // 2 + 1, dtype=np.float64) * RATE / padded
    return np.fft.irfft(np.fft.rfft(sound, padded) * curve(hz), padded)[: len(sound)]


def low_pass(corner: float, order: int) -> Curve:
    """The magnitude of a Butterworth low-pass."""
    return lambda hz: 1 / np.sqrt(1 + (hz / corner) ** (2 * order))


def band(low: float, high: float) -> Curve:
    """What lies between two frequencies, with gentle slopes."""
    return lambda hz: low_pass(high, 2)(hz) * (1 - low_pass(low, 2)(hz))


def swell(seconds: float, attack: float, release: float) -> Sound:
    """An envelope that rises and falls along half a cosine, in the given times."""
    time = np.arange(int(seconds * RATE)) / RATE
    return 0.5 - 0.5 * np.cos(np.pi * np.minimum(np.minimum(time / attack, (seconds - time) / release), 1.0))


def lay(track: Sound, beat: float, sound: Sound, gain: float) -> None:
    """Add a sound to a track from this beat on; what passes the end is lost."""
    start = max(int(beat * BEAT * RATE), 0)
    heard = sound[: max(len(track) - start, 0)]
    track[start : start + len(heard)] += gain * heard


def pluck(rng: np.random.Generator, hz: float, seconds: float, ring: float, mellow: float, touch: float) -> Sound:
    """A plucked string (Karplus-Strong), computed one period at a time.

    ring is the time in seconds for 60 dB of decay, mellow how much faster the treble dies away, and touch the
    corner in Hz of the excitation: a fingertip is dull, a nail is bright.
    """
    period = RATE / hz
    whole = int(period)
    damp = min(mellow * 100 / hz, 0.2)
    part = period - whole + 1.0  # cubic Lagrange interpolation keeps the string in tune between samples
    tune = np.array([np.prod([(part - j) / (i - j) for j in range(4) if j != i]) for i in range(4)])
    loop = 10 ** (-3 * period / RATE / ring) * np.convolve(tune, [damp, 1 - 2 * damp, damp])
    delay = whole - 2  # the damping takes one sample and the interpolation another
    burst = rng.standard_normal(whole)
    burst -= np.roll(burst, int(0.18 * period))  # plucked at 18% of the length; this also leaves no DC
    first = len(loop) + delay
    string = np.zeros(first + int(seconds * RATE))
    string[first : first + whole + 64] = equalise(np.pad(burst, (0, 64)), low_pass(touch, 1))
    for start in range(first, len(string), delay):
        end = min(start + delay, len(string))
        string[start:end] += np.convolve(string[start - delay - len(loop) + 1 : end - delay], loop, "valid")
    note = string[first:]
    return note * swell(seconds, 0.004, 0.12) / rms(note[: RATE // 4])


def play_melody(rng: np.random.Generator) -> Sound:
    """The tune on a bright steel string, each note doubled by a second one a few cents away."""
    track = np.zeros(LENGTH)
    beat = 0.0
    for name, beats in (note.split(":") for note in MELODY.split()):
        if name != "-":
            held = float(beats) * BEAT + (0.8 if beat == ENDING else 0.25)
            accent = loudness(beat) * rng.uniform(0.9, 1.1)
            when = beat + rng.uniform(0.0, 0.02)
            for cents, gain in ((-2, 1.0), (3, 0.7)):
                string = pluck(rng, pitch(name) * 2 ** (cents / 1200), held, 3.2, 0.04, 3000 + 3500 * accent)
                lay(track, when, string, gain * accent)
        beat += float(beats)
    return track


def play_accompaniment(rng: np.random.Generator) -> tuple[Sound, Sound, Sound]:
    """The guitar's broken chords, the bass and the pad, which all follow the harmony."""
    guitar, bass, pad = np.zeros(LENGTH), np.zeros(LENGTH), np.zeros(LENGTH)
    beat = 0.0
    for beats, low_notes, voicing in HARMONY:
        ending = beat == ENDING
        notes = [pitch(name) for name in voicing.split()]
        for step, string in enumerate(range(len(notes)) if ending else PICKING[: 2 * beats]):
            when = beat + step * (0.09 if ending else 0.5) + rng.uniform(-0.012, 0.012)
            accent = loudness(when) * (1.0 if step % 4 == 0 else 0.75) * rng.uniform(0.85, 1.15)
            held = 4.0 if ending else 1.5
            lay(guitar, when, pluck(rng, notes[string], held, 3.5, 0.05, 1200 + 2000 * accent), accent)
        for when, name in zip((beat, beat + 2.5), low_notes.split(), strict=False):
            if when >= BAR:  # the bass waits for the second bar
                lay(bass, when, pluck(rng, pitch(name), 4.0 if ending else 1.4, 4.0, 0.12, 500), loudness(when))
        held = 3.2 if ending else beats * BEAT + 0.5
        time = np.arange(int(held * RATE)) / RATE
        envelope = swell(held, 0.5, 0.9 if ending else 0.5) * loudness(beat)
        for hz in notes:
            for detuned in (hz * 0.9985, hz * 1.0015):
                for k in range(1, 6):
                    lay(pad, beat, np.sin(2 * np.pi * (k * detuned * time + rng.random())) * envelope, k**-1.8)
        beat += beats
    return guitar, bass, pad


def play_brushes(rng: np.random.Generator) -> Sound:
    """Brushes on a snare drum from the third bar: sweeps on the beat, lifts between, taps on two and four."""
    track = np.zeros(LENGTH)
    airy = equalise(rng.standard_normal(LENGTH), band(2500, 11000))
    warm = equalise(rng.standard_normal(LENGTH), band(300, 4000))
    for half in range(2 * 2 * BAR, 2 * ENDING + 1):
        strokes = [(airy, 0.03, 0.03, 0.35)]  # what is struck, its attack and decay in seconds, its gain
        if half % 2 == 0:
            strokes += [(airy, 0.16, 0.22, 0.35)]
        if half % 4 == 2 or half == 2 * ENDING:
            strokes += [(warm, 0.004, 0.12, 1.0), (airy, 0.003, 0.09, 0.9)]
        for skin, attack, decay, gain in strokes:
            time = np.arange(int((attack + 6 * decay) * RATE)) / RATE
            shape = np.minimum(time / attack, np.exp(-np.maximum(time - attack, 0.0) / decay))
            touch = rng.integers(LENGTH - len(shape))  # the brush never falls on the same wires twice
            accent = loudness(half / 2) * rng.uniform(0.85, 1.15)
            lay(track, half / 2, skin[touch : touch + len(shape)] * shape, gain * accent)
    return track


def in_a_hall(rng: np.random.Generator, dry: Sound, wet: float) -> Sound:
    """The sound with the reverberation of a small hall, whose treble dies sooner than its bass."""
    time = np.arange(int(1.6 * RATE)) / RATE
    tail = np.zeros(len(time))
    for low, high, decay in ((120, 900, 1.5), (900, 3500, 1.2), (3500, 10000, 0.7)):  # band in Hz, seconds for 60 dB
        tail += equalise(rng.standard_normal(len(time)) * 10 ** (-3 * time / decay), band(low, high))
    tail = np.concatenate([np.zeros(int(0.018 * RATE)), tail])  # the walls are three metres away
    size = len(dry) + len(tail)
    echo = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)[: len(dry)]
    return dry + wet * rms(dry) / rms(echo) * echo


def at_level(sound: Sound) -> Sound:
    """The sound at the level of both files."""
    return sound * 10 ** (LEVEL_DB / 20) / rms(sound)


def perform() -> Sound:
    """The whole piece, mixed."""
    rng = np.random.default_rng(SEED)
    melody = play_melody(rng)
    guitar, bass, pad = play_accompaniment(rng)
    parts = ((melody, 1.0), (guitar, 0.8), (bass, 0.6), (pad, 0.42), (play_brushes(rng), 0.26))
    mix = np.sum([gain / rms(part) * part for part, gain in parts], axis=0)
    heard = at_level(in_a_hall(rng, mix, 0.3) * swell(SECONDS, 0.005, 1.2))
    return at_level(np.tanh(1.5 * heard) / 1.5)  # the tape rounds the tallest peaks


def spoil(clean: Sound, snr_db: float = 8.0, clip: float = 1.2, treble: float = 3000.0) -> Sound:
    """What a poor device makes of it: noise, then peaks clipped at clip times the RMS, then nothing above treble Hz."""
    rng = np.random.default_rng(SEED + 1)
    noise = equalise(rng.standard_normal(len(clean)), lambda hz: 1 / np.sqrt(np.maximum(hz, 100)))  # pink
    noisy = clean + noise * rms(clean) / rms(noise) * 10 ** (-snr_db / 20)
    clipped = np.clip(noisy, -clip * rms(noisy), clip * rms(noisy))
    return at_level(equalise(clipped, low_pass(treble, 8)))


def save(path: Path, sound: Sound) -> None:
    """Write the file whole or not at all, and say so."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        soundfile.write(unfinished, sound, RATE, subtype="PCM_16")
        unfinished.replace(path)
    peak_db = 20 * np.log10(np.max(np.abs(sound)))
    print(f"{path.name}: {len(sound) / RATE:.1f} s, peak {peak_db:.1f} dBFS, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Render the pair beside this script."""
    here = Path(__file__).resolve().parent
    clean = perform()
    save(here / "clean.flac", clean)
    save(here / "degraded.flac", spoil(clean))


if __name__ == "__main__":
    main()
