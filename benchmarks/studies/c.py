"""Test nano as plain C, against Python and on a Cortex-M7: `haaqi-edge bench study c`.

Sounds are streamed in random chunks, and the score after every chunk is compared with that of the bundle on ONNX
Runtime. The sounds are the clips of a folder, and rows of a label table if its music is given. The study also reports
the warnings and sanitizer errors of every installed compiler, times by level of optimization, and the flash, RAM,
operations, instructions and stack on a Cortex-M7 that QEMU emulates. Programs that are not installed are named and
skipped.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ...evaluation.sounds import list_table_sounds, load_audio
from ...export.bundle import load_nano_source
from ...export.c.check import CNano, compile_c
from ...export.c.constants import DECIMATION
from ...export.c.writer import SOURCE, TOLERANCES, CExport, write_c
from ...runtime import Scorer
from ...runtime.audio.folders import audio_in
from ...runtime.audio.reading import open_audio
from ...runtime.audiogram import STANDARD, Audiogram
from ...runtime.errors import ExportError, OptionError
from ...runtime.features import patches as fe
from ..progress import Progress, no_progress
from . import boards
from .arm64 import LISTENERS

_COMPILERS: Final = ("gcc", "clang")
_SANITIZERS: Final = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_OPTIMIZATIONS: Final = ("-Os", "-O2", "-O3", "-Ofast")
_MAX_CHUNK: Final = 2 * fe.PATCH_SHIFT
"""upper limit for the samples in a chunk"""
_PART_SAMPLES: Final = 2 * fe.SAMPLE_RATE
"""samples at 16 kHz for the calls with optional parts on the board"""
Array = npt.NDArray[np.float32]


class ListenerSound(NamedTuple):
    """A sound at 16 kHz, float32 [n], and its listener."""

    samples: Array
    listener: Audiogram


def load_demo_sounds(folder: Path) -> Iterator[ListenerSound]:
    """Yield the files of a folder, each for four listeners."""
    for path in audio_in(folder):
        samples = np.concatenate(list(open_audio(path).blocks()))
        yield from (ListenerSound(samples, Audiogram.named(name)) for name in LISTENERS)


def load_table_sounds(table: Path, music: Path, rows: int) -> Iterator[ListenerSound]:
    """Yield rows of a label table's test split, each for its listener."""
    for sound, audio in load_audio(list_table_sounds(table, music, rows=rows)):
        yield ListenerSound(np.concatenate(list(open_audio(audio).blocks())), sound.listener)


