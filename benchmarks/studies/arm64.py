"""Test the wheel on an emulated arm64 machine: haaqi-edge bench study arm64 [BUNDLE...]

The program sets up Debian's Python for arm64 under QEMU, with the wheel, its dependencies and nothing else. It runs
`haaqi-edge score` there and on this machine, and reports how much the scores differ. This takes minutes, because QEMU
is slow. Nothing is installed on this machine: all files are stored in --work. If QEMU, apt or a download is missing,
the program reports it and stops.
"""

from __future__ import annotations

import argparse
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
from ...runtime.audio.reading import audio_in, open_audio
from ...runtime.errors import HaaqiEdgeError
from ...runtime.features import patches as fe
from ..program import told_in_a_line

EMULATORS: Final = ("qemu-aarch64-static", "qemu-aarch64")
TOOLS: Final = ("apt-get", "dpkg-deb")
PACKAGES: Final = ("python3", "libstdc++6")
"""Debian packages, installed with their dependencies"""
LISTENERS: Final = ("NH", "N3", "N7", "S2")
RELEASE: Final = "bookworm"
GLIBC: Final = 36
"""minor version of the release's C library, 2.36; wheels for older versions run on it"""
PYTHON: Final = "3.11"
"""Python version of the release"""
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
KERNEL: Final = {
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n",
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
}
"""files that describe the processors, as on an arm64 kernel. Without them QEMU shows the files of this machine, and
ONNX Runtime for arm64 crashes while it is imported."""


class _MissingError(Exception):
    """Something that the program needs is missing on this machine."""


def mirror() -> str:
    """Return the Debian mirror that apt uses on this machine."""
    form = ["--format", "$(ORIGIN) $(SITE)", "Created-By: Packages"]
    lines = _get(["apt-get", "indextargets", *form]).splitlines()
    sites = [site for origin, _, site in (line.partition(" ") for line in lines) if origin == "Debian"]
    if not sites:
        raise _MissingError("this machine's apt knows no mirror of Debian: give one with --mirror")
    return sites[0]


def userland(work: Path, site: str | None) -> Path:
    """Return the folder of an arm64 system with Python, created from a Debian mirror at the first call.

    Args:
        work: folder for all files.
        site: the mirror; None uses the mirror of this machine's apt.
    """
    root, part = work / "root", work / "root.part"
    if root.is_dir():
        return root
    apt = work / "apt"
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").write_text("")
    source = f"deb [arch=arm64 signed-by={KEYRING}] {site or mirror()} {RELEASE} main\n"
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
    _get(["apt-get", *options, "-qq", "update"])
    _get(["apt-get", *options, "-qq", "--yes", "--download-only", "install", *PACKAGES])
    shutil.rmtree(part, ignore_errors=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(part)], check=True)
    for name, content in KERNEL.items():
        path = part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return part.rename(root)


