"""The committed OpenAPI document is what the API says, and what it says is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from harness.workspace import ROOT
from workflow_server.api.problems import STATUS_OF, status_of

DOCUMENT: dict[str, Any] = json.loads((ROOT / "contracts" / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def test_the_committed_document_is_what_the_api_says() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts/openapi"), "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_every_operation_wants_a_token_and_explains_itself_and_its_refusals(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    assert operation["security"] == [{"HTTPBearer": []}], (path, method)
    assert operation["description"], (path, method)
    answers = operation["responses"]
    assert {"400", "401", "403", "500"} <= answers.keys()
    for status, answer in answers.items():
        if int(status) >= 400:
            assert list(answer["content"]) == ["application/problem+json"], (path, method, status)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in DOCUMENT["components"]["schemas"]


def test_the_page_s_table_has_the_status_of_each_code() -> None:
    page = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", page, flags=re.MULTILINE)
    table = {code: int(status) for status, text in rows for code in re.findall(r"`([A-Z_]+)`", text)}
    assert {code: status.value for code, status in STATUS_OF.items()}.items() <= table.items()
    assert {code: status_of(code).value for code in table} == table
