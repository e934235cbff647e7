"""Build the page of `haaqi-edge web` into `cli/page`: constants, front end, scripts, and a seal of all of it.

    python web/build.py [--npm npm]

It needs the extra `export`. If the sources have changed, it also needs Node.js 20.19 or later and a connection for
`npm ci`. The result is committed, so that a wheel can be built without Node.js. `tests/cli/test_web.py` fails if it is
older than its sources, or if the shipped nano has another front end.

The model itself is not copied: the page fetches the files of the shipped bundle (see `cli/pages.py`). The page holds
nano's front end as a graph of its own, since the bundle's encoder reads features.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from haaqi_edge.runtime import audiogram, windows
from haaqi_edge.runtime.audio import levels
from haaqi_edge.runtime.bundle import Bundle
from haaqi_edge.runtime.features import patches as fe

WEB: Final = Path(__file__).resolve().parent
ROOT: Final = WEB.parent
PAGE: Final = ROOT / "cli" / "page"
CONSTANTS: Final = WEB / "src" / "generated" / "constants.json"
SEAL: Final = "seal.json"
"""file of the page that says what it was built from"""
MODEL: Final = "nano"


def constants() -> dict[str, Any]:
    """Return the package's constants that the page's TypeScript reads, so that none is written twice."""
    from haaqi_edge.model.nano import NANO_FREQUENCIES

    return {
        "sampleRate": fe.SAMPLE_RATE,
        "patchShift": fe.PATCH_SHIFT,
        "patchLength": fe.PATCH_LENGTH,
        "longestWindow": windows.MAX_WINDOW_SECONDS,
        "frequencies": list(audiogram.FREQUENCIES),
        "nanoFrequencies": list(NANO_FREQUENCIES),
        "lowestLevel": audiogram.MIN_HEARING_LEVEL,
        "highestLevel": audiogram.MAX_HEARING_LEVEL,
        "audiograms": {name: list(hl) for name, hl in audiogram.STANDARD.items()},
        "silence": levels.SILENCE,
        "nalR": levels.nal_r_design(),
    }


def constants_text() -> str:
    """Return the content of the committed file of constants."""
    return json.dumps(constants(), indent=2) + "\n"


def front_end_file() -> str:
    """Return the path within the page of the front end that the shipped model reads."""
    return f"front-end/texture-{Bundle(MODEL).card.front_end.texture_version}.onnx"


def front_end_graph() -> bytes:
    """Trace the shipped model's front end: `samples` [patches, 2800] to `features` [patches, 16, 32]."""
    from haaqi_edge.calibration.finalization import finalize_model
    from haaqi_edge.export.tracing import trace_encoder
    from torch import nn

    class FrontEndOnly:
        """A network whose encoder and head change nothing, so that only the front end is traced."""

        reads = Bundle(MODEL).card.front_end_name
        encoder = head = nn.Identity()

    graph = trace_encoder(FrontEndOnly(), samples=True)
    (output,) = graph.graph.output
    for node in graph.graph.node:
        node.output[:] = ["features" if name == output.name else name for name in node.output]
    output.name = "features"
    return finalize_model(graph, {"sample_rate": str(fe.SAMPLE_RATE), "front_end": FrontEndOnly.reads})


def sources() -> list[Path]:
    """Return the sources of the page's scripts, sorted by path."""
    top = [
        WEB / name for name in ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
    ]
    rest = (path for folder in ("src", "public") for path in (WEB / folder).rglob("*") if path.is_file())
    return sorted([*top, *rest])


def fingerprint() -> str:
    """Return a SHA-256 over the sources' paths and contents, hex. Line ends count as git stores them."""
    digest = hashlib.sha256()
    for path in sources():
        content = path.read_bytes()
        if path.suffix in {".ts", ".html", ".css", ".json", ".svg", ".txt"}:
            content = content.replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def seal(page: Path) -> dict[str, Any]:
    """Return the content of `SEAL`: the fingerprint of the sources, and the SHA-256 of each file of the page."""
    files = sorted(path for path in page.rglob("*") if path.is_file() and path.name != SEAL)
    return {
        "sources": fingerprint(),
        "files": {path.relative_to(page).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def build(npm: str) -> None:
    """Build into `PAGE`. It is replaced as a whole once everything has succeeded.

    Scripts that were built from the current sources stay. So another nano needs no Node.js.
    """
    CONSTANTS.parent.mkdir(exist_ok=True)
    CONSTANTS.write_text(constants_text(), encoding="utf-8")
    part = PAGE.with_name("page.part")
    shutil.rmtree(part, ignore_errors=True)
    if is_current():
        shutil.copytree(PAGE, part)
    else:
        build_scripts(npm, part)
    front_end = part / front_end_file()
    shutil.rmtree(front_end.parent, ignore_errors=True)
    front_end.parent.mkdir()
    front_end.write_bytes(front_end_graph())
    (part / SEAL).write_text(json.dumps(seal(part), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(PAGE, ignore_errors=True)
    part.rename(PAGE)
    size = sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file())
    print(f"{PAGE.relative_to(ROOT)}: {size / 1e6:.1f} MB")


def is_current() -> bool:
    """Return whether the existing page was built from the current sources, and is complete."""
    if not (PAGE / SEAL).is_file():
        return False
    return bool(json.loads((PAGE / SEAL).read_text(encoding="utf-8")) == seal(PAGE))


def build_scripts(npm: str, folder: Path) -> None:
    """Have npm build everything but the front end into a folder."""
    found = shutil.which(npm)
    if found is None:
        sys.exit(
            f"the page's sources have changed, and {npm} was not found: install Node.js 20.19 or later, or give --npm"
        )
    for command in (["ci"], ["run", "types"], ["run", "build", "--", "--outDir", str(folder), "--emptyOutDir"]):
        subprocess.run([found, *command], cwd=WEB, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", default="npm", help="the npm to call")
    build(parser.parse_args().npm)
