"""The page that `haaqi-edge web` serves, built into `cli/page`: constants, model, scripts, and a seal of its sources.

    python web/build.py [--npm npm]

needs the extra `export`, and where the sources have changed Node.js 20.19 or later and a connection for `npm ci`. What
it builds is committed, so that a wheel can be made without Node; `tests/cli/test_web.py` fails where it is older than
its sources or the shipped nano.
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
"""in the page: what it was built from"""
DEMO: Final = ("clean.flac", "degraded.flac")


def constants() -> dict[str, Any]:
    """What the page's TypeScript reads of the package's constants, so that none is written twice."""
    from haaqi_edge.model.nano import HEARD

    return {
        "sampleRate": fe.SAMPLE_RATE,
        "patchShift": fe.PATCH_SHIFT,
        "patchLength": fe.PATCH_LENGTH,
        "longestWindow": windows.LONGEST,
        "frequencies": list(audiogram.FREQUENCIES),
        "heard": list(HEARD),
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
    top = [
        WEB / name for name in ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
    ]
    rest = (path for folder in ("src", "public") for path in (WEB / folder).rglob("*") if path.is_file())
    return sorted([*top, *rest, *(ROOT / "demo" / name for name in DEMO)])


def fingerprint() -> str:
    """SHA-256 over the sources' paths and contents, hex; line ends as git stores them."""
    digest = hashlib.sha256()
    for path in sources():
        content = path.read_bytes()
        if path.suffix in {".ts", ".html", ".css", ".json", ".svg", ".txt"}:
            content = content.replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def seal(page: Path) -> dict[str, Any]:
    """What `SEAL` holds: the sources' fingerprint, the model's checkpoint, and every file's SHA-256."""
    files = sorted(path for path in page.rglob("*") if path.is_file() and path.name != SEAL)
    return {
        "sources": fingerprint(),
        "model": Bundle(page / "model").card.source_sha256,
        "files": {path.relative_to(page).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def build(npm: str) -> None:
    """Build into `PAGE`, which is replaced as a whole once everything went well.

    Scripts that were built from the sources as they are stay: a refitted nano needs no Node.js.
    """
    from haaqi_edge.export.bundle import nano_source, write_bundle

    CONSTANTS.parent.mkdir(exist_ok=True)
    CONSTANTS.write_text(constants_text(), encoding="utf-8")
    made = PAGE.with_name("page.part")
    shutil.rmtree(made, ignore_errors=True)
    if is_current():
        shutil.copytree(PAGE, made)
    else:
        build_scripts(npm, made)
    write_bundle(nano_source(None), made / "model", samples=True)
    for name in DEMO:
        (made / "demo").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "demo" / name, made / "demo" / name)
    (made / SEAL).write_text(json.dumps(seal(made), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(PAGE, ignore_errors=True)
    made.rename(PAGE)
    size = sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file())
    print(f"{PAGE.relative_to(ROOT)}: {size / 1e6:.1f} MB")


def is_current() -> bool:
    """Whether the page that is there was built from the sources as they are."""
    if not (PAGE / SEAL).is_file():
        return False
    sealed = json.loads((PAGE / SEAL).read_text(encoding="utf-8"))
    found = {name: hashlib.sha256((PAGE / name).read_bytes()).hexdigest() for name in sealed["files"]}
    return bool(sealed["sources"] == fingerprint() and sealed["files"] == found)


def build_scripts(npm: str, folder: Path) -> None:
    """Have npm build everything but model and demo pieces into a folder."""
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
