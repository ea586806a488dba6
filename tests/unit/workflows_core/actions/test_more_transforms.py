"""Case, lists of values, every match of a pattern, queries."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.actions import NOW, Core
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.errors import ActionFailed, StepFailed
from workflows_core.testing import call_action

CORE = Core()


@pytest.mark.parametrize(("name", "expected"), [("lowercase", " ab "), ("uppercase", " AB "), ("trim", "aB")])
def test_case_and_blanks(name: str, expected: str) -> None:
    assert CORE.run(f"transform.{name}_text", {"text": " aB "}) == {"text": expected}
    assert CORE.run(f"transform.{name}_text", {"text": None}) == {"text": ""}


def test_values_make_a_list_and_the_first_of_them_counts() -> None:
    values: list[Any] = [None, "", 0, "a"]
    assert CORE.run("transform.build_array", {"values": values}) == {"items": values}
    assert CORE.run("transform.build_array", {"values": values, "removeEmpty": True}) == {"items": [0, "a"]}
    assert CORE.run("transform.coalesce_value", {"values": values}) == {"value": 0, "index": 2}
    assert CORE.run("transform.coalesce_value", {"values": [None], "default": 7}) == {"value": 7, "index": None}


@given(st.text("ab1 ", max_size=30), st.sampled_from(["a+", "(a)(1)?", "b", "[ab]1"]), st.text("xy$\\1", max_size=3))
def test_every_match_is_given_and_replaced_as_python_does(text: str, pattern: str, replacement: str) -> None:
    found = CORE.run("transform.regex_extract", {"text": text, "pattern": pattern})
    assert found["matches"] == [match.group(0) for match in re.finditer(pattern, text)]
    replaced = CORE.run("transform.regex_replace", {"text": text, "pattern": pattern, "replacement": replacement})
    assert replaced["text"] == re.sub(pattern, lambda _: replacement, text)
    assert replaced["count"] == found["count"] == len(found["matches"])


def test_a_group_of_each_match_and_one_that_is_not_there() -> None:
    assert CORE.run("transform.regex_extract", {"text": "a1 a", "pattern": "(a)(1)?", "group": 2})["matches"] == [
        "1",
        None,
    ]
    with pytest.raises(ActionFailed, match="there is no group 3"):
        CORE.run("transform.regex_extract", {"text": "a", "pattern": "(a)(1)?", "group": 3})


def test_a_query_over_an_object_a_list_and_a_text() -> None:
    query = CORE.run("transform.query_json", {"source": {"n": [1, 2]}, "query": "$sum(n)"})
    assert query == {"value": 3, "found": True}
    assert CORE.run("transform.query_json", {"source": [1, 2], "query": "len(source)"})["value"] == 2
    assert CORE.run("transform.query_json", {"source": '{"a": 5}', "query": "a", "parse": True})["value"] == 5
    assert CORE.run("transform.query_json", {"source": {}, "query": "a.b"}) == {"value": None, "found": False}
    with pytest.raises(ActionFailed, match="eval"):
        CORE.run("transform.query_json", {"source": {}, "query": "$eval('1')"})


@pytest.mark.asyncio
async def test_a_query_has_the_time_of_its_call() -> None:
    query = {"source": {}, "query": "[nowIso(), $now(), $string($millis())]"}
    found = await CORE.call("transform.query_json", query, now=NOW + timedelta(microseconds=7_999))
    assert found["value"] == ["2026-03-01T12:00:00.007Z"] * 2 + ["1772366400007"]


@pytest.mark.asyncio
async def test_a_query_draws_the_same_in_each_attempt_and_another_in_each_visit_of_a_step() -> None:
    async def drawn(**given: Any) -> Any:
        query = {"source": {}, "query": "$random()"}
        return (await CORE.call("transform.query_json", query, **given))["value"]

    assert await drawn(attempt=2, now=NOW + timedelta(hours=1)) == await drawn()
    visits: list[dict[str, Any]] = [{}, {"run_id": "run-2"}, {"step_path": "root.steps[1]"}, {"idempotency_key": "k"}]
    assert len({await drawn(**visit) for visit in visits}) == len(visits)


@pytest.mark.asyncio
async def test_of_a_list_that_is_too_long_the_size_is_said_without_a_look_at_each_item() -> None:
    with pytest.raises(StepFailed) as failed:
        await call_action(core_pack(HttpPolicy()), "transform.split_text", {"text": "a" * 500_000, "delimiter": ""})
    assert failed.value.failure.code == "OUTPUT_TOO_LARGE"
