"""What a definition says of payload schemas and events, against what a tenant has registered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Problem
from workflows_core.validation.payload_contracts import contract_problems

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ORDER = {"type": "object", "required": ["id"], "properties": {"id": {}, "buyer": {"type": "object", "required": ["n"]}}}


@dataclass(frozen=True)
class Registered:
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    catalog: Mapping[str, str | None] = field(default_factory=dict)

    def refs(self) -> Collection[str]:
        return self.schemas.keys()

    def schema(self, ref: str) -> Mapping[str, Any] | None:
        return self.schemas.get(ref)

    def events(self) -> Mapping[str, str | None]:
        return self.catalog


def found(registered: Registered | None, ref: str = "payload.Order.v1", **trigger: Any) -> list[Problem]:
    document: dict[str, Any] = {"id": "w", "version": 1, "name": "n", "payloadSchemaRef": ref, "steps": []}
    if trigger:
        document["trigger"] = trigger
    return list(contract_problems(parse_definition(document), registered, now=NOW))


KNOWN = Registered({"payload.Order.v1": ORDER}, {"ORDERED": "payload.Order.v1"})
EVENT = {"type": "event", "eventName": "ORDERED"}


def test_what_is_registered_has_no_problem() -> None:
    assert found(KNOWN, **EVENT) == []
    assert found(KNOWN, "payload.Empty.v1") == []


def test_where_nobody_knows_only_times_are_checked() -> None:
    assert found(None, **EVENT) == []
    assert [problem.code for problem in found(None, type="schedule", runAt="x")] == ["TIME_TRIGGER_INVALID_RUN_AT"]


@pytest.mark.parametrize(
    ("ref", "suggestion", "says"),
    [
        ("payload.Ordr.v1", "payload.Order.v1", "similar are payload.Order.v1"),
        ("zzz", None, "there are payload.A0.v1, payload.A1.v1, payload.A2.v1, payload.A3.v1, payload.A4.v1 and 4 more"),
    ],
)
def test_a_ref_that_nobody_registered_is_told_what_there_is(ref: str, suggestion: str | None, says: str) -> None:
    schemas = {"payload.Order.v1": ORDER, **{f"payload.A{number}.v1": {} for number in range(6)}}
    (problem,) = found(Registered(schemas), ref)
    assert (problem.code, problem.suggestion) == ("PAYLOAD_SCHEMA_REF_UNKNOWN", suggestion)
    assert says in problem.message


def test_a_mapping_gives_what_the_payload_requires_also_by_dotted_names() -> None:
    whole = {"id": {"$expr": "event.payload.id"}, "buyer.n": {"$expr": "event.payload.n"}}
    assert found(KNOWN, **EVENT, payloadMapping=whole) == []
    lacking = {"buyer": {"x": 1}, "buyer.m": 1, "id.x": 1, "id": 2}
    (problem,) = found(KNOWN, **EVENT, payloadMapping=lacking)
    assert (problem.code, problem.path) == ("TRIGGER_MAPPING_MISSING_REQUIRED_FIELDS", "trigger.payloadMapping")
    assert problem.message.endswith(": buyer.n")
    text = {"buyer": "a text", "buyer.n": 1, "id": 2}
    assert found(KNOWN, **EVENT, payloadMapping=text) == []


def test_a_mapping_into_a_schema_that_nobody_has_is_let_alone() -> None:
    registered = Registered({"payload.Other.v1": {}}, {"ORDERED": "payload.Other.v1"})
    codes = [problem.code for problem in found(registered, **EVENT, payloadMapping={"a": 1})]
    assert codes == ["PAYLOAD_SCHEMA_REF_UNKNOWN"]
