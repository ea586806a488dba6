"""An authored runtime in this process, on the session's servers: publish, start, look."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.ports import ActionObserver, StepQuota
from workflows_core.actions.registry import Pack
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.worker import WorkerLimits, authored_worker
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import publish_version, save_draft
from workflows_core.storage.runs import NewRun, RunTimeline, insert_run, mark_running, run_timeline
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW, SIGNAL_EVENT, workflow_id_of

TENANT = "acme"
_ANY: Mapping[str, Any] = {"type": "object"}
LIMITS = WorkerLimits(grace_seconds=1)


@dataclass
class Effects:
    """What the test pack's actions have done, outside of any database."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    scripted: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def count(self, name: str) -> int:
        """How often a named call had its effect."""
        return sum(1 for found, _ in self.calls if found == name)


def test_pack(effects: Effects) -> Pack:
    """Actions whose effects a test can see.

    `test.act@1` notes its input's `name`, fails as scripted, waits for a gate of that name; `test.short@1`
    gives `size` bytes after `ms` milliseconds; `test.once@1` is at-most-once; `test.scripted@1` fails its first
    attempts with the categories of its input's `failures`. Pure and short: `test.echo@1` gives its input, `test.fail@1`
    fails with its input's `category`.
    """

    async def echo(value: Any, _: ActionContext) -> Any:
        return value

    async def fail(value: Any, _: ActionContext) -> Any:
        raise ActionFailed("as it should", category=ErrorCategory(value["category"]))

    async def scripted(value: Any, context: ActionContext) -> Any:
        effects.scripted.setdefault(context.run_id, []).append((value["name"], context.attempt))
        if context.attempt <= len(value["failures"]):
            raise ActionFailed("scripted", category=ErrorCategory(value["failures"][context.attempt - 1]))
        return {"attempt": context.attempt}

    async def act(value: Any, context: ActionContext) -> Any:
        name = value.get("name", "")
        effects.calls.append((name, {"key": context.idempotency_key, "attempt": context.attempt, **value}))
        if name in effects.gates:
            await effects.gates[name].wait()
        failures = effects.failures.get(name, [])
        if failures:
            raise ActionFailed(
                "scripted", category=ErrorCategory(failures.pop(0)), code="SCRIPTED", details={"n": name}
            )
        return {"name": name, "calls": effects.count(name), **({"token": "seen"} if value.get("token") else {})}

    async def short(value: Any, context: ActionContext) -> Any:
        effects.calls.append((value.get("name", ""), value))
        await asyncio.sleep(value.get("ms", 0) / 1000)
        return {"text": "x" * value.get("size", 1)}

    def pack() -> Sequence[Action]:
        return (
            Action("test.act", 1, act, _ANY, _ANY, "Notes a call.", effect=Effect.IDEMPOTENT, heartbeat_ms=3_000),
            Action("test.once", 1, act, _ANY, _ANY, "Notes a call.", effect=Effect.AT_MOST_ONCE, heartbeat_ms=3_000),
            Action("test.echo", 1, echo, _ANY, _ANY, "Gives it back.", effect=Effect.PURE, timeout_ms=500, short=True),
            Action("test.fail", 1, fail, _ANY, _ANY, "Fails.", effect=Effect.PURE, timeout_ms=500, short=True),
            Action("test.scripted", 1, scripted, _ANY, _ANY, "Notes a call.", effect=Effect.IDEMPOTENT),
            Action("test.short", 1, short, _ANY, _ANY, "Gives text.", effect=Effect.PURE, timeout_ms=500, short=True),
        )

    return pack


