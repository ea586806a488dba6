"""What later checks see of a definition in which some steps cannot be read."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

from harness.interpreted import document
from workflows_core.definitions.parse import readable_part
from workflows_core.definitions.walk import walk_steps

EXPR = {"$expr": "payload.id"}


def test_steps_that_cannot_be_read_leave_the_others_in_their_places() -> None:
    broken = {"id": "broken", "type": "action.call", "config": {}}
    choose = {"id": "choose", "type": "control.if", "condition": EXPR, "then": [broken, {"type": "nothing"}]}
    cases = [{"equals": 1, "steps": [{"id": "end", "type": "control.return", "valu": 1}]}]
    switch = {"id": "switch", "type": "control.switch", "value": EXPR, "cases": cases}
    fine = {"id": "fine", "type": "state.set", "config": {"state": "S"}}
    head = {"id": "w", "version": 1, "name": "w", "payloadSchemaRef": "payload.A.v1"}
    whole = {**head, "steps": [choose, "no step", switch, fine]}
    found = readable_part(whole)
    assert found is not None
    assert [(path, step.id, step.type) for path, step in walk_steps(found)] == [
        ("root.steps[0]", "choose", "control.if"),
        ("root.steps[0].then.steps[0]", "broken", "transform.assign"),
        ("root.steps[0].then.steps[1]", ANY, "transform.assign"),
        ("root.steps[1]", ANY, "transform.assign"),
        ("root.steps[2]", "switch", "control.switch"),
        ("root.steps[2].cases[0].steps[0]", "end", "transform.assign"),
        ("root.steps[3]", "fine", "state.set"),
    ]
    assert whole["steps"] == [choose, "no step", switch, fine]
    others: list[Any] = [{**whole, "name": 1}, {**head, "steps": {}}, [], {**whole, "more": float("nan")}]
    for other in others:
        assert readable_part(other) is None


def test_a_step_that_cannot_be_read_goes_with_all_that_is_in_it() -> None:
    branches = [{"of_no_use_to_anybody": 1}, {"steps": ["no step"]}]
    found = readable_part(document({"id": "both", "type": "control.parallel", "branches": branches}))
    assert found is not None
    assert [(path, step.id, step.type) for path, step in walk_steps(found)] == [
        ("root.steps[0]", "both", "transform.assign")
    ]
