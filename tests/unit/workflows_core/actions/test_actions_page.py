"""docs/actions.md describes the core pack, whole and no more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.workspace import ROOT
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry

PAGE = (ROOT / "docs/actions.md").read_text(encoding="utf-8")
DESCRIBED: dict[str, dict[str, Any]] = {
    f"{one['id']}@{one['version']}": one for one in ActionRegistry.of({"core": core_pack(HttpPolicy())}).describe()
}


def test_every_action_has_its_heading() -> None:
    assert re.findall(r"^## (\S+@\d+)$", PAGE, flags=re.MULTILINE) == list(DESCRIBED)


@pytest.mark.parametrize("key", DESCRIBED)
def test_every_field_is_described(key: str) -> None:
    section = PAGE.split(f"## {key}\n")[1].split("\n## ")[0]
    for schema in (DESCRIBED[key]["inputSchema"], DESCRIBED[key]["outputSchema"]):
        for name in schema.get("properties", {}):
            assert f"| `{name}` |" in section