class Parts(NamedTuple):
    """The optional parts of the C code that a program uses.

    Attributes:
        nal_r: whether NAL-R amplifies.
        decimate: whether the input is at 48 kHz.
    """

    nal_r: bool = False
    decimate: bool = False

    @property
    def name(self) -> str:
        """Name of the parts in results."""
        return (
            " and ".join(name for name, used in (("NAL-R", self.nal_r), ("48 kHz", self.decimate)) if used) or "plain"
        )

    @property
    def rate(self) -> int:
        """Sample rate of the input, Hz."""
        return fe.SAMPLE_RATE * (DECIMATION if self.decimate else 1)

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the compiler."""
        return tuple(f"-D{name}=1" for name in self.macros)

    @property
    def macros(self) -> tuple[str, ...]:
        """The macros that select the parts."""
        return tuple(name for name, used in (("HAAQI_NALR", self.nal_r), ("HAAQI_DECIMATE", self.decimate)) if used)

    def delay(self, export: CExport) -> int:
        """Return the number of zeros that follow a recording."""
        decimator = export.options["HAAQI_DECIMATE"].delay if self.decimate else 0
        return decimator + (export.options["HAAQI_NALR"].delay * self.rate // fe.SAMPLE_RATE if self.nal_r else 0)

    def ram(self, export: CExport) -> int:
        """Return the size of a stream in bytes, with the default queue."""
        return export.ram + sum(export.options[name].ram + export.options[name].queue for name in self.macros)

    def compile(self, export: CExport, cc: str) -> CNano:
        """Return a stream with these parts."""
        return CNano(export.folder, cc, self.ram(export), export.window, flags=self.flags, nal_r=self.nal_r)


COMBINATIONS: Final = (Parts(nal_r=True), Parts(decimate=True), Parts(nal_r=True, decimate=True))
"""combinations of the optional parts"""


def compare_parts(
    export: CExport,
    cc: str,
    scorer: Scorer,
    sounds: Sequence[Array],
    parts: Parts,
    listeners: Sequence[str] = tuple(STANDARD),
) -> dict[str, Any]:
    """Compare scores of C with optional parts with those of `Scorer`.

    Args:
        export: exported C.
        cc: compiler for this machine.
        scorer: scores in Python.
        sounds: float32 [n] each, at 16 kHz. As much of each as one window holds is resampled to the rate of the parts.
        parts: the optional parts.
        listeners: names of the listeners that each sound is scored for.

    Returns:
        the largest difference, and the number of scores.
    """
    seconds, differences = (export.window - 1) * fe.PATCH_SHIFT / fe.SAMPLE_RATE, []
    with parts.compile(export, cc) as c_stream:
        for sound in sounds:
            samples = np.asarray(soxr.resample(sound, fe.SAMPLE_RATE, parts.rate), np.float32)
            samples = samples[: int(seconds * parts.rate)]
            chunks = split_chunks(np.append(samples, np.zeros(parts.delay(export), np.float32)))
            for listener in map(Audiogram.named, listeners):
                c_stream.init()
                if parts.nal_r:
                    c_stream.amplify(listener.array())
                for chunk in chunks:
                    c_stream.push(chunk)
                expected = scorer.score((samples, parts.rate), listener, nal_r=parts.nal_r).score
                differences.append(abs(c_stream.score(listener.array())[1] - expected))
    return {"largest": max(differences), "scores": len(differences)}


def split_chunks(samples: Array, seed: int = 0) -> list[Array]:
    """Cut samples into chunks of random length, at least one sample each."""
    sizes = np.random.default_rng(seed).integers(1, _MAX_CHUNK, len(samples))
    cuts = np.cumsum(sizes)
    return np.split(samples, cuts[cuts < len(samples)])


def score_differences(c_stream: CNano, scorer: Scorer, sound: ListenerSound, seed: int = 0) -> list[float]:
    """Return how far the score in C is from that of a stream in Python, after every chunk that completes a patch.

    Args:
        c_stream: the stream in C.
        scorer: scores in Python.
        sound: the sound to stream.
        seed: of the chunks.

    Raises:
        ExportError: only one of the two completes a patch, or only one is silent.
    """
    differences, levels = [], sound.listener.array()
    c_stream.init()
    with scorer.stream(sound.listener, fe.SAMPLE_RATE) as stream:
        for chunk in split_chunks(sound.samples, seed):
            updates, patches = stream.accept_waveform(chunk), c_stream.push(chunk)
            if len(updates) != patches:
                raise ExportError(f"C completed {patches} patches where Python completed {len(updates)}")
            if not updates:
                continue
            expected, (status, score, _) = updates[-1].score, c_stream.score(levels)
            if (expected is None) != (status != 0):
                raise ExportError(f"C returned status {status} where Python's score is {expected}")
            differences.append(0.0 if expected is None else abs(score - expected))
    return differences


def summarize_differences(c_stream: CNano, scorer: Scorer, sounds: Iterable[ListenerSound]) -> dict[str, float]:
    """Summarize the `score_differences` of many sounds: over all scores, and over the last score of each sound."""
    every = [score_differences(c_stream, scorer, sound, seed) for seed, sound in enumerate(sounds)]
    joined = np.concatenate(every)
    return {
        "sounds": len(every),
        "scores": len(joined),
        "largest": float(joined.max()),
        "p99": float(np.quantile(joined, 0.99)),
        "largest_of_last": max(one[-1] for one in every),
    }


def compiler_warnings(folder: Path, cc: str) -> str:
    """Return a compiler's warnings about the library and the example; empty if there are none."""
    with tempfile.TemporaryDirectory() as temporary:
        return compile_c([folder / "example.c", folder / SOURCE], Path(temporary) / "example", cc)


