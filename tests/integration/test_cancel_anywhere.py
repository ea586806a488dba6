"""A cancel before and after each activity of a run in turn: it is undone in order, or ends as without the cancel."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from harness.authored import TENANT, Started, authored_runtime
from harness.ingress import ingress
from harness.interpreted import document
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.execution.policy import RunPolicy
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.storage.database import Database
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
_ANY = {"type": "object"}


def act(name: str, **fields: Any) -> dict[str, Any]:
    config = {"actionId": "our.act", "version": 1, "inputMapping": {"name": name}}
    return {"id": name, "type": "action.call", "config": config, **fields}


def undone(name: str, **fields: Any) -> dict[str, Any]:
    return act(name, onCompensate=[act(f"un{name}")], **fields)


def short(name: str) -> dict[str, Any]:
    config = {"actionId": "test.echo", "version": 1, "inputMapping": {"name": name}}
    return {"id": name, "type": "action.call", "config": config}


class Cancelling(Interceptor):
    """Cancels a run before, or after, the activity of a number; counts those of each run."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.places: dict[str, tuple[int, bool]] = {}
        self.counts: dict[str, int] = defaultdict(int)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's
        return _Around(next, self)


class _Around(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, ours: Cancelling) -> None:
        super().__init__(inner)
        self._ours = ours

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name
        run = activity.info().workflow_id or ""
        number = self._ours.counts[run]
        self._ours.counts[run] += 1
        place = self._ours.places.get(run)
        if place == (number, False):
            await self._ours.client.get_workflow_handle(run).cancel()
        answer = await self.next.execute_activity(input)
        if place == (number, True):
            await self._ours.client.get_workflow_handle(run).cancel()
        return answer


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancel_anywhere_is_one_or_comes_too_late(db: Database, client: Client, fails: bool) -> None:
    calls: dict[str, list[str]] = defaultdict(list)

    async def handle(value: Any, context: ActionContext) -> Any:
        name = value["name"]
        calls[context.run_id].append(name)
        if (name == "twice" and context.attempt == 1) or (name == "last" and fails):
            raise ActionFailed("as it should", category=ErrorCategory.TRANSIENT)
        return {}

    def pack() -> list[Action]:
        return [Action("our.act", 1, handle, _ANY, _ANY, "Notes a call.", effect=Effect.IDEMPOTENT)]

    cancelling = Cancelling(client)
    policy = RunPolicy(continue_after_steps=5)
    async with (
        authored_runtime(db, client, more={"our": pack}, policy=policy, interceptors=[cancelling]) as authored,
        ingress(db, client),
    ):
        child, _, _ = await authored.publish(document(act("below"), short("echo")))
        steps = [
            undone("a"),
            short("b"),
            {"id": "c", "type": "control.callWorkflow", "workflowId": child, "workflowVersion": 1, "inputMapping": {}},
            undone("twice", retry={"maxAttempts": 2, "backoffMs": 100, "retryOn": ["TransientError"]}),
            undone("d"),
            short("e"),
            act("last"),
        ]
        await authored.publish({**document(*steps), "compensateOn": ["cancel", "failure"]}, "anywhere")

        async def ended(place: tuple[int, bool] | None) -> Started:
            run_id = str(uuid.uuid4())
            if place is not None:
                cancelling.places[workflow_id_of(run_id)] = place
            await Launcher(db, client).launch(LaunchRequest(TENANT, "anywhere", run_id=run_id))
            run = Started(authored, run_id, client.get_workflow_handle(workflow_id_of(run_id)))
            await asyncio.gather(run.handle.result(), return_exceptions=True)
            return run

        whole = await ended(None)
        without = (await whole.timeline()).run.status
        assert without == ("FAILED" if fails else "SUCCEEDED")
        count = cancelling.counts[whole.handle.id]
        places = [(number, after) for number in range(count) for after in (False, True)]
        statuses = set()
        for run in await asyncio.gather(*map(ended, places)):
            timeline = await run.timeline()
            statuses.add(timeline.run.status)
            steps_of = {step.definition_step_id: step.status for step in timeline.steps}
            found = (cancelling.places[run.handle.id], timeline.run.status, calls[run.run_id], steps_of)
            if timeline.run.status == "CANCELED":
                succeeded = [f"un{name}" for name in ("d", "twice", "a") if steps_of.get(name) == "SUCCEEDED"]
                assert [name for name in calls[run.run_id] if name.startswith("un")] == succeeded, found
            else:
                assert (timeline.run.status, calls[run.run_id]) == (without, calls[whole.run_id]), found
            # The server's word for a workflow task that a cancel came beside.
            assert set(await run.failed_tasks()) <= {"UnhandledCommand"}, found
        assert statuses == {"CANCELED", without}
