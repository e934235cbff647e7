"""Test nano as plain C, against Python and on a Cortex-M7: haaqi-edge bench study c [MUSIC --table TABLE]

The program streams sounds in random chunks and compares the score after every chunk with that of the shipped bundle on
ONNX Runtime. The sounds are the demo clips (or those of another folder, --demo) and, if MUSIC is given, rows of a label
table. The program also reports warnings and sanitizer errors of every installed compiler, and the flash, RAM,
operations, instructions and stack on a Cortex-M7 that QEMU emulates. Programs that are not installed are named and
skipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ...evaluation.sounds import loaded, of_table
from ...export.bundle import nano_source
from ...export.c.check import CNano, compiled
from ...export.c.writer import SOURCE, TOLERANCES, CExport, write_c
from ...runtime import Scorer
from ...runtime.audio.reading import audio_in, open_audio
from ...runtime.audiogram import Audiogram
from ...runtime.errors import ExportError
from ...runtime.features import patches as fe
from ..program import told_in_a_line
from . import boards
from .arm64 import LISTENERS

COMPILERS: Final = ("gcc", "clang")
SANITIZERS: Final = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
DEMO: Final = Path("demo")
ROWS: Final = 40
LONGEST: Final = 2 * fe.PATCH_SHIFT
"""upper limit for the samples in a chunk"""
Array = npt.NDArray[np.float32]


class Heard(NamedTuple):
    """A sound at 16 kHz, float32 [n], and its listener."""

    samples: Array
    listener: Audiogram


def demo_sounds(folder: Path) -> Iterator[Heard]:
    """Yield the files of a folder, each for four listeners."""
    for path in audio_in(folder):
        samples = np.concatenate(list(open_audio(path).blocks()))
        yield from (Heard(samples, Audiogram.named(name)) for name in LISTENERS)


def table_sounds(table: Path, music: Path, rows: int) -> Iterator[Heard]:
    """Yield rows of a label table's test split, each for its listener."""
    for sound, audio in loaded(of_table(table, music, rows=rows)):
        yield Heard(np.concatenate(list(open_audio(audio).blocks())), sound.listener)


def chunks(samples: Array, seed: int = 0) -> list[Array]:
    """Cut samples into chunks of random length, at least one sample each."""
    sizes = np.random.default_rng(seed).integers(1, LONGEST, len(samples))
    cuts = np.cumsum(sizes)
    return np.split(samples, cuts[cuts < len(samples)])


def differences(ear: CNano, scorer: Scorer, sound: Heard, seed: int = 0) -> list[float]:
    """Return how far the score in C is from that of a stream in Python, after every chunk that completes a patch.

    Args:
        ear: the stream in C.
        scorer: scores in Python.
        sound: the sound to stream.
        seed: of the chunks.

    Raises:
        ExportError: only one of the two completes a patch, or only one is silent.
    """
    found, levels = [], sound.listener.array()
    ear.init()
    with scorer.stream(sound.listener, fe.SAMPLE_RATE) as stream:
        for chunk in chunks(sound.samples, seed):
            updates, patches = stream.accept_waveform(chunk), ear.push(chunk)
            if len(updates) != patches:
                raise ExportError(f"C completed {patches} patches where Python completed {len(updates)}")
            if not updates:
                continue
            expected, (status, score, _) = updates[-1].score, ear.score(levels)
            if (expected is None) != (status != 0):
                raise ExportError(f"C ended with {status} where Python's score is {expected}")
            found.append(0.0 if expected is None else abs(score - expected))
    return found


def agreement(ear: CNano, scorer: Scorer, sounds: Iterable[Heard]) -> dict[str, float]:
    """Summarize the `differences` of many sounds: over all scores, and over the last score of each sound."""
    every = [differences(ear, scorer, sound, seed) for seed, sound in enumerate(sounds)]
    joined = np.concatenate(every)
    return {
        "sounds": len(every),
        "scores": len(joined),
        "largest": float(joined.max()),
        "p99": float(np.quantile(joined, 0.99)),
        "largest_of_last": max(one[-1] for one in every),
    }


def warnings_of(folder: Path, cc: str) -> str:
    """Return a compiler's warnings about the library and the example; empty if there are none."""
    with tempfile.TemporaryDirectory() as made:
        return compiled([folder / "example.c", folder / SOURCE], Path(made) / "example", cc)