def run_sanitizers(folder: Path, cc: str, samples: Array) -> str:
    """Run the example on a sound with the address and undefined-behaviour sanitizers.

    Returns:
        their error report; empty if there are no errors.
    """
    with tempfile.TemporaryDirectory() as temporary:
        program, wav = Path(temporary) / "example", Path(temporary) / "sound.wav"
        compile_c([folder / "example.c", folder / SOURCE], program, cc, *_SANITIZERS)
        soundfile.write(wav, samples, fe.SAMPLE_RATE, subtype="FLOAT")
        levels = ",".join(map(str, Audiogram.named("N3").levels))
        completed = subprocess.run([program, wav, levels], capture_output=True, text=True, check=False)
    succeeded = completed.returncode == 0 and not completed.stderr
    return "" if succeeded else f"exit code {completed.returncode}: {completed.stderr}"


def compare_optimizations(export: CExport, cc: str, samples: Array, rounds: int = 30) -> dict[str, dict[str, Any]]:
    """Compare levels of optimization of the compiler.

    Args:
        export: exported C.
        cc: compiler for this machine.
        samples: float32 [n] at 16 kHz, at least one second.
        rounds: measurements per level, one level after the other; the result is their median.

    Returns:
        for each platform and level: milliseconds of CPU time per patch and per score on this machine; instructions per
        patch and per score of the samples, and flash in bytes, on a Cortex-M7; instructions per patch and per score of
        a complete window on arm64. A platform whose compiler or emulator is not installed is left out.
    """
    levels, chunk = Audiogram.named("N3").array(), samples[: fe.PATCH_SHIFT]
    times: dict[str, list[tuple[float, float]]] = {flag: [] for flag in _OPTIMIZATIONS}
    with contextlib.ExitStack() as stack:
        streams = {
            flag: stack.enter_context(CNano(export.folder, cc, export.ram, export.window, flags=(flag,)))
            for flag in _OPTIMIZATIONS
        }
        for c_stream in streams.values():
            c_stream.push(np.resize(samples, (export.window + 1) * fe.PATCH_SHIFT))
        for _ in range(rounds):
            for flag, c_stream in streams.items():
                start = time.thread_time()
                c_stream.push(chunk)
                middle = time.thread_time()
                c_stream.score(levels)
                times[flag].append((middle - start, time.thread_time() - middle))
    found: dict[str, dict[str, Any]] = {"this machine": {}}
    for flag, pairs in times.items():
        patch, score = 1e3 * np.median(pairs, axis=0)
        found["this machine"][flag] = {"patch_ms": float(patch), "score_ms": float(score)}
    if not boards.missing_programs(boards.COMPILER, boards.SIZE, boards.EMULATOR):
        found["Cortex-M7"] = {}
        for flag in _OPTIMIZATIONS:
            result = boards.run_on_board(export.folder, samples, levels[None], flag)
            found["Cortex-M7"][flag] = {
                "patch_instructions": result.patch.instructions,
                "score_instructions": result.score.instructions,
                "flash": boards.program_size(export.folder, flag).flash,
            }
    if not boards.missing_programs(boards.ARM64_COMPILER, boards.ARM64_EMULATOR):
        found["arm64"] = {}
        for flag in _OPTIMIZATIONS:
            patch_count, score_count = boards.count_on_arm64(export.folder, cc, export.window, flag)
            found["arm64"][flag] = {"patch_instructions": patch_count, "score_instructions": score_count}
    return found


