"""Our own definitions, every construct: the simulation and a real run call the same and end the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from harness import authored as harness_authored
from harness.authored import Authored, Effects, Started, authored_runtime
from harness.ingress import ingress
from harness.own_definitions import CHILD, OWN, Own
from harness.readable import readable
from harness.run_records import publish, rows
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.model import STEP_MODELS
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps
from workflows_core.simulation.fixtures import Fixtures
from workflows_core.simulation.simulate import simulate
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_HUMAN_TASK

pytestmark = pytest.mark.asyncio(loop_scope="session")
_STATUS = {"completed": "SUCCEEDED", "failed": "FAILED"}


async def test_they_are_thirty_and_have_every_step_type() -> None:
    used = {step.type for own in OWN for _, step in walk_steps(parse_definition(own.document))}
    assert len(OWN) >= 30
    assert used == set(STEP_MODELS)


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
async def test_a_definition_does_the_same_both_ways(db: Database, client: Client, own: Own) -> None:
    registry = ActionRegistry.of({"test": harness_authored.test_pack(Effects())})
    report = await simulate(
        parse_definition(own.document), registry, payload=own.payload, fixtures=Fixtures.of(own.answers)
    )
    assert report.status == own.status, report.errors
    async with authored_runtime(db, client) as authored, ingress(db, client):
        await authored.publish(CHILD, key="own-child")
        run = await authored.start(own.document, own.payload)
        answering = asyncio.create_task(_answer(authored, run, own))
        result = await ended(run)
        answering.cancel()
        timeline = await run.timeline()
    assert timeline.run.status == _STATUS[own.status]
    calls = sorted((i.step_path, i.action_id, i.attempt, i.input_json) for i in timeline.invocations)
    last = {(i["stepPath"], i["actionId"]): (i["attempt"], i["input"]) for i in report.invocations}
    assert calls == sorted((path, action, *facts) for (path, action), facts in last.items())
    seen = {(s.step_path, s.status, s.attempt) for s in timeline.steps}
    assert seen == {(entry.step_path, entry.status, entry.attempt) for entry in report.trace}
    if own.status == "completed":
        assert isinstance(result, dict)
        assert result.get("result") == report.result
        assert _timeless(result["scopes"]["vars"]) == _timeless(report.final_vars)
    else:
        assert timeline.run.error_json is not None
        assert timeline.run.error_json["message"] == report.errors[0]["message"]


def _timeless(variables: Mapping[str, Any]) -> Any:
    """Without what depends on the moment; errors by their category."""
    return readable({name: value for name, value in variables.items() if name != "timeWait"})


async def ended(run: Started) -> Any:
    """Result or failure."""
    try:
        return await run.handle.result()
    except WorkflowFailureError as error:
        return error


async def _answer(authored: Authored, run: Started, own: Own) -> None:
    """Gives the waits what the fixtures give them."""
    if not own.answers or "c" in own.answers or {"$timeout": True} in own.answers.values():
        return
    await run.until("WAITING")
    (wait,) = [row for row in await rows(authored.db, "workflow_run_waits") if row["status"] == "WAITING"]
    answer: Any = next(iter(own.answers.values()))
    if wait["wait_type"] == "human":
        await run.handle.signal(SIGNAL_HUMAN_TASK, {"taskId": wait["key"], "payload": answer})
    else:
        await publish(authored.db, "answer", wait["key"], event_name=wait["event_name"], payload=answer)
