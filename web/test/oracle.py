"""Compute with the Python package what the page must agree with, for `make web-test`.

    python web/test/oracle.py FOLDER [--music MUSIC]

writes `oracle.json` and the sounds that it names into a folder.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from haaqi_edge.runtime import Scorer
from haaqi_edge.runtime.audio.levels import nal_r, nal_r_filter, nal_r_gains
from haaqi_edge.runtime.audiogram import STANDARD, Audiogram
from haaqi_edge.runtime.windows import PatchTokens, slice_windows

ROOT: Final = Path(__file__).resolve().parents[2]
DEMO: Final = ROOT / "demo"
ENCODED: Final = (
    ("clean-44100.m4a", "aac", "ipod"),
    ("clean-44100.aac", "aac", "adts"),
    ("clean-48000.webm", "libopus", "webm"),
)
"""files that libsndfile cannot write: name, codec and container of FFmpeg"""
RATES: Final = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
MUSIC_CLIPS: Final = 4
LONGEST: Final = 35.0
"""maximum length in seconds of a clip of other music"""

Array = npt.NDArray[np.float32]


def to_base64(samples: npt.NDArray[Any]) -> str:
    """Return samples as float32 in base64."""
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def listeners() -> list[Audiogram]:
    """Return the standard audiograms, extreme ones, and random ones."""
    rng = np.random.default_rng(9)
    drawn = [tuple(rng.integers(-2, 25, 8) * 5.0) for _ in range(30)]
    fixed = [(-10.0,) * 8, (120.0,) * 8, (0, 0, 0, 0, 0, 0, 0, 80), (-10, -10, -10, 120, 120, -10, -10, 0)]
    return [Audiogram.named(name) for name in STANDARD] + [Audiogram(levels) for levels in (*fixed, *drawn)]


def nal_r_cases(music: Array) -> dict[str, Any]:
    """Return the filters and gains of all listeners, and music amplified for one."""
    n3 = Audiogram.named("N3")
    return {
        "filters": [
            {
                "levels": list(a.levels),
                "gains": nal_r_gains(a).tolist(),
                "taps": nal_r_filter(a, 16_000).tolist(),
            }
            for a in listeners()
        ],
        "music": to_base64(music[:20_000]),
        "levels": list(n3.levels),
        "amplified": to_base64(nal_r(music[:20_000], 16_000, n3)),
    }


def windows() -> list[dict[str, Any]]:
    """Return the windows of clips of several lengths in patches."""
    cases = []
    for length in (1, 7, 62):
        for patches in (*range(1, 140, 3), 186, 187, 620):
            block = PatchTokens(np.zeros((patches, 1, 1), np.float32), np.zeros(patches, bool))
            cuts = [
                {"start": c.start, "size": len(c.patches.silent), "added": c.added}
                for c in slice_windows([block], length)
            ]
            cases.append({"length": length, "patches": patches, "cuts": cuts})
    return cases


def resampling_cases(music: Array) -> list[dict[str, Any]]:
    """Return two seconds of music and noise at other rates, and the same resampled to 16 kHz by soxr."""
    rng = np.random.default_rng(1)
    cases = []
    for rate in RATES:
        at_rate = soxr.resample(music[: 2 * 24_000], 24_000, rate, quality="VHQ")
        noise = (0.1 * rng.standard_normal(rate)).astype(np.float32)
        for name, samples in (("music", at_rate.astype(np.float32)), ("white noise", noise)):
            expected = soxr.resample(samples, rate, 16_000, quality="HQ") if rate != 16_000 else samples
            cases.append({"name": name, "rate": rate, "samples": to_base64(samples), "expected": to_base64(expected)})
    return cases


def write_demo(folder: Path) -> list[Path]:
    """Write the demo clips in several formats."""
    files = []
    for name in ("clean", "degraded"):
        samples, rate = soundfile.read(DEMO / f"{name}.flac", dtype="float32")
        for to, suffix in (
            (16_000, "wav"),
            (24_000, "wav"),
            (44_100, "wav"),
            (48_000, "flac"),
            (44_100, "ogg"),
            (44_100, "mp3"),
        ):
            path = folder / f"{name}-{to}.{suffix}"
            at_rate = samples if to == rate else soxr.resample(samples, rate, to, quality="VHQ")
            # At a CD's rate, two channels that differ, so that averaging has an effect.
            soundfile.write(path, np.stack([at_rate, 0.5 * at_rate], axis=1) if to == 44_100 else at_rate, to)
            files.append(path)
    from audio_files import encode

    clean, rate = soundfile.read(DEMO / "clean.flac", dtype="float32")
    for name, codec, container in ENCODED:
        to = int(name.split("-")[1].split(".")[0])
        # Decoders differ in the padding at the end: it must not complete a patch.
        at_rate = soxr.resample(clean[: int(19.5 * rate)], rate, to, quality="VHQ")
        stereo = np.ascontiguousarray(np.stack([at_rate, 0.5 * at_rate], axis=1), dtype=np.float32)
        (folder / name).write_bytes(encode(stereo, to, codec, container, bitrate=160_000))
        files.append(folder / name)
    soundfile.write(
        folder / "clean-48000.opus", soxr.resample(clean, rate, 48_000), 48_000, format="OGG", subtype="OPUS"
    )
    files.append(folder / "clean-48000.opus")
    for suffix in ("aiff", "caf"):  # Safari reads them, Chromium does not
        soundfile.write(folder / f"rate-24000.{suffix}", clean[:2400], 24_000)
    short, rate = soundfile.read(DEMO / "clean.flac", dtype="float32", frames=3 * 24_000)
    short[: 2 * 24_000] = 0
    soundfile.write(folder / "mostly-silent-16000.wav", soxr.resample(short, rate, 16_000), 16_000)
    long, _ = soundfile.read(DEMO / "clean.flac", dtype="float32")
    whole = np.concatenate([np.zeros(12 * 24_000, np.float32), long, long[::-1]])
    soundfile.write(folder / "long-16000.wav", soxr.resample(whole, 24_000, 16_000), 16_000)
    return [*files, folder / "mostly-silent-16000.wav", folder / "long-16000.wav"]


def write_wav_cases(folder: Path) -> None:
    """Write the files of the table of wav headers, which the tests of Python and of the C example share."""
    from wav_cases import CASES

    folder.mkdir(parents=True, exist_ok=True)
    samples, rate = soundfile.read(DEMO / "clean.flac", dtype="int16", start=5 * 24_000, frames=int(1.5 * 24_000))
    pcm = np.stack([samples, samples[::-1]], axis=1)
    cases = []
    for number, case in enumerate(CASES):
        file = f"{number}.wav"
        (folder / file).write_bytes(case.build(pcm, rate))
        frames = case.frames if isinstance(case.frames, str) else case.frames(len(pcm))
        cases.append({"name": case.name, "file": file, "frames": frames})
    (folder / "cases.json").write_text(json.dumps({"align": 4, "cases": cases}), encoding="utf-8")


def write_music(music: Path, folder: Path) -> list[Path]:
    """Write random clips of a folder's music, seeded, as wav at 16 kHz and at their own rate."""
    found = sorted(path for path in music.rglob("*") if path.suffix in {".ogg", ".mp3", ".flac", ".wav"})
    chosen = np.random.default_rng(3).choice(len(found), MUSIC_CLIPS, replace=False)
    files = []
    for i in chosen:
        samples, rate = soundfile.read(found[i], dtype="float32", always_2d=True)
        samples = samples[: int(LONGEST * rate)]
        mono = soxr.resample(samples.mean(axis=1), rate, 16_000)
        for path, kept, to in ((f"music-{i}-16000.wav", mono, 16_000), (f"music-{i}-{rate}.wav", samples, rate)):
            soundfile.write(folder / path, kept, to, subtype="FLOAT")
            files.append(folder / path)
    return files


