"""Definitions that take long to compile: a workflow task that computes for two seconds is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.interpreted import document, wait
from harness.repairs import reconciler
from workflows_core.execution import activities, compiled_plans, worker
from workflows_core.execution.compiled_plans import CompiledPlans
from workflows_core.execution.plans import StillCompiling, compile_definition
from workflows_core.interpreter.plan import Plan
from workflows_core.storage.database import Database
from workflows_core.wire.names import SIGNAL_EVENT

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_run_of_a_definition_that_takes_longer_to_compile_than_a_workflow_task_may_ends(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was compiled in its workflow task, which was given up and began again, for ever.

    Nor is the thread broken off that waits, as the SDK tries after two seconds: it made whoever is traced stand still.
    """
    begun: list[str] = []

    def slowly(definition: Mapping[str, Any]) -> Plan:
        begun.append(definition["name"])
        for _ in range(60):
            time.sleep(0.05)  # In pieces, as what computes can be broken off.
        return compile_definition(definition)

    monkeypatch.setattr(compiled_plans, "compile_definition", slowly)
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait()), {"id": "key-1"})
        await run.until("WAITING")
        assert (len(begun), await run.failed_tasks()) == (1, [])
    another = CompiledPlans()
    # Another process, which compiles it while a workflow task waits.
    for module in (activities, worker):
        monkeypatch.setattr(module, "PLANS", another)
    async with authored_runtime(db, client):
        event = {"eventId": "e1", "eventName": "PAID", "correlationKey": "key-1", "payload": {}}
        await run.handle.signal(SIGNAL_EVENT, event)
        await run.handle.result()
    assert len(begun) == 2
    assert set(await run.failed_tasks()) == {str(StillCompiling())}


async def test_what_a_terminated_run_took_is_asked_again_while_its_definition_is_compiled(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told that its history would never say that, and what it had claimed went to nobody else."""
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait()), {"id": "key-1"})
        await run.until("WAITING")
    await run.handle.terminate()
    may_go_on = threading.Event()

    def slowly(definition: Mapping[str, Any]) -> Plan:
        may_go_on.wait()
        return compile_definition(definition)

    monkeypatch.setattr(compiled_plans, "compile_definition", slowly)
    monkeypatch.setattr(compiled_plans, "_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(worker, "PLANS", CompiledPlans())
    async with authored_runtime(db, client):
        assert await reconciler(db, client).one_pass() == {"not answered for": 1}
        may_go_on.set()
        monkeypatch.setattr(compiled_plans, "_WAIT_SECONDS", 1.5)
        assert await reconciler(db, client).one_pass() == {"ended": 1}
