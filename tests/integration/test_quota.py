"""A tenant without steps pauses its runs, which go on when they are told to, also over continue-as-new."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from harness.authored import TENANT, authored_runtime
from harness.interpreted import document
from harness.run_records import rows
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.execution.policy import RunPolicy
from workflows_core.launching.launcher import Launcher
from workflows_core.redriving.redrive import plan_redrive, redrive
from workflows_core.storage.database import Database
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.wire.names import SIGNAL_QUOTA_RESUME, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Steps:
    """So many are left."""

    left: int
    asked: int = 0

    async def reserve(self, tenant_id: str, run_id: str, steps: int) -> Mapping[str, Any] | None:
        self.asked += 1
        if steps > self.left:
            return {"usedCount": 9, "effectiveLimit": 9}
        self.left -= steps
        return None


def act(name: str) -> dict[str, Any]:
    config = {"actionId": "test.act", "version": 1, "inputMapping": {"name": name}, "saveAs": name}
    return {"id": name, "type": "action.call", "config": config}


@pytest.mark.parametrize("continue_after", [250, 1])
async def test_a_run_without_steps_waits_and_goes_on_when_resumed(
    db: Database, client: Client, continue_after: int
) -> None:
    quota = Steps(left=2)
    policy = RunPolicy(continue_after_steps=continue_after)
    async with authored_runtime(db, client, quota=quota, policy=policy) as authored:
        mark = {"id": "m", "type": "state.set", "config": {"state": "S"}}
        run = await authored.start(document(mark, act("one"), act("two")))
        timeline = await run.until("WAITING")
        assert timeline.run.waiting_for is not None
        assert [wait["kind"] for wait in timeline.run.waiting_for["waits"]] == ["quota"]
        (wait,) = [row for row in await rows(db, "workflow_run_waits") if row["wait_type"] == "quota"]
        assert (wait["status"], wait["payload"]["effectiveLimit"]) == ("WAITING", 9)
        await run.handle.signal(SIGNAL_QUOTA_RESUME, {})
        # A resume is for a wait that is open: the second ask has to come back first.
        while [row["status"] for row in await rows(db, "workflow_run_waits", order="created_at")] != [
            "RESOLVED",
            "WAITING",
        ]:
            await asyncio.sleep(0.02)
        assert quota.asked == 3
        assert authored.effects.count("two") == 0
        quota.left = 5
        await run.handle.signal(SIGNAL_QUOTA_RESUME, {})
        await run.handle.result()
    assert [name for name, _ in authored.effects.calls] == ["one", "two"]
    statuses = [row["status"] for row in await rows(db, "workflow_run_waits")]
    assert statuses == ["RESOLVED", "RESOLVED"]
    assert {step.status for step in (await run.timeline()).steps} == {"SUCCEEDED"}


async def test_a_step_is_counted_once_though_its_begin_and_its_end_are_told_apart(db: Database, client: Client) -> None:
    quota = Steps(left=9)
    loop = {"type": "control.forEach", "items": {"$expr": "[1, 2]"}, "itemVar": "i", "body": [act("inside")]}
    again = {**act("again"), "retry": {"maxAttempts": 2, "backoffMs": 1}}
    async with authored_runtime(db, client, quota=quota) as authored:
        authored.effects.failures["again"] = ["TransientError"]
        run = await authored.start(document({"id": "loop", **loop}, again, act("last")))
        await run.handle.result()
    # Five steps, and one more attempt of one.
    assert quota.left == 3


async def test_what_a_redriven_run_has_kept_is_not_counted_again(db: Database, client: Client) -> None:
    quota = Steps(left=99)
    mark = {"id": "m", "type": "state.set", "config": {"state": "S"}}
    async with authored_runtime(db, client, quota=quota) as authored:
        authored.effects.failures["bad"] = ["ActionError"]
        run = await authored.start(document(act("one"), mark, act("two"), mark | {"id": "n"}, act("bad")))
        await asyncio.gather(run.handle.result(), return_exceptions=True)
        assert quota.left == 99 - 5
        planned = await plan_redrive(db, TENANT, run.run_id, "bad")
        await redrive(db, Launcher(db, client), TENANT, planned, "the receiver is back")
        await client.get_workflow_handle(workflow_id_of(planned.new_run_id)).result()
    assert len(planned.kept) == 4
    assert quota.left == 99 - 6


async def test_a_start_that_temporal_repeats_is_counted_once(db: Database, client: Client) -> None:
    """Each retry took a step, and where none was left the run waited for steps with its action begun."""
    quota, starts = Steps(left=1), 0

    async def cut_off(_: Any, context: ActionContext) -> Any:
        nonlocal starts
        starts += 1
        assert isinstance(context.store, PostgresKeyValueStore)
        if starts < 3:
            await context.store._conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return {}

    schema = {"type": "object"}
    action = Action("test.cut_off", 1, cut_off, schema, schema, "Loses its database.", effect=Effect.TRANSACTIONAL)
    config = {"actionId": "test.cut_off", "version": 1}
    async with authored_runtime(db, client, quota=quota, more={"more": lambda: [action]}) as authored:
        run = await authored.start(document({"type": "action.call", "config": config}))
        async with asyncio.timeout(30):
            await run.until("SUCCEEDED")
    assert (quota.asked, starts) == (1, 3)


async def test_a_run_that_waits_for_steps_can_be_cancelled(db: Database, client: Client) -> None:
    async with authored_runtime(db, client, quota=Steps(left=0)) as authored:
        run = await authored.start(document(act("one")))
        await run.until("WAITING")
        await run.handle.cancel()
        timeline = await run.until("CANCELED")
    assert [(w.wait_type, w.status) for w in timeline.waits] == [("quota", "CANCELED")]
    assert authored.effects.calls == []
