"""What an execution begins with is the same before and behind its travel, in whichever form it stands in a history."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import zlib
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from workflows_core.actions.action import Action, Effect
from workflows_core.actions.registry import ActionRegistry
from workflows_core.execution.policy import RunPolicy
from workflows_core.interpreter.correlation import MAX_KEY_BYTES
from workflows_core.wire.compact_loads import COMPRESSED_FROM_BYTES, DEFINITION_WORDS, compact_loaded, full_loaded
from workflows_core.wire.records import LoadedRun

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3)
OBJECTS = st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)
TRAITS = st.fixed_dictionaries(
    {
        "short": st.booleans(),
        "place": st.sampled_from(["worker", "app"]),
        "timeout_ms": st.sampled_from([500, 600_000]),
        "heartbeat_ms": st.sampled_from([3_000, 15_000]),
        "cancellable": st.booleans(),
    }
)
# What histories have had from the first build on, and what came later.
EVER = {
    "started_at": st.integers(0, 2),
    "definition": st.builds(
        lambda value, length: {"value": value, "text": "é" * length},
        OBJECTS,
        st.integers(0, 2 * COMPRESSED_FROM_BYTES),
    ),
    "definition_hash": st.text(max_size=3),
    "payload": SCALARS | OBJECTS,
    "meta": OBJECTS,
    "recorded": st.booleans(),
    "actions": st.dictionaries(st.sampled_from(["a@1", "b@2"]), TRAITS),
    "continue_after_steps": st.sampled_from([1, 1_000]),
    "continue_after_signals": st.sampled_from([1, 1_000]),
}
LATER = {
    "continue_after_effort": st.sampled_from([1, 2_000]),
    "call_ahead": st.booleans(),
    "last_action_ends": st.booleans(),
    "unavailable_after_ms": st.sampled_from([1, 60_000]),
    "semantics": st.integers(1, 2),
    "max_key_bytes": st.sampled_from([1, 2_048]),
}
SCHEDULED = {
    "scheduled_launch": st.text(max_size=3),
    "started_before": st.just(True),
    "since_start_ms": st.integers(-5, 10**6),
}


def same(found: Any, wanted: Any) -> bool:
    """True for the same JSON: unlike `==`, this tells 1 from true."""
    return json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def travelled(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(st.fixed_dictionaries({**EVER, **LATER}, optional=SCHEDULED))
def test_it_says_the_same_after_its_travel(loaded: Any) -> None:
    before = copy.deepcopy(loaded)
    body = travelled(compact_loaded(cast(LoadedRun, loaded)))
    assert same(full_loaded(body), loaded)
    assert same(loaded, before)
    assert len(json.dumps(body, ensure_ascii=False)) < COMPRESSED_FROM_BYTES + 600


@given(st.fixed_dictionaries(EVER, optional={**LATER, **SCHEDULED}), st.booleans())
def test_what_an_earlier_build_wrote_means_what_it_meant(loaded: Any, compressed: bool) -> None:
    """It left nothing out; what it does not have is not what is usual now."""
    body = travelled(loaded)
    if compressed:
        definition = json.dumps(body.pop("definition")).encode()
        body["definition_zlib"] = base64.b64encode(zlib.compress(definition)).decode()
    assert same(full_loaded(body), loaded)


def test_a_definition_that_stands_in_a_history_is_read_for_ever() -> None:
    """The words that it refers to never change."""
    assert hashlib.sha256(DEFINITION_WORDS).hexdigest().startswith("39af852cb5c1d148")
    step = {"id": "s", "type": "action.call", "config": {"actionId": "mail.send", "version": 1, "saveAs": "sent"}}
    steps = [{**step, "id": f"step {number}"} for number in range(12)]
    in_history = "q0Z3EIirYECSY8CZtzg1LwXNVXD7ikFeR9gJtsKQ9lYY0d4KY9pbYUJ7K0xpb4UZ7a0wp70VFrS3wpIOWY8e2Zs2+Tu2FgA="
    body = {"started_at": 5, "definition_hash": "h", "actions": {}, "bounds": {}, "definition_deflated": in_history}
    assert full_loaded(body)["definition"] == {"steps": steps}
    assert len(in_history) < 100


def test_what_is_usual_is_what_a_run_of_this_build_has_by_default() -> None:
    """A default that changes one day stands in histories from then on; what absence means stays."""

    async def handler(*_: Any) -> Any: ...

    policy = RunPolicy()
    action = Action("a", 1, handler, {}, {}, "A.", effect=Effect.IDEMPOTENT)
    loaded = {
        "started_at": 5,
        "definition": {"id": "x"},
        "definition_hash": "h",
        "payload": {},
        "meta": {},
        "recorded": True,
        "actions": {"a@1": ActionRegistry.of({}).traits(action)},
        "semantics": 2,
        "max_key_bytes": MAX_KEY_BYTES,
        **{name: getattr(policy, name) for name in LoadedRun.__annotations__ if hasattr(policy, name)},
    }
    assert compact_loaded(cast(LoadedRun, loaded)) == {
        "started_at": 5,
        "definition": {"id": "x"},
        "definition_hash": "h",
        "actions": {"a@1": {}},
        "semantics": 2,
        "bounds": {},
    }


def test_what_was_read_can_be_changed_without_changing_what_is_read_next() -> None:
    body = {"started_at": 5, "definition": {}, "definition_hash": "h", "actions": {}, "bounds": {}}
    full_loaded(body)["payload"]["x"] = full_loaded(body)["meta"]["x"] = 1
    assert (full_loaded(body)["payload"], full_loaded(body)["meta"]) == ({}, {})
    assert "payload" not in body
