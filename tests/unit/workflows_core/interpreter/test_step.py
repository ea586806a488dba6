"""What each step does, seen from outside the interpreter."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.interpreted import Run, act, document, wait
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import UNCATCHABLE
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.messages import Begin, CancelTimer, EventReceived, Finish, StartTimer
from workflows_core.interpreter.state import RunIdentity, State
from workflows_core.interpreter.step import initial_state, outstanding, step
from workflows_core.interpreter.writes import (
    take_carried_write,
    take_final_write,
    take_write,
    waiting_for,
    write_is_due,
)
from workflows_core.wire.messages import EventSignal

ASSIGN = {
    "type": "transform.assign",
    "config": {"assign": {"vars.a": {"$expr": "1"}, "vars.b": {"$expr": "vars.a + 1"}}},
}


def test_a_definition_without_steps_succeeds_at_once() -> None:
    run = Run()
    assert run.outcome == "SUCCEEDED"
    assert run.commands == [Finish()]


def test_assignments_see_earlier_ones() -> None:
    run = Run(ASSIGN)
    assert run.state.scopes.vars == {"a": 1, "b": 2}
    assert run.steps() == [("root.steps[0]", "SUCCEEDED")]


def test_hole_10_error_and_meta_survive_assignments() -> None:
    state_set = {"type": "state.set", "config": {"state": "PAID"}}
    check = {
        "type": "transform.assign",
        "config": {"assign": {"vars.seen": {"$expr": "meta.state & ' ' & error.category"}, "meta.x": {"$expr": "1"}}},
    }
    run = Run(state_set, act(onError={"policy": "continue"}), ASSIGN, check)
    run.fail("TransientError")
    assert run.state.scopes.vars["seen"] == "PAID TransientError"
    assert run.state.scopes.meta == {"state": "PAID", "x": 1}


def test_a_condition_must_be_a_real_boolean() -> None:
    run = Run({"type": "control.if", "condition": {"$expr": "1"}, "then": []})
    assert run.outcome == "FAILED"
    assert (run.failure.category, run.failure.code) == ("ExpressionError", "CONDITION_NOT_BOOLEAN")
    assert run.failure.step_path == "root.steps[0]"


def test_hole_19_a_missing_path_is_an_error_in_a_condition_and_left_out_of_a_mapping() -> None:
    run = Run(act(mapping={"a": {"$expr": "payload.nothing"}, "b": [{"$expr": "payload.nothing"}, 1]}))
    assert run.call.call["input"] == {"b": [None, 1]}
    run = Run({"type": "control.if", "condition": {"$expr": "payload.nothing"}, "then": []})
    assert run.failure.category == "ExpressionError"
    assert "has no value" in run.failure.message


def test_return_ends_the_run_from_any_depth() -> None:
    inner = {"type": "control.if", "condition": {"$expr": "true"}, "then": [{"id": "r", "type": "control.return"}]}
    run = Run(inner, act())
    assert run.outcome == "SUCCEEDED"
    assert run.commands == [Finish()]


def test_secrets_stay_references() -> None:
    run = Run(act(mapping={"token": {"$secret": "API_TOKEN"}}))
    assert run.call.call["input"] == {"token": {"$secret": "API_TOKEN"}}


def test_hole_3_a_retry_has_the_key_of_its_first_attempt() -> None:
    run = Run(act("out", retry={"maxAttempts": 3, "backoffMs": 100, "jitter": False}))
    first = run.call
    run.fail("TransientError")
    assert run.timer.due_at == 2_100
    run.fire()
    assert (first.attempt, run.call.attempt) == (1, 2)
    assert first.call["idempotency_key"] == run.call.call["idempotency_key"]
    run.succeed({"ok": True})
    assert run.state.scopes.vars == {"out": {"ok": True}}


def test_hole_5_retry_on_goes_by_the_real_category() -> None:
    policy = {"maxAttempts": 3, "backoffMs": 100, "retryOn": ["TransientError"]}
    run = Run(act(retry=policy))
    run.fail("ValidationError")
    assert run.outcome == "FAILED"
    assert run.failure.category == "ValidationError"


def test_hole_13_the_word_cancelled_in_a_message_cancels_nothing() -> None:
    run = Run(act(onError={"policy": "continue"}), ASSIGN)
    run.fail("ActionError")
    assert run.outcome == "SUCCEEDED"


@pytest.mark.parametrize("category", sorted(UNCATCHABLE))
def test_what_nobody_may_catch_is_caught_by_nothing(category: str) -> None:
    run = Run(act(onError={"policy": "continue"}, retry={"maxAttempts": 5, "backoffMs": 1}))
    run.fail(category)
    assert run.outcome == "FAILED"


def test_step_level_on_error_wins_over_the_action_config() -> None:
    one = act(onError={"policy": "fail"})
    one["config"]["onError"] = {"policy": "continue"}
    run = Run(one)
    run.fail()
    assert run.outcome == "FAILED"


def test_an_authored_key_must_be_text_or_number() -> None:
    one = act()
    one["config"]["idempotencyKey"] = {"$expr": "payload.id"}
    assert Run(one).call.call["idempotency_key"] == "k1"
    assert Run(one, payload={"id": {}}).failure.category == "ExpressionError"


def test_an_event_resolves_its_wait() -> None:
    run = Run(wait(timeoutMs=60_000, assign={"got": {"$expr": "vars.event.amount"}}), act())
    assert run.steps() == [("root.steps[0]", "STARTED")]
    [opened] = run.state.open_waits()
    assert (opened["wait_id"], opened["key"], opened["timeout_at"]) == ("run-1:root.steps[0]:1", "k1", 61_000)
    run.signal(payload={"amount": 5}, wait_id="run-1:root.steps[0]:1", delivery_id="d1")
    assert run.state.scopes.vars == {"event": {"amount": 5}, "eventName": "PAID", "got": 5}
    assert run.records("consumed") == [
        {"wait_id": "run-1:root.steps[0]:1", "event_id": "e1", "delivery_id": "d1", "at": 3_000}
    ]
    assert CancelTimer(run.timer.command_id) in run.commands
    assert not run.state.open_waits()


def test_a_wait_that_times_out_fails_its_step_and_says_so() -> None:
    run = Run(wait(timeoutMs=60_000))
    run.fire()
    assert (run.outcome, run.failure.category, run.failure.code) == ("FAILED", "TimeoutError", "EVENT_WAIT_TIMED_OUT")
    assert [(r["outcome"], r["at"]) for r in run.records("closed")] == [("TIMED_OUT", 61_000)]


def test_hole_16_on_error_continue_holds_for_waits() -> None:
    one = {**wait(timeoutMs=60_000), "onError": {"policy": "continue"}}
    run = Run(one, ASSIGN)
    run.fire()
    assert run.outcome == "SUCCEEDED"
    assert run.state.scopes.error is not None
    assert run.state.scopes.error["category"] == "TimeoutError"


def test_an_event_for_a_wait_of_another_key_or_of_a_closed_wait_is_ignored() -> None:
    run = Run(wait(), wait())
    run.signal(key="other")
    assert run.state.current_path == "root.steps[0]"
    run.signal(event_id="e2", wait_id="run-1:root.steps[0]:1", delivery_id="d2")
    run.signal(event_id="e3", wait_id="run-1:root.steps[0]:1", delivery_id="d3")
    assert run.state.current_path == "root.steps[1]"
    assert len(run.records("consumed")) == 1


def test_hole_27_a_signal_that_came_early_is_kept_for_its_wait() -> None:
    run = Run(act(), wait())
    run.signal()
    assert run.outcome is None
    run.succeed({})
    assert run.outcome == "SUCCEEDED"


def test_a_bare_signal_is_consumed_once() -> None:
    run = Run(wait(), wait())
    run.signal("e1")
    run.signal("e1")
    assert run.outcome is None
    run.signal("e2")
    assert run.outcome == "SUCCEEDED"


def test_kept_signals_are_bounded_and_the_loss_is_recorded() -> None:
    run = Run(act())
    for number in range(205):
        run.signal(f"e{number}", name="OTHER")
    assert [kept["signal"]["eventId"] for kept in run.state.kept_events] == [f"e{n}" for n in range(105, 205)]
    assert [r["context_json"]["dropped"] for r in run.records("log")] == [1, 10, 100]


def test_kept_signals_are_bounded_in_bytes_too() -> None:
    run = Run(act())
    for number in range(4):
        run.signal(f"e{number}", name="OTHER", payload={"text": "x" * 100_000})
    assert [kept["signal"]["eventId"] for kept in run.state.kept_events] == ["e2", "e3"]
    assert len(run.records("log")) == 1


def test_a_wait_looks_back_from_when_it_opens() -> None:
    run = Run(act(), wait(), wait(lookbackMs=1_500))
    run.succeed({}, at=5_000)
    (opened,) = run.state.open_waits()
    assert (opened["look_back_from"], opened["opened_at"]) == (0, 5_000), "else from the start of the run"
    run.apply(EventReceived(EventSignal("e1", "PAID", "k1", {}), 9_000))
    (opened,) = run.state.open_waits()
    assert (opened["look_back_from"], opened["lookback_ms"]) == (7_500, 1_500)


def test_a_wait_that_is_tried_again_is_another_wait() -> None:
    run = Run({**wait(timeoutMs=1_000), "retry": {"maxAttempts": 2, "backoffMs": 1}})
    (first,) = run.state.open_waits()
    run.fire()
    run.fire()
    (second,) = run.state.open_waits()
    assert first["wait_id"] != second["wait_id"]


def test_every_write_says_how_a_wait_closed_and_names_the_open_ones_until_one_has_arrived() -> None:
    timed = {**wait(timeoutMs=1_000), "id": "w", "onError": {"policy": "continue"}}
    branches = [[timed], [{**act(), "id": "a"}], [{**wait("OTHER"), "id": "o"}]]
    run = Run({"type": "control.parallel", "branches": [{"steps": steps} for steps in branches]})
    run.state, _ = take_write(run.state, 1_000)
    run.fire()
    first, write = take_carried_write(run.state, "root.steps[0]")
    second, again = take_carried_write(first, "root.steps[0]")
    for one in (write, again):
        assert [closed["outcome"] for closed in one["closed"]] == ["TIMED_OUT"]
        assert [opened["event_name"] for opened in one["waits"] or ()] == ["OTHER"]
    arrived = replace(second, outbox=second.outbox.acknowledge(again["sequence"]))
    _, last = take_carried_write(arrived, "root.steps[0]")
    assert (last["closed"], last["waits"]) == ([], None)


@pytest.mark.parametrize(
    "waiting",
    [
        act(retry={"maxAttempts": 2, "backoffMs": 5_000}),
        wait(timeoutMs=5_000),
        {"type": "time.wait", "config": {"mode": "duration", "durationMs": 5_000}},
    ],
    ids=["retry", "event", "time"],
)
def test_a_timer_goes_on_after_continue_as_new(waiting: dict[str, Any]) -> None:
    run = Run(waiting)
    if "retry" in waiting:
        run.fail()
    again = State.from_checkpoint(json.loads(json.dumps(run.state.to_checkpoint())))
    (timer,) = outstanding(run.plan, again)
    assert isinstance(timer, StartTimer)
    assert (timer.command_id, timer.due_at) == (run.timer.command_id, run.timer.due_at)


def test_a_key_without_value_fails_the_step() -> None:
    run = Run(wait(key="payload.id"), payload={"id": None})
    assert run.failure.category == "ExpressionError"
    assert "no event could ever match" in run.failure.message


def test_time_wait_for_a_duration() -> None:
    run = Run({"type": "time.wait", "config": {"mode": "duration", "durationMs": 5_000}})
    assert run.timer.due_at == 6_000
    run.fire()
    assert run.outcome == "SUCCEEDED"
    assert run.state.scopes.vars["timeWait"] == {"mode": "duration", "dueAt": 6_000, "resumedAt": 6_000}


@pytest.mark.parametrize(
    ("until", "due"), [("'1970-01-01T00:00:09Z'", 9_000), ("9000", 9_000), ("'1970-01-01T02:00:09+02:00'", 9_000)]
)
def test_time_wait_until(until: str, due: int) -> None:
    run = Run({"type": "time.wait", "config": {"mode": "until", "until": {"$expr": until}}})
    assert run.timer.due_at == due


def test_a_time_in_the_past_is_not_waited_for() -> None:
    run = Run({"type": "time.wait", "config": {"mode": "until", "until": {"$expr": "500"}}})
    assert run.outcome == "SUCCEEDED"


@pytest.mark.parametrize("until", ["'tomorrow'", "'2026-01-01T00:00:00'", "true"])
def test_what_is_no_time_is_refused(until: str) -> None:
    run = Run({"type": "time.wait", "config": {"mode": "until", "until": {"$expr": until}}})
    assert run.failure.category == "ExpressionError"


@pytest.mark.parametrize(
    "until", ["1796000000000000000", "1796000000000000", "253402300800000", "1e300", "'9999-12-31T23:59:59-01:00'"]
)
def test_a_time_after_the_year_9999_is_refused_with_the_unit_that_is_expected(until: str) -> None:
    run = Run({"type": "time.wait", "config": {"mode": "until", "until": {"$expr": until}}})
    assert run.failure.category == "ExpressionError"
    assert "must be milliseconds since 1970" in run.failure.message


def test_the_last_millisecond_of_the_year_9999_can_be_waited_for() -> None:
    run = Run({"type": "time.wait", "config": {"mode": "until", "until": {"$expr": "253402300799999"}}})
    assert run.timer.due_at == 253402300799999


def test_times_of_a_document_have_dates_however_long_they_are() -> None:
    longest, most = 2**53 - 1, 253402300799999
    config = {"taskType": "t", "title": {"$expr": "'T'"}, "dueInMs": longest, "timeoutMs": longest}
    task = Run({"type": "human.task", "config": config})
    event = Run(wait(timeoutMs=longest, lookbackMs=longest))
    time = Run({"type": "time.wait", "config": {"mode": "duration", "durationMs": longest}})
    assert [run.timer.due_at < most for run in (task, event, time)] == [True] * 3
    (opened,) = task.state.open_waits()
    assert opened["payload"]["dueAt"] < most
    (looking,) = event.state.open_waits()
    assert looking["look_back_from"] > -62_135_596_800_000, "before the year 1"


def test_hole_7_cancel_closes_what_is_open() -> None:
    run = Run(wait(timeoutMs=60_000), act())
    run.cancel()
    assert run.outcome == "CANCELED"
    assert run.steps() == [("root.steps[0]", "CANCELED")]
    assert [r["outcome"] for r in run.records("closed")] == ["CANCELED"]
    assert run.commands[-2:] == [CancelTimer(run.timer.command_id), Finish()]


def test_nothing_happens_after_the_outcome() -> None:
    run = Run(wait())
    run.cancel()
    before = run.state
    run.signal()
    assert run.state is before


def test_a_wait_is_written_before_the_run_goes_idle_and_once() -> None:
    run = Run(wait())
    assert write_is_due(run.state, 1_000)
    run.state, write = take_write(run.state, 1_000)
    assert write["status"] == "WAITING"
    assert [w["key"] for w in write["waits"] or []] == ["k1"]
    assert write["waiting_for"] == waiting_for(run.state)
    assert not write_is_due(run.state, 1_000)


def test_a_lost_write_is_written_again() -> None:
    run = Run(wait())
    run.state, write = take_write(run.state, 1_000)
    released = run.state.outbox.release(write["sequence"])
    run.state = replace(run.state, outbox=released)
    assert write_is_due(run.state, 1_000)


def test_an_action_carries_what_is_pending_and_names_waits_only_when_they_are_news() -> None:
    run = Run(ASSIGN, act(), wait(), act())
    run.state, write = take_carried_write(run.state, run.call.step_path)
    assert ([s["step_path"] for s in write["steps"]], write["waits"]) == (["root.steps[0]"], None)
    run.succeed({})
    run.state, _ = take_write(run.state, 2_000)
    run.signal(wait_id="run-1:root.steps[2]:1", delivery_id="d1")
    run.state, write = take_carried_write(run.state, run.call.step_path)
    assert write["waits"] == []
    assert [c["delivery_id"] for c in write["consumed"]] == ["d1"]


def test_a_short_wait_goes_unwritten() -> None:
    run = Run({"type": "time.wait", "config": {"mode": "duration", "durationMs": 1_000}})
    assert not write_is_due(run.state, 1_000)


def test_the_final_write_has_everything_that_is_not_acknowledged() -> None:
    run = Run(ASSIGN, act(), ASSIGN)
    run.state, carried = take_carried_write(run.state, run.call.step_path)
    run.succeed({})
    _, final = take_final_write(run.state, {"scopes": None})
    assert [s["step_path"] for s in carried["steps"]] == ["root.steps[0]"]
    assert [s["step_path"] for s in final["steps"]] == ["root.steps[0]", "root.steps[2]"]
    assert (final["status"], final["waits"], final["node_path"]) == ("SUCCEEDED", [], None)


def test_hole_2_kept_signals_and_due_times_are_carried_over_continue_as_new() -> None:
    run = Run({"type": "time.wait", "config": {"mode": "duration", "durationMs": 5_000}}, wait())
    run.signal()
    carried = json.loads(json.dumps(run.state.to_checkpoint()))
    again = State.from_checkpoint(carried)
    assert again.kept_events == run.state.kept_events
    assert [p.due_at for _, p in again.pending("time")] == [6_000]
    assert again.generation == 1
    run.state = again
    run.fire()
    assert run.outcome == "SUCCEEDED"


def test_chance_does_not_repeat_itself_after_continue_as_new() -> None:
    draws = [
        {"type": "transform.assign", "config": {"assign": {f"vars.n{number}": {"$expr": "$random()"}}}}
        for number in range(4)
    ]
    run = Run(draws[0], wait("A"), draws[1], wait("B"), draws[2], wait("C"), draws[3])
    for name in "ABC":
        # Each execution has run as many steps as the others when it draws.
        run.state = State.from_checkpoint(json.loads(json.dumps(run.state.to_checkpoint())))
        run.signal(event_id=name, name=name)
    assert run.outcome == "SUCCEEDED"
    assert len({run.state.scopes.vars[f"n{number}"] for number in range(4)}) == 4


def test_chance_is_another_one_for_each_expression_however_many_steps_a_turn_takes() -> None:
    """Within a turn every expression had the same, and a run, its simulation and its redrive each another one."""
    twice = {f"vars.{name}": {"$expr": "$random()"} for name in "ab"}
    also = {f"vars.{name}": {"$expr": "$random()"} for name in "cd"}
    each = {"vars.all": {"$expr": "$append(coalesce(vars.all, []), $random())"}}
    body = [{"id": "e", "type": "transform.assign", "config": {"assign": each}}]
    steps = (
        {"type": "transform.assign", "config": {"assign": twice}},
        {"type": "transform.assign", "config": {"assign": also}},
        {"type": "control.forEach", "items": {"$expr": "[1..4]"}, "itemVar": "x", "body": body},
        wait("A", assign={"vars.e": {"$expr": "$random()"}}),
    )
    found = []
    for max_steps in (1, 2, 50):
        plan = compile_plan(parse_definition(document(*steps)), JlensEngine())
        state = initial_state(
            plan, RunIdentity("run-1", "acme", "wf", 1, "hash", None), payload={"id": "k1"}, meta={}, started_at=0
        )
        while state.runnable or not state.frames or state.steps_run == 0:
            state, _ = step(plan, state, Begin(0), max_steps=max_steps)
        state, _ = step(plan, state, EventReceived(EventSignal("e1", "A", "k1", {}), 1), max_steps=max_steps)
        while state.outcome is None:
            state, _ = step(plan, state, Begin(1), max_steps=max_steps)
        found.append({**state.scopes.vars, "event": None})
    assert found[0] == found[1] == found[2]
    drawn = [found[0][name] for name in "abcde"] + list(found[0]["all"])
    assert len(set(drawn)) == 9


def test_chance_is_the_same_in_every_build() -> None:
    # A history that is replayed must come to the same value.
    run = Run({"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "$random()"}}}})
    assert (run.state.seed, run.state.scopes.vars) == (1315296251, {"n": 0.4712577629507859})
