"""Rows as the rest of the runtime sees them: frozen values with the columns' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

import sqlalchemy

from workflows_core.errors import Json


@dataclass(frozen=True, slots=True)
class Row:
    """What the rows have in common."""

    @classmethod
    def of(cls, row: sqlalchemy.Row[*tuple[Any, ...]]) -> Self:
        """Reads the fields from the columns of the same names."""
        found = row._mapping  # noqa: SLF001 - SQLAlchemy's documented public accessor
        return cls(**{field.name: found[field.name] for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """All fields under their camelCase names; JSON-ready but for the times, which stay `datetime`."""
        return {_camel(field.name): getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class DefinitionSummary(Row):
    """A workflow without its draft's content.

    Attributes:
        workflow_id: Its id, which runs carry.
        key: Its name for people, unique in the tenant.
        name: Title of the draft.
        description: Of the draft.
        payload_schema_ref: Of the newest published version, of the draft before there is one.
        trigger: Of the newest published version.
        draft_version: Counts the changes of the draft, from 1; publishing is one too.
        published_version: The newest, None before the first.
        status: `draft` before the first publish, then `published`.
        is_paused: Nothing is started while it is (`workflows definitions pause`, `resume`).
        concurrency_limit: Open runs at a time, None for no limit (`workflows definitions limit`).
        created_at: Of the first draft.
        updated_at: Of the last change.
    """

    workflow_id: str
    key: str
    name: str
    description: str | None
    payload_schema_ref: str | None
    trigger: Mapping[str, Any] | None
    draft_version: int
    published_version: int | None
    status: str
    is_paused: bool
    concurrency_limit: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DefinitionRow(DefinitionSummary):
    """A workflow with its draft."""

    draft_definition: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VersionRow(Row):
    """A published version: it never changes; nor does the schema that payloads of its runs keep to (None: any)."""

    workflow_id: str
    version: int
    definition: dict[str, Any]
    definition_hash: str
    payload_schema: Mapping[str, Any] | None
    published_by: str | None
    published_at: datetime


@dataclass(frozen=True, slots=True)
class PublishedTrigger(Row):
    """A workflow that an event starts, with its newest published version."""

    workflow_id: str
    key: str
    version: int
    definition_hash: str
    payload_schema_ref: str | None
    trigger: Mapping[str, Any]
    is_paused: bool
    concurrency_limit: int | None


@dataclass(frozen=True, slots=True)
class RunSummary(Row):
    """A run without what it was given and what it gave; `temporal_run_id` is its first execution, None until known."""

    run_id: str
    workflow_id: str
    workflow_version: int
    status: str
    waiting_for: Mapping[str, Any] | None
    node_path: str | None
    trigger_type: str | None
    trigger_metadata_json: Json
    trigger_fire_key: str | None
    event_type: str | None
    temporal_workflow_id: str
    temporal_run_id: str | None
    definition_hash: str
    runtime_semantics_version: int
    parent_run_id: str | None
    root_run_id: str | None
    error_json: Mapping[str, Any] | None
    generation: int
    sequence: int
    started_at: datetime
    completed_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RunRow(RunSummary):
    """A run."""

    input_json: Json
    result_json: Json


@dataclass(frozen=True, slots=True)
class StepRow(Row):
    """One visit of one step; an output over 2 KiB is in its invocation only."""

    step_path: str
    visit: int
    definition_step_id: str
    step_type: str
    name: str | None
    status: str
    attempt: int
    output_json: Json
    error_json: Mapping[str, Any] | None
    started_at: datetime
    completed_at: datetime | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class WaitRow(Row):
    """A wait of a run, open while its status is WAITING."""

    wait_id: str
    step_path: str
    visit: int
    wait_type: str
    event_name: str | None
    key: str | None
    filters: list[Mapping[str, Any]]
    look_back_from: datetime
    timeout_at: datetime | None
    status: str
    payload: Json
    matched_event_id: str | None
    created_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class InvocationRow(Row):
    """One use of an action: authored attempts, and starts of its handler."""

    step_path: str
    action_id: str
    action_version: int
    idempotency_key: str
    status: str
    attempt: int
    starts: int
    input_json: Json
    output_json: Json
    error_json: Mapping[str, Any] | None
    started_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryRow(Row):
    """An event on its way to the run, with the event's name."""

    delivery_id: str
    event_id: str
    event_name: str
    target_kind: str
    target_id: str
    key: str | None
    status: str
    attempts: int
    reason: str | None
    created_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class LogRow(Row):
    """A line of the run's own log."""

    step_path: str | None
    level: str
    message: str
    context_json: Mapping[str, Any] | None
    source: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ProcessRow(Row):
    """A live process, as its heartbeat describes it.

    Attributes:
        identity: `<service>@<host>:<pid>`.
        service: Name of the service.
        version: Its version.
        queues: Task queues that it polls.
        actions: What it can execute: id, version, place of each.
        started_at: Of the process.
        seen_at: Of the last heartbeat, by the database's clock.
    """

    identity: str
    service: str
    version: str
    queues: list[str]
    actions: list[Mapping[str, Any]]
    started_at: datetime
    seen_at: datetime


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class QueuePlace(Row):
    """Where a QUEUED run stands.

    Attributes:
        ahead: Runs of its workflow that are queued before it.
        open_runs: Open runs of its workflow.
        limit: How many may be open, None when the limit has been taken away.
        paused: Whether its workflow is paused, so that none starts.
    """

    ahead: int
    open_runs: int
    limit: int | None
    paused: bool

    def __str__(self) -> str:
        """For people."""
        if self.paused:
            return "queued: its workflow is paused; `workflows definitions resume` lets it start"
        limit = "no limit any more" if self.limit is None else f"its limit is {self.limit}"
        return f"queued: {self.open_runs} run(s) of its workflow are open, {limit}; {self.ahead} queued before it"
