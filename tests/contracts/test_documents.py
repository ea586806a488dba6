"""Links resolve, the README keeps its promise of two commands, and no file names a package index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.workspace import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
# Hosts of package indexes, in pieces so that this file does not name them.
INDEXES = ["pypi" + ".org", "python" + "hosted.org", "test." + "pypi"]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as hosted repositories make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_setting_up_takes_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Set up")[2].partition("\n## ")[0]
    assert "Linux (glibc 2.28+) or macOS; Windows through WSL2. Python 3.11+." in section
    first_block = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    assert first_block is not None
    assert first_block.group(1).splitlines() == [
        "python3 -m pip install uv && python3 -m uv run workflows demo",
        "python3 -m uv run pytest",
    ]
    assert "externally managed" in section


def test_the_check_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script
    assert "\ntests() {\n" in script
    assert "\n  stage python3 -m uv run pytest\n}\n" in script
    # All stages by default, and the tests last, so that a run ends with their summary.
    assert "\nall=(lint types contracts images tests)\n" in script
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def files(folder: Path, ignored: list[str]) -> Iterator[Path]:
    """Files that belong to the repository: what .gitignore's names leave."""
    for path in sorted(folder.iterdir()):
        if path.name == ".git" or any(fnmatch(path.name, pattern) for pattern in ignored):
            continue
        if path.is_dir():
            yield from files(path, ignored)
        elif path.is_file():
            yield path


def test_no_file_names_an_index() -> None:
    ignored = [line.strip().strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    looked_at = list(files(ROOT, ignored))
    assert ROOT / "README.md" in looked_at
    for file in looked_at:
        text = file.read_bytes().decode("utf-8", errors="replace")
        assert [host for host in INDEXES if host in text] == [], file.relative_to(ROOT)