def _measure_cortex_m7(export: CExport, c_stream: CNano, sound: ListenerSound) -> dict[str, Any]:
    """Measure what the C code needs on a Cortex-M7, and how far its scores there are from this machine's."""
    missing = boards.missing_programs(boards.COMPILER, boards.SIZE)
    if missing:
        return {"skipped": missing}
    size = boards.program_size(export.folder)
    found: dict[str, Any] = {**size._asdict(), "flash": size.flash, "ram": size.ram}
    found["code"] = size.flash - export.constants
    missing = boards.missing_programs(boards.EMULATOR)
    if missing:
        return {**found, "skipped": missing}
    audiograms = np.stack([Audiogram.named(name).array() for name in LISTENERS])
    board_result = boards.run_on_board(export.folder, sound.samples, audiograms)
    c_stream.init()
    c_stream.push(sound.samples)
    here = [c_stream.score(audiogram)[1] for audiogram in audiograms]
    found["largest_difference_from_here"] = max(abs(a - b) for a, b in zip(board_result.scores, here, strict=True))
    found["calls"] = {}
    for parts in (Parts(), *COMBINATIONS):
        size, result = boards.program_size(export.folder, options=parts.flags), board_result
        if parts.macros:
            samples = np.asarray(soxr.resample(sound.samples[:_PART_SAMPLES], fe.SAMPLE_RATE, parts.rate), np.float32)
            result = boards.run_on_board(export.folder, samples, audiograms[-1:], options=parts.flags)
        names = [name for name in result._fields if name != "scores" and (name != "score" or not parts.macros)]
        calls = {name: getattr(result, name)._asdict() for name in names}
        found["calls"][parts.name] = {"flash": size.flash, "ram": size.ram, **calls}
    return found


def measure(
    sounds: dict[str, list[ListenerSound]],
    checkpoint: Path | None = None,
    model: str = "nano",
    on_progress: Progress = no_progress,
) -> dict[str, Any]:
    """Test exported C in each format of the weights.

    Args:
        sounds: the sounds to compare, by name.
        checkpoint: of nano; None uses the shipped weights.
        model: the bundle made from the checkpoint.
        on_progress: called with the progress.

    Returns:
        the results by the format of the weights.

    Raises:
        OptionError: the bundle was made from another checkpoint.
        ExportError: C and Python do not complete the same patches, or the code does not compile.
    """
    source, scorer = load_nano_source(checkpoint), Scorer(model, threads=1)
    if source.sha256 != scorer.card.source_sha256:
        raise OptionError(
            f"the bundle {model} was not made from {checkpoint or 'the shipped weights'}: give the bundle of this "
            "checkpoint with --model"
        )
    results: dict[str, Any] = {}
    first = next(iter(sounds.values()))[0]
    for number, (weights, tolerance) in enumerate(TOLERANCES.items()):
        on_progress("testing C by format of the weights", number, len(TOLERANCES))
        with tempfile.TemporaryDirectory() as temporary:
            export = write_c(source, Path(temporary) / "c", weights)
            compilers = [cc for cc in _COMPILERS if shutil.which(cc)]
            result: dict[str, Any] = {**export.to_dict(), "tolerance": tolerance}
            result["compilers"] = {
                cc: {
                    "warnings": compiler_warnings(export.folder, cc),
                    "sanitizers": run_sanitizers(export.folder, cc, first.samples),
                }
                for cc in compilers
            }
            if compilers:
                with CNano(export.folder, compilers[0], export.ram, export.window) as c_stream:
                    result["agreement"] = {
                        name: summarize_differences(c_stream, scorer, group) for name, group in sounds.items()
                    }
                    result["optimizations"] = compare_optimizations(
                        export, compilers[0], first.samples[: fe.SAMPLE_RATE]
                    )
                    result["cortex_m7"] = _measure_cortex_m7(export, c_stream, first)
                result["parts"] = {}
                for parts in COMBINATIONS:
                    result["parts"][parts.name] = {
                        name: compare_parts(export, compilers[0], scorer, _unique_samples(group), parts)
                        for name, group in sounds.items()
                    }
            results[weights] = result
    return results


