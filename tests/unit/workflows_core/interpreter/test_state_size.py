"""What a run carries from one execution to the next has a bound, and the step that would pass it fails by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.interpreted import Run, act, document
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Failure, Refused
from workflows_core.interpreter.messages import ActionStepFailed, ChildLaunched, LaunchChild, RunAction
from workflows_core.interpreter.state import State

SERVER_LIMIT = 2 * 1024 * 1024
UNDO_ON_FAILURE = {"compensateOn": ["failure"]}


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


def each(step_id: str, items: str, name: str, *body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    loop = {"id": step_id, "type": "control.forEach", "items": expr(items), "itemVar": name}
    return {**loop, "body": list(body), **fields}


def call(step_id: str = "call", mapping: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {**act(mapping=mapping), "id": step_id, **fields}


def side_by_side(step_id: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": step_id, "type": "control.parallel", "branches": [{"steps": [step]} for step in steps]}


def attempt(*steps: dict[str, Any]) -> dict[str, Any]:
    caught = {"id": "c", "type": "transform.assign", "config": {"assign": {"vars.done": expr("true")}}}
    return {"id": "t", "type": "control.tryCatch", "try": list(steps), "catch": [caught], "captureErrorAs": "e"}


def carried_over(state: State) -> State:
    return State.from_checkpoint(json.loads(json.dumps(state.to_checkpoint())))


def weight(state: State) -> int:
    """What continue-as-new would carry, but for records that are written before."""
    checkpoint = {**state.to_checkpoint(), "outbox": None}
    return len(json.dumps(json.dumps(checkpoint, separators=(",", ":"))))


def orders(count: int, rows: int, text: int = 60) -> list[Any]:
    return [{"id": n, "rows": [{"n": m, "t": "x" * text} for m in range(rows)]} for n in range(count)]


def undoable(mapping: dict[str, Any] | None = None) -> dict[str, Any]:
    return call("do", onCompensate=[call("undo", mapping)])


def test_what_a_step_to_be_undone_saw_stands_once_however_many_steps_saw_it() -> None:
    items = orders(1, 60)
    inner = each("rows", "order.rows", "row", undoable())
    run = Run(each("orders", "payload.orders", "order", inner), definition=UNDO_ON_FAILURE, payload={"orders": items})
    for _ in range(59):
        run.succeed({})
    size = len(json.dumps(items))
    # The payload, the items of each loop, what the steps saw, their paths.
    assert weight(run.state) < 5 * size + 59 * 400
    again = carried_over(carried_over(run.state))
    assert weight(again) == weight(run.state), "what is shared is shared still"


def test_undoing_sees_the_names_of_the_step_also_where_inner_ones_hide_outer_ones() -> None:
    seen = {name: expr(name) for name in ("item", "index", "y", "vars.item", "local.index")}
    inner = each("inner", "['B', 'C']", "y", undoable(seen))
    run = Run(each("outer", "['A']", "item", inner), call("bad"), definition=UNDO_ON_FAILURE)
    run.succeed({})
    run.succeed({})
    run.state = carried_over(run.state)
    run.fail()
    expected = {"item": "C", "index": 1, "y": "C", "vars.item": "A", "local.index": 1}
    assert run.call.call["input"] == expected
    run.succeed({})
    assert run.call.call["input"] == {**expected, "item": "B", "index": 0, "y": "B", "local.index": 0}


def test_undoing_writes_the_variables_of_its_step_without_touching_those_of_others() -> None:
    def changing(step_id: str) -> dict[str, Any]:
        change = {"id": "w", "type": "transform.assign", "config": {"assign": {"vars.x": expr("x & '!'")}}}
        return call(step_id, onCompensate=[change, call("undo", {"x": expr("x & vars.x")})])

    run = Run(each("e", "['A']", "x", changing("a"), changing("b")), call("bad"), definition=UNDO_ON_FAILURE)
    run.succeed({})
    run.succeed({})
    run.fail()
    inputs = [run.call.call["input"]]
    run.succeed({})
    assert [*inputs, run.call.call["input"]] == [{"x": "A!A!"}] * 2


def test_undoing_that_cannot_be_carried_fails_the_step_before_it_has_an_effect() -> None:
    body = undoable()
    repeat = {"id": "w", "type": "control.while", "condition": expr("true"), "maxIterations": 10_000, "body": [body]}
    run = Run(repeat, definition=UNDO_ON_FAILURE, payload={"filler": "x" * 960_000})
    before, done = run.state, 0
    while run.state.ending is None:
        before = run.state
        run.succeed({})
        done += 1
    assert weight(before) < SERVER_LIMIT
    failure = run.state.ending.failure
    assert failure is not None
    assert (failure.code, failure.step_path) == ("STATE_TOO_LARGE", f"root.steps[0].body[{done}].steps[0]")
    assert len([c for c in run.commands if isinstance(c, RunAction)]) == done + 1, "no call, but the first undoing"
    assert len(run.state.undo) == done - 1


def test_loops_inside_loops_with_much_to_undo_fail_by_name_in_time() -> None:
    payload = {"orders": orders(40, 20, 250)}
    inner = each("rows", "order.rows", "row", undoable())
    run = Run(each("orders", "payload.orders", "order", inner), definition=UNDO_ON_FAILURE, payload=payload)
    done = 0
    while run.state.ending is None:
        run.succeed({})
        done += 1
        if done % 200 == 0:
            assert weight(run.state) < SERVER_LIMIT
            run.state = carried_over(run.state)
    assert run.state.ending.failure is not None
    assert run.state.ending.failure.code == "STATE_TOO_LARGE"
    undone = 0
    while run.outcome is None:
        run.succeed({})
        undone += 1
    assert undone == done > 200


def test_open_waits_of_side_by_side_items_count() -> None:
    task = {
        "id": "task",
        "type": "human.task",
        "config": {"taskType": "approve", "title": expr("'Approve ' & x"), "contextData": {"x": expr("x")}},
    }
    inner = each("inner", "[1..100]", "x", task, concurrency=100)
    plain = Run(inner)
    assert len(plain.state.open_waits()) == 100
    run = Run(each("outer", "[1..100]", "y", inner, concurrency=100))
    assert run.failure.code == "STATE_TOO_LARGE"
    assert "at most 1048576 are allowed" in run.failure.message


def test_what_waits_is_counted_as_it_is_carried() -> None:
    task = {"id": "task", "type": "human.task", "config": {"taskType": "approve", "title": expr("payload.text")}}
    run = Run(each("e", "[1..100]", "x", task, concurrency=100), payload={"text": "t" * 5_000})
    state = run.state
    assert 0.9 < state.scope_bytes / weight(state) < 1.3


def test_a_loop_that_cannot_open_all_its_items_leaves_none_open() -> None:
    loop = each("e", "payload.items", "x", call("a"), concurrency=10)
    run = Run(attempt(loop), call("next"), payload={"items": ["x" * 24_000] * 10, "more": "x" * 450_000})
    error = run.state.scopes.vars["e"]
    assert (error["code"], error["nodePath"]) == ("STATE_TOO_LARGE", "root.steps[0].try.steps[0]")
    assert list(run.state.frames) == ["root.steps"]
    opened = [c.command_id for c in run.commands if isinstance(c, RunAction)]
    assert opened == ["root.steps[1]@1"], "no item ran"


def test_calls_side_by_side_are_bounded_together_and_one_alone_is_not() -> None:
    given = {"text": expr("payload.text")}
    large = {f"text{number}": expr("payload.text") for number in range(4)}
    alone = Run(call("a", large), payload={"text": "x" * 240_000, "more": "x" * 700_000})
    assert alone.outcome is None
    run = Run(each("e", "[1..100]", "x", call("a", given), concurrency=100), payload={"text": "x" * 50_000})
    assert run.failure.code == "STATE_TOO_LARGE"
    assert "what other open calls were given" in run.failure.message
    # Those that have ended do not count.
    one_by_one = Run(each("e", "[1..100]", "x", call("a", given)), payload={"text": "x" * 50_000})
    for _ in range(100):
        one_by_one.succeed({})
    assert one_by_one.outcome == "SUCCEEDED"


def test_calls_that_are_given_up_in_the_same_turn_do_not_count() -> None:
    given = {"text": expr("payload.text")}
    quick = {"id": "s", "type": "state.set", "config": {"state": "DONE"}}
    race = {**side_by_side("r", call("a", given), quick), "wait": "any"}
    run = Run(side_by_side("p", call("open", given), each("e", "[1..10]", "x", race)), payload={"text": "x" * 250_000})
    assert run.outcome is None
    assert sum(isinstance(command, RunAction) for command in run.commands) == 11


def test_what_an_open_call_was_given_is_no_data_of_the_run() -> None:
    large = {f"text{number}": expr("payload.text") for number in range(4)}
    assign = {"id": "a", "type": "transform.assign", "config": {"assign": {"vars.same": expr("payload.text")}}}
    run = Run(
        side_by_side("p", call("open", large), each("e", "[1..10]", "x", assign)), payload={"text": "x" * 200_000}
    )
    assert run.outcome is None
    run.succeed({})
    assert run.outcome == "SUCCEEDED"


def test_an_action_that_is_paused_counts_and_is_never_refused() -> None:
    run = Run(each("e", "[1..100]", "x", call("a"), concurrency=100), payload={"more": "x" * 950_000})
    for one in [c for c in run.commands if isinstance(c, RunAction)]:
        before = run.state.scope_bytes
        paused = Failure("ActionError", "no steps are left", code="STEP_QUOTA_EXCEEDED")
        run.apply(ActionStepFailed(one.command_id, 2_000, paused, recorded=True))
        assert run.state.scope_bytes > before
    assert run.outcome is None
    assert len(run.state.open_waits()) == 100


def test_children_side_by_side_are_bounded_together() -> None:
    child = {"id": "c", "type": "control.callWorkflow", "workflowId": "w", "workflowVersion": 1}
    given = {**child, "inputMapping": {"text": expr("payload.text")}}
    run = Run(each("e", "[1..100]", "x", given, concurrency=100), payload={"text": "x" * 50_000})
    assert (run.failure.code, run.outcome) == ("STATE_TOO_LARGE", "FAILED")
    small = Run(each("e", "[1..100]", "x", child, concurrency=100), payload={"text": "x" * 900_000})
    launches = [c for c in small.commands if isinstance(c, LaunchChild)]
    assert len(launches) == 100
    for launch in launches:
        small.apply(ChildLaunched(launch.command_id, 2_000))
    assert len(small.state.open_waits()) == 100


@pytest.mark.parametrize(("concurrency", "accepted"), [(100, True), (101, False), (2000, False)])
def test_so_many_items_run_side_by_side_and_no_more(concurrency: int, accepted: bool) -> None:
    loop = document(each("e", "[1]", "x", concurrency=concurrency))
    if accepted:
        parse_definition(loop)
        return
    with pytest.raises(Refused) as refused:
        parse_definition(loop)
    (problem,) = refused.value.problems
    assert problem.path == "root.steps[0].concurrency"
    assert problem.message == f"must be at most 100, this is {concurrency}"


def test_a_checkpoint_of_an_earlier_build_is_read() -> None:
    given = {"x": expr("x")}
    run = Run(each("e", "['A']", "x", undoable(given), call("next"), call("bad", given)), definition=UNDO_ON_FAILURE)
    run.succeed({})
    checkpoint = run.state.to_checkpoint()
    del checkpoint["bindings"]
    names = {"item": "A", "index": 0, "length": 1, "isFirst": True, "isLast": True}
    for frame in checkpoint["frames"]:
        bound = frame.pop("binding") is not None
        frame.update({"local": names, "itemVars": {"x": "A"}} if bound else {"local": {}, "itemVars": {}})
    (undo,) = checkpoint["undo"]
    earlier = {"step_path": undo["stepPath"], "block": undo["block"], "local": names, "item_vars": {"x": "A"}}
    run.state = State.from_checkpoint(json.loads(json.dumps({**checkpoint, "undo": [earlier]})))
    run.succeed({})
    assert (run.call.step_id, run.call.call["input"]) == ("bad", {"x": "A"})
    run.fail()
    assert (run.call.step_id, run.call.call["input"]) == ("undo", {"x": "A"})