def score_files(files: list[Path], scorer: Scorer) -> list[dict[str, Any]]:
    """Return the scores of files for some listeners, with and without NAL-R."""
    cases = []
    for path in files:
        for name, amplified in (("N3", True), ("N3", False), ("S2", True), ("NH", False)):
            result = scorer.score(path, name, nal_r=amplified).to_dict()
            cases.append({"file": path.name, "listener": name, "nalR": amplified, **result})
    return cases


def score_document(folder: Path) -> dict[str, Any]:
    """Return what `score --json --frames` prints of the two versions of the demo, without what the page leaves out."""
    files = [folder / f"{name}-16000.wav" for name in ("clean", "degraded")]
    command = [
        sys.executable,
        "-m",
        "haaqi_edge.cli.main",
        "score",
        *files,
        "-a",
        "N3",
        "--nal-r",
        "--json",
        "--frames",
    ]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    document = dict(json.loads(printed))
    scores = [score for result in document["results"] for score in result["scores"]]
    for part in [*scores, *(window for score in scores for window in score["windows"])]:
        for name in ("unfamiliar", "unfamiliarity"):
            part.pop(name, None)
    return document


def main() -> None:
    """Write all cases."""
    sys.path.insert(0, str(ROOT / "tests"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--music", type=Path, help="score clips of this folder, too")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    music, _ = soundfile.read(DEMO / "clean.flac", dtype="float32")
    write_wav_cases(given.folder / "wav-cases")
    files = write_demo(given.folder) + (write_music(given.music, given.folder) if given.music else [])
    oracle = {
        "nalR": nal_r_cases(music),
        "windows": windows(),
        "resampled": resampling_cases(music),
        "scored": score_files(files, Scorer("nano")),
        "document": score_document(given.folder),
    }
    (given.folder / "oracle.json").write_text(json.dumps(oracle), encoding="utf-8")


if __name__ == "__main__":
    main()