def _unique_samples(sounds: Sequence[ListenerSound]) -> list[Array]:
    """Return the samples of sounds, each once."""
    return list({id(sound.samples): sound.samples for sound in sounds}.values())


def is_within_tolerance(results: dict[str, Any]) -> bool:
    """Return whether no score differs from Python's by more than the tolerance of its format."""
    return all(
        one["largest"] <= result["tolerance"]
        for result in results.values()
        for group in (result.get("agreement", {}), *result.get("parts", {}).values())
        for one in group.values()
    )


def format_lines(results: dict[str, Any]) -> list[str]:
    """Format the results as text."""
    lines = []
    for weights, result in results.items():
        front_end, encoder, score = result["operations"].values()
        size = f"{result['constants']:,} bytes of constants, {result['ram']:,} of RAM"
        lines += [
            f"{weights}: {size} for a window of {result['window']} patches",
            f"  operations: {front_end + encoder:,} per patch (front end {front_end:,}), {score:,} per score",
        ]
        if not result["compilers"]:
            lines.append(f"  no C compiler found ({', '.join(_COMPILERS)}): nothing was compared")
        for cc, output in result["compilers"].items():
            lines.append(
                f"  {cc}: {output['warnings'] or 'no warnings'}; sanitizers: {output['sanitizers'] or 'no errors'}"
            )
        for name, one in result.get("agreement", {}).items():
            lines.append(
                f"  {name}: {one['scores']} scores of {one['sounds']} sounds, largest difference from Python "
                f"{one['largest']:.2g} (99%: {one['p99']:.2g}; last scores {one['largest_of_last']:.2g}; tolerance "
                f"{result['tolerance']:g})"
            )
        for part, groups in result.get("parts", {}).items():
            for name, one in groups.items():
                lines.append(
                    f"  {name}, {part}: {one['scores']} scores, largest difference from Python {one['largest']:.2g}"
                )
        lines += [f"  {line}" for line in _format_optimizations(result.get("optimizations", {}))]
        lines += [f"  {line}" for line in _format_board(result.get("cortex_m7", {}))]
    return lines


def _format_optimizations(platforms: dict[str, dict[str, Any]]) -> list[str]:
    """Format a table of the levels of optimization."""
    lines = []
    for platform, levels in platforms.items():
        lines.append(f"{platform:22}" + "".join(f"{flag:>14}" for flag in levels))
        for name in next(iter(levels.values())):
            values = (level[name] for level in levels.values())
            texts = (f"{value:.3f}" if isinstance(value, float) else f"{value:,}" for value in values)
            lines.append(f"  {name.replace('_', ' '):20}" + "".join(f"{text:>14}" for text in texts))
    return lines


_CALLS: Final = {
    "push": "haaqi_push, 10 ms",
    "request": "haaqi_request",
    "step": "haaqi_work, one step",
    "work": "haaqi_work, budget 100,000",
    "frame": "haaqi_process, 10 ms",
    "patch": "the same, completes a patch",
    "score": "haaqi_score",
    "amplify": "haaqi_amplify",
}
"""calls of `boards.BoardResult`, in words"""


def _format_board(board: dict[str, Any]) -> list[str]:
    lines = []
    if "flash" in board:
        lines.append(f"Cortex-M7: flash {board['flash']:,} (code {board['code']:,}), RAM {board['ram']:,} bytes")
    for part, calls in board.get("calls", {}).items():
        lines.append(f"{part:30}{'instructions':>14}{'stack':>8}, flash {calls['flash']:,}, RAM {calls['ram']:,} bytes")
        for name, text in _CALLS.items():
            if name in calls and calls[name]["instructions"]:
                lines.append(f"  {text:28}{calls[name]['instructions']:>14,}{calls[name]['stack']:>8,}")
    if "calls" in board:
        difference = board["largest_difference_from_here"]
        lines.append(f"largest difference of a score on the emulated board from this machine {difference:.2g}")
    if "skipped" in board:
        lines.append(f"Cortex-M7 skipped: {board['skipped']}")
    return lines