def installed(work: Path, wheel: Path | None) -> Path:
    """Install the wheel and its dependencies for arm64 into an empty folder; return the folder.

    Args:
        work: folder for all files.
        wheel: None builds the wheel from the current folder.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    site = work / "site"
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory() as made:
        if wheel is None:
            _get([*pip, "wheel", "--no-deps", "--wheel-dir", made, "."])
            (wheel,) = Path(made).glob("*.whl")
        tags = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, GLIBC + 1))]
        platforms = [word for tag in tags for word in ("--platform", tag)]
        form = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:", *platforms]
        _get([*pip, "install", "--target", str(site), *form, str(wheel)])
    return site


def emulated(root: Path, site: Path, cpu: str) -> list[str]:
    """Return the command that runs Python on the emulated arm64 machine."""
    emulator = next(name for name in EMULATORS if shutil.which(name))
    own = {"PYTHONPATH": site, "PYTHONHOME": root / "usr", "OMP_NUM_THREADS": 1, "PYTHONDONTWRITEBYTECODE": 1}
    variables = [word for name, value in own.items() for word in ("-E", f"{name}={value}")]
    return [emulator, "-cpu", cpu, "-L", str(root), *variables, str(root / f"usr/bin/python{PYTHON}")]


def scores(python: Sequence[str], model: str, clips: Sequence[Path]) -> tuple[list[float], float]:
    """Score clips for `LISTENERS` with `haaqi-edge score`.

    Args:
        python: command that runs Python.
        model: shipped name or folder of a bundle.
        clips: audio files.

    Returns:
        all scores, followed by all frame scores (NaN for silence), and the seconds that the command took.

    Raises:
        HaaqiEdgeError: the command failed.
    """
    listeners = [word for name in LISTENERS for word in ("-a", name)]
    verb = ["-m", "haaqi_edge.cli.main", "score", *map(str, clips), *listeners, "--json", "--frames", "--threads", "1"]
    started = time.perf_counter()
    done = subprocess.run([*python, *verb, "--model", model], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HaaqiEdgeError(f"{model} cannot be scored by {python[0]}: {done.stderr.strip()[-2000:]}")
    results = [one for result in json.loads(done.stdout)["results"] for one in result["scores"]]
    found = [one["score"] for one in results] + [frame for one in results for frame in one["frame_scores"]]
    return [np.nan if value is None else value for value in found], time.perf_counter() - started


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all results, or the reason for which there are none (`skipped`)."""
    lacks = [tool for tool in TOOLS if shutil.which(tool) is None]
    lacks += [] if any(map(shutil.which, EMULATORS)) else [EMULATORS[0]]
    if lacks:
        return {"skipped": f"{', '.join(lacks)} not found (Debian: apt install qemu-user-static)"}
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    try:
        python = emulated(userland(work, options.mirror), installed(work, options.wheel), options.cpu)
    except _MissingError as error:
        return {"skipped": str(error)}
    told = "import platform, onnxruntime as o; print(platform.machine(), o.__version__)"
    machine, runtime = subprocess.check_output([*python, "-c", told], text=True).split()
    found: dict[str, Any] = {"machine": machine, "cpu": options.cpu, "onnxruntime": runtime, "bundles": {}}
    with tempfile.TemporaryDirectory() as made:
        clips = []
        for path in audio_in(options.audio):
            samples = np.concatenate(list(open_audio(path).blocks()))[: round(options.seconds * fe.SAMPLE_RATE)]
            clips.append(Path(made) / f"{path.stem}.wav")
            soundfile.write(clips[-1], samples, fe.SAMPLE_RATE, subtype="FLOAT")
        for name in options.bundles:
            card = Bundle(name).card
            model = name if name in shipped_models() else str(Path(name).resolve())
            here, _ = scores([sys.executable], model, clips)
            there, seconds = scores(python, model, clips)
            apart = np.abs(np.array(here) - np.array(there))
            count = len(clips) * len(LISTENERS)
            found["bundles"][name] = {
                "precision": card.precision,
                "target": card.figures.get("quantization", {}).get("target"),
                "scores": count,
                "largest": float(np.nanmax(apart[:count])),
                "p99": float(np.nanquantile(apart[:count], 0.99)),
                "largest_of_frames": float(np.nanmax(apart[count:])),
                "budget": BUDGET,
                "seconds": seconds,
            }
    return found


def _get(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _MissingError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return done.stdout


def main() -> None:
    """Print the results; exit code 1 if scores differ by more than int8 may change them."""
    parser = argparse.ArgumentParser(prog="haaqi-edge bench study arm64", description=__doc__)
    parser.add_argument("bundles", nargs="*", help="bundles or shipped names (default: nano, nano-int8)")
    parser.add_argument("--audio", type=Path, default=Path("demo"), help="folder of clips (default: demo)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each clip (default: 10)")
    parser.add_argument("--work", type=Path, default=Path("build/arm64"), help="keeps what is downloaded")
    parser.add_argument("--mirror", help="of Debian (default: the one of this machine's apt)")
    parser.add_argument("--wheel", type=Path, help="by default built from the current folder")
    parser.add_argument("--cpu", default="max", help="that QEMU emulates, such as cortex-a72 (default: max)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    options.bundles = options.bundles or ["nano", "nano-int8"]
    with told_in_a_line():
        found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
    elif "skipped" in found:
        print(f"skipped: {found['skipped']}")
    else:
        print(f"{found['machine']} (QEMU, {found['cpu']}), onnxruntime {found['onnxruntime']}, against this machine")
        for name, row in found["bundles"].items():
            form = f"{row['precision']}, for {row['target']}" if row["target"] else row["precision"]
            print(
                f"{name} ({form}): {row['scores']} scores at most {row['largest']:.2g} apart, 99% {row['p99']:.2g} "
                f"(allowed {row['budget']:g}), of frames {row['largest_of_frames']:.2g}; {row['seconds']:.0f} s"
            )
    sys.exit(1 if any(row["p99"] > BUDGET for row in found.get("bundles", {}).values()) else 0)


if __name__ == "__main__":
    main()
