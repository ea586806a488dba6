"""Pictures of definitions."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.own_definitions import OWN, Own
from workflows_core.definitions.graph import mermaid
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_every_step_is_drawn_and_every_arrow_has_its_ends(own: Own) -> None:
    definition = parse_definition(own.document)
    text = mermaid(definition)
    nodes = set(re.findall(r"^  (n\d+)[(\[{]", text, flags=re.MULTILINE))
    arrows = re.findall(r"^  (n\d+) (?:-->|-\.->)(?:\|\"[^|]*\"\|)? (n\d+)$", text, flags=re.MULTILINE)
    assert {end for arrow in arrows for end in arrow} <= nodes
    drawn = sum(1 for _ in walk_steps(definition))
    ends = 1 if '(["end"])' in text else 0
    assert len(nodes) == 1 + drawn + ends
    assert text.count("subgraph") == text.splitlines().count("  end")


def test_what_undoes_a_step_is_drawn_beside_the_way_of_the_run() -> None:
    def call(step_id: str, **more: Any) -> dict[str, Any]:
        return {"id": step_id, "type": "action.call", "config": {"actionId": f"a.{step_id}", "version": 1}, **more}

    steps = [call("book", onCompensate=[call("cancel"), call("tell")]), call("pay")]
    document = {"id": "w", "version": 1, "name": "w", "payloadSchemaRef": "p", "steps": steps}
    assert [line.strip() for line in mermaid(parse_definition(document)).splitlines()[1:]] == [
        'n1(["w"])',
        'n2["book: a.book@1"]',
        "n1 --> n2",
        'subgraph n2_undo["book.onCompensate"]',
        'n3["cancel: a.cancel@1"]',
        'n4["tell: a.tell@1"]',
        "n3 --> n4",
        "end",
        'n2 -.->|"undone by"| n3',
        'n5["pay: a.pay@1"]',
        "n2 --> n5",
        'n6(["end"])',
        "n5 --> n6",
    ]


def test_what_people_wrote_cannot_break_the_picture() -> None:
    condition = {"$expr": 'payload.x = "]|<b>" #1'}
    step = {"id": "i", "type": "control.if", "condition": condition, "then": []}
    document = {"id": "w", "version": 1, "name": 'a "name"', "payloadSchemaRef": "p", "steps": [step]}
    text = mermaid(parse_definition(document))
    assert "#quot;]#124;#lt;b#gt;#quot; #35;1" in text
    assert text.splitlines()[1] == '  n1(["a #quot;name#quot;"])'


def test_what_a_case_equals_is_written_as_in_the_document() -> None:
    cases: list[dict[str, Any]] = [{"equals": value, "steps": []} for value in ("invoice", "", True, None, 1.5)]
    step = {"id": "s", "type": "control.switch", "value": {"$expr": "payload.kind"}, "cases": cases}
    document = {"id": "w", "version": 1, "name": "w", "payloadSchemaRef": "p", "steps": [step]}
    labels = re.findall(r'-->\|"([^|]*)"\|', mermaid(parse_definition(document)))
    assert labels == ["invoice", "#quot;#quot;", "true", "null", "1.5", "else"]
