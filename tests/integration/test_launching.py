"""The one launcher: STARTING, start once, RUNNING."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client, WorkflowExecutionStatus

from harness.authored import TENANT, authored_runtime
from harness.databases import MigratedDatabase, engine_of
from harness.forwarding import Forwarder
from harness.holding import holding
from harness.interpreted import document, wait
from harness.run_records import rows
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.errors import ErrorCategory, Failure, Refused
from workflows_core.launching.launcher import Launcher, LaunchPolicy, LaunchRequest
from workflows_core.launching.polled import HeartbeatProbe
from workflows_core.launching.queue import QueuedStarts
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.processes import Announcement, announce, leave
from workflows_core.storage.repairs import end_run
from workflows_core.storage.runs import NewRun, insert_run, mark_running, run_timeline
from workflows_core.wire.names import workflow_id_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def published(db: Database, key: str = "orders", limit: int | None = None) -> str:
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id=f"id-{key}", key=key, name=key, document=document(wait()))
        await publish_version(conn, f"id-{key}", document(wait()))
        await conn.execute(text("UPDATE workflow_definitions SET concurrency_limit = :limit"), {"limit": limit})
    return key


def request(**changes: Any) -> LaunchRequest:
    return LaunchRequest(**{"tenant": TENANT, "workflow": "orders", "payload": {"id": "k1"}, **changes})


async def end(db: Database, run_id: str) -> None:
    failure = Failure(ErrorCategory.ACTION, "it ended")
    assert await end_run(db, TENANT, run_id, "FAILED", failure, execution="", consumed=[])


async def code_of(launch: Any) -> str:
    with pytest.raises(Refused) as refused:
        await launch
    return refused.value.code


async def test_a_launch_that_waits_for_a_publishing_takes_what_was_published(db: Database, client: Client) -> None:
    await published(db)
    async with db.tenant(TENANT) as conn:
        await publish_version(conn, "id-orders", document(wait()))
        launching = asyncio.create_task(Launcher(db, client).launch(request()))
        await until_blocked(db)
    assert (await launching).workflow_version == 2


async def until_blocked(db: Database) -> None:
    """Until a statement waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while True:
        # A transaction sees one moment's activity, however often it looks.
        async with db.narrow() as conn:
            if (await conn.execute(text(waiting))).scalar_one():
                return
        await asyncio.sleep(0.01)


async def test_a_launch_leaves_a_running_run_with_its_search_attributes(db: Database, client: Client) -> None:
    await published(db)
    launched = await Launcher(db, client).launch(request())
    assert (launched.status, launched.created, launched.workflow_version) == ("RUNNING", True, 1)
    described = await client.get_workflow_handle(workflow_id_of(launched.run_id)).describe()
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert found["WorkflowTenant"] == TENANT
    assert (found["WorkflowKey"], found["WorkflowVersion"]) == ("orders", 1)
    (row,) = await rows(db, "workflow_runs")
    assert row["input_json"] == {"id": "k1"}
    assert row["temporal_run_id"] == described.run_id


async def test_the_same_run_id_starts_once(db: Database, client: Client) -> None:
    await published(db)
    launcher = Launcher(db, client)
    both = await asyncio.gather(*(launcher.launch(request(run_id="once-1")) for _ in range(3)))
    assert {one.run_id for one in both} == {"once-1"}
    assert [one.created for one in both].count(True) == 1
    assert len(await rows(db, "workflow_runs")) == 1


