"""Checks of inputs and outputs: every problem, in plain words, and never a value."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.actions.action import Action, ActionContext
from workflows_core.actions.call import validate_input, validate_output
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import UNCATCHABLE, ActionFailed, ErrorCategory, Failure, StepFailed
from workflows_core.interpreter.action_steps import STEP_QUOTA_EXCEEDED
from workflows_core.testing import call_action

SECRET = "s3cr3t-canary"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10, "multipleOf": 2},
        "whole": {"type": "integer"},
        "kind": {"enum": ["small", "large"]},
        "tags": {
            "type": "array",
            "items": {"type": ["string", "null"]},
            "minItems": 1,
            "maxItems": 2,
            "uniqueItems": True,
        },
        "nested": {"type": "object", "properties": {"a/b": {"type": "boolean"}}, "required": ["a/b"]},
        "auth": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"type": {"const": "bearer"}, "token": {"type": "string"}},
                    "required": ["type", "token"],
                },
                {
                    "type": "object",
                    "properties": {"type": {"const": "basic"}, "user": {"type": "string"}},
                    "required": ["type", "user"],
                },
            ]
        },
        "either": {"anyOf": [{"type": ["string", "boolean"]}, {"type": "integer"}]},
        "fixed": {"const": 3},
        "never": {"not": {"type": "string"}},
        "shut": False,
    },
    "required": ["name"],
    "additionalProperties": False,
}


async def echo(value: Any, _context: ActionContext) -> Any:
    return value


ACTION = Action(id="test.echo", version=1, handler=echo, input_schema=SCHEMA, output_schema=SCHEMA)
REGISTERED = ActionRegistry.of({"test": lambda: [ACTION]}).get("test.echo", 1)


def found(value: Any) -> dict[str, str]:
    """Problems by pointer."""
    assert REGISTERED is not None
    with pytest.raises(ActionFailed) as failed:
        validate_input(REGISTERED, value)
    failure = failed.value.failure
    assert (failure.category, failure.code) == (ErrorCategory.VALIDATION, "ACTION_INPUT_INVALID")
    assert failure.details is not None
    return {one["pointer"]: one["message"] for one in failure.details["problems"]}


@pytest.mark.parametrize(
    ("value", "pointer", "message"),
    [
        ({}, "/name", "is required"),
        (None, "", "must be an object, found null"),
        ([], "", "must be an object, found a list"),
        ({"name": 5}, "/name", "must be a text, found a number"),
        ({"name": "a"}, "/name", "must have at least 2 characters"),
        ({"name": "abcdef"}, "/name", "must have at most 5 characters"),
        ({"name": "AB"}, "/name", "must match the pattern ^[a-z]+$"),
        ({"name": "ab", "count": "2"}, "/count", "must be a whole number, found a text"),
        ({"name": "ab", "count": True}, "/count", "must be a whole number, found true or false"),
        ({"name": "ab", "whole": 2.5}, "/whole", "must be a whole number, found a number with a fraction"),
        ({"name": "ab", "count": 0}, "/count", "must be at least 1"),
        ({"name": "ab", "count": 10}, "/count", "must be less than 10"),
        ({"name": "ab", "count": 3}, "/count", "must be a multiple of 2"),
        ({"name": "ab", "kind": "medium"}, "/kind", 'must be one of "small", "large"'),
        ({"name": "ab", "tags": []}, "/tags", "must have at least 1 items"),
        ({"name": "ab", "tags": ["a", "a"]}, "/tags", "must not hold the same item twice"),
        ({"name": "ab", "tags": ["a", 5]}, "/tags/1", "must be a text or null, found a number"),
        ({"name": "ab", "nested": {}}, "/nested/a~1b", "is required"),
        ({"name": "ab", "nested": {"a/b": None}}, "/nested/a~1b", "must be true or false, found null"),
        ({"name": "ab", "nam": 1}, "/nam", "is not a known field; did you mean 'name'?"),
        ({"name": "ab", "auth": {"type": "basic"}}, "/auth/user", "is required"),
        ({"name": "ab", "auth": {"type": "bearer", "token": 1}}, "/auth/token", "must be a text, found a number"),
        ({"name": "ab", "auth": "x"}, "/auth", "must be an object, found a text"),
        ({"name": "ab", "either": None}, "/either", "must be a text, true or false or a whole number, found null"),
        ({"name": "ab", "fixed": 4}, "/fixed", "must be 3"),
        ({"name": "ab", "never": "x"}, "/never", "must not be what the schema's 'not' describes"),
        ({"name": "ab", "shut": 1}, "", "is not allowed here"),
    ],
)
def test_each_problem_says_where_and_what_would_be_right(value: Any, pointer: str, message: str) -> None:
    assert found(value).get(pointer) == message


def test_all_problems_come_at_once_and_the_message_names_the_first() -> None:
    value = {"count": 0, "kind": "x", "tags": [1], "extra": 1}
    assert set(found(value)) == {"/name", "/count", "/kind", "/tags/0", "/extra"}
    with pytest.raises(ActionFailed, match=r"the input of test\.echo@1 is wrong: .*; and 2 more$"):
        validate_input(ACTION, value)


def test_very_many_problems_are_counted() -> None:
    action = Action(
        id="test.many",
        version=1,
        handler=echo,
        output_schema={},
        input_schema={"additionalProperties": {"type": "null"}},
    )
    with pytest.raises(ActionFailed, match="and 97 more") as failed:
        validate_input(action, {f"f{index:03}": index for index in range(100)})
    assert failed.value.failure.details is not None
    assert len(failed.value.failure.details["problems"]) == 20
    assert failed.value.failure.details["more"] == 80


WRONG_EVERYWHERE = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(
            st.just(SECRET),
            st.just([SECRET, SECRET, SECRET]),
            st.just({"type": SECRET, "token": SECRET}),
            st.just({"a/b": SECRET}),
            st.just({"type": "bearer", "token": [SECRET]}),
        )
        for name in SCHEMA["properties"]  # type: ignore[attr-defined]
    },
)


@given(WRONG_EVERYWHERE)
def test_no_problem_shows_a_value(value: dict[str, Any]) -> None:
    for check in (validate_input, validate_output):
        shown = ""
        try:
            check(ACTION, value)
        except ActionFailed as error:
            shown = json.dumps(error.failure.to_json())
        assert SECRET not in shown


def test_a_valid_value_passes_whether_registered_or_not() -> None:
    value = {"name": "ab", "count": 4, "kind": "large", "tags": ["a", None], "nested": {"a/b": True}, "either": 1}
    assert REGISTERED is not None
    for action in (ACTION, REGISTERED):
        validate_input(action, value)
        validate_output(action, value)


ITSELF: list[Any] = []
ITSELF.extend([ITSELF, {"again": ITSELF}])

ANY = Action(id="test.any", version=1, handler=echo, input_schema={"type": "object"}, output_schema={})


@pytest.mark.parametrize(
    ("output", "pointer", "says"),
    [
        ({"a": [float("nan")]}, "/a/0", "finite"),
        ({"a": float("inf")}, "/a", "finite"),
        ({"a": {1, 2}}, "/a", "Python set"),
        ({"a": b"x"}, "/a", "Python bytes"),
        ({"a": "x\x00y"}, "/a", "U+0000"),
        ({"a": "\ud83d"}, "/a", "surrogate"),
        ({"a": {"b\x00": 1}}, "/a", "field name"),
        ({"a": {(1, 2): 1}}, "/a", "field name"),
        ({"a": 10**5000}, "/a", "thousands of digits"),
        (ITSELF, "", "holds itself"),
        ({"a": ITSELF, "b": {1, 2}}, "/b", "Python set"),
    ],
)
def test_an_output_that_cannot_be_stored_is_refused(output: Any, pointer: str, says: str) -> None:
    with pytest.raises(ActionFailed) as failed:
        validate_output(ANY, output)
    failure = failed.value.failure
    assert failure.code == "ACTION_OUTPUT_INVALID"
    assert failure.details is not None
    assert failure.details["problems"][0]["pointer"] == pointer
    assert says in failure.details["problems"][0]["message"]


@pytest.mark.asyncio
@pytest.mark.parametrize("output", [{"a": {1, 2}}, {"a": "\ud83d"}, {"a": float("nan")}, {(1, 2): 1}, "nested"])
async def test_a_run_is_told_of_an_output_that_has_no_size(output: Any) -> None:
    async def gives(_value: Any, _context: ActionContext) -> Any:
        return nested if output == "nested" else output

    nested: Any = None
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(StepFailed) as failed:
        await call_action(lambda: [replace(ANY, handler=gives)], "test.any", {})
    assert failed.value.failure.code == "ACTION_OUTPUT_INVALID"


def test_a_nesting_that_no_one_can_write_is_refused() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ActionFailed, match="nested"):
        validate_output(ANY, deep)
    recursive = Action(
        id="test.tree",
        version=1,
        handler=echo,
        input_schema={"type": "object", "properties": {"child": {"$ref": "#"}}},
        output_schema={},
    )
    tree: Any = {}
    for _ in range(700):
        tree = {"child": tree}
    with pytest.raises(ActionFailed, match="too deeply"):
        validate_input(recursive, tree)


def test_characters_beyond_the_first_plane_and_escapes_written_out_are_fine() -> None:
    validate_output(ANY, {"a": "😀", "b": "\\u0000", "c": "\\ud83d"})


async def failing(handler: Any) -> Failure:
    action = replace(ACTION, handler=handler, output_schema={})
    with pytest.raises(StepFailed) as failed:
        await call_action(lambda: [action], "test.echo", {"name": "ann"})
    return failed.value.failure


@pytest.mark.asyncio
async def test_a_handler_that_is_not_async_is_told_as_that() -> None:
    failure = await failing(lambda value, _: {"name": value["name"]})
    assert (failure.category, failure.code) == ("ActionError", "ACTION_FAULT")
    assert "gave an object and nothing to wait for: write it as `async def`" in failure.message


@pytest.mark.asyncio
@pytest.mark.parametrize("said", ["", "no answer on port 5"])
async def test_a_time_out_of_the_handlers_own_is_not_taken_for_the_actions_limit(said: str) -> None:
    async def gives_up(value: Any, _context: ActionContext) -> Any:
        raise TimeoutError(said) if said else TimeoutError

    failure = await failing(gives_up)
    assert (failure.category, failure.code) == ("TimeoutError", "ACTION_TIMED_OUT")
    assert failure.message.startswith("action test.echo@1 waited too long for something of its own: ")
    assert said in failure.message


@pytest.mark.asyncio
async def test_a_failure_is_told_with_what_every_failure_has() -> None:
    async def wrong(value: Any, _context: ActionContext) -> Any:
        odd: Any = {"category": "Nonsense", "code": 404, "details": {"at": datetime(2026, 3, 1, tzinfo=UTC), 1: {2}}}
        raise ActionFailed("as it was", **odd)

    failure = await failing(wrong)
    assert (failure.category, failure.code, failure.message) == ("ActionError", "404", "as it was")
    assert failure.details == {"at": "2026-03-01 00:00:00+00:00", "1": "{2}"}


@pytest.mark.asyncio
@pytest.mark.parametrize("category", sorted(UNCATCHABLE))
async def test_what_the_runtime_alone_says_of_a_run_no_handler_says(category: ErrorCategory) -> None:
    """The run ended as cancelled or as reset, past every handler of its author, or stood waiting for its quota."""

    async def claims(value: Any, _context: ActionContext) -> Any:
        raise ActionFailed("as it was", category=category, code=STEP_QUOTA_EXCEEDED)

    failure = await failing(claims)
    assert (failure.category, failure.code, failure.message) == ("ActionError", None, "as it was")


@pytest.mark.asyncio
@pytest.mark.parametrize("details", [[1], "abc", {(1, 2): 3}, {"self": ITSELF}, {"n": float("nan")}])
async def test_details_that_are_no_json_are_left_out(details: Any) -> None:
    async def wrong(value: Any, _context: ActionContext) -> Any:
        raise ActionFailed("as it was", category=ErrorCategory.TRANSIENT, details=details)

    failure = await failing(wrong)
    assert (failure.category, failure.message) == ("TransientError", "as it was")
    assert failure.details is not None
    assert failure.details["leftOut"].startswith("details that are no JSON object: ")


@pytest.mark.asyncio
async def test_a_cancel_that_was_asked_for_goes_through_the_handler() -> None:
    begun = asyncio.Event()

    async def waits(value: Any, _context: ActionContext) -> Any:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(call_action(lambda: [replace(ANY, handler=waits)], "test.any", {}))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
