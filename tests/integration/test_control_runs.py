"""Control steps on Temporal: the same as by hand, with histories, cancels and continue-as-new."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from harness.authored import Authored, Started, authored_runtime
from harness.interpreted import counted, document, wait
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")


def act(name: str, action: str = "test.act", **fields: Any) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config, **fields}


def expr(source: str) -> dict[str, str]:
    return {"$expr": source}


def loop(*body: dict[str, Any], items: str, **fields: Any) -> dict[str, Any]:
    return {"type": "control.forEach", "items": expr(items), "itemVar": "x", "body": list(body), **fields}


async def test_items_run_side_by_side_and_their_results_keep_their_order(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        gates = authored.effects.gates
        gates["slow"] = asyncio.Event()
        call = act("call")
        call["config"]["inputMapping"] = {"name": expr("x")}
        run = await authored.start(
            document(loop(call, items="['slow', 'b', 'c']", concurrency=2, collect=expr("call.name"), saveAs="all"))
        )
        await _until(lambda: authored.effects.count("c") == 1)
        gates["slow"].set()
        result = await run.handle.result()
    assert [name for name, _ in authored.effects.calls] == ["slow", "b", "c"]
    # `vars.call` is one variable for all items; what an item keeps for itself it collects.
    assert len(result["scopes"]["vars"]["all"]) == 3
    rows = {step.step_path: step.status for step in (await run.timeline()).steps}
    assert rows["root.steps[0]"] == "SUCCEEDED"
    assert {f"root.steps[0].body[{n}].steps[0]" for n in range(3)} <= set(rows)


async def test_parallel_any_ends_with_the_first_and_closes_the_wait_of_the_loser(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        branches = [{"steps": [{"id": "w", **wait("NEVER", "payload.id")}]}, {"steps": [act("quick")]}]
        run = await authored.start(
            document({"type": "control.parallel", "branches": branches, "wait": "any"}, act("after")), {"id": "k1"}
        )
        await run.handle.result()
    timeline = await run.timeline()
    assert [(w.status, w.event_name) for w in timeline.waits] == [("CANCELED", "NEVER")]
    assert {s.step_path: s.status for s in timeline.steps}["root.steps[0].branches[0].steps[0]"] == "CANCELED"


async def test_hole_1_a_long_loop_of_control_steps_continues_as_new_and_ends(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=250)) as authored:
        run = await authored.start(document(counted(700)))
        result = await run.handle.result()
        executions = await _executions(authored, run.handle.id)
    assert result["scopes"]["vars"] == {"n": 700}
    assert executions > 3
    timeline = await run.timeline()
    assert (timeline.run.status, len(timeline.steps)) == ("SUCCEEDED", 701)


async def test_a_cancelled_run_undoes_what_it_did_and_stays_cancelled(db: Database, client: Client) -> None:
    undoable = {**act("book"), "onCompensate": [act("unbook")]}
    async with authored_runtime(db, client) as authored:
        run = await authored.start({**document(undoable, wait()), "compensateOn": ["cancel"]}, {"id": "k1"})
        await run.until("WAITING")
        await run.handle.cancel()
        result = await ended(run)
        described = await run.handle.describe()
    assert isinstance(result, Exception)
    assert described.status is not None
    assert described.status.name == "CANCELED"
    assert [name for name, _ in authored.effects.calls] == ["book", "unbook"]
    timeline = await run.timeline()
    rows = {step.step_path: step.status for step in timeline.steps}
    assert (timeline.run.status, rows["root.steps[0].onCompensate.steps[0]"]) == ("CANCELED", "SUCCEEDED")


async def test_hole_18_an_input_that_is_too_large_fails_its_step_before_it_is_scheduled(
    db: Database, client: Client
) -> None:
    large = act("large", onError={"policy": "continue"})
    large["config"]["inputMapping"] = {"name": "large", **{f"f{n}": expr("payload.big") for n in range(6)}}
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(large), {"id": "k1", "big": "x" * 200_000})
        result = await run.handle.result()
    assert (result["scopes"]["error"]["category"], result["scopes"]["error"]["code"]) == (
        "PayloadTooLarge",
        "INPUT_TOO_LARGE",
    )
    assert authored.effects.calls == []


def given(name: str, action: str) -> dict[str, Any]:
    """A call that is given some two and a half million bytes."""
    mapping = {"name": name, **{f"f{n}": expr("payload.big") for n in range(10)}}
    config = {"actionId": action, "version": 1, "inputMapping": mapping}
    return {"id": name, "type": "action.call", "config": config, "onError": {"policy": "continue"}}


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (given("x", "test.act"), "FAILED", "INPUT_TOO_LARGE"),
        (given("x", "test.nobody"), "FAILED", "ACTION_UNAVAILABLE"),
        (given("x", "test.short"), "SUCCEEDED", None),
        (
            {
                "id": "x",
                "type": "control.callWorkflow",
                "workflowId": "any",
                "workflowVersion": 1,
                "inputMapping": {f"f{n}": expr("payload.big") for n in range(10)},
                "onError": {"policy": "continue"},
            },
            "FAILED",
            "LAUNCH_INVALID",
        ),
    ],
    ids=["regular", "unavailable", "short", "child"],
)
async def test_hole_18_what_is_far_too_large_fails_its_step_and_not_the_run_s_task(
    db: Database, client: Client, step: dict[str, Any], status: str, code: str | None
) -> None:
    """More than Temporal takes: the record of the failure, or the launch, could not be scheduled, for ever."""
    async with authored_runtime(db, client, policy=RunPolicy(unavailable_after_ms=1)) as authored:
        run = await authored.start(document(step), {"big": "x" * 250_000})
        await run.handle.result()
    (row,) = (await run.timeline()).steps
    assert (row.status, (row.error_json or {}).get("code")) == (status, code)
    assert authored.effects.count("x") == (1 if status == "SUCCEEDED" else 0)


@pytest.mark.parametrize("short", [False, True], ids=["regular", "short"])
async def test_a_failure_of_whatever_size_is_told(db: Database, client: Client, short: bool) -> None:
    """Temporal took it without its category, or not at all, and the run waited for ever."""

    async def fails(given: Any, _: ActionContext) -> Any:
        if given["by"] == "fault":
            raise ValueError("y" * 3_000_000)
        raise ActionFailed(
            "x" * 3_000_000, category=ErrorCategory.TRANSIENT, code="LARGE", details={"body": "z" * 3_000_000}
        )

    kind = {"effect": Effect.PURE, "short": True, "timeout_ms": 500} if short else {"effect": Effect.IDEMPOTENT}
    action = Action("large.fails", 1, fails, {"type": "object"}, {"type": "object"}, "Fails at length.", **kind)
    steps = []
    for by in ("itself", "fault"):
        config = {"actionId": "large.fails", "version": 1, "inputMapping": {"by": by}}
        steps.append({"type": "action.call", "config": config, "onError": {"policy": "continue"}})
    async with authored_runtime(db, client, more={"large": lambda: [action]}) as authored:
        run = await authored.start(document(*steps))
        await run.handle.result()
    itself, fault = (step.error_json or {} for step in (await run.timeline()).steps)
    assert (itself["category"], itself["code"], len(itself["message"])) == ("TransientError", "LARGE", 8_023)
    assert itself["details"] == {"leftOut": "details of 3000012 bytes, at most 32768 are kept"}
    assert (fault["code"], fault["message"][:12]) == ("ACTION_FAULT", "ValueError: ")


class Mute(Exception):
    """Says nothing that can be read."""

    def __str__(self) -> str:
        raise ValueError("nor this")


class Grave(BaseException):
    """No `Exception`."""


ODD: dict[str, tuple[BaseException, str]] = {
    "mute": (Mute(), "Mute: (Mute that cannot be written)"),
    "grave": (Grave("hush-hush"), "Grave: [REDACTED]"),
    "exit": (SystemExit(3), "SystemExit: 3"),
    "cancelled": (asyncio.CancelledError("a task of its own"), "CancelledError: a task of its own"),
    "group": (
        BaseExceptionGroup("two", [ValueError("one"), Grave("other")]),
        "BaseExceptionGroup: two (2 sub-exceptions): ValueError: one; Grave: other",
    ),
    "half": (ValueError("half of \ud83d"), "ValueError: half of \ufffd"),
    "no number": (ActionFailed("told", details={"n": float("nan")}), "told"),
    "half inside": (ActionFailed("told", details={"n": "\ud83d\0"}), "told"),
    "no text": (ActionFailed(KeyError("told")), "'told'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", ["regular", "short", "transactional"])
async def test_whatever_a_handler_raises_ends_its_step(db: Database, client: Client, kind: str) -> None:
    """It was called for ever, or the tasks of its run failed; and Temporal had what it said, with secrets."""

    async def fails(given: Any, _: ActionContext) -> Any:
        raise ODD[given["by"]][0]

    kinds: dict[str, dict[str, Any]] = {
        "regular": {"effect": Effect.IDEMPOTENT},
        "short": {"effect": Effect.PURE, "short": True, "timeout_ms": 500},
        "transactional": {"effect": Effect.TRANSACTIONAL},
    }
    action = Action("odd.fails", 1, fails, {"type": "object"}, {"type": "object"}, "Fails oddly.", **kinds[kind])
    steps = []
    for name in ODD:
        given = {"by": name, **({"key": {"$secret": "KEY"}} if action.takes_secrets else {})}
        config = {"actionId": "odd.fails", "version": 1, "inputMapping": given}
        steps.append({"type": "action.call", "config": config, "onError": {"policy": "continue"}})
    async with authored_runtime(db, client, secrets={"KEY": "hush-hush"}, more={"odd": lambda: [action]}) as authored:
        run = await authored.start(document(*steps))
        await run.handle.result()
        history = str((await run.handle.fetch_history()).to_json())
    errors = [step.error_json or {} for step in (await run.timeline()).steps]
    told = {name: says for name, (_, says) in ODD.items()}
    if not action.takes_secrets:
        told["grave"] = "Grave: hush-hush"
    else:
        assert "hush-hush" not in history
    assert dict(zip(ODD, (error.get("message") for error in errors), strict=True)) == told
    codes = {name: error.get("code") for name, error in zip(ODD, errors, strict=True)}
    own = {name for name, (error, _) in ODD.items() if isinstance(error, ActionFailed)}
    assert codes == {name: None if name in own else "ACTION_FAULT" for name in ODD}
    details = {name: error.get("details") for name, error in zip(ODD, errors, strict=True) if "details" in error}
    assert set(details) == {"no number", "half inside"}
    assert details["half inside"] == {"n": "\ufffd\ufffd"}
    assert "details that are no JSON object: Out of range float values" in str(details["no number"])


async def ended(run: Started) -> Any:
    """Result or failure."""
    try:
        return await run.handle.result()
    except WorkflowFailureError as error:
        return error


async def _until(holds: Any) -> None:
    while not holds():
        await asyncio.sleep(0.02)


async def _executions(authored: Authored, workflow_id: str) -> int:
    found = 0
    async for _ in authored.client.list_workflows(f"WorkflowId = '{workflow_id}'"):
        found += 1
    return found
