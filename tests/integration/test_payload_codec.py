"""With payload keys nothing that authors or callers wrote is readable in Temporal, and everything still works."""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import replace

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from harness.authored import authored_runtime
from harness.ingress import ingress
from harness.interpreted import act, document, wait
from harness.run_records import publish
from harness.scheduled import HOURLY, created, following, published, until
from service_host.payload_codec import ENCODING, PayloadUnreadable, encrypting, parse_keys
from service_host.settings import TemporalSettings
from service_host.temporal import try_temporal
from workflows_cli.embedded import EmbeddedTemporal
from workflows_core.execution.payloads import encode
from workflows_core.execution.worker import authored_replayer
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.reconciler import Reconciler, ReconcilerPolicy
from workflows_core.schedules.temporal import ScheduleSync
from workflows_core.storage.database import Database
from workflows_core.wire.names import AUTHORED_QUEUE, QUERY_SUMMARY, RUN_WORKFLOW, SIGNAL_EVENT

pytestmark = pytest.mark.asyncio(loop_scope="session")
MARK = "a-name-nobody-may-read"


def key(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def encrypted(client: Client, keys: str) -> Client:
    converter = encrypting(DataConverter.default, parse_keys(keys))
    return Client(client.service_client, namespace=client.namespace, data_converter=converter)


async def without_keys(temporal: EmbeddedTemporal) -> Client:
    settings = {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": temporal.namespace}
    return await try_temporal(TemporalSettings.model_validate(settings), "worker")


async def history_bytes(client: Client, workflow_id: str) -> bytes:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def test_start_signals_failures_and_answers_are_encrypted_and_work(db: Database, client: Client) -> None:
    ours = encrypted(client, key("k1"))
    refuse = {"type": "action.call", "config": {"actionId": "test.fail", "version": 1, "inputMapping": {"why": MARK}}}
    definition = document(
        act("first", {"name": MARK}),
        wait("PAID", "payload.id"),
        wait("SHIPPED", "payload.id"),
        {**refuse, "name": MARK},
    )
    async with authored_runtime(db, ours) as authored, ingress(db, ours):
        run = await authored.start(definition, {"id": MARK})
        await run.until("WAITING")
        request = QueryWorkflowRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=run.handle.id),
            query=WorkflowQuery(query_type=QUERY_SUMMARY),
        )
        (answer,) = (await client.workflow_service.query_workflow(request)).query_result.payloads
        assert answer.metadata["encoding"] == ENCODING
        assert (await run.handle.query(QUERY_SUMMARY))["loaded"] is True
        await publish(db, "paid", MARK, payload={"by": MARK})
        body = {"eventId": "shipped", "eventName": "SHIPPED", "correlationKey": MARK, "payload": {"by": MARK}}
        await run.handle.signal(SIGNAL_EVENT, encode(body))
        with pytest.raises(WorkflowFailureError) as failed:
            await run.handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert "Encoded failure" not in cause.message
    found = await history_bytes(client, run.handle.id)
    assert len(found) > 1000
    assert MARK.encode() not in found
    assert b"scripted" not in found
    assert b"Encoded failure" in found
    replayer = authored_replayer(data_converter=ours.data_converter)
    await replayer.replay_workflow(await run.handle.fetch_history())


async def test_a_key_is_replaced_while_a_run_is_open(db: Database, client: Client) -> None:
    old, new = key("old"), key("new")
    before, after = encrypted(client, old), encrypted(client, f"{new},{old}")
    async with authored_runtime(db, before) as authored:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k-1"})
        await run.until("WAITING")
    async with authored_runtime(db, after), ingress(db, after):
        await publish(db, "paid", "k-1")
        again = after.get_workflow_handle(run.handle.id)
        assert (await again.result())["scopes"]["vars"]["event"] == {"amount": 5}
    assert b"new" in await history_bytes(client, run.handle.id)
    with pytest.raises(PayloadUnreadable, match=r"key 'new', which this process does not have"):
        await before.get_workflow_handle(run.handle.id).result()


async def test_encryption_is_switched_on_in_two_steps_of_which_none_loses_a_signal(
    db: Database, client: Client
) -> None:
    """As while keys come to one process after the other: without the first step the SDK drops the event."""
    ours = key("k1")
    plain, keyed = encrypted(client, f"plain,{ours}"), encrypted(client, ours)
    async with authored_runtime(db, plain) as authored, ingress(db, keyed):
        run = await authored.start(document(wait("PAID", "payload.id"), act("a", {"name": MARK})), {"id": "k-1"})
        await run.until("WAITING")
        await publish(db, "paid", "k-1")
        result = await run.handle.result()
    assert result["scopes"]["vars"]["event"] == {"amount": 5}
    assert MARK.encode() in await history_bytes(client, run.handle.id)


