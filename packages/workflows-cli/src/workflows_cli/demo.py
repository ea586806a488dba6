"""What the demonstration does with a running stack, through the same functions as the commands."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from service_host.ownership import QueueOwnership
from service_host.pollers import ListedPollers
from service_host.postgres import create_engine
from service_host.temporal import identity_of, try_temporal
from workflows_cli.actions import declared_actions
from workflows_cli.dev.processes import fetch_json
from workflows_cli.dev.stack import DevStack
from workflows_cli.dev.state import TENANT
from workflows_cli.output import table
from workflows_cli.queues import ownership_rows
from workflows_cli.settings import Settings, read_settings
from workflows_cli.timeline import step_lines, timeline_text
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.polled import HeartbeatProbe
from workflows_core.publishing.publish import import_definition, publish_definition
from workflows_core.storage.database import Database
from workflows_core.storage.events import publish_event
from workflows_core.storage.runs import RunTimeline, run_timeline
from workflows_core.wire.names import AUTHORED_QUEUE
from workflows_core.wire.records import FINAL_RUN_STATUSES

EXAMPLE = "order_payment.json"
AUTHORED_WORKER = "workflow-worker"
_FINISH_SECONDS = 60.0


@dataclass
class Demo:
    """One demonstration; `problems` collects what is not as it should be."""

    stack: DevStack
    tell: Callable[[str], None]

    async def run(self) -> list[str]:
        """Runs the example and checks the queues; returns what is wrong."""
        settings = read_settings(self.stack.directory)
        engine = create_engine(settings)
        try:
            client = await try_temporal(settings, identity_of("workflows-demo"))
            problems = await self._authored_run(Database(engine), client)
            problems += await self._domain_queues(client)
            problems += await self._pollers(client, settings)
        finally:
            await engine.dispose()
        return problems

    async def _authored_run(self, db: Database, client: Client) -> list[str]:
        document = json.loads(resources.files("workflows_cli.examples").joinpath(EXAMPLE).read_text())
        async with db.tenant(TENANT) as conn:
            draft = await import_definition(conn, document)
        published = await publish_definition(db, TENANT, draft.key, declared_actions(), published_by="demo")
        self.tell(f"published {draft.key} version {published.version}: {document['description']}")
        order = f"order-{uuid.uuid4().hex[:8]}"
        payload = {"orderId": order, "lines": [{"price": 40, "quantity": 2}, {"price": 20, "quantity": 1}]}
        launcher = Launcher(db, client, prober=HeartbeatProbe(db, ListedPollers(client)))
        launched = await launcher.launch(
            LaunchRequest(tenant=TENANT, workflow=draft.key, version=published.version, payload=payload)
        )
        self.tell(f"started run {launched.run_id} for {order}\n")
        if AUTHORED_WORKER in self.stack.without:
            return self._not_polled(polled=launched.polled)
        if launched.polled is False:
            return [f"the start says that nobody polls {AUTHORED_QUEUE}"]
        return await self._follow(db, launched.run_id, order)

    def _not_polled(self, *, polled: bool | None) -> list[str]:
        if polled is not False:
            return [f"{AUTHORED_WORKER} is left out, but the start does not say that nobody polls {AUTHORED_QUEUE}"]
        self.tell(f"nobody polls {AUTHORED_QUEUE}: the run waits for {AUTHORED_WORKER}, as it should\n")
        return []

    async def _follow(self, db: Database, run_id: str, order: str) -> list[str]:
        """Prints steps as they come, publishes the payment once the run waits for it."""
        shown: set[str] = set()
        paid = False
        deadline = asyncio.get_running_loop().time() + _FINISH_SECONDS
        while True:
            async with db.tenant(TENANT) as conn:
                timeline = await run_timeline(conn, run_id)
            if timeline is None:
                return [f"run {run_id} has no row"]
            self._show_new(timeline, shown)
            if timeline.run.status in FINAL_RUN_STATUSES:
                break
            if timeline.run.status == "WAITING" and not paid:
                paid = True
                async with db.tenant(TENANT) as conn:
                    await publish_event(
                        conn,
                        tenant=TENANT,
                        event_id=str(uuid.uuid4()),
                        event_name="PAYMENT_RECEIVED",
                        payload={"amount": 100, "method": "card"},
                        correlation_key=order,
                    )
                self.tell(f"published PAYMENT_RECEIVED with key {order}")
            if asyncio.get_running_loop().time() > deadline:
                return [
                    f"run {run_id} is {timeline.run.status} at {timeline.run.node_path} after {_FINISH_SECONDS:.0f} s"
                ]
            await asyncio.sleep(0.05)
        self.tell("")
        self.tell(timeline_text(timeline, timeline.run.result_json))
        return [] if timeline.run.status == "SUCCEEDED" else [f"run {run_id} ended {timeline.run.status}"]

    def _show_new(self, timeline: RunTimeline, shown: set[str]) -> None:
        for line in step_lines(timeline):
            if line not in shown:
                shown.add(line)
                self.tell(line)

    async def _domain_queues(self, client: Client) -> list[str]:
        """Asks the readiness workflow of each domain queue, where temporal-worker runs."""
        if "temporal-worker" in self.stack.without:
            return []
        queues = QueueOwnership.load().queues_of("temporal-worker")
        answers = await asyncio.gather(*(self._ask(client, queue) for queue in queues))
        problems = [problem for problem in answers if problem]
        if not problems:
            self.tell(f"\nall {len(queues)} domain queues answer: {', '.join(queues)}")
        return problems

    async def _ask(self, client: Client, queue: str) -> str | None:
        try:
            await client.execute_workflow(
                "readiness",
                id=f"readiness:{queue}:{uuid.uuid4().hex[:8]}",
                task_queue=queue,
                execution_timeout=timedelta(seconds=30),
            )
        except WorkflowFailureError as error:
            return f"domain queue {queue} does not answer: {error.cause}"
        return None

    async def _pollers(self, client: Client, settings: Settings) -> list[str]:
        rows = await ownership_rows(client)
        self.tell("\n" + table(rows, ("queue", "kind", "owner", "pollers", "verdict")))
        problems = []
        for row in rows:
            runs = row["owner"] in self.stack.services
            wanted = "ok" if runs else "no poller"
            if row["verdict"] != wanted:
                problems.append(
                    f"queue {row['queue']}, {row['kind']} tasks: expected {wanted!r}, found {row['verdict']!r}"
                )
        url = f"{self.stack.temporal.ui_address}/api/v1/namespaces/{settings.temporal_namespace}/task-queues/"
        seen: Any = await asyncio.to_thread(fetch_json, url + AUTHORED_QUEUE)
        if AUTHORED_WORKER in self.stack.services:
            found = [p.get("identity", "") for p in (seen or {}).get("pollers", [])]
            self.tell(f"\nTemporal's web UI shows on {AUTHORED_QUEUE}: {', '.join(found) or 'nobody'}")
            if not any(identity.startswith(f"{AUTHORED_WORKER}@") for identity in found):
                problems.append(f"Temporal's web UI shows no {AUTHORED_WORKER} on {AUTHORED_QUEUE}")
        return problems
