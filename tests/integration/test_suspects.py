"""A call that may have killed its workers runs alone, and only where a death would be its own doing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client

from harness.authored import authored_runtime
from harness.interpreted import act, document
from harness.run_records import a_call, rows
from workflows_core.execution import regular_action
from workflows_core.execution.suspects import Suspects
from workflows_core.storage.database import Database
from workflows_core.storage.ledger import start_again

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_suspect_waits_until_its_process_has_lived_without_it(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that died of something else soon after their start, again and again, were put down to a healthy call."""
    monkeypatch.setattr(regular_action, "OF_THIS_PROCESS", Suspects(timedelta(hours=1)))
    for number in range(4):
        await start_again(db, a_call(action_id="test.act", idempotency_key="the key"), f"dead-{number}")
    suspected = act(mapping={"name": "suspected"})
    suspected["config"]["idempotencyKey"] = {"$expr": "'the key'"}
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(suspected))
        assert "it waits until this process has lived for a while" in await run.told_why_it_waits()
        [entry] = await rows(db, "workflow_action_invocations")
        # It owns nothing, so that a death now is not its own.
        assert (entry["owner_token"], entry["crashes"], authored.effects.count("suspected")) == (None, 0, 0)
        monkeypatch.setattr(regular_action, "OF_THIS_PROCESS", Suspects(timedelta(0)))
        await run.handle.result()
    assert authored.effects.count("suspected") == 1
