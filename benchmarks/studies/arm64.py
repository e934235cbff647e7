"""Test the wheel on an emulated arm64 machine: `haaqi-edge bench study arm64`.

The study sets up Debian's Python for arm64 under QEMU, with the wheel, its dependencies and nothing else. It runs
`haaqi-edge score` there and on this machine, and reports how much the scores differ. This takes minutes, because QEMU
is slow. Nothing is installed on this machine: all files are stored in a work folder. If QEMU, apt or a download is
missing, the study is skipped, and the reason is reported.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from ...evaluation.comparison import BUDGET
from ...runtime import Bundle, shipped_models
from ...runtime.audio.folders import audio_in
from ...runtime.audio.reading import open_audio
from ...runtime.errors import HaaqiEdgeError
from ...runtime.features import patches as fe
from ..progress import Progress, no_progress

_EMULATORS: Final = ("qemu-aarch64-static", "qemu-aarch64")
_TOOLS: Final = ("apt-get", "dpkg-deb")
_PACKAGES: Final = ("python3", "libstdc++6")
"""Debian packages, installed with their dependencies"""
LISTENERS: Final = ("NH", "N3", "N7", "S2")
_RELEASE: Final = "bookworm"
_GLIBC_MINOR: Final = 36
"""minor version of the release's C library, 2.36; wheels for older versions run on it"""
_PYTHON: Final = "3.11"
"""Python version of the release"""
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_KERNEL_FILES: Final = {
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n",
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}
"""files that describe the processors, as on an arm64 kernel. Without them QEMU shows the files of this machine, and
ONNX Runtime for arm64 crashes while it is imported."""


class _MissingError(Exception):
    """Something that the study needs is missing on this machine."""


class EmulationError(HaaqiEdgeError, RuntimeError):
    """Raised if a bundle cannot be scored."""

    exit_code = 1


def _find_mirror() -> str:
    """Return the Debian mirror that apt uses on this machine."""
    options = ["--format", "$(ORIGIN) $(SITE)", "Created-By: Packages"]
    lines = _run(["apt-get", "indextargets", *options]).splitlines()
    sites = [site for origin, _, site in (line.partition(" ") for line in lines) if origin == "Debian"]
    if not sites:
        raise _MissingError("apt on this machine has no Debian mirror: give one with --mirror")
    return sites[0]


def _prepare_system(work: Path, mirror: str | None) -> Path:
    """Return the folder of an arm64 system with Python, created from a Debian mirror at the first call.

    Args:
        work: folder for all files.
        mirror: None uses the mirror of this machine's apt.
    """
    root, part = work / "root", work / "root.part"
    if root.is_dir():
        return root
    apt = work / "apt"
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").write_text("")
    source = f"deb [arch=arm64 signed-by={_KEYRING}] {mirror or _find_mirror()} {_RELEASE} main\n"
    (apt / "sources.list").write_text(source)
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::State": apt,
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt,
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "-",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", *options, "-qq", "update"])
    _run(["apt-get", *options, "-qq", "--yes", "--download-only", "install", *_PACKAGES])
    shutil.rmtree(part, ignore_errors=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(part)], check=True)
    for name, content in _KERNEL_FILES.items():
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return part.rename(root)