async def test_a_launch_without_temporal_stays_starting_and_is_finished_by_launching_again(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    await published(db)
    host, _, port = temporal.address.rpartition(":")
    between = Forwarder(host, int(port))
    await between.open()
    away = await Client.connect(between.address, namespace=temporal.namespace)
    await between.close()
    launcher = Launcher(db, away, LaunchPolicy(rpc_seconds=1))
    assert await code_of(launcher.launch(request(run_id="cut-1"))) == "TEMPORAL_UNAVAILABLE"
    (row,) = await rows(db, "workflow_runs")
    assert row["status"] == "STARTING"
    again = await Launcher(db, client).launch(request(run_id="cut-1"))
    assert (again.status, again.created) == ("RUNNING", False)


async def test_a_launch_under_another_tenants_id_cannot_cancel_that_ones_run(db: Database, client: Client) -> None:
    """Ids of Temporal workflows know no tenants; a launch cut short before it found that out left a row STARTING."""
    await published(db)
    launcher = Launcher(db, client)
    theirs = await launcher.launch(request(run_id="order-1"))
    async with db.tenant("other") as conn:
        await save_draft(conn, workflow_id="id-mine", key="mine", name="mine", document=document(wait()))
        await insert_run(conn, NewRun("order-1", "id-mine", 1, "hash"))
    assert await code_of(launcher.cancel("other", "order-1", "out of spite")) == "RUN_ID_TAKEN"
    described = await client.get_workflow_handle(theirs.temporal_workflow_id).describe()
    assert described.raw_description.pending_workflow_task.attempt == 1
    history = await client.get_workflow_handle(theirs.temporal_workflow_id).fetch_history()
    assert not any("cancel" in str(event).lower() for event in history.events)
    with pytest.raises(Refused, match="RUN_ID_TAKEN"):
        await launcher.resume("other", "order-1")
    (mine,) = await rows(db, "workflow_runs", tenant="other")
    assert (mine["status"], mine["temporal_run_id"]) == ("FAILED", None), "it is not told as theirs"


async def test_a_cancel_that_temporal_does_not_take_is_in_no_log(db: Database, client: Client) -> None:
    await published(db)
    async with db.tenant(TENANT) as conn:
        await insert_run(conn, NewRun("nowhere", "id-orders", 1, "hash"))
        await mark_running(conn, TENANT, "nowhere", None)
    assert await code_of(Launcher(db, client).cancel(TENANT, "nowhere", "no reason")) == "RUN_NOT_RUNNING"
    assert await rows(db, "workflow_run_logs") == []


async def test_a_run_that_nobody_needs_any_more_is_as_good_as_cancelled_where_it_cannot_be(
    db: Database, client: Client
) -> None:
    await published(db)
    async with db.tenant(TENANT) as conn:
        for run_id in ("nowhere", "ended"):
            await insert_run(conn, NewRun(run_id, "id-orders", 1, "hash"))
            await mark_running(conn, TENANT, run_id, None)
    await end(db, "ended")
    for run_id in ("nowhere", "ended", "unknown"):
        await Launcher(db, client).cancel_unneeded(TENANT, run_id, "its parent has ended")
    assert not any("cancel requested" in line["message"] for line in await rows(db, "workflow_run_logs"))


async def test_what_cannot_start_is_refused_and_leaves_nothing(db: Database, client: Client) -> None:
    await published(db)
    launcher = Launcher(db, client)
    assert await code_of(launcher.launch(request(workflow="ordres"))) == "WORKFLOW_UNKNOWN"
    assert await code_of(launcher.launch(request(version=9))) == "WORKFLOW_VERSION_UNKNOWN"
    assert await code_of(launcher.launch(request(payload={"text": "\x00"}))) == "LAUNCH_INVALID"
    assert await code_of(launcher.launch(request(payload={"text": "x" * 600_000}))) == "LAUNCH_INVALID"
    assert await code_of(launcher.launch(request(workflow="a\x00"))) == "LAUNCH_INVALID"
    assert await code_of(launcher.launch(request(tenant="a\x00"))) == "LAUNCH_INVALID"
    async with db.tenant(TENANT) as conn:
        await conn.execute(text("UPDATE workflow_definitions SET is_paused = true"))
    assert await code_of(launcher.launch(request())) == "WORKFLOW_PAUSED"
    assert await rows(db, "workflow_runs") == []


async def test_a_concurrency_limit_holds_for_launches_at_once(db: Database, client: Client) -> None:
    await published(db, limit=2)
    launcher = Launcher(db, client)
    outcomes = await asyncio.gather(*(launcher.launch(request()) for _ in range(6)), return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, Refused)]
    assert len(refused) == 4
    assert {one.code for one in refused} == {"CONCURRENCY_LIMIT_REACHED"}
    assert len(await rows(db, "workflow_runs")) == 2


async def ask_to_wait(db: Database, limit: int | None) -> None:
    content = {**document(wait()), "onConcurrencyLimit": "wait"}
    async with db.tenant(TENANT) as conn:
        await save_draft(conn, workflow_id="id-orders", key="orders", name="orders", document=content)
        await publish_version(conn, "id-orders", content)
    await change(db, f"concurrency_limit = {limit or 'NULL'}")


async def change(db: Database, what: str) -> None:
    async with db.tenant(TENANT) as conn:
        await conn.execute(text(f"UPDATE workflow_definitions SET {what}"))


