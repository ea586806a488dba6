"""The payload of a run that an event starts."""

from __future__ import annotations

from typing import Any

import pytest

from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.trigger_mapping import MappingFailed, mapped_payload

EVENT = {"name": "ORDERED", "correlationKey": "c-1", "payload": {"id": 7, "lines": [1, 2]}, "payloadSchemaRef": None}


def mapped(mapping: dict[str, Any] | None) -> Any:
    return mapped_payload(mapping, EVENT, JlensEngine(), now_ms=0, seed=0)


def test_without_mapping_the_events_payload_is_the_runs() -> None:
    assert mapped(None) == {"id": 7, "lines": [1, 2]}


def test_an_empty_mapping_gives_an_empty_payload() -> None:
    assert mapped({}) == {}


def test_expressions_see_the_event_and_literals_stay() -> None:
    mapping = {
        "id": {"$expr": "event.payload.id"},
        "key": {"$expr": "event.correlationKey"},
        "source": "shop",
        "nested": {"first": {"$expr": "event.payload.lines[0]"}, "list": [{"$expr": "event.name"}, 1]},
    }
    nested = {"first": 1, "list": ["ORDERED", 1]}
    assert mapped(mapping) == {"id": 7, "key": "c-1", "source": "shop", "nested": nested}


def test_a_value_without_result_is_left_out_but_keeps_its_place_in_a_list() -> None:
    absent = {"$expr": "event.payload.absent"}
    assert mapped({"gone": absent, "kept": {"gone": absent}, "list": [absent, 1]}) == {"kept": {}, "list": [None, 1]}


def test_dotted_names_become_nested_objects() -> None:
    assert mapped({"order.id": 1, "order.customer.id": 2}) == {"order": {"id": 1, "customer": {"id": 2}}}


def test_a_secret_stays_a_reference() -> None:
    assert mapped({"token": {"$secret": "API_TOKEN"}}) == {"token": {"$secret": "API_TOKEN"}}


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        ({"a": {"$expr": "event."}}, "payloadMapping.a"),
        ({"a": {"$expr": "event.payload.id & {}.x.y + 'no'"}}, "payloadMapping.a"),
        ({"order": 1, "order.id": 2}, "payloadMapping.order.id"),
    ],
)
def test_what_cannot_be_mapped_is_named(mapping: dict[str, Any], named: str) -> None:
    with pytest.raises(MappingFailed, match=named):
        mapped(mapping)
