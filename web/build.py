"""The page that `haaqi-edge web` serves, built into `cli/page`: constants, model, scripts, and a seal of its sources.

    python web/build.py [--npm npm]

needs Node.js 20.19 or later, the extra `export`, and a connection for `npm ci`. What it builds is committed, so that a
wheel can be made without Node; `tests/cli/test_web.py` fails where it is older than its sources or the shipped nano.
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

from haaqi_edge.runtime import audiogram, levels, windows
from haaqi_edge.runtime import frontend as fe
from haaqi_edge.runtime.bundle import Bundle

WEB: Final = Path(__file__).resolve().parent
ROOT: Final = WEB.parent
PAGE: Final = ROOT / "cli" / "page"
CONSTANTS: Final = WEB / "src" / "generated" / "constants.json"
SEAL: Final = "seal.json"
"""in the page: what it was built from"""
DEMO: Final = ("clean.flac", "degraded.flac")


def constants() -> dict[str, Any]:
    """What the page's TypeScript reads of the runtime's constants, so that none is written twice."""
    return {
        "sampleRate": fe.SAMPLE_RATE,
        "patchShift": fe.PATCH_SHIFT,
        "patchLength": fe.PATCH_LENGTH,
        "longestWindow": windows.LONGEST,
        "frequencies": list(audiogram.FREQUENCIES),
        "lowestLevel": audiogram.LOWEST,
        "highestLevel": audiogram.HIGHEST,
        "audiograms": {name: list(hl) for name, hl in audiogram.STANDARD.items()},
        "silence": levels.SILENCE,
        "nalR": levels.nal_r_design(),
    }


def constants_text() -> str:
    """`constants` as the file that is committed."""
    return json.dumps(constants(), indent=2) + "\n"


def sources() -> list[Path]:
    """All that the page is made of, but for the model: by path, sorted."""
    top = [WEB / name for name in ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")]
    rest = (path for folder in ("src", "public") for path in (WEB / folder).rglob("*") if path.is_file())
    return sorted([*top, *rest, *(ROOT / "demo" / name for name in DEMO)])


def fingerprint() -> str:
    """SHA-256 over the sources' paths and contents, hex; line ends as git stores them."""
    digest = hashlib.sha256()
    for path in sources():
        content = path.read_bytes()
        if path.suffix in {".ts", ".html", ".css", ".json", ".svg"}:
            content = content.replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def seal(page: Path) -> dict[str, Any]:
    """What `SEAL` holds: the sources' fingerprint, the model's checkpoint, and the SHA-256 of every file of the page."""
    files = sorted(path for path in page.rglob("*") if path.is_file() and path.name != SEAL)
    return {
        "sources": fingerprint(),
        "model": Bundle(page / "model").card.source_sha256,
        "files": {
            path.relative_to(page).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        },
    }


def build(npm: str) -> None:
    """Build into `PAGE`, which is replaced as a whole once everything went well."""
    from haaqi_edge.export.bundle import nano_source, write_bundle

    CONSTANTS.parent.mkdir(exist_ok=True)
    CONSTANTS.write_text(constants_text(), encoding="utf-8")
    made = PAGE.with_name("page.part")
    shutil.rmtree(made, ignore_errors=True)
    for command in (["ci"], ["run", "types"], ["run", "build", "--", "--outDir", str(made), "--emptyOutDir"]):
        subprocess.run([npm, *command], cwd=WEB, check=True)
    write_bundle(nano_source(None), made / "model", samples=True)
    for name in DEMO:
        (made / "demo").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "demo" / name, made / "demo" / name)
    (made / SEAL).write_text(json.dumps(seal(made), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(PAGE, ignore_errors=True)
    made.rename(PAGE)
    size = sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file())
    print(f"{PAGE.relative_to(ROOT)}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", default="npm", help="the npm to call")
    given = parser.parse_args()
    found = shutil.which(given.npm)
    if found is None:
        sys.exit(f"{given.npm} was not found: install Node.js 20.19 or later, or give --npm")
    build(found)