@dataclass
class Authored:
    """The runtime and what a test does with it."""

    runtime: AuthoredRuntime
    client: Client
    effects: Effects

    @property
    def db(self) -> Database:
        """Its database."""
        return self.runtime.db

    async def publish(self, document: Mapping[str, Any], key: str | None = None) -> tuple[str, int, str]:
        """Publishes without validation; workflow id, version, hash."""
        async with self.db.tenant(TENANT) as conn:
            key = key or f"wf-{uuid.uuid4().hex[:12]}"
            draft = await save_draft(conn, workflow_id=key, key=key, name=key, document=document)
            version = await publish_version(conn, draft.workflow_id, draft.draft_definition)
        return version.workflow_id, version.version, version.definition_hash

    async def start(
        self, document: Mapping[str, Any], payload: Any = None, *, row: bool = True, signal: Any = None
    ) -> Started:
        """Publishes and starts; without `row` as a bare client does, with `signal` together with that signal."""
        workflow_id, version, content = await self.publish(document)
        run_id = str(uuid.uuid4())
        if row:
            async with self.db.tenant(TENANT) as conn:
                await insert_run(conn, NewRun(run_id, workflow_id, version, content, payload=payload))
        handle = await self.client.start_workflow(
            RUN_WORKFLOW,
            {
                "runId": run_id,
                "tenantId": TENANT,
                "workflowId": workflow_id,
                "workflowVersion": version,
                "triggerType": None,
                "executionKey": None,
            },
            id=workflow_id_of(run_id),
            task_queue=AUTHORED_QUEUE,
            start_signal=None if signal is None else SIGNAL_EVENT,
            start_signal_args=[] if signal is None else [signal],
        )
        if row:
            async with self.db.tenant(TENANT) as conn:
                await mark_running(conn, TENANT, run_id, handle.first_execution_run_id)
        return Started(self, run_id, handle)


@dataclass
class Started:
    """A started run."""

    authored: Authored
    run_id: str
    handle: WorkflowHandle[Any, Any]

    async def timeline(self) -> RunTimeline:
        """Everything recorded about it."""
        async with self.authored.db.tenant(TENANT) as conn:
            found = await run_timeline(conn, self.run_id)
        assert found is not None
        return found

    async def failed_tasks(self) -> list[str]:
        """What its failed workflow tasks say."""
        history = await self.handle.fetch_history()
        return [
            event.workflow_task_failed_event_attributes.failure.message
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        ]

    async def told_why_it_waits(self) -> str:
        """The last failure of the activity that is under way."""
        while True:
            found = await self.handle.describe()
            assert found.status == WorkflowExecutionStatus.RUNNING, (await self.timeline()).run.error_json
            pending = found.raw_description.pending_activities
            if pending and pending[0].last_failure.message:
                return pending[0].last_failure.message
            await asyncio.sleep(0.05)

    async def until(self, status: str) -> RunTimeline:
        """Waits until the row says so; the test's own time-out bounds it."""
        while True:
            async with self.authored.db.tenant(TENANT) as conn:
                found = await run_timeline(conn, self.run_id)
            if found is not None and found.run.status == status:
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def authored_runtime(
    db: Database,
    client: Client,
    *,
    secrets: Mapping[str, str] | None = None,
    policy: RunPolicy | None = None,
    without: Sequence[str] = (),
    more: Mapping[str, Pack] | None = None,
    quota: StepQuota | None = None,
    observe: ActionObserver | None = None,
    limits: WorkerLimits = LIMITS,
    **options: Any,
) -> AsyncIterator[Authored]:
    """A worker of the authored queue in this process, with the test pack, and more packs; `options` are the SDK's."""
    effects = Effects()
    runtime = AuthoredRuntime.build(
        db,
        {"test": lambda: [a for a in test_pack(effects)() if a.id not in without], **(more or {})},
        MappingSecrets(secrets or {}),
        policy,
        quota,
        observe,
    )
    async with authored_worker(client, runtime.activities, limits, **options):
        yield Authored(runtime, client, effects)


async def answered_to_nobody(db: Database, client: Client, document: Mapping[str, Any], name: str) -> Started:
    """A run whose `test.act` of that name has succeeded while its process stopped: no workflow task has heard of it."""
    async with authored_runtime(db, client, limits=WorkerLimits(grace_seconds=20)) as authored:
        gate = authored.effects.gates[name] = asyncio.Event()
        run = await authored.start(document)
        while authored.effects.count(name) == 0:
            await asyncio.sleep(0.02)
        asyncio.get_running_loop().call_later(1, gate.set)
    return run
