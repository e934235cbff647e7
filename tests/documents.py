"""README.md and the pages of docs/, read as Markdown: links, headings, and code blocks with their expected output."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from haaqi_edge.cli.main import COMMANDS, load_command
from markdown_it import MarkdownIt

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = sorted(
    path
    for pattern in ("*.md", ".github/**/*.md", "docs/**/*.md", "training/*.md", "runtime/models/*/*.md")
    for path in ROOT.glob(pattern)
)
"""all pages whose links are followed"""
RUN_PAGES: Final = [path for path in PAGES if path.parent == ROOT / "docs" or "how-to" in path.parts]
RUN_PAGES.insert(0, ROOT / "README.md")
"""the pages whose code blocks are run"""
_NOT_RUN: Final = re.compile(r"<!-- not-run: (\S.*) -->")
_PARSER: Final = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced code block.

    Attributes:
        language: what follows the fence, such as `bash`.
        code: the text.
        line: number of its first line of code in the file, from 1.
        not_run: the reason of the comment before it; None if the block is run.
        output: the `text` block that follows immediately; None without one.
    """

    language: str
    code: str
    line: int
    not_run: str | None
    output: CodeBlock | None = None


@cache
def parse(path: Path) -> list[Any]:
    """Return the tokens of a page."""
    return _PARSER.parse(re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))


def code_blocks(path: Path) -> list[CodeBlock]:
    """Return the code blocks of a page, each with the output block that follows it."""
    blocks: list[CodeBlock] = []
    reason: str | None = None
    previous: Any = None
    for token in parse(path):
        if token.type == "html_block" and (found := _NOT_RUN.fullmatch(token.content.strip())):
            reason = found[1]
        elif token.type in ("fence", "code_block"):
            block = CodeBlock(token.info.strip(), token.content, token.map[0] + 2, reason)
            follows = previous is not None and previous.type == "fence" and token.type == "fence"
            if follows and block.language == "text" and blocks[-1].language in ("bash", "python"):
                last = blocks.pop()
                block = CodeBlock(last.language, last.code, last.line, last.not_run, block)
            blocks.append(block)
            reason = None
        elif token.level == 0 and token.nesting >= 0:
            assert reason is None, f"{path}: a comment `not-run` without a code block behind it"
        previous = token
    return blocks


def link_targets(path: Path) -> Iterator[str]:
    """Yield the targets of all links and pictures of a page, those in HTML included."""
    for token in parse(path):
        for child in token.children or []:
            if child.type in ("link_open", "image"):
                yield str(child.attrs["href" if child.type == "link_open" else "src"])
        if token.type in ("html_block", "inline"):
            yield from re.findall(r"""(?:src|href)=["']([^"']+)["']""", token.content)


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs name them."""
    tokens = parse(path)
    titles = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


def inline_commands(path: Path) -> Iterator[str]:
    """Yield the `haaqi-edge` commands in inline code."""
    for token in parse(path):
        for child in token.children or []:
            if child.type == "code_inline" and child.content.startswith("haaqi-edge "):
                yield child.content


def shell_commands(code: str) -> list[list[str]]:
    """Return the commands of a bash block, in words; pipes, lists and redirections separate commands."""
    lexer = shlex.shlex(code.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    comment = redirected = False
    for word in lexer:
        comment = (comment or word.startswith("#")) and word != ";"
        if comment:
            continue
        if set(word) <= set(";&|"):
            commands.append([])
        elif set(word) <= set("<>&"):
            redirected = True
        elif redirected:
            redirected = False
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words such as `haaqi-edge bench study c` name, and the words behind its name.

    Raises:
        AssertionError: there is no such command.
    """
    name, *rest = words[1:]
    assert any(name in commands for commands in COMMANDS.values()), f"no command {name!r} in {words}"
    command = load_command(name)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]!r} in {words}"
        command = command.commands[rest.pop(0)]
    return command, rest
