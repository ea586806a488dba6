"""service_host's live parts on a real Temporal server: replaced workers, the probe of pollers."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import datetime, timedelta, tzinfo
from typing import Any, Self

import pytest
from prometheus_client import generate_latest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from service_host.metrics import PollerMetrics, new_registry
from service_host.ownership import QueueOwnership
from service_host.ownership_probe import OwnershipProbe
from service_host.pollers import LIVES_SECONDS, PollerKind, pollers_of
from service_host.progress import LoopState, RestartBudget
from service_host.settings import TemporalSettings, load_settings
from service_host.supervisor import Supervisor
from service_host.temporal import connect_temporal
from service_host.worker_loop import OnFatalError, worker_loop
from workflows_cli.embedded import EmbeddedTemporal

pytestmark = pytest.mark.asyncio


@activity.defn(name="say")
async def say(word: str) -> str:
    return word


@workflow.defn(name="saying")
class Saying:
    @workflow.run
    async def run(self, word: str) -> str:
        said: str = await workflow.execute_activity(say, word, start_to_close_timeout=timedelta(seconds=10))
        return said


def settings_of(temporal: EmbeddedTemporal) -> TemporalSettings:
    return load_settings(
        TemporalSettings, {"TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": temporal.namespace}
    )


def worker_of(client: Client, queue: str, on_fatal_error: OnFatalError | None = None, **options: Any) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=[Saying],
        activities=[say],
        workflow_runner=UnsandboxedWorkflowRunner(),
        on_fatal_error=on_fatal_error,
        **options,
    )


def owned(**owners: str) -> QueueOwnership:
    text = "".join(f'[queues.{queue}]\nowner = "{owner}"\npurpose = "A test."\n' for queue, owner in owners.items())
    return QueueOwnership.parse(text, file="a test")


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_dead_worker_is_replaced_by_a_new_one_which_works(temporal: EmbeddedTemporal) -> None:
    client = await connect_temporal(settings_of(temporal), "service-a@host:1")
    queue, made = f"replaced-{secrets.token_hex(4)}", []

    def make(on_fatal_error: OnFatalError) -> Worker:
        made.append(worker_of(client, queue, on_fatal_error))
        return made[-1]

    async def nothing() -> None:
        """No start-up."""

    supervisor = Supervisor("service-a")
    budget = RestartBudget(restarts=3, first_delay_seconds=0.01)
    progress = supervisor.add(worker_loop("temporal:q", client, make, grace_seconds=1, restarts=budget))
    running = asyncio.create_task(supervisor.run(nothing))
    await until(lambda: progress.state is LoopState.RUNNING)
    await made[0].shutdown()
    await until(lambda: len(made) == 2 and progress.state is LoopState.RUNNING)
    assert await client.execute_workflow(Saying.run, "yes", id=f"saying-{queue}", task_queue=queue) == "yes"
    assert progress.restarts == 1
    supervisor.request_stop("enough")
    assert await running == 0
    assert made[1].is_shutdown


async def test_workers_that_always_die_end_the_process(temporal: EmbeddedTemporal) -> None:
    client = await connect_temporal(settings_of(temporal), "service-a@host:1")
    made: list[int] = []

    def make(on_fatal_error: OnFatalError) -> Worker:
        made.append(1)
        raise RuntimeError("cannot be made")

    async def nothing() -> None:
        """No start-up."""

    supervisor = Supervisor("service-a")
    budget = RestartBudget(restarts=2, first_delay_seconds=0.01)
    supervisor.add(worker_loop("temporal:q", client, make, grace_seconds=1, restarts=budget))
    assert await supervisor.run(nothing) == 1
    assert len(made) == 3


async def test_the_probe_sees_this_process_and_an_intruder(temporal: EmbeddedTemporal) -> None:
    client = await connect_temporal(settings_of(temporal), "service-a@host:1")
    stranger = await connect_temporal(settings_of(temporal), "service-b@host:2")
    queue = f"probed-{secrets.token_hex(4)}"
    ownership = owned(**{queue: "service-a", f"{queue}-other": "service-c"})
    probe = OwnershipProbe(client, "service-a", "service-a@host:1", [queue], ownership=ownership)
    registry = new_registry()
    registry.register(PollerMetrics(probe.views))
    assert probe.polls(queue) == (False, "not probed yet")
    await probe.probe()
    ready, detail = probe.polls(queue)
    assert not ready
    assert "not listed as a poller of workflow and activity tasks" in detail

    async with worker_of(client, queue):
        while not probe.polls(queue)[0]:
            await probe.probe()
        nobody = f"nobody polls {queue}-other for workflow and activity tasks: service-c does not run"
        assert await probe.intruders() == (True, f"degraded: {nobody}")
        async with worker_of(stranger, queue, identity="service-b@host:2"):
            while not probe.views()[0].foreign:
                await probe.probe()
            assert probe.polls(queue)[0]
            intruder = f"intruder service-b@host:2 on {queue}"
            assert await probe.intruders() == (True, f"degraded: {intruder}; {nobody}")
            assert f'queue_foreign_pollers{{queue="{queue}"}} 1.0' in generate_latest(registry).decode()
            found = await pollers_of(client, queue)
            assert found.services() == ("service-a", "service-b")
            assert {poller.kind for poller in found.pollers} == set(PollerKind)


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_process_knows_that_it_polls_whatever_its_clock_says(
    temporal: EmbeddedTemporal, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    """With one that was two minutes ahead of Temporal's it was never ready."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + ahead

    monkeypatch.setattr("service_host.pollers.datetime", Clock)
    client = await connect_temporal(settings_of(temporal), "service-a@host:1")
    queue = f"probed-{secrets.token_hex(4)}"
    probe = OwnershipProbe(client, "service-a", "service-a@host:1", [queue], ownership=owned(**{queue: "service-a"}))
    async with worker_of(client, queue), asyncio.timeout(30):
        while not probe.polls(queue)[0]:
            await probe.probe()
    # What the server goes on listing for minutes is no sign of life.
    await probe.probe()
    later = time.monotonic() + LIVES_SECONDS
    monkeypatch.setattr("service_host.ownership_probe.time.monotonic", lambda: later)
    await probe.probe()
    assert "not listed" in probe.polls(queue)[1]


