"""The one predicate of events and waits."""

from __future__ import annotations

from typing import Any

import pytest

from workflows_core.interpreter.correlation import correlation_keys, key_text
from workflows_core.interpreter.matching import (
    EventFacts,
    filter_problem,
    matches,
    mismatch,
)
from workflows_core.wire.records import WaitRecord


def wait(**changes: Any) -> WaitRecord:
    record: dict[str, Any] = {
        "wait_id": "w",
        "step_path": "root.steps[0]",
        "visit": 1,
        "wait_type": "event",
        "event_name": "PAID",
        "key": "k1",
        "filters": [],
        "opened_at": 0,
        "timeout_at": None,
        "look_back_from": 0,
        "payload": {},
        **changes,
    }
    return record  # type: ignore[return-value]


def event(payload: Any = None, name: str = "PAID", keys: tuple[str, ...] = ("k0", "k1")) -> EventFacts:
    return EventFacts("e1", name, keys, payload)


def test_name_and_key_decide_first() -> None:
    assert matches(event(), wait())
    assert mismatch(event(name="OTHER"), wait()) == "the wait is for event 'PAID', this is 'OTHER'"
    assert "has ['k0', 'k1']" in str(mismatch(event(), wait(key="k2")))
    assert mismatch(event(), wait(key=None)) == "the wait has no correlation key, so no event can match it"


@pytest.mark.parametrize(
    ("op", "value", "holds", "fails"),
    [
        ("=", 5, {"a": {"b": 5}}, {"a": {"b": 6}}),
        ("=", 1, {"a": {"b": 1}}, {"a": {"b": True}}),
        ("=", None, {"a": {"b": None}}, {}),
        ("!=", 5, {"a": {"b": 6}}, {"a": {"b": 5}}),
        ("!=", 5, {}, {"a": {"b": 5.0}}),
        ("in", ["x", 1], {"a": {"b": 1}}, {"a": {"b": True}}),
        ("not_in", ["x"], {"a": {"b": "y"}}, {"a": {"b": "x"}}),
        ("not_in", ["x"], {}, {"a": {"b": "x"}}),
        ("exists", None, {"a": {"b": None}}, {"a": {}}),
        ("not_exists", None, {"a": 1}, {"a": {"b": 0}}),
        (">", 5, {"a": {"b": 5.5}}, {"a": {"b": "6"}}),
        (">", 5, {"a": {"b": 6}}, {"a": {"b": 5}}),
        (">=", 5, {"a": {"b": 5}}, {"a": {"b": 4}}),
        (">=", "2026-01-01", {"a": {"b": "2026-01-02"}}, {"a": {"b": "2025-12-31"}}),
        ("<", 5, {"a": {"b": 4}}, {"a": {"b": False}}),
        ("<", 5, {"a": {"b": 4}}, {"a": {"b": 5}}),
        ("<=", 5, {"a": {"b": 5}}, {}),
        ("contains", "ell", {"a": {"b": "hello"}}, {"a": {"b": "hi"}}),
        ("contains", "x", {"a": {"b": ["x"]}}, {"a": {"b": ["y"]}}),
        ("starts_with", "he", {"a": {"b": "hello"}}, {"a": {"b": 5}}),
        ("ends_with", "lo", {"a": {"b": "hello"}}, {"a": {"b": "lot"}}),
    ],
)
def test_hole_24_one_meaning_for_each_filter(op: str, value: Any, holds: Any, fails: Any) -> None:
    filters = [{"path": "$.a.b", "op": op, "value": value}]
    assert matches(event(holds), wait(filters=filters))
    reason = mismatch(event(fails), wait(filters=filters))
    assert reason is not None
    assert f"a.b {op}" in reason


@pytest.mark.parametrize(
    ("op", "value", "payload", "said"),
    [
        ("=", True, {"a": None}, "filter a = true does not hold: the event has null"),
        ("in", ["é", None], {"a": False}, 'filter a in ["é", null] does not hold: the event has false'),
        ("exists", None, {}, "filter a exists does not hold: the event has nothing"),
        ("=", "x", {"a": "é" * 9_000}, 'filter a = "x" does not hold: the event has "' + "é" * 199 + "…"),
    ],
)
def test_why_a_filter_does_not_hold_is_said_as_authors_write_values(
    op: str, value: Any, payload: Any, said: str
) -> None:
    """It was said as Python writes them, and a large value of the event was quoted whole."""
    assert mismatch(event(payload), wait(filters=[{"path": "a", "op": op, "value": value}])) == said


def test_list_items_are_reached_by_position() -> None:
    filters = [{"path": "rows.1.id", "op": "=", "value": 2}]
    assert matches(event({"rows": [{"id": 1}, {"id": 2}]}), wait(filters=filters))
    assert not matches(event({"rows": [{"id": 1}]}), wait(filters=filters))


@pytest.mark.parametrize("position", ["\u00b2", "9" * 5_000, "-1", ""])
def test_what_is_no_position_of_a_list_is_a_path_that_is_not_there(position: str) -> None:
    filters = [{"path": f"rows.{position}", "op": "exists", "value": None}]
    assert not matches(event({"rows": [1, 2, 3]}), wait(filters=filters))


def test_a_filter_value_must_suit_its_operator() -> None:
    assert filter_problem({"path": "a", "op": "in", "value": "x"}) == "operator 'in' needs a list"
    assert filter_problem({"path": "a", "op": "contains", "value": 5}) == "operator 'contains' needs a string"
    assert "needs a string, number" in str(filter_problem({"path": "a", "op": ">", "value": []}))
    assert "unknown operator" in str(filter_problem({"path": "a", "op": "~", "value": 1}))
    assert filter_problem({"path": "a", "op": "=", "value": None}) is None


def test_an_explicit_key_is_the_only_key() -> None:
    assert correlation_keys("TICKET_CREATED", {"ticketId": "t"}, " mine ") == ("mine",)


def test_keys_are_derived_by_event_then_by_wildcard_each_once() -> None:
    payload = {"clientId": 7, "invoiceId": "i", "projectId": None, "ticketId": True}
    assert correlation_keys("INVOICE_SENT", payload, None) == ("i", "7")
    assert correlation_keys("ANY", {"x": {"y": "deep"}}, "", {"*": ("x.y", "x.z")}) == ("deep",)
    assert correlation_keys("ANY", [], None) == ()


def test_what_can_be_a_key() -> None:
    values: tuple[Any, ...] = (5, 5.0, 1.5, " a ", "", None, True, {})
    assert [key_text(value) for value in values] == ["5", "5", "1.5", "a", None, None, None, None]
