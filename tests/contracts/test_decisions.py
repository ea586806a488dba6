"""The records of decisions: one form for all, and the table of registrations is the registry's (OQ-2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.workspace import ROOT
from workflows_bootstrap.application import application_registry
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry

RECORDS = sorted((ROOT / "docs" / "adr").glob("*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "A change violates this decision when it…"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_says_why_what_and_when_it_is_violated(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == SECTIONS
    violations = text.partition(SECTIONS[-1])[2]
    assert len(re.findall(r"^- ", violations, flags=re.MULTILINE)) >= 3


def test_records_are_numbered_without_a_gap() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def registered(where: str) -> set[str]:
    """Actions that the table of 0002 has for `core` or `bootstrap`."""
    text = (ROOT / "docs/adr/0002-core-and-bootstrap.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \| ([^|]+) \|", text, flags=re.MULTILINE)
    names = [
        name for cell, place in rows if place.split(",")[0].strip() == where for name in re.findall(r"`([^`]+)`", cell)
    ]
    assert len(set(names)) == len(names)
    return set(names)


def test_the_table_of_registrations_is_what_is_registered() -> None:
    assert registered("core") == set(ActionRegistry.of({"core": core_pack(HttpPolicy())}).ids())
    assert registered("bootstrap") == set(application_registry().ids())
