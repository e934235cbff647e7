"""All links within the documentation lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import PAGES, ROOT, anchors, link_targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in link_targets(page):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_all_pages_are_reached_from_the_readme() -> None:
    reached, queue = set[Path](), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        queue += [(page.parent / name).resolve() for target in link_targets(page) if (name := target.partition("#")[0])]
    assert not {page for page in PAGES if "docs" in page.parts} - reached
