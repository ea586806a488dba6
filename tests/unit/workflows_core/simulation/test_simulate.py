"""Simulation: fixtures, virtual time, explanations, limits; and the examples of the language's page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import act, document, wait
from harness.readable import readable
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.model import STEP_MODELS
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Refused
from workflows_core.simulation.fixtures import Fixtures
from workflows_core.simulation.report import Report
from workflows_core.simulation.simulate import SimulationLimits, simulate

CORE = ActionRegistry.of({"core": core_pack(HttpPolicy())})
PAGE = (Path(__file__).parents[4] / "docs" / "language.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### (\S+)\n(?:(?!^### ).)*?^```json example\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
PAYLOAD = {
    "id": "A-1",
    "kind": "ticket",
    "lines": [{"count": 2, "price": 3}, {"count": 1, "price": 5}],
    "mail": "New.\n\n> Old.",
}
FIXTURES: dict[str, Any] = {
    "event.wait": {"paid": {"amount": 12}},
    "control.callWorkflow": {"child": {"result": 99}},
    "human.task": {"approve": {"approved": True}},
}
OUTCOMES: dict[str, dict[str, Any]] = {
    "action.call": {"title": {"text": "TICKET"}},
    "transform.compose_text": {"texts": {"mail": "## A-1\n\n- **first**\n- 5"}},
    "transform.assign": {"count": 3, "many": True},
    "state.set": {"seen": "CHECKED"},
    "control.if": {"size": "big"},
    "event.wait": {"event": {"amount": 12}, "eventName": "PAYMENT_RECEIVED", "amount": 12},
    "time.wait": {"how": "duration"},
    "control.callWorkflow": {"price": 99},
    "human.task": {"event": {"approved": True}, "eventName": "HUMAN_TASK_COMPLETED", "approved": True},
    "control.switch": {"queue": "support"},
    "control.forEach": {"totals": [6, 5]},
    "control.while": {"n": 128},
    "control.parallel": {"left": 1, "right": 2},
    "control.tryCatch": {"why": "ExpressionError", "problem": "ExpressionError"},
    "control.return": {},
    "email.parseBody": {"mail": {"text": "New.", "quoted": "> Old.", "signature": "", "source": "text"}},
    "email.renderCommentBlocks": {"blocks": [{"type": "paragraph", "text": "New."}, {"type": "quote", "text": "Old."}]},
}

pytestmark = pytest.mark.asyncio


async def run(*steps: dict[str, Any], fixtures: Any = None, **options: Any) -> Report:
    return await simulate(parse_definition(document(*steps)), CORE, fixtures=Fixtures.of(fixtures or {}), **options)


@pytest.mark.parametrize(("step_type", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
async def test_the_examples_of_the_page_do_what_it_says(step_type: str, text: str) -> None:
    report = await run(*json.loads(text), payload=PAYLOAD, fixtures=FIXTURES.get(step_type))
    seen = {name: value for name, value in report.final_vars.items() if name != "timeWait"}
    assert (report.status, readable(seen)) == ("completed", OUTCOMES[step_type])
    if step_type == "control.return":
        assert report.result == 3


async def test_every_step_type_has_its_example() -> None:
    assert {name for name, _ in EXAMPLES} == set(OUTCOMES) == {*STEP_MODELS, "transform.compose_text"}


async def test_fixtures_answer_by_step_then_by_action_one_for_each_visit() -> None:
    fixtures = {"s0": [{"n": 1}], "test.act": [{"n": 2}, {"$error": {"category": "TimeoutError", "message": "late"}}]}
    steps = [act("a"), act("b"), act("c", onError={"policy": "continue"}), act("d")]
    report = await run(*steps, fixtures=fixtures)
    assert (report.status, report.errors[0]["category"], report.errors[0]["nodePath"]) == (
        "failed",
        "TimeoutError",
        "root.steps[3]",
    )
    assert report.final_vars == {"a": {"n": 1}, "b": {"n": 2}}
    assert [i["stepPath"] for i in report.invocations] == [f"root.steps[{n}]" for n in range(4)]


async def test_pure_actions_run_and_others_give_a_placeholder_with_a_warning() -> None:
    def call(action: str, **mapping: Any) -> dict[str, Any]:
        config = {"actionId": action, "version": 1, "inputMapping": mapping, "saveAs": "out"}
        return {"type": "action.call", "config": config}

    joined = await run(call("transform.join_text", items=["a", "b"], delimiter="-"))
    assert "a-b" in json.dumps(joined.final_vars["out"])
    stored = await run(call("store.get", namespace="n", key="k"), call("no.such"))
    assert stored.status == "completed"
    assert any("store.get@1 was not called" in warning for warning in stored.warnings)
    assert any("no.such@1 is not known here" in warning for warning in stored.warnings)


async def test_what_may_have_happened_is_not_repeated_as_in_a_run() -> None:
    async def never(_: Any, __: ActionContext) -> Any:
        raise AssertionError

    schema = {"type": "object"}
    once = Action("test.act", 1, never, schema, schema, "Sends.", effect=Effect.AT_MOST_ONCE)
    steps = document(act("x", retry={"maxAttempts": 3, "backoffMs": 1}))
    unknown = {"$error": {"category": "UnknownOutcome", "message": "it may be there"}}
    report = await simulate(
        parse_definition(steps),
        ActionRegistry.of({"test": lambda: [once]}),
        fixtures=Fixtures.of({"s0": [unknown, {"sent": True}]}),
    )
    assert (report.status, report.errors[0]["category"]) == ("failed", "UnknownOutcome")
    assert (len(report.invocations), report.trace[0].attempt) == (1, 3)


async def test_a_query_has_the_simulated_time_and_draws_the_same_again() -> None:
    mapping = {"source": {}, "query": "{'now': nowIso(), 'drawn': $random()}"}
    config = {"actionId": "transform.query_json", "version": 1, "inputMapping": mapping, "saveAs": "out"}
    sleep = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 86_400_000}}
    first, again = [await run(sleep, {"type": "action.call", "config": config}) for _ in range(2)]
    found = first.final_vars["out"]["value"]
    assert found["now"] == "1970-01-02T00:00:00.000Z"
    assert again.final_vars["out"]["value"] == found


async def test_time_passes_at_once_and_a_wait_without_a_fixture_pauses() -> None:
    sleep = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 86_400_000}}
    report = await run(sleep, wait(timeoutMs=5), payload={"id": "k1"}, now_ms=1_000)
    assert (report.status, report.virtual_ms) == ("paused-at-wait", 86_400_000)
    assert report.waits == [{"stepPath": "root.steps[1]", "eventName": "PAID", "key": "k1"}]
    timed_out = await run(wait(timeoutMs=5), payload={"id": "k1"}, fixtures={"s0": {"$timeout": True}})
    assert (timed_out.status, timed_out.errors[0]["code"]) == ("failed", "EVENT_WAIT_TIMED_OUT")


def until_time_out(kind: str, step_id: str, after: int) -> dict[str, Any]:
    """A step that lasts so many milliseconds, and fails then unless it is a time."""
    if kind == "time.wait":
        return {"id": step_id, "type": kind, "config": {"mode": "duration", "durationMs": after}}
    asks = {"eventName": "E", "correlationKey": {"$expr": "'k'"}}
    if kind == "human.task":
        asks = {"taskType": "t", "title": {"$expr": "'T'"}}
    config = {**asks, "timeoutMs": after}
    return {"id": step_id, "type": kind, "config": config, "onError": {"policy": "continue"}}


@given(
    kinds=st.lists(st.sampled_from(["time.wait", "event.wait", "human.task"]), min_size=1, max_size=5),
    durations=st.lists(st.integers(1, 100_000_000), min_size=5, max_size=5, unique=True),
    first_only=st.booleans(),
)
async def test_side_by_side_whatever_is_due_first_is_first(
    kinds: list[str], durations: list[int], first_only: bool
) -> None:
    lasting = dict(zip((f"w{number}" for number in range(len(kinds))), durations, strict=False))
    branches = []
    for kind, (name, after) in zip(kinds, lasting.items(), strict=True):
        note = {"vars.order": {"$expr": f"append(vars.order, '{name}')"}, "vars.at": {"$expr": "$millis()"}}
        noting = {"id": f"note_{name}", "type": "transform.assign", "config": {"assign": note}}
        branches.append({"steps": [until_time_out(kind, name, after), noting]})
    both = {"type": "control.parallel", "branches": branches, "wait": "any" if first_only else "all"}
    report = await run(both, fixtures={name: {"$timeout": True} for name in lasting}, now_ms=5)
    expected = sorted(lasting, key=lambda name: lasting[name])[: 1 if first_only else None]
    assert (report.status, report.final_vars["order"]) == ("completed", expected)
    last = lasting[expected[-1]]
    assert (report.virtual_ms, report.final_vars["at"]) == (last, 5 + last)


async def test_a_retry_that_is_due_before_a_time_out_comes_before_it() -> None:
    again = act("done", retry={"maxAttempts": 2, "backoffMs": 1_000, "jitter": False})
    branches = [{"steps": [until_time_out("event.wait", "w", 2_000)]}, {"steps": [{"id": "a", **again}]}]
    both = {"type": "control.parallel", "branches": branches, "wait": "any"}
    fixtures = {"w": {"$timeout": True}, "a": [{"$error": {"category": "ActionError"}}, {"n": 2}]}
    report = await run(both, fixtures=fixtures)
    assert (report.virtual_ms, report.final_vars) == (1_000, {"done": {"n": 2}})


async def test_a_time_out_is_drawn_once_for_each_visit_of_its_wait() -> None:
    loop = {
        "type": "control.forEach",
        "items": {"$expr": "[1, 2, 3]"},
        "itemVar": "x",
        "body": [until_time_out("event.wait", "w", 10), until_time_out("time.wait", "t", 20)],
    }
    report = await run(loop, fixtures={"w": [{"$timeout": True}, {"n": 7}, {"$timeout": True}]})
    waited = [entry.status for entry in report.trace if entry.type == "event.wait"]
    assert (report.status, waited) == ("completed", ["FAILED", "SUCCEEDED", "FAILED"])
    assert report.virtual_ms == 2 * 10 + 3 * 20


async def test_an_answer_that_no_run_could_get_is_refused() -> None:
    child = {"type": "control.callWorkflow", "workflowId": "w", "workflowVersion": 1}
    timeout, error = {"$timeout": True}, {"$error": {"category": "ActionError"}}
    steps = [act(), act(), wait(), until_time_out("human.task", "s3", 5), child]
    given_to = {"s0": timeout, "test.act": [{}, timeout], "s2": timeout, "s3": error, "s4": timeout}
    with pytest.raises(Refused) as refused:
        await run(*steps, fixtures=given_to)
    assert {problem.code for problem in refused.value.problems} == {"FIXTURES_INVALID"}
    said = {problem.path: problem.message for problem in refused.value.problems}
    assert list(said) == ["fixtures.s0", "fixtures.test.act", "fixtures.s2", "fixtures.s3", "fixtures.s4"]
    assert '{"$error": {"category": "TimeoutError"}}' in said["fixtures.s0"]
    assert "has no timeoutMs" in said["fixtures.s2"]
    assert "$error is for actions and children" in said["fixtures.s3"]


async def test_an_input_that_the_action_would_refuse_fails_as_in_a_run() -> None:
    def call(action: str, **mapping: Any) -> dict[str, Any]:
        return {"type": "action.call", "config": {"actionId": action, "version": 1, "inputMapping": mapping}}

    wrong = [call("log.write", message={"$expr": "payload.nope"}), call("http.request", url={"$expr": "42"})]
    answers: list[dict[str, Any]] = [{}, {"s0": {}}]
    for step in wrong:
        for fixtures in answers:
            report = await run(step, fixtures=fixtures)
            assert (report.status, report.errors[0]["code"]) == ("failed", "ACTION_INPUT_INVALID")
            assert (report.errors[0]["category"], len(report.invocations)) == ("ValidationError", 1)
    assert (await run(call("log.write", message="m"))).status == "completed"
    assert (await run(call("no.such", url=42))).status == "completed"


async def test_nothing_is_said_of_a_secret_whose_value_nobody_knows() -> None:
    async def send(value: Any, _: ActionContext) -> Any:
        return value

    key = {"type": "string", "pattern": "^sk_[a-z]{20}$"}
    schema = {
        "type": "object",
        "properties": {"key": key, "to": {"type": "string"}, "in": {"type": "object", "properties": {"key": key}}},
        "required": ["to"],
        "anyOf": [{"properties": {"key": {"const": "sk_a"}}}, {"required": ["other"]}],
    }
    action = Action("test.send", 1, send, schema, {"type": "object"}, "Sends.")
    registry = ActionRegistry.of({"test": lambda: [action]})

    async def sent(**mapping: Any) -> Report:
        config = {"actionId": "test.send", "version": 1, "inputMapping": mapping}
        return await simulate(parse_definition(document({"type": "action.call", "config": config})), registry)

    secret = {"$secret": "API_KEY"}
    report = await sent(key=secret, to="a", **{"in": {"key": secret}})
    assert report.status == "completed", report.errors
    assert report.invocations[0]["input"]["key"] == secret
    assert "/to is required" in (await sent(key=secret)).errors[0]["message"]
    assert "/key must match" in (await sent(key="typed", to="a")).errors[0]["message"]


async def test_a_fixture_that_the_wait_would_not_take_leaves_it_open() -> None:
    large = wait(filters=[{"path": "amount", "op": ">", "value": 100}])
    options: dict[str, Any] = {"payload": {"id": "k1"}, "limits": SimulationLimits(max_steps=50)}
    report = await run(large, fixtures={"s0": {"amount": 7}}, **options)
    assert (report.status, [one["stepPath"] for one in report.waits]) == ("paused-at-wait", ["root.steps[0]"])
    (warning,) = report.warnings
    assert "root.steps[0]: the fixture is not taken: filter amount > 100 does not hold: the event has 7" in warning
    assert (await run(large, fixtures={"s0": {"amount": 700}}, **options)).status == "completed"

    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
    task = {"type": "human.task", "config": {"taskType": "t", "title": {"$expr": "'T'"}, "responseSchema": schema}}
    report = await run(task, fixtures={"s0": {"approved": "yes"}}, **options)
    assert report.status == "paused-at-wait", report.errors
    assert any("root.steps[0]: the fixture is not taken: /approved" in one for one in report.warnings), report.warnings
    assert (await run(task, fixtures={"s0": {"approved": True}}, **options)).status == "completed"


async def test_an_explanation_names_the_values_that_decided() -> None:
    choose = {"type": "control.if", "condition": {"$expr": "payload.n > 3"}, "then": []}
    report = await run(choose, payload={"n": 5}, explain=True)
    assert report.trace[0].explained == [{"expression": "payload.n > 3", "value": True, "reads": {"payload.n": 5}}]


async def test_what_an_action_is_given_is_explained_too() -> None:
    report = await run(act(mapping={"n": {"$expr": "payload.n + 1"}}), payload={"n": 5}, explain=True)
    assert report.trace[0].explained == [{"expression": "payload.n + 1", "value": 6, "reads": {"payload.n": 5}}]


async def test_an_action_stands_in_the_trace_where_it_began() -> None:
    note = {"id": "b", "type": "transform.assign", "config": {"assign": {"vars.b": {"$expr": "1"}}}}
    branches = [{"steps": [{"id": "a", **act()}]}, {"steps": [note]}]
    report = await run({"type": "control.parallel", "branches": branches})
    assert [entry.step_id for entry in report.trace] == ["s0", "a", "b"]


@pytest.mark.parametrize(
    ("fixtures", "said"),
    [
        ([], "an object"),
        ({"s0": {"$error": {"category": "Oops"}}}, "needs a category"),
        ({"s0": []}, "answers no visit"),
        ({"s0": {"$error": {"category": "ActionError", "message": 5}}}, "message of [$]error must be a text"),
        ({"s0": [{"$error": {"category": "ActionError", "details": 7}}]}, "details of [$]error must be an object"),
        ({"s0": [{"text": "\ud800"}]}, "half of a surrogate pair"),
        ({"s0": {"number": float("inf")}}, "must be JSON"),
        ({"s0": {"$error": {"category": "ActionError", "message": "\x00"}}}, r"U\+0000"),
    ],
)
async def test_fixtures_that_are_wrong_are_refused(fixtures: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        Fixtures.of(fixtures)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"text": "\ud800"}, "half of a surrogate pair"),
        ({"number": float("inf")}, "must be JSON"),
        ({"items": list(range(1_000_000))}, "at most 524288"),
        (json.loads("[" * 200 + "]" * 200), "nested deeper than 100 levels"),
    ],
)
async def test_a_payload_that_no_run_is_started_with_is_refused(payload: Any, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        await run(payload=payload)
    assert (refused.value.code, refused.value.problems[0].path) == ("LAUNCH_INVALID", "payload")


async def test_a_fixture_that_answers_nothing_is_named() -> None:
    assert "fixture 'typo' answered nothing" in (await run(fixtures={"typo": 1})).warnings


async def test_an_output_weighs_what_it_weighs_in_a_run() -> None:
    """By its text in Python, four bytes were one."""
    report = await run(act("a"), fixtures={"s0": {"text": "\N{GRINNING FACE}" * 270_000}})
    assert (report.status, report.errors[0]["code"]) == ("failed", "STATE_TOO_LARGE")


@pytest.mark.parametrize(("copies", "status"), [(5, "completed"), (6, "failed")])
async def test_an_action_is_given_as_much_as_in_a_run(copies: int, status: str) -> None:
    copied = {f"c{number}": {"$expr": "payload.text"} for number in range(copies)}
    call = {"actionId": "store.set", "version": 1, "inputMapping": {"namespace": "n", "key": "k", "value": copied}}
    found = await run({"type": "action.call", "config": call}, payload={"text": "x" * 200_000})
    assert found.status == status
    for error in found.errors:
        assert (error["category"], error["code"]) == ("PayloadTooLarge", "INPUT_TOO_LARGE")


@pytest.mark.parametrize(("characters", "status"), [(64 * 1024 - 11, "completed"), (64 * 1024 - 10, "failed")])
async def test_a_short_action_gives_as_much_as_in_a_run(characters: int, status: str) -> None:
    """Its limit is that of what lies in a workflow task; and its author is told what an author can do."""
    mapping = {"text": {"$expr": "payload.text"}}
    config = {"actionId": "transform.lowercase_text", "version": 1, "inputMapping": mapping, "saveAs": "low"}
    found = await run({"type": "action.call", "config": config}, payload={"text": "X" * characters})
    assert found.status == status
    for error in found.errors:
        assert (error["category"], error["code"]) == ("PayloadTooLarge", "OUTPUT_TOO_LARGE")
        assert error["details"] == {"bytes": 64 * 1024 + 1, "limit": 64 * 1024}
        assert "give it less at a time" in error["message"]


async def test_limits_end_what_would_not() -> None:
    forever = {"type": "control.while", "condition": {"$expr": "true"}, "maxIterations": 10**9, "body": []}
    report = await run(forever, limits=SimulationLimits(max_steps=50))
    assert (report.status, report.errors[0]["code"]) == ("failed", "SIMULATION_LIMIT")
    items = {"type": "control.forEach", "items": {"$expr": "payload.items"}, "itemVar": "x", "body": []}
    report = await run(items, payload={"items": list(range(20))}, limits=SimulationLimits(max_loop_items=10))
    assert "more than 10 items" in report.errors[0]["message"]


async def test_what_is_explained_is_json_also_where_it_is_cut() -> None:
    assign = {"type": "transform.assign", "config": {"assign": {"vars.found": {"$expr": "payload.list"}}}}
    report = await simulate(parse_definition(document(assign)), CORE, payload={"list": [True, None] * 99}, explain=True)
    (explained,) = report.trace[0].explained
    assert explained["value"] == explained["reads"]["payload.list"]
    assert explained["value"].startswith("[true, null, true")


@pytest.mark.parametrize("now_ms", [253_402_300_799_000, -62_135_596_800_001])
async def test_a_time_that_is_no_date_ends_the_simulation_and_is_no_fault(now_ms: int) -> None:
    later = {"type": "time.wait", "config": {"mode": "duration", "durationMs": 60_000}}
    text = {"actionId": "transform.uppercase_text", "version": 1, "inputMapping": {"text": "a"}}
    definition = document(later if now_ms > 0 else {"type": "state.set", "config": {"state": "S"}}, act_of(text))
    report = await simulate(parse_definition(definition), CORE, now_ms=now_ms)
    assert (report.status, report.errors[0]["code"]) == ("failed", "SIMULATION_LIMIT")
    assert "years 1 to 9999" in report.errors[0]["message"]


def act_of(config: dict[str, Any]) -> dict[str, Any]:
    return {"type": "action.call", "config": config}
