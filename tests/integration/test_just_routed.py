"""Deliveries that the process which routed their event sends without looking for them (docs/adr/0006)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import ProgrammingError
from temporalio.client import Client

from harness.databases import MigratedDatabase
from harness.forwarding import cut_off
from harness.interpreted import document, wait
from harness.run_records import EXECUTION, RUN, TENANT, a_wait, a_write, deliveries_of, publish, rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.ingress.just_routed import JustRouted
from workflows_core.ingress.loop import IngressLoop
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.router import route_event, route_pending
from workflows_core.ingress.sender import Sender
from workflows_core.ingress.wake import Wake
from workflows_core.launching.launcher import Launcher, LaunchPolicy
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.deliveries import ready_deliveries, take_deliveries
from workflows_core.storage.run_writes import write_run
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW, workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
POLICY = IngressPolicy(lease_seconds=60)
BRIEF = IngressPolicy(lease_seconds=0.5)


def just_routed_of(policy: IngressPolicy) -> JustRouted:
    return JustRouted(policy.lease_seconds, policy.batch_size)


async def started_by_paid(db: Database) -> None:
    """Publishes workflow `w`, which the event starts."""
    content = {**document(wait()), "trigger": {"type": "event", "eventName": "PAID"}}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="w", key="w", name="W", document=content)
        await publish_version(conn, "w", content)


async def opened(db: Database, client: Client, *waits: Any) -> None:
    """`RUN`, on which nobody works, with these waits open."""
    await client.start_workflow(RUN_WORKFLOW, {}, id=workflow_id_of(RUN), task_queue=AUTHORED_QUEUE)
    await write_run(db, a_write(1, waits=list(waits)), EXECUTION)


async def ready(db: Database) -> list[str]:
    return [delivery_id for _, delivery_id in await ready_deliveries(db, 10)]


@pytest.mark.parametrize("keys", [["key-1"], None], ids=["keys of the publisher", "keys of the payload"])
@pytest.mark.parametrize("at_rest", [True, False])
async def test_what_was_just_routed_is_what_others_would_read(
    db: Database, client: Client, keys: list[str] | None, at_rest: bool
) -> None:
    await started_by_paid(db)
    await opened(db, client, a_wait())
    payload = {"amount": 5, "deep": [{"text": "ü"}], "correlationKey": "key-1"}
    policy = replace(BRIEF, correlation_paths={"*": ["correlationKey"]})
    await publish(db, "e1", None, payload=payload, correlation_keys=keys, payload_schema_ref="payload.Any.v1")
    just_routed = just_routed_of(policy)
    assert await route_pending(db, policy, just_routed, at_rest=at_rest) == 1
    given = just_routed.take()
    await asyncio.sleep(2 * BRIEF.lease_seconds)
    read = await take_deliveries(db, TENANT, [delivery.delivery_id for delivery in given], 5)
    assert {delivery.target_kind for delivery in given} == {"wait", "start"}
    assert sorted(given, key=str) == sorted(read, key=str)


async def test_it_is_nobody_else_s_for_the_time_of_the_lease(db: Database, client: Client) -> None:
    await opened(db, client, a_wait())
    await publish(db, "e1")
    just_routed = just_routed_of(POLICY)
    await route_event(db, TENANT, "e1", POLICY, just_routed)
    assert await ready(db) == []
    sender = Sender(db, Launcher(db, client), JlensEngine(), POLICY, just_routed)
    assert await sender.send_ready() == 1
    assert await deliveries_of(db) == {("e1", "wait-1"): "accepted"}


async def test_what_a_process_took_and_lost_another_one_sends(db: Database, client: Client) -> None:
    await opened(db, client, a_wait())
    await publish(db, "e1")
    await route_event(db, TENANT, "e1", BRIEF, just_routed_of(BRIEF))
    other = Sender(db, Launcher(db, client), JlensEngine(), BRIEF)
    while await deliveries_of(db) != {("e1", "wait-1"): "accepted"}:
        await other.send_ready()


async def test_one_of_a_key_and_run_waits_for_the_one_before_it(db: Database, client: Client) -> None:
    waits = [a_wait(f"wait-{n}", filters=[{"path": "amount", "op": "=", "value": n}]) for n in (1, 2)]
    await opened(db, client, *waits)
    just_routed = just_routed_of(POLICY)
    for amount in (1, 2):
        await publish(db, f"e{amount}", payload={"amount": amount})
        await route_event(db, TENANT, f"e{amount}", POLICY, just_routed)
    given = just_routed.take()
    assert [delivery.event_id for delivery in given] == ["e1"]
    assert await deliveries_of(db) == {("e1", "wait-1"): "new", ("e2", "wait-2"): "new"}
    assert await ready(db) == []
    just_routed.add(given)
    sender = Sender(db, Launcher(db, client), JlensEngine(), POLICY, just_routed)
    for _ in range(3):
        await sender.send_ready()
    assert set((await deliveries_of(db)).values()) == {"accepted"}


async def test_when_enough_wait_the_rest_is_left_to_everybody(db: Database, client: Client) -> None:
    await opened(db, client, *(a_wait(f"wait-{n}", f"key-{n}") for n in range(3)))
    just_routed = JustRouted(60, 2)
    for n in range(3):
        await publish(db, f"e{n}", f"key-{n}")
        await route_event(db, TENANT, f"e{n}", POLICY, just_routed)
    assert [delivery.event_id for delivery in just_routed.take()] == ["e0", "e1"]
    assert len(await ready(db)) == 1


async def test_what_others_left_is_looked_at_however_much_was_just_routed(db: Database, client: Client) -> None:
    await opened(db, client, a_wait("wait-1"), a_wait("wait-2", "key-2"))
    await publish(db, "left")
    await route_event(db, TENANT, "left", POLICY)
    just_routed = just_routed_of(POLICY)
    sender = Sender(db, Launcher(db, client), JlensEngine(), POLICY, just_routed)
    await publish(db, "mine", "key-2")
    await route_event(db, TENANT, "mine", POLICY, just_routed)
    (mine,) = just_routed.take()
    for _ in range(2):
        just_routed.add([mine])
        await sender.send_ready()
    assert await deliveries_of(db) == {("left", "wait-1"): "accepted", ("mine", "wait-2"): "accepted"}


async def test_a_loop_that_ends_sends_what_it_has_taken(
    db: Database, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(db, client, a_wait())
    await publish(db, "e1")
    reached = asyncio.Event()
    add = JustRouted.add

    def untold(self: JustRouted, deliveries: Any) -> None:
        self.on_add = reached.set
        add(self, deliveries)

    async def deaf(_: Wake) -> None:
        await asyncio.Event().wait()

    # Its sender is not told, so it waits; then the process is asked to stop.
    monkeypatch.setattr(JustRouted, "add", untold)
    monkeypatch.setattr(Wake, "listen", deaf)
    loop = asyncio.create_task(IngressLoop(db, Launcher(db, client), JlensEngine(), POLICY).run(_Quiet()))
    async with asyncio.timeout(30):
        await reached.wait()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert await deliveries_of(db) == {("e1", "wait-1"): "accepted"}


async def test_of_one_event_a_run_is_sent_one_delivery_after_the_other(db: Database, client: Client) -> None:
    await opened(db, client, a_wait("wait-1"), a_wait("wait-2"), a_wait("wait-3", "key-2"))
    await publish(db, "e1", None, correlation_keys=["key-1", "key-2"])
    just_routed = just_routed_of(POLICY)
    await route_event(db, TENANT, "e1", POLICY, just_routed)
    given = just_routed.take_rest()
    assert [delivery.target_id for delivery in given] == ["wait-1", "wait-3"]
    assert len(await deliveries_of(db)) == 3


async def test_an_event_for_many_runs_is_everybody_s_work(db: Database, client: Client) -> None:
    await opened(db, client, *(a_wait(f"wait-{n}", f"key-{n}") for n in range(3)))
    await publish(db, "e1", None, correlation_keys=[f"key-{n}" for n in range(3)])
    just_routed = JustRouted(60, 2)
    await route_event(db, TENANT, "e1", POLICY, just_routed)
    assert just_routed.waiting == 0
    assert len(await ready(db)) == 3


async def test_what_waited_longer_than_its_lease_is_not_sent_from_memory(db: Database, client: Client) -> None:
    await opened(db, client, a_wait())
    await publish(db, "e1")
    just_routed = just_routed_of(BRIEF)
    await route_event(db, TENANT, "e1", BRIEF, just_routed)
    await asyncio.sleep(2 * BRIEF.lease_seconds)
    assert (just_routed.waiting, just_routed.take()) == (1, [])
    assert len(await ready(db)) == 1


async def test_a_process_that_does_not_reach_temporal_leaves_to_others_what_it_routes(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    await opened(db, client, a_wait(), a_wait("wait-2", "key-2"))
    just_routed = just_routed_of(POLICY)
    async with cut_off(temporal) as away:
        sender = Sender(db, Launcher(db, away, LaunchPolicy(rpc_seconds=0.5)), JlensEngine(), POLICY, just_routed)
        await publish(db, "e1")
        await route_event(db, TENANT, "e1", POLICY, just_routed)
        await sender.send_ready()
        await publish(db, "e2", "key-2")
        await route_event(db, TENANT, "e2", POLICY, just_routed)
    assert just_routed.waiting == 0
    assert len(await ready(db)) == 1


async def test_an_event_is_not_to_blame_for_a_schema_that_is_older_than_the_build(
    db: Database, database: MigratedDatabase
) -> None:
    for number in range(3):
        await publish(db, f"e{number}")
    at_once = replace(POLICY, first_delay_seconds=0.0)
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("DROP FUNCTION workflow_settle_event(text, text, jsonb, double precision)")
    for at_rest in (True, False):
        with pytest.raises(ProgrammingError, match="workflow_settle_event"):
            await route_pending(db, at_once, at_rest=at_rest)
    events = await rows(db, "workflow_runtime_events")
    assert [(event["status"], event["attempts"]) for event in events] == [("pending", 0)] * 3
    assert all("workflow_settle_event" in event["error_message"] for event in events), "none kept another waiting"


async def test_a_delivery_is_not_to_blame_for_it_either(
    db: Database, client: Client, database: MigratedDatabase
) -> None:
    await started_by_paid(db)
    await publish(db, "e1")
    await route_event(db, TENANT, "e1", POLICY)
    strict = replace(POLICY, delivery_attempts=1)
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute("ALTER TABLE workflow_definition_versions RENAME COLUMN definition_json TO other")
    assert await Sender(db, Launcher(db, client), JlensEngine(), strict).send_ready() == 1
    assert await deliveries_of(db) == {("e1", "w"): "new"}


class _Quiet:
    def mark(self, detail: str = "") -> None:
        """Nobody looks."""

    def degraded(self, reason: str) -> None:
        """Nobody looks."""
