"""The tables as SQLAlchemy sees them; the migrations of workflows-cli make them and say what each column is.

Only `storage` uses this module. Generated columns are here for reading.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    cast,
    func,
    literal,
    null,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from workflows_core.storage.json_text import json_text

metadata: Final = MetaData()

_TIME = DateTime(timezone=True)


def _table(name: str, columns: dict[str, Any], *key: str) -> Table:
    made = [Column(column, kind, primary_key=column in key) for column, kind in columns.items()]
    return Table(name, metadata, *made)


definitions: Final = _table(
    "workflow_definitions",
    {
        "tenant": Text,
        "workflow_id": Text,
        "key": Text,
        "name": Text,
        "description": Text,
        "payload_schema_ref": Text,
        "trigger": JSONB,
        "trigger_event_name": Text,
        "draft_definition": JSONB,
        "draft_version": Integer,
        "published_version": Integer,
        "status": Text,
        "is_paused": Boolean,
        "concurrency_limit": Integer,
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "tenant",
    "workflow_id",
)

versions: Final = _table(
    "workflow_definition_versions",
    {
        "tenant": Text,
        "version_id": Uuid,
        "workflow_id": Text,
        "version": Integer,
        "definition_json": JSONB,
        "definition_hash": Text,
        "payload_schema_json": JSONB,
        "published_by": Text,
        "published_at": _TIME,
    },
    "tenant",
    "workflow_id",
    "version",
)

runs: Final = _table(
    "workflow_runs",
    {
        "tenant": Text,
        "run_id": Text,
        "workflow_id": Text,
        "workflow_version": Integer,
        "status": Text,
        "waiting_for": JSONB,
        "node_path": Text,
        "trigger_type": Text,
        "trigger_metadata_json": JSONB,
        "trigger_fire_key": Text,
        "event_type": Text,
        "temporal_workflow_id": Text,
        "temporal_run_id": Text,
        "definition_hash": Text,
        "runtime_semantics_version": Integer,
        "parent_run_id": Text,
        "root_run_id": Text,
        "input_json": JSONB,
        "launch_json": JSONB,
        "result_json": JSONB,
        "error_json": JSONB,
        "generation": Integer,
        "sequence": Integer,
        "started_at": _TIME,
        "completed_at": _TIME,
        "updated_at": _TIME,
    },
    "tenant",
    "run_id",
)

steps: Final = _table(
    "workflow_run_steps",
    {
        "tenant": Text,
        "run_id": Text,
        "step_path": Text,
        "visit": Integer,
        "definition_step_id": Text,
        "step_type": Text,
        "name": Text,
        "status": Text,
        "attempt": Integer,
        "output_json": JSONB,
        "error_json": JSONB,
        "generation": Integer,
        "sequence": Integer,
        "started_at": _TIME,
        "completed_at": _TIME,
        "duration_ms": BigInteger,
    },
    "tenant",
    "run_id",
    "step_path",
    "visit",
)

invocations: Final = _table(
    "workflow_action_invocations",
    {
        "tenant": Text,
        "invocation_id": Uuid,
        "run_id": Text,
        "step_path": Text,
        "action_id": Text,
        "action_version": Integer,
        "idempotency_key": Text,
        "status": Text,
        "attempt": Integer,
        "starts": Integer,
        "input_json": JSONB,
        "output_json": JSONB,
        "error_json": JSONB,
        "created_at": _TIME,
        "started_at": _TIME,
        "completed_at": _TIME,
    },
    "tenant",
    "action_id",
    "action_version",
    "idempotency_key",
)

waits: Final = _table(
    "workflow_run_waits",
    {
        "tenant": Text,
        "wait_id": Text,
        "run_id": Text,
        "step_path": Text,
        "visit": Integer,
        "wait_type": Text,
        "event_name": Text,
        "key": Text,
        "filters": JSONB,
        "look_back_from": _TIME,
        "timeout_at": _TIME,
        "status": Text,
        "payload": JSONB,
        "matched_event_id": Text,
        "created_at": _TIME,
        "resolved_at": _TIME,
    },
    "tenant",
    "wait_id",
)

logs: Final = _table(
    "workflow_run_logs",
    {
        "tenant": Text,
        "log_id": BigInteger,
        "run_id": Text,
        "step_path": Text,
        "level": Text,
        "message": Text,
        "context_json": JSONB,
        "source": Text,
        "generation": Integer,
        "sequence": Integer,
        "ordinal": Integer,
        "created_at": _TIME,
    },
    "tenant",
    "run_id",
    "generation",
    "sequence",
    "ordinal",
)

events: Final = _table(
    "workflow_runtime_events",
    {"tenant": Text, "event_id": Text, "event_name": Text},
    "tenant",
    "event_id",
)

deliveries: Final = _table(
    "workflow_event_deliveries",
    {
        "tenant": Text,
        "delivery_id": Text,
        "event_id": Text,
        "target_kind": Text,
        "target_id": Text,
        "run_id": Text,
        "key": Text,
        "status": Text,
        "attempts": Integer,
        "reason": Text,
        "created_at": _TIME,
        "decided_at": _TIME,
        "ordinal": BigInteger,
    },
    "tenant",
    "delivery_id",
)

data_store: Final = _table(
    "workflow_data_store",
    {
        "tenant": Text,
        "namespace": Text,
        "key": Text,
        "value": JSONB,
        "revision": BigInteger,
        "expires_at": _TIME,
        "created_by_run_id": Text,
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "tenant",
    "namespace",
    "key",
)

entity_links: Final = _table(
    "workflow_entity_links",
    {
        "tenant": Text,
        "link_id": Text,
        "namespace": Text,
        "left_type": Text,
        "left_id": Text,
        "right_type": Text,
        "right_id": Text,
        "relation": Text,
        "attributes": JSONB,
        "created_by_run_id": Text,
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "tenant",
    "link_id",
)

processes: Final = _table(
    "workflow_processes",
    {
        "identity": Text,
        "service": Text,
        "version": Text,
        "queues": ARRAY(Text),
        "actions": JSONB,
        "started_at": _TIME,
        "seen_at": _TIME,
    },
    "identity",
)

api_tokens: Final = _table(
    "workflow_api_tokens",
    {
        "tenant": Text,
        "token_id": Text,
        "name": Text,
        "role": Text,
        "token_hash": LargeBinary,
        "created_by": Text,
        "created_at": _TIME,
        "expires_at": _TIME,
        "revoked_at": _TIME,
        "last_used_at": _TIME,
    },
    "tenant",
    "token_id",
)

tasks: Final = _table(
    "workflow_tasks",
    {
        "tenant": Text,
        "task_id": Text,
        "execution_id": Text,
        "step_path": Text,
        "wait_id": Text,
        "task_type": Text,
        "title": Text,
        "description": Text,
        "context_data": JSONB,
        "assigned_users": JSONB,
        "assigned_roles": JSONB,
        "due_date": _TIME,
        "expires_at": _TIME,
        "response_schema": JSONB,
        "status": Text,
        "claimed_by": Text,
        "claimed_at": _TIME,
        "reminders": Integer,
        "remind_at": _TIME,
        "response_data": JSONB,
        "completed_by": Text,
        "completed_at": _TIME,
        "created_at": _TIME,
    },
    "tenant",
    "task_id",
)


def this_tenant() -> ColumnElement[str]:
    """The transaction's tenant. Row-level security asks for it as well; this keeps a superuser's session to it too."""
    return func.current_setting("workflows.tenant", type_=Text)


def as_json(value: Any) -> ColumnElement[Any]:
    """A value for a JSON column; None becomes SQL's NULL, and what `jsonb` refuses is replaced (see `json_text`)."""
    return null() if value is None else cast(literal(json_text(value), Text), JSONB)