def _install_wheel(work: Path, wheel: Path | None) -> Path:
    """Install the wheel with ONNX Runtime and the command line for arm64 into an empty folder; return the folder.

    Args:
        work: folder for all files.
        wheel: None builds the wheel from the current folder.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    site = work / "site"
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        if wheel is None:
            _run([*pip, "wheel", "--no-deps", "--wheel-dir", temporary, "."])
            (wheel,) = Path(temporary).glob("*.whl")
        tags = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, _GLIBC_MINOR + 1))]
        platforms = [word for tag in tags for word in ("--platform", tag)]
        target = ["--python-version", _PYTHON, "--implementation", "cp", "--only-binary", ":all:", *platforms]
        _run([*pip, "install", "--target", str(site), *target, f"{wheel}[cpu,cli]"])
    return site


def _emulator_command(root: Path, site: Path, cpu: str) -> list[str]:
    """Return the command that runs Python on the emulated arm64 machine."""
    emulator = next(name for name in _EMULATORS if shutil.which(name))
    environment = {"PYTHONPATH": site, "PYTHONHOME": root / "usr", "OMP_NUM_THREADS": 1, "PYTHONDONTWRITEBYTECODE": 1}
    variables = [word for name, value in environment.items() for word in ("-E", f"{name}={value}")]
    return [emulator, "-cpu", cpu, "-L", str(root), *variables, str(root / f"usr/bin/python{_PYTHON}")]


def _score_clips(python: Sequence[str], model: str, clips: Sequence[Path]) -> tuple[list[float], float]:
    """Score clips for `LISTENERS` with `haaqi-edge score`.

    Args:
        python: command that runs Python.
        model: shipped name or folder of a bundle.
        clips: audio files.

    Returns:
        all scores, followed by all frame scores (NaN for silence), and the seconds that the command took.

    Raises:
        EmulationError: the command failed.
    """
    listeners = [word for name in LISTENERS for word in ("-a", name)]
    command = [
        "-m",
        "haaqi_edge.cli.main",
        "score",
        *map(str, clips),
        *listeners,
        "--json",
        "--frames",
        "--threads",
        "1",
    ]
    started = time.perf_counter()
    completed = subprocess.run([*python, *command, "--model", model], capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise EmulationError(f"{python[0]} cannot score with {model}: {completed.stderr.strip()[-2000:]}")
    results = [one for result in json.loads(completed.stdout)["results"] for one in result["scores"]]
    scores = [one["score"] for one in results] + [frame for one in results for frame in one["frame_scores"]]
    return [np.nan if value is None else value for value in scores], time.perf_counter() - started


def measure(
    bundles: Sequence[str],
    audio: Path,
    seconds: float,
    work: Path,
    mirror: str | None = None,
    wheel: Path | None = None,
    cpu: str = "max",
    on_progress: Progress = no_progress,
) -> dict[str, Any]:
    """Compare the scores of bundles on this machine and on an emulated arm64 machine.

    Args:
        bundles: shipped names or folders of bundles.
        audio: folder of clips.
        seconds: duration of each clip that is scored.
        work: folder for all files.
        mirror: of Debian; None uses the mirror of this machine's apt.
        wheel: None builds the wheel from the current folder.
        cpu: the processor that QEMU emulates.
        on_progress: called with the progress.

    Returns:
        the results by bundle, or the reason why there are none (`skipped`).
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    missing += [] if any(map(shutil.which, _EMULATORS)) else [_EMULATORS[0]]
    if missing:
        return {"skipped": f"{', '.join(missing)} not found (Debian: apt install qemu-user-static)"}
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    try:
        on_progress("preparing the emulated system", 0, 0)
        python = _emulator_command(_prepare_system(work, mirror), _install_wheel(work, wheel), cpu)
    except _MissingError as error:
        return {"skipped": str(error)}
    code = "import platform, onnxruntime as o; print(platform.machine(), o.__version__)"
    machine, runtime = subprocess.check_output([*python, "-c", code], text=True).split()
    results: dict[str, Any] = {"machine": machine, "cpu": cpu, "onnxruntime": runtime, "bundles": {}}
    with tempfile.TemporaryDirectory() as temporary:
        clips = []
        for path in audio_in(audio):
            samples = np.concatenate(list(open_audio(path).blocks()))[: round(seconds * fe.SAMPLE_RATE)]
            clips.append(Path(temporary) / f"{path.stem}.wav")
            soundfile.write(clips[-1], samples, fe.SAMPLE_RATE, subtype="FLOAT")
        for number, name in enumerate(bundles):
            on_progress("scoring with each bundle", number, len(bundles))
            results["bundles"][name] = _compare_scores(name, python, clips)
    return results


def _compare_scores(name: str, python: Sequence[str], clips: Sequence[Path]) -> dict[str, Any]:
    """Score clips with a bundle here and with the emulated Python, and compare the scores."""
    card = Bundle(name).card
    model = name if name in shipped_models() else str(Path(name).resolve())
    here, _ = _score_clips([sys.executable], model, clips)
    there, seconds = _score_clips(python, model, clips)
    differences = np.abs(np.array(here) - np.array(there))
    count = len(clips) * len(LISTENERS)
    return {
        "precision": card.precision,
        "target": card.figures.get("quantization", {}).get("target"),
        "scores": count,
        "largest": float(np.nanmax(differences[:count])),
        "p99": float(np.nanquantile(differences[:count], 0.99)),
        "largest_of_frames": float(np.nanmax(differences[count:])),
        "budget": BUDGET,
        "seconds": seconds,
    }


def _run(command: Sequence[str]) -> str:
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        lines = completed.stderr.strip().splitlines()
        raise _MissingError(f"{command[0]} failed: {lines[-1] if lines else f'exit code {completed.returncode}'}")
    return completed.stdout


def is_within_budget(results: dict[str, Any]) -> bool:
    """Return whether scores differ by no more than int8 may change them; True if the study was skipped."""
    return all(result["p99"] <= BUDGET for result in results.get("bundles", {}).values())


def format_lines(results: dict[str, Any]) -> list[str]:
    """Format the results as text."""
    if "skipped" in results:
        return [f"skipped: {results['skipped']}"]
    lines = [f"{results['machine']} (QEMU, {results['cpu']}), onnxruntime {results['onnxruntime']}"]
    for name, result in results["bundles"].items():
        kind = f"{result['precision']}, for {result['target']}" if result["target"] else result["precision"]
        lines.append(
            f"{name} ({kind}): {result['scores']} scores, largest difference from this machine "
            f"{result['largest']:.2g}, 99% {result['p99']:.2g} (allowed {result['budget']:g}), "
            f"of frames {result['largest_of_frames']:.2g}; {result['seconds']:.0f} s"
        )
    return lines
