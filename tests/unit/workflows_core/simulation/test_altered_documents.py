"""Definitions with something wrong in them, wherever it is: publishing tells of it, or the definition can be run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import harness.authored as harness_authored
from harness.own_definitions import OWN
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.graph import mermaid
from workflows_core.definitions.parse import parse_definition
from workflows_core.publishing.publish import validate_document
from workflows_core.simulation.simulate import simulate

REGISTRY = ActionRegistry.of({"test": harness_authored.test_pack(harness_authored.Effects())})
DOCUMENTS = [own.document for own in OWN]
WRONG: list[Any] = [
    None, True, -1, 0, 2**63, 1e308, "", "x", "\u0000", "$", "payload", "${payload.id}", "vars.x", "root.steps[0]", [],
    ["x"], [[]], {}, {"a": {}}, {"$expr": ""}, {"$expr": "("}, {"$expr": "$"}, {"$expr": 1}, {"$expr": "$error('x')"},
    {"$secret": "S"}, [{"id": "end", "type": "control.return"}], {"steps": []}, {"policy": "continue"},
    {"type": "object"},
]  # fmt: skip
FIELDS = ["id", "type", "config", "steps", "then", "body", "onError", "retry", "saveAs", "condition", "items", "value"]


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """How to reach each value in a document, itself left out."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else []
    for key in keys:
        yield (*way, key)
        yield from ways(value[key], (*way, key))


def at(document: Any, way: tuple[Any, ...]) -> Any:
    """The value there."""
    for key in way:
        document = document[key]
    return document


def altered(chance: Random) -> Any:
    """One of our definitions in which up to four things are lost, replaced, repeated, renamed or another's."""
    document = copy.deepcopy(chance.choice(DOCUMENTS))
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        way: tuple[Any, ...] = chance.choice(list(ways(document)) or [("id",)])
        holder, key, other = at(document, way[:-1]), way[-1], chance.choice(DOCUMENTS)
        match chance.randrange(5):
            case 0:
                del holder[key]
            case 1:
                holder[key] = copy.deepcopy(chance.choice(WRONG))
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 3 if isinstance(holder, dict):
                holder[chance.choice(FIELDS)] = holder.pop(key)
            case _:
                holder[key] = copy.deepcopy(at(other, chance.choice(list(ways(other)))))
    return document


@pytest.mark.asyncio
@settings(max_examples=400)
@given(chance=st.randoms(use_true_random=False))
async def test_whatever_is_wrong_is_told_or_can_be_run(chance: Random) -> None:
    document = altered(chance)
    problems = validate_document(document, REGISTRY)
    json.dumps([problem.to_json() for problem in problems])
    if any(problem.severity == "error" for problem in problems):
        return
    definition = parse_definition(document)
    assert mermaid(definition).startswith("flowchart")
    report = await simulate(definition, REGISTRY, payload={"id": "k1", "n": 1, "items": [1, 2]})
    assert report.status in ("completed", "failed", "paused-at-wait")