async def status_of(db: Database, run_id: str) -> str:
    return str({row["run_id"]: row["status"] for row in await rows(db, "workflow_runs")}[run_id])


async def test_a_launch_at_its_limit_waits_where_the_definition_asks_for_it_and_starts_in_turn(
    db: Database, client: Client
) -> None:
    await ask_to_wait(db, limit=1)
    launcher = Launcher(db, client)
    queue = QueuedStarts(db, launcher)
    launched = [await launcher.launch(request(run_id=f"r{n}", execution_key=f"key-{n}")) for n in range(3)]
    assert [one.status for one in launched] == ["RUNNING", "QUEUED", "QUEUED"]
    assert (await launcher.launch(request(run_id="r2"))).status == "QUEUED"
    assert await queue.one_pass() == 0
    async with db.tenant(TENANT) as conn:
        shown = await run_timeline(conn, "r2")
    assert shown is not None
    assert str(shown.queue) == "queued: 1 run(s) of its workflow are open, its limit is 1; 1 queued before it"
    await end(db, "r0")
    assert (await launcher.launch(request(run_id="r3"))).status == "QUEUED", "one that comes later goes behind"
    assert await queue.one_pass() == 1
    assert [await status_of(db, f"r{n}") for n in range(4)] == ["FAILED", "RUNNING", "QUEUED", "QUEUED"]
    (started,) = [e async for e in client.get_workflow_handle(workflow_id_of("r1")).fetch_history_events()][:1]
    body = started.workflow_execution_started_event_attributes.input.payloads[0].data
    assert json.loads(body)["executionKey"] == "key-1", "what only the start needs was kept"
    assert [row["launch_json"] for row in await rows(db, "workflow_runs")].count(None) == 3


async def test_a_queued_run_can_be_cancelled_and_a_pause_holds_the_queue(db: Database, client: Client) -> None:
    await ask_to_wait(db, limit=1)
    launcher = Launcher(db, client)
    queue = QueuedStarts(db, launcher)
    for n in range(3):
        await launcher.launch(request(run_id=f"r{n}"))
    await launcher.cancel(TENANT, "r1", "not needed any more")
    assert await status_of(db, "r1") == "CANCELED"
    assert await code_of(launcher.cancel(TENANT, "r1", "again")) == "RUN_ENDED"
    await end(db, "r0")
    await change(db, "is_paused = true")
    assert await queue.one_pass() == 0
    assert (await launcher.resume(TENANT, "r2")).status == "QUEUED"
    await change(db, "is_paused = false, concurrency_limit = NULL")
    assert await queue.one_pass() == 1
    assert await status_of(db, "r2") == "RUNNING"


async def test_more_processes_at_the_queue_start_no_more_than_there_is_room_for(db: Database, client: Client) -> None:
    await ask_to_wait(db, limit=1)
    launcher = Launcher(db, client)
    for n in range(8):
        await launcher.launch(request(run_id=f"r{n}"))
    await change(db, "concurrency_limit = 4")
    done = await asyncio.gather(*(QueuedStarts(db, launcher).one_pass() for _ in range(4)))
    statuses = [row["status"] for row in await rows(db, "workflow_runs")]
    assert (statuses.count("RUNNING"), statuses.count("QUEUED")) == (4, 4), done


async def test_a_queued_run_that_can_never_start_stops_none_behind_it(db: Database, client: Client) -> None:
    """Another tenant has a run of its id; the loop ended with that refusal."""
    launcher = Launcher(db, client)
    content = document(wait())
    async with db.tenant("other") as conn:
        await save_draft(conn, workflow_id="id-orders", key="orders", name="orders", document=content)
        await publish_version(conn, "id-orders", content)
    await launcher.launch(request(tenant="other", run_id="taken"))
    await ask_to_wait(db, limit=1)
    for run_id in ("first", "taken", "behind"):
        await launcher.launch(request(run_id=run_id))
    await end(db, "first")
    assert await QueuedStarts(db, launcher).one_pass() == 0
    assert await status_of(db, "taken") == "FAILED"
    assert await QueuedStarts(db, launcher).one_pass() == 1
    assert await status_of(db, "behind") == "RUNNING"


