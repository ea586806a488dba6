"""Every recorded history still replays (NFR-3), and so does one made just now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHistory

from replay.orders import constructs_of, orders_of, replayed_orders
from replay.record import HISTORIES, SCENARIOS, record
from workflows_core.definitions.model import STEP_MODELS
from workflows_core.execution.worker import authored_replayer
from workflows_core.interpreter.machine import Machine
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")
RECORDED = sorted(HISTORIES.glob("*.json"))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


async def test_every_scenario_is_recorded() -> None:
    assert {path.stem for path in RECORDED} == set(SCENARIOS)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    history = WorkflowHistory.from_json("recorded", text_of(path))
    result = await authored_replayer().replay_workflow(history, raise_on_replay_failure=False)
    assert result.replay_failure is None


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_history_of_today_replays(name: str, db: Database, client: Client) -> None:
    result = await authored_replayer().replay_workflow(await record(db, client, name), raise_on_replay_failure=False)
    assert result.replay_failure is None


async def test_every_construct_is_recorded() -> None:
    """Of the language, and what comes from outside to a run."""
    recorded = set().union(*(constructs_of(json.loads(text_of(path))) for path in RECORDED))
    assert recorded >= {
        *STEP_MODELS,
        "onCompensate",
        "retry",
        "onError",
        "checkpoint",
        "workflowRuntimeV2Event",
        "workflowRuntimeV2HumanTask",
        "workflowRuntimeV2QuotaResume",
    }


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_history_asks_for_the_same_steps_in_the_same_order(path: Path) -> None:
    """Temporal looks at the kinds of activities only, and all actions are of one kind."""
    assert await replayed_orders(text_of(path)) == orders_of(json.loads(text_of(path)))


async def test_a_change_of_order_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(HISTORIES / "branches.json")

    def last_first(machine: Machine) -> Any:
        return next((frame for frame in reversed(machine.frames.values()) if frame.pending is None), None)

    monkeypatch.setattr(Machine, "runnable", last_first)
    assert await replayed_orders(text) != orders_of(json.loads(text))


async def test_a_history_that_went_another_way_is_noticed() -> None:
    changed = json.loads(text_of(HISTORIES / "actions_and_retry.json"))
    kinds = [event["eventType"] for event in changed["events"]]
    first = kinds.index("EVENT_TYPE_ACTIVITY_TASK_SCHEDULED")
    changed["events"][first]["activityTaskScheduledEventAttributes"]["activityType"]["name"] = "another"
    history = WorkflowHistory.from_json("changed", json.dumps(changed))
    result = await authored_replayer().replay_workflow(history, raise_on_replay_failure=False)
    assert result.replay_failure is not None
