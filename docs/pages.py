"""Hooks of mkdocs that add the pages which are not in this folder.

- `repository/`: README, ARCHITECTURE, model cards and other files of the checkout that the pages link to
- `gallery/`: the scripts in examples/, with their output and picture of a run
- `command-line.md`: the options of all commands, from the commands themselves
"""

from __future__ import annotations

import ast
import hashlib
import html
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
REPOSITORY = "repository"
GALLERY = "gallery"
GALLERY_ORDER = ("listeners", "degradations", "int8", "stream", "equaliser")
CACHE = ROOT / "build" / "gallery"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(?=[)#\s])")
"""target of a relative Markdown link, without its anchor"""
CODE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def links(text: str) -> Iterator[str]:
    """Yield the targets of relative links in Markdown, without their anchors."""
    return (found[1] for found in LINK.finditer(CODE.sub("", text)))


def to_page(path: str) -> str:
    """Return the page, below the site's root, that shows a file of the checkout."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    if path.startswith("examples/") and path.endswith(".py"):
        return f"{GALLERY}/{PurePosixPath(path).stem}.md"
    return f"{REPOSITORY}/{path}"


def to_source(page: str) -> str:
    """Return the file of the checkout that a page shows: the reverse of `to_page`."""
    if page.startswith(f"{REPOSITORY}/"):
        return page.removeprefix(f"{REPOSITORY}/")
    return f"{DOCS}/{page}"


def find_linked_files(start: list[str]) -> set[str]:
    """Return the files outside docs/ that some files of the checkout link to, directly or through each other."""
    linked, queue = set[str](), list(start)
    while queue:
        path = queue.pop()
        if not path.endswith(".md"):
            continue
        for link in links((ROOT / path).read_text(encoding="utf-8")):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            if not target.startswith(f"{DOCS}/") and (ROOT / target).is_file() and target not in linked:
                linked.add(target)
                queue.append(target)
    return linked


def on_config(config: Any) -> Any:
    """Add model cards, decisions, and how-to pages that mkdocs.yml does not list to the navigation."""
    sections = {title: pages for entry in config.nav for title, pages in entry.items()}
    background = {
        title: pages for entry in sections["Background"] if isinstance(entry, dict) for title, pages in entry.items()
    }
    cards = sorted((ROOT / "runtime" / "models").glob("*/README.md"))
    background["Model cards"] += [{path.parent.name: to_page(path.relative_to(ROOT).as_posix())} for path in cards]
    listed = str(config.nav)
    for pages, folder in ((background["Decisions"], "decisions"), (sections["How-to"], "how-to")):
        found = sorted(path.relative_to(ROOT / DOCS).as_posix() for path in (ROOT / DOCS / folder).glob("*.md"))
        pages += [page for page in found if f"'{page}'" not in listed]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages outside docs/."""
    from mkdocs.structure.files import File

    sources = [to_source(file.src_uri) for file in files.documentation_pages()]
    in_nav = re.findall(rf"{REPOSITORY}/([^'\"\]}}]+\.md)", str(config.nav))
    for path in sorted(find_linked_files([*sources, *in_nav]) | set(in_nav)):
        if not path.startswith("examples/"):
            files.append(File.generated(config, to_page(path), content=(ROOT / path).read_bytes()))
    files.append(File.generated(config, "command-line.md", content=describe_commands()))
    gallery = []
    for name in GALLERY_ORDER:
        title, page, picture = run_example(ROOT / "examples" / f"{name}.py")
        gallery.append(f"## [{title}]({name}.md)\n\n[![{title}]({name}.png)]({name}.md)")
        files.append(File.generated(config, f"{GALLERY}/{name}.md", content=page))
        files.append(File.generated(config, f"{GALLERY}/{name}.png", abs_src_path=str(picture)))
    head = (
        "# Gallery\n\nFive scripts in `examples/`, and the pictures that they draw. The pictures are made when this "
        "site is built, from small inputs such as the demo piece. Click on one to see the script and its output."
    )
    files.append(File.generated(config, f"{GALLERY}/index.md", content="\n\n".join([head, *gallery])))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links between docs/ and the rest of the checkout to pages of the site, and read Markdown in folds."""
    source, folder = to_source(page.file.src_uri), posixpath.dirname(page.file.src_uri)
    if page.file.src_uri.startswith(f"{GALLERY}/"):
        return markdown

    def replace(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        return posixpath.relpath(to_page(target), folder or ".")

    return LINK.sub(replace, markdown).replace("<details>", '<details markdown="1">')


def run_example(script: Path) -> tuple[str, str, Path]:
    """Run a script of examples/, unless neither it nor the models changed since its last run.

    Returns:
        Its title, its page in Markdown, and its picture.

    Raises:
        RuntimeError: the script failed.
    """
    picture, output = CACHE / f"{script.stem}.png", CACHE / f"{script.stem}.txt"
    cards = sorted((ROOT / "runtime" / "models").glob("*/card.json"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in (script, *cards))).hexdigest()
    if not (output.is_file() and picture.is_file() and output.read_text(encoding="utf-8").startswith(version)):
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(script), "--picture", str(picture)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
        output.write_text(f"{version}\n{done.stdout}", encoding="utf-8")
    code = script.read_text(encoding="utf-8")
    title, _, text = (ast.get_docstring(ast.parse(code)) or "").partition("\n")
    body = code.split('"""', 2)[2].strip()
    printed = output.read_text(encoding="utf-8").partition("\n")[2].strip()
    page = (
        f"# {title.rstrip('.')}\n\n{text.strip()}\n\n![{title}]({script.stem}.png)\n\n"
        f"```text\n{printed}\n```\n\n## examples/{script.name}\n\n```python\n{body}\n```\n"
    )
    return title.rstrip("."), page, picture


def describe_commands() -> str:
    """Return the reference of the command line in Markdown."""
    from haaqi_edge.cli.main import COMMANDS, load_command

    lines = [
        "# Command line",
        "",
        "All commands and their options. `haaqi-edge COMMAND --help` prints the same text.",
        "[Contracts](contracts.md#errors-and-exit-codes) describes the exit codes.",
    ]
    for panel, commands in COMMANDS.items():
        lines += ["", f"## {panel}"]
        for name in commands:
            lines += describe_command(load_command(name), name)
    return "\n".join(lines) + "\n"


def describe_command(command: Any, name: str) -> Iterator[str]:
    """Yield the reference of a command, and of the commands of a group, in lines of Markdown."""
    context = command.make_context(name, [], resilient_parsing=True)
    members = getattr(command, "commands", {})
    yield from ("", f"### haaqi-edge {name}", "", escape(command.help or ""))
    if not members:
        yield from ("", "```text", " ".join(["haaqi-edge", name, *command.collect_usage_pieces(context)]), "```")
    arguments_first = sorted(command.params, key=lambda parameter: parameter.param_type_name)
    records = [parameter.get_help_record(context) for parameter in arguments_first]
    if records:
        yield from ("", "| argument or option | |", "|---|---|")
    for record in records:
        if record is not None:  # None for what is hidden
            names, _, metavar = record[0].replace(" <", "\n<").partition("\n")
            yield f"| `{names}` {escape(metavar)} | {escape(record[1] or '')} |"
    for member_name, member in members.items():
        yield from describe_command(member, f"{name} {member_name}")


def escape(text: str) -> str:
    """Return a help text as Markdown."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