@pytest.mark.parametrize("batch_size", [100, 1], ids=["some", "a whole batch"])
async def test_a_workflow_that_somebody_holds_keeps_no_queued_run_of_another_one_waiting(
    db: Database, client: Client, database: MigratedDatabase, batch_size: int
) -> None:
    """The pass ended with it, and the next one began with it again; or it had none but that one's runs."""
    launcher = Launcher(db, client)
    await published(db, "held", limit=1)
    await ask_to_wait(db, limit=1)
    for run_id in ("first", "behind"):
        await launcher.launch(request(run_id=run_id))
    async with db.tenant(TENANT) as conn:
        for number in range(3):
            await insert_run(conn, NewRun(f"h{number}", "id-held", 1, "hash", status="QUEUED"))
        await conn.execute(text("UPDATE workflow_runs SET started_at = now() - interval '1h' WHERE run_id LIKE 'h%'"))
    await end(db, "first")
    async with await psycopg.AsyncConnection.connect(database.admin_url, autocommit=True) as admin:
        await admin.execute(f"ALTER DATABASE {database.name} SET lock_timeout = '100ms'")
    async with engine_of(database.url) as engine:
        impatient = Database(engine)
        queue = QueuedStarts(impatient, Launcher(impatient, client), batch_size=batch_size)
        async with holding(database, "SELECT 1 FROM workflow_definitions WHERE key = 'held' FOR UPDATE"):
            assert await queue.one_pass() == 1
            assert await status_of(db, "behind") == "RUNNING"
            assert await status_of(db, "h0") == "QUEUED"
        assert await queue.one_pass() == 1
        assert await status_of(db, "h0") == "RUNNING"


async def test_a_workflow_that_is_held_for_long_is_waited_for_once(
    db: Database, client: Client, database: MigratedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Each pass waited for a statement's whole time-out before it came to the runs of others."""
    await published(db, "held")
    await published(db, "orders", limit=1)
    async with db.tenant(TENANT) as conn:
        for run_id, key in (("h0", "held"), ("h1", "held"), ("first", "orders"), ("second", "orders")):
            await insert_run(conn, NewRun(run_id, f"id-{key}", 1, "hash", status="QUEUED"))
        await conn.execute(text("UPDATE workflow_runs SET started_at = now() - interval '1h' WHERE run_id LIKE 'h%'"))
        await conn.execute(text("UPDATE workflow_definitions SET concurrency_limit = 2 WHERE key = 'held'"))
    patient = create_async_engine(
        database.url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={"options": "-c statement_timeout=600000"},
    )
    queue = QueuedStarts(Database(patient), Launcher(Database(patient), client))
    async with holding(database, "SELECT 1 FROM workflow_definitions WHERE key = 'held' FOR UPDATE") as held:
        passing = asyncio.create_task(queue.one_pass())
        await held.time_out()
        assert await passing == 1
        assert sum("is put off" in line for line in caplog.messages) == 1, "it is not tried for its other run"
        await end(db, "first")
        assert await queue.one_pass() == 1
        assert [await status_of(db, run_id) for run_id in ("h0", "second")] == ["QUEUED", "RUNNING"]
    assert await queue.one_pass() == 2
    assert [await status_of(db, run_id) for run_id in ("h0", "h1")] == ["RUNNING", "RUNNING"]
    assert queue.held == set()
    await patient.dispose()


async def test_a_cancel_that_meets_the_start_of_a_queued_run_cancels_no_other_tenants_run(
    db: Database, client: Client, database: MigratedDatabase
) -> None:
    """It had read that the run was queued, and asked Temporal for that id without looking whose it is."""
    await published(db)
    launcher = Launcher(db, client)
    theirs = await launcher.launch(request(run_id="order-1"))
    async with db.tenant("other") as conn:
        await insert_run(conn, NewRun("order-1", "id-mine", 1, "hash", status="QUEUED"))
    leaving = "UPDATE workflow_runs SET status = 'STARTING' WHERE tenant = 'other'"
    async with holding(database, leaving) as held:
        cancelling = asyncio.create_task(launcher.cancel("other", "order-1", "out of spite"))
        await held.waiting(1)
    assert await code_of(cancelling) == "RUN_ID_TAKEN"
    history = await client.get_workflow_handle(theirs.temporal_workflow_id).fetch_history()
    assert not any("cancel" in str(event).lower() for event in history.events)


async def test_a_child_does_not_wait_at_its_limit(db: Database, client: Client) -> None:
    await ask_to_wait(db, limit=1)
    launcher = Launcher(db, client)
    await launcher.launch(request(run_id="parent"))
    child = request(run_id="child", parent_run_id="parent")
    assert await code_of(launcher.launch(child)) == "CONCURRENCY_LIMIT_REACHED"


async def test_a_run_of_another_tenant_is_never_started_or_seen(db: Database, client: Client) -> None:
    await published(db)
    assert await code_of(Launcher(db, client).launch(request(tenant="other"))) == "WORKFLOW_UNKNOWN"
    launched = await Launcher(db, client).launch(request())
    assert await code_of(Launcher(db, client).cancel("other", launched.run_id, "curious")) == "RUN_NOT_FOUND"


async def test_a_cancel_needs_a_reason_and_ends_the_run(db: Database, client: Client) -> None:
    async with authored_runtime(db, client) as authored:
        run = await authored.start(document(wait()), {"id": "k1"})
        await run.until("WAITING")
        launcher = Launcher(db, client)
        assert await code_of(launcher.cancel(TENANT, run.run_id, " ")) == "CANCEL_REASON_MISSING"
        await launcher.cancel(TENANT, run.run_id, "ordered twice")
        timeline = await run.until("CANCELED")
        assert await code_of(launcher.cancel(TENANT, run.run_id, "again")) == "RUN_ENDED"
        while (await run.handle.describe()).status is WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.02)
    assert any("ordered twice" in line.message for line in timeline.logs)