def sanitized(folder: Path, cc: str, samples: Array) -> str:
    """Run the example on a sound with the address and undefined-behaviour sanitizers.

    Returns:
        their error report; empty if there are no errors.
    """
    with tempfile.TemporaryDirectory() as made:
        program, wav = Path(made) / "example", Path(made) / "sound.wav"
        compiled([folder / "example.c", folder / SOURCE], program, cc, *SANITIZERS)
        soundfile.write(wav, samples, fe.SAMPLE_RATE, subtype="FLOAT")
        levels = ",".join(map(str, Audiogram.named("N3").levels))
        done = subprocess.run([program, wav, levels], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 and not done.stderr else f"exit code {done.returncode}: {done.stderr}"


def cortex_m7(made: CExport, ear: CNano, sound: Heard) -> dict[str, Any]:
    """Measure what the C code needs on a Cortex-M7, and how far its scores there are from this machine's."""
    lacks = boards.missing(boards.COMPILER, boards.SIZE)
    if lacks:
        return {"skipped": lacks}
    size = boards.sizes(made.folder)
    found: dict[str, Any] = {**size._asdict(), "flash": size.flash, "ram": size.ram}
    found["code"] = size.flash - made.constants
    lacks = boards.missing(boards.EMULATOR)
    if lacks:
        return {**found, "skipped": lacks}
    audiograms = np.stack([Audiogram.named(name).array() for name in LISTENERS])
    there = boards.run(made.folder, sound.samples, audiograms)
    ear.init()
    ear.push(sound.samples)
    here = [ear.score(audiogram)[1] for audiogram in audiograms]
    found["largest_difference_from_here"] = max(abs(a - b) for a, b in zip(there.scores, here, strict=True))
    return {**found, "patch": there.patch._asdict(), "score": there.score._asdict()}


def measure(sounds: dict[str, list[Heard]], checkpoint: Path | None = None, model: str = "nano") -> dict[str, Any]:
    """Return all results, by the format of the weights.

    Args:
        sounds: the sounds to compare, by name.
        checkpoint: of nano; None uses the shipped weights.
        model: the bundle made from the checkpoint.

    Raises:
        ExportError: the bundle was made from another checkpoint.
    """
    source, scorer = nano_source(checkpoint), Scorer(model, threads=1)
    if source.sha256 != scorer.card.source_sha256:
        raise ExportError(f"the bundle {model} was not made from this checkpoint")
    found: dict[str, Any] = {}
    first = next(iter(sounds.values()))[0]
    for weights, tolerance in TOLERANCES.items():
        with tempfile.TemporaryDirectory() as home:
            made = write_c(source, Path(home) / "c", weights)
            there = [cc for cc in COMPILERS if shutil.which(cc)]
            row: dict[str, Any] = {**made.to_dict(), "tolerance": tolerance}
            row["compilers"] = {
                cc: {"warnings": warnings_of(made.folder, cc), "sanitizers": sanitized(made.folder, cc, first.samples)}
                for cc in there
            }
            if there:
                with CNano(made.folder, there[0], made.ram, made.window) as ear:
                    row["agreement"] = {name: agreement(ear, scorer, heard) for name, heard in sounds.items()}
                    row["cortex_m7"] = cortex_m7(made, ear, first)
            found[weights] = row
    return found


def _print(found: dict[str, Any]) -> None:
    for weights, row in found.items():
        front_end, encoder, score = row["operations"].values()
        size = f"{row['constants']:,} bytes of constants, {row['ram']:,} of RAM"
        print(f"{weights}: {size} for a window of {row['window']} patches")
        print(f"  operations: {front_end + encoder:,} a patch (front end {front_end:,}), {score:,} a score")
        if not row["compilers"]:
            print("  no C compiler here: nothing was compared")
        for cc, told in row["compilers"].items():
            print(f"  {cc}: {told['warnings'] or 'no warnings'}; sanitizers: {told['sanitizers'] or 'clean'}")
        for name, one in row.get("agreement", {}).items():
            print(
                f"  {name}: {one['scores']} scores of {one['sounds']} sounds, from Python's at most "
                f"{one['largest']:.2g} (99%: {one['p99']:.2g}; last ones {one['largest_of_last']:.2g}; allowed "
                f"{row['tolerance']:g})"
            )
        board = row.get("cortex_m7", {})
        if "flash" in board:
            print(f"  Cortex-M7: flash {board['flash']:,} (code {board['code']:,}), RAM {board['ram']:,} bytes")
        if "patch" in board:
            print(
                f"  instructions: {board['patch']['instructions']:,} a patch, {board['score']['instructions']:,} a "
                f"score; stack {max(board['patch']['stack'], board['score']['stack'])} bytes; scores on the emulated "
                f"board within {board['largest_difference_from_here']:.2g} of this machine's"
            )
        if "skipped" in board:
            print(f"  Cortex-M7 left out: {board['skipped']}")


def main() -> None:
    """Print the results; exit code 1 if a score differs from Python's by more than allowed."""
    parser = argparse.ArgumentParser(prog="haaqi-edge bench study c", description=__doc__)
    parser.add_argument("music", nargs="?", type=Path, help="the label table's music: its rows are compared too")
    parser.add_argument("--table", type=Path, default=Path("training/table"), help="folder of the label table")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of the table (default: {ROWS})")
    parser.add_argument("--demo", type=Path, default=DEMO, help="folder of clips (default: demo)")
    parser.add_argument("--checkpoint", type=Path, help="of nano; by default the shipped weights")
    parser.add_argument("--model", default="nano", help="the bundle that was made from it (default: nano)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with told_in_a_line():
        sounds = {"demo": list(demo_sounds(options.demo))}
        if options.music is not None:
            sounds["rows"] = list(table_sounds(options.table, options.music, options.rows))
        found = measure(sounds, options.checkpoint, options.model)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    worst = (one["largest"] > row["tolerance"] for row in found.values() for one in row.get("agreement", {}).values())
    sys.exit(1 if any(worst) else 0)


if __name__ == "__main__":
    main()
