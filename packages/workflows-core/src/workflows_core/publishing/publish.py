"""Drafts and published versions: import, validate, publish."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.model import Definition
from workflows_core.definitions.parse import parse_definition, readable_part, size_problems
from workflows_core.errors import Problem, Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.correlation import DEFAULT_PATHS
from workflows_core.publishing.callees import callee_problems
from workflows_core.publishing.contracts import TenantContracts
from workflows_core.publishing.known_actions import AnnouncedActions
from workflows_core.publishing.lookup import find_workflow
from workflows_core.publishing.rebinding import rebind_schedules
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import find, publish_version, save_draft
from workflows_core.storage.rows import DefinitionRow
from workflows_core.validation.builtin_schemas import BUILTIN_SCHEMAS
from workflows_core.validation.mappings import KnownActions
from workflows_core.validation.payload_contracts import KnownContracts, contract_problems, known_schema
from workflows_core.validation.publish import publish_problems

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version that was published just now; `warnings` did not stop it. `draft_version` is the draft's after that."""

    workflow_id: str
    version: int
    definition_hash: str
    warnings: Sequence[Problem]
    draft_version: int


def validate_document(
    document: Any,
    actions: KnownActions,
    contracts: KnownContracts | None = None,
    *,
    now: datetime | None = None,
    correlation_paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS,
    secrets: Mapping[str, timedelta] | None = None,
) -> list[Problem]:
    """Everything that publishing this document would say, errors and warnings.

    Args:
        document: The definition.
        actions: What it may call.
        contracts: What its tenant has registered; None where that is not known.
        now: What a time of its trigger has to lie after; this moment by default.
        correlation_paths: Payload paths that keys of events are derived from.
        secrets: How long ago each secret that there is was last changed; None where nobody knows.
    """
    problems = size_problems(document)
    if problems:
        return problems
    try:
        definition: Definition | None = parse_definition(document)
    except Refused as error:
        problems += error.problems
        definition = readable_part(document)
    if definition is None:
        return problems
    ref = definition.payload_schema_ref
    later = [
        *publish_problems(
            definition,
            actions,
            JlensEngine(),
            correlation_paths=correlation_paths,
            secrets=secrets,
            payload_schema=BUILTIN_SCHEMAS.get(ref) if contracts is None else known_schema(contracts, ref),
        ),
        *contract_problems(definition, contracts, now=now or datetime.now(UTC)),
    ]
    # A step that cannot be read may be the one that sets the variable.
    return [*problems, *(one for one in later if not problems or one.code != "VARIABLE_NOT_DEFINED")]


async def import_definition(
    conn: AsyncConnection,
    document: Any,
    *,
    key: str | None = None,
    expected_draft_version: int | None = None,
) -> DefinitionRow:
    """Stores a document as the draft of the workflow with this key or id, a new one if there is none.

    Args:
        conn: Connection whose transaction has its tenant set.
        document: The definition; it must parse, publishing checks the rest.
        key: Key or id of the workflow; by default the definition's `id`, which is the workflow's in a published one.
        expected_draft_version: Refuse if the draft was changed since, 0 if there is one; None takes the last word.

    Raises:
        Refused: The document does not parse, `DEFINITION_TOO_LARGE`, `KEY_INVALID`, or `DRAFT_CHANGED`.
    """
    too_large = size_problems(document)
    if too_large:
        raise Refused(too_large)
    definition = parse_definition(document)
    chosen = key or definition.id
    if _KEY.fullmatch(chosen) is None:
        message = (
            f"{chosen!r} is no key: use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
        raise Refused.one("KEY_INVALID", message, "key")
    known = await find(conn, chosen)
    body: Mapping[str, Any] = document
    return await save_draft(
        conn,
        workflow_id=str(uuid.uuid4()),
        key=chosen if known is None else known.key,
        name=definition.name,
        document=body,
        expected_draft_version=expected_draft_version,
    )


async def publish_definition(
    db: Database,
    tenant: str,
    workflow: str,
    declared: ActionRegistry,
    *,
    published_by: str | None = None,
    expected_draft_version: int | None = None,
    correlation_paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS,
    secrets: Mapping[str, timedelta] | None = None,
    accept_unknown_actions: bool = False,
) -> PublishedVersion:
    """Publishes the draft of a workflow as its next version, which never changes.

    Args:
        db: The database.
        tenant: Tenant of the workflow.
        workflow: Its key or id.
        declared: Actions a definition may call whoever runs; to them comes what processes announce.
        published_by: Who publishes, for the records.
        expected_draft_version: Refuse if the draft is another one than was looked at; None publishes what is there.
        correlation_paths: Payload paths that keys of events are derived from, as ingress has them.
        secrets: How long ago each secret that there is was last changed; None where nobody knows.
        accept_unknown_actions: Actions that nobody has heard of are a warning: whoever has them comes later.

    Raises:
        Refused: `WORKFLOW_UNKNOWN`, every problem of the draft, or `DRAFT_CHANGED`.
    """
    async with db.tenant(tenant) as conn:
        draft = await find_workflow(conn, workflow)
        actions = await AnnouncedActions.read(conn, declared)
        ref = str(draft.draft_definition.get("payloadSchemaRef"))
        contracts = await TenantContracts.read(conn, ref)
        definition = parse_definition(draft.draft_definition)
        becomes = (draft.published_version or 0) + 1
        problems = [
            *validate_document(
                draft.draft_definition, actions, contracts, correlation_paths=correlation_paths, secrets=secrets
            ),
            *await callee_problems(conn, definition, draft.workflow_id, draft.key, becomes),
        ]
        if accept_unknown_actions:
            problems = [replace(p, severity="warning") if p.code == "UNKNOWN_ACTION" else p for p in problems]
        if any(problem.severity == "error" for problem in problems):
            raise Refused(problems)
        version = await publish_version(
            conn,
            draft.workflow_id,
            draft.draft_definition,
            published_by=published_by,
            expected_draft_version=draft.draft_version if expected_draft_version is None else expected_draft_version,
            payload_schema=known_schema(contracts, ref),
        )
        problems += await rebind_schedules(conn, version, definition)
        after = await find_workflow(conn, draft.workflow_id)
    return PublishedVersion(
        version.workflow_id, version.version, version.definition_hash, problems, after.draft_version
    )