async def test_a_launch_says_when_nobody_polls(db: Database, client: Client) -> None:
    class Nobody:
        async def is_polled(self, queue: str) -> bool | None:
            assert queue == "workflow-runtime-v2"
            return False

    await published(db)
    assert (await Launcher(db, client, prober=Nobody()).launch(request())).polled is False
    assert (await Launcher(db, client).launch(request())).polled is None


async def test_a_process_that_fell_silent_is_known_before_temporal_forgets_it(db: Database, client: Client) -> None:
    class Listed:
        async def is_polled(self, queue: str) -> bool | None:
            return True

    await published(db)
    launcher = Launcher(db, client, prober=HeartbeatProbe(db, Listed()))
    assert (await launcher.launch(request())).polled is True, "no heartbeat was ever written: the list says"
    worker = Announcement("workflow-worker@h:1", "workflow-worker", "1", ("workflow-runtime-v2",))
    async with db.narrow() as conn:
        await announce(conn, worker)
    assert (await launcher.launch(request())).polled is True
    async with db.narrow() as conn:
        await leave(conn, worker.identity)
    assert (await launcher.launch(request())).polled is False


async def test_a_run_that_was_started_is_told_also_when_nobody_can_say_who_polls(
    db: Database, database: MigratedDatabase, client: Client
) -> None:
    class Nobody:
        async def is_polled(self, queue: str) -> bool | None:
            raise AssertionError("the list knows nothing of processes that died")

    await published(db)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    url = make_url(database.url).set(host="127.0.0.1", port=port)
    async with engine_of(url.render_as_string(hide_password=False)) as engine:
        launched = await Launcher(db, client, prober=HeartbeatProbe(Database(engine), Nobody())).launch(request())
    assert (launched.status, launched.polled) == ("RUNNING", None)


async def test_hole_9_a_run_may_wait_for_ever(db: Database, client: Client) -> None:
    await published(db)
    launched = await Launcher(db, client).launch(request())
    described = await client.get_workflow_handle(workflow_id_of(launched.run_id)).describe()
    config = described.raw_description.execution_config
    assert (config.workflow_execution_timeout.ToSeconds(), config.workflow_run_timeout.ToSeconds()) == (0, 0)


async def test_hole_21_runs_are_found_by_tenant_and_workflow_and_answer_for_themselves(
    db: Database, client: Client
) -> None:
    async with authored_runtime(db, client):
        await published(db, "found-by-key")
        launched = await Launcher(db, client).launch(request(workflow="found-by-key"))
        query = f"WorkflowTenant = '{TENANT}' AND WorkflowKey = 'found-by-key' AND WorkflowVersion = 1"
        found: list[str] = []
        while not found:
            found = [one.id async for one in client.list_workflows(query)]
            await asyncio.sleep(0.05)
        handle = client.get_workflow_handle(found[0])
        while (waits := await handle.query("workflowRuntimeV2CurrentWait")) is None:
            await asyncio.sleep(0.05)
        step = await handle.query("workflowRuntimeV2CurrentStep")
    assert found == [workflow_id_of(launched.run_id)]
    assert (step, waits["waits"][0]["key"]) == ({"stepPath": "root.steps[0]"}, "k1")
