"""The registry: what is registered, what is refused, what others are told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from harness.actions import core
from workflows_core.actions.action import MAX_SHORT_MS, Action, ActionContext, Effect, Place
from workflows_core.actions.checks import action_problems
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import CORE_PACK, ActionRegistry
from workflows_core.errors import Problem, Refused


async def handler(value: Any, _context: ActionContext) -> Any:
    return value


GOOD = Action(id="tickets.create", version=1, handler=handler, input_schema={"type": "object"}, output_schema={})


def problems(*actions: Any) -> list[Problem]:
    with pytest.raises(Refused) as refused:
        ActionRegistry.of({"mine": lambda: list(actions)})
    return list(refused.value.problems)


def test_actions_are_found_by_id_and_version() -> None:
    registry = ActionRegistry.of(
        {"b": lambda: [replace(GOOD, version=10), replace(GOOD, version=9)], "a": lambda: [GOOD]}
    )
    assert registry.versions("tickets.create") == (1, 9, 10)
    assert registry.versions("tickets.close") == ()
    assert registry.ids() == ("tickets.create",)
    found = registry.get("tickets.create", 1)
    assert found is not None
    assert (found.key, found.origin, found.handler) == ("tickets.create@1", "a", handler)
    assert registry.get("tickets.create", 2) is None
    assert [action.key for action in registry] == ["tickets.create@1", "tickets.create@9", "tickets.create@10"]
    assert len(registry) == 3


def test_the_schemas_of_core_s_own_pack_are_right_which_no_start_looks_at() -> None:
    found = [problem for action in core_pack(HttpPolicy())() for problem in action_problems(action, CORE_PACK)]
    assert found == []
    broken = replace(GOOD, output_schema={"type": "nothing"})
    assert [problem.code for problem in action_problems(broken, CORE_PACK)] == ["ACTION_SCHEMA_INVALID"]
    assert len(ActionRegistry.of({CORE_PACK: lambda: [broken]})) == 1


def test_a_duplicate_names_both_packs() -> None:
    with pytest.raises(Refused) as refused:
        ActionRegistry.of({"first": lambda: [GOOD], "second": lambda: [GOOD, GOOD]})
    found = refused.value.problems
    assert [p.code for p in found] == ["ACTION_DUPLICATE", "ACTION_DUPLICATE"]
    assert "tickets.create@1" in found[0].message
    assert "'first'" in found[0].message
    assert "'second'" in found[0].message


def test_a_duplicate_inside_one_pack_is_named_so() -> None:
    assert "twice by pack 'mine'" in problems(GOOD, GOOD)[0].message


@pytest.mark.parametrize(
    "wrong", ["", "create", "Tickets.create", "tickets.", ".create", "a b.c", "tickets.c-d", "a." + "b" * 127]
)
def test_ids_of_another_form_are_refused(wrong: str) -> None:
    assert [p.code for p in problems(replace(GOOD, id=wrong))] == ["ACTION_ID_INVALID"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 0}, "ACTION_VERSION_INVALID"),
        ({"version": True}, "ACTION_VERSION_INVALID"),
        ({"version": 1.5}, "ACTION_VERSION_INVALID"),
        ({"handler": None}, "ACTION_HANDLER_INVALID"),
        ({"timeout_ms": 0}, "ACTION_LIMIT_INVALID"),
        ({"heartbeat_ms": -1}, "ACTION_LIMIT_INVALID"),
        ({"timeout_ms": 10**18}, "ACTION_LIMIT_INVALID"),
        ({"heartbeat_ms": 10**18}, "ACTION_LIMIT_INVALID"),
        ({"version": 2**31}, "ACTION_VERSION_INVALID"),
        ({"effect": "pure"}, "ACTION_TRAIT_INVALID"),
        ({"place": "worker"}, "ACTION_TRAIT_INVALID"),
        ({"effect": Effect.TRANSACTIONAL, "place": Place.APP}, "ACTION_TRAIT_INVALID"),
        ({"input_schema": {"type": "string"}}, "ACTION_SCHEMA_INVALID"),
        ({"input_schema": None}, "ACTION_SCHEMA_INVALID"),
        ({"output_schema": {"type": "objekt"}}, "ACTION_SCHEMA_INVALID"),
        ({"output_schema": {"type": "string", "pattern": "("}}, "ACTION_SCHEMA_INVALID"),
        ({"output_schema": {"const": {1, 2}}}, "ACTION_SCHEMA_INVALID"),
        ({"output_schema": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "ACTION_SCHEMA_INVALID"),
        ({"output_schema": {"$ref": "#/$defs/missing"}}, "ACTION_SCHEMA_INVALID"),
        ({"output_schema": {"$ref": "http://169.254.169.254/schema.json"}}, "ACTION_SCHEMA_INVALID"),
    ],
)
def test_a_wrong_part_is_refused_with_its_place(change: dict[str, Any], code: str) -> None:
    found = problems(replace(GOOD, **change))
    assert [p.code for p in found] == [code]
    assert found[0].path.startswith("mine: tickets.create@")


def test_a_reference_inside_the_schema_is_fine() -> None:
    schema = {"type": "object", "properties": {"child": {"$ref": "#/$defs/a~1b"}}, "$defs": {"a/b": {"type": "string"}}}
    assert len(ActionRegistry.of({"mine": lambda: [replace(GOOD, input_schema=schema)]})) == 1


def test_a_reference_in_data_is_no_reference() -> None:
    schema = {"enum": [{"$ref": "elsewhere"}]}
    assert len(ActionRegistry.of({"mine": lambda: [replace(GOOD, output_schema=schema)]})) == 1


def test_short_needs_pure_in_the_worker_and_quick() -> None:
    short = replace(GOOD, short=True, effect=Effect.PURE, timeout_ms=MAX_SHORT_MS)
    assert len(ActionRegistry.of({"mine": lambda: [short]})) == 1
    wrong = replace(short, effect=Effect.IDEMPOTENT, place=Place.APP, timeout_ms=MAX_SHORT_MS + 1)
    found = problems(wrong)
    assert [p.code for p in found] == ["ACTION_NOT_SHORT"] * 3
    said = " ".join(p.message for p in found)
    assert "pure" in said
    assert "worker" in said
    assert str(MAX_SHORT_MS) in said


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("not to be written")


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (SystemExit(2), "SystemExit: 2"),
        (Mute(), "Mute: (Mute that cannot be written)"),
        (asyncio.CancelledError(), "Cancelled"),
    ],
    ids=["exits", "mute", "cancelled"],
)
def test_a_pack_that_fails_in_whatever_way_is_named(raised: BaseException, says: str) -> None:
    def fails() -> list[Action]:
        raise raised

    with pytest.raises(Refused) as refused:
        ActionRegistry.of({"mine": fails, "other": lambda: [replace(GOOD, id="Bad")]})
    assert [p.code for p in refused.value.problems] == ["ACTION_PACK_INVALID", "ACTION_ID_INVALID"]
    assert says in refused.value.problems[0].message


def test_all_problems_of_all_packs_come_at_once() -> None:
    bad = replace(GOOD, id="Bad", version=0, timeout_ms=0, input_schema={"type": 1})
    with pytest.raises(Refused) as refused:
        ActionRegistry.of({"first": lambda: [bad], "second": lambda: [GOOD, "no action"], "third": lambda: 5})  # type: ignore[dict-item, return-value, list-item]
    assert [p.code for p in refused.value.problems] == [
        "ACTION_ID_INVALID",
        "ACTION_VERSION_INVALID",
        "ACTION_SCHEMA_INVALID",
        "ACTION_LIMIT_INVALID",
        "ACTION_PACK_INVALID",
        "ACTION_PACK_INVALID",
    ]


def test_a_registry_cannot_be_changed() -> None:
    registry = ActionRegistry.of({"mine": lambda: [GOOD]})
    with pytest.raises(FrozenInstanceError):
        registry._actions = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        registry._actions[("x.y", 1)] = GOOD  # type: ignore[index]


def test_the_description_is_json_without_handlers() -> None:
    described = core().describe()
    assert json.loads(json.dumps(described)) == described
    request = next(one for one in described if one["id"] == "http.request")
    assert (request["pack"], request["effect"], request["place"], request["short"]) == (
        "core",
        "idempotent",
        "worker",
        False,
    )
    assert request["inputSchema"]["required"] == ["url"]


@pytest.mark.parametrize(
    ("change", "cancellable"),
    [
        ({"effect": Effect.IDEMPOTENT}, True),
        ({"effect": Effect.TRANSACTIONAL}, True),
        ({"effect": Effect.AT_MOST_ONCE}, False),
        ({"effect": Effect.PURE, "short": True, "timeout_ms": 100}, False),
    ],
)
def test_traits_say_what_a_run_needs(change: dict[str, Any], cancellable: bool) -> None:
    action = replace(GOOD, heartbeat_ms=7, **change)
    assert ActionRegistry.of({"mine": lambda: [action]}).traits(action) == {
        "short": action.short,
        "place": "worker",
        "timeout_ms": action.timeout_ms,
        "heartbeat_ms": 7,
        "cancellable": cancellable,
    }