async def test_what_was_seen_too_long_ago_is_no_longer_said(temporal: EmbeddedTemporal) -> None:
    client = await connect_temporal(settings_of(temporal), "service-a@host:1")
    queue = f"probed-{secrets.token_hex(4)}"
    probe = OwnershipProbe(
        client, "service-a", "service-a@host:1", [queue], ownership=owned(**{queue: "service-a"}), stale_after_seconds=0
    )
    registry = new_registry()
    registry.register(PollerMetrics(probe.views))
    unknown = "degraded: who polls is not known"
    assert await probe.intruders() == (True, f"{unknown}: not probed yet")
    async with worker_of(client, queue):
        await probe.probe()
        assert await probe.intruders() == (True, f"{unknown}: the last look at the pollers is too old")
        assert "queue_pollers{" not in generate_latest(registry).decode()


async def test_two_builds_on_one_queue_are_told(temporal: EmbeddedTemporal) -> None:
    client = await connect_temporal(settings_of(temporal), "service-a@host:1")
    queue = f"probed-{secrets.token_hex(4)}"
    ownership = owned(**{queue: "service-a"})
    probe = OwnershipProbe(client, "service-a", "service-a@host:1", [queue], ownership=ownership)
    other = await connect_temporal(settings_of(temporal), "service-a@host:2")
    async with worker_of(client, queue, build_id="1.0"), worker_of(other, queue, build_id="1.1"):
        expected = (True, f"degraded: {queue} is polled by builds 1.0, 1.1")
        async with asyncio.timeout(20):
            while await probe.intruders() != expected:
                await probe.probe()