async def test_a_process_without_keys_names_the_one_that_it_lacks(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    keyless, keyed = await without_keys(temporal), encrypted(client, key("k1"))
    said = "key 'k1', and this process has no keys: set TEMPORAL_PAYLOAD_KEYS"
    fail = {"type": "action.call", "config": {"actionId": "test.fail", "version": 1, "inputMapping": {"why": MARK}}}
    async with authored_runtime(db, keyed) as authored:
        run = await authored.start(document(act("a", {"name": "a"})), {"id": "k-1"})
        await run.handle.result()
        failed = await authored.start(document(fail), {"id": "k-1"})
        with pytest.raises(WorkflowFailureError):
            await failed.handle.result()
    for handle in (run.handle, failed.handle):
        with pytest.raises(PayloadUnreadable, match=said):
            await keyless.get_workflow_handle(handle.id).result()
    async with authored_runtime(db, keyless):
        started = await keyed.start_workflow(RUN_WORKFLOW, {}, id="encrypted-start", task_queue=AUTHORED_QUEUE)
        while said.encode() not in await history_bytes(client, started.id):
            await asyncio.sleep(0.1)
    await started.terminate()


async def test_what_an_ended_run_took_is_asked_again_once_the_keys_are_there(
    db: Database, client: Client, temporal: EmbeddedTemporal
) -> None:
    """Of a process without the key the reconciler died; by a worker without it the run's events were lost to view."""
    ours, other, keyless = encrypted(client, key("k1")), encrypted(client, key("k2")), await without_keys(temporal)
    async with authored_runtime(db, ours) as authored:
        run = await authored.start(document(wait("PAID", "payload.id")), {"id": "k-1"})
        await run.until("WAITING")
    await run.handle.terminate()
    for worker, asker, said in (
        (ours, keyless, "not answered for"),
        (other, ours, "not answered for"),
        (keyless, keyless, "not answered for"),
        (ours, ours, "ended"),
    ):
        async with authored_runtime(db, worker):
            policy = ReconcilerPolicy(quiet_seconds=0)
            assert await Reconciler(db, asker, Launcher(db, asker), policy).one_pass() == {said: 1}
    assert (await run.timeline()).run.status == "FAILED"


async def test_a_schedule_gets_the_new_key_and_fires_once_the_old_one_is_gone(db: Database, client: Client) -> None:
    """Temporal kept it as it was made, so each firing after the rotation stood still, and the later ones were left out.

    It was made before there were any keys, got the first one, then the second.
    """
    old, new = key("old"), key("new")
    await published(db)
    async with following(db, encrypted(client, new)) as (_, sync):
        row = await created(db, HOURLY)
        await ScheduleSync(db, client).one_pass()
        for keys in (old, f"{old},{new}", f"{new},{old}"):
            rotated = ScheduleSync(db, encrypted(client, keys))
            assert await rotated.one_pass() == 0
            assert await rotated.one_pass(everything=True) == (keys != f"{old},{new}")
        assert await sync.one_pass(everything=True) == 0
        await client.get_schedule_handle(row.runner_schedule_id).trigger()
        assert (await until(db, row.id, "SUCCEEDED")).last_error is None


async def test_a_payload_that_was_changed_or_has_another_key_is_refused_by_name() -> None:
    mine, other = (encrypting(DataConverter.default, parse_keys(key("k"))) for _ in range(2))
    (sealed,) = await mine.encode([{"a": 1}])
    assert await mine.decode([sealed]) == [{"a": 1}]
    for converter in (other, replace(mine)):
        if converter is not other:
            sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
        with pytest.raises(PayloadUnreadable, match="does not decrypt with key 'k'"):
            await converter.decode([sealed])
    for left in (20, 12, 5, 0):
        sealed.data = sealed.data[:left]
        with pytest.raises(PayloadUnreadable, match="does not decrypt with key 'k'"):
            await mine.decode([sealed])


async def test_plain_payloads_of_earlier_days_stay_readable() -> None:
    ours = encrypting(DataConverter.default, parse_keys(key("k")))
    assert await ours.decode(await DataConverter.default.encode([{"a": 1}])) == [{"a": 1}]


@pytest.mark.parametrize(("first", "message"), [("plain,", "it broke"), ("", "Encoded failure")])
async def test_what_a_failure_says_is_kept_from_nobody_while_no_key_encrypts(first: str, message: str) -> None:
    """Processes that have no keys yet read it."""
    failure = Failure()
    await encrypting(DataConverter.default, parse_keys(f"{first}{key('k')}")).encode_failure(
        ApplicationError("it broke"), failure
    )
    assert failure.message == message
