"""Drafts and published versions. Every function needs a connection whose transaction has its tenant set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.definitions.hashing import definition_hash
from workflows_core.errors import Refused
from workflows_core.storage.rows import DefinitionRow, DefinitionSummary, PublishedTrigger, VersionRow
from workflows_core.storage.tables import as_json, definitions, this_tenant, versions

MAX_CONCURRENCY_LIMIT = 2**31 - 1
"""What the column holds."""

_SUMMARY = [definitions.c[name] for name in DefinitionSummary.__dataclass_fields__]
_WHOLE = [*_SUMMARY, definitions.c.draft_definition]
_VERSION = [
    versions.c.workflow_id,
    versions.c.version,
    versions.c.definition_json.label("definition"),
    versions.c.definition_hash,
    versions.c.payload_schema_json.label("payload_schema"),
    versions.c.published_by,
    versions.c.published_at,
]


async def save_draft(
    conn: AsyncConnection,
    *,
    workflow_id: str,
    key: str,
    name: str,
    document: Mapping[str, Any],
    expected_draft_version: int | None = None,
) -> DefinitionRow:
    """Inserts a workflow, or replaces the draft of the one with this key, which keeps its id.

    Args:
        conn: Where.
        workflow_id: Id for a new one.
        key: Its key.
        name: Its title.
        document: The draft.
        expected_draft_version: Refuse if the draft was changed since, 0 if there is one; None takes the last word.

    Raises:
        Refused: `DRAFT_CHANGED`.
    """
    content = {
        "name": name,
        "description": document.get("description"),
        "draft_definition": as_json(document),
    }
    schema = document.get("payloadSchemaRef")
    statement = insert(definitions).values(
        tenant=this_tenant(),
        workflow_id=workflow_id,
        key=key,
        payload_schema_ref=schema,
        draft_version=1,
        status="draft",
        **content,
    )
    replacing = statement.on_conflict_do_update(
        index_elements=["tenant", "key"],
        set_={
            **content,
            "payload_schema_ref": case(
                (definitions.c.published_version.is_(None), schema), else_=definitions.c.payload_schema_ref
            ),
            "draft_version": definitions.c.draft_version + 1,
            "updated_at": func.now(),
        },
        where=None if expected_draft_version is None else definitions.c.draft_version == expected_draft_version,
    ).returning(*_WHOLE)
    row = (await conn.execute(replacing)).one_or_none()
    # One that is not there yet was inserted, whatever was expected.
    if row is None or expected_draft_version not in (None, row.draft_version - 1):
        raise _changed(key, expected_draft_version)
    return DefinitionRow.of(row)


async def publish_version(
    conn: AsyncConnection,
    workflow_id: str,
    document: Mapping[str, Any],
    *,
    published_by: str | None = None,
    expected_draft_version: int | None = None,
    payload_schema: Mapping[str, Any] | None = None,
) -> VersionRow:
    """Inserts the next version, which never changes; its document carries the workflow's id and its number.

    With `payload_schema`, the version's runs keep to that schema whatever is registered later.

    Raises:
        Refused: `DRAFT_CHANGED`, when the draft is another one than expected or there is no such workflow.
    """
    held = (
        await conn.execute(
            select(definitions.c.key, definitions.c.draft_version, definitions.c.published_version)
            .where(definitions.c.tenant == this_tenant(), definitions.c.workflow_id == workflow_id)
            .with_for_update()
        )
    ).one_or_none()
    if held is None or expected_draft_version not in (None, held.draft_version):
        raise _changed(workflow_id if held is None else held.key, expected_draft_version)
    version = (held.published_version or 0) + 1
    final = {**document, "id": workflow_id, "version": version}
    row = (
        await conn.execute(
            insert(versions)
            .values(
                tenant=this_tenant(),
                workflow_id=workflow_id,
                version=version,
                definition_json=as_json(final),
                definition_hash=definition_hash(final),
                payload_schema_json=as_json(payload_schema),
                published_by=published_by,
            )
            .returning(*_VERSION)
        )
    ).one()
    await conn.execute(
        update(definitions)
        .where(definitions.c.tenant == this_tenant(), definitions.c.workflow_id == workflow_id)
        .values(
            status="published",
            published_version=version,
            draft_version=func.greatest(held.draft_version, version) + 1,
            trigger=as_json(final.get("trigger")),
            payload_schema_ref=final.get("payloadSchemaRef"),
            updated_at=func.now(),
        )
    )
    return VersionRow.of(row)


async def get_version(conn: AsyncConnection, workflow_id: str, version: int | None) -> VersionRow | None:
    """A published version, the newest for None; None when there is no such version."""
    statement = select(*_VERSION).where(versions.c.tenant == this_tenant(), versions.c.workflow_id == workflow_id)
    if version is not None:
        statement = statement.where(versions.c.version == version)
    row = (await conn.execute(statement.order_by(versions.c.version.desc()).limit(1))).one_or_none()
    return None if row is None else VersionRow.of(row)


class Operation(TypedDict, total=False):
    """Whether a workflow is paused, and how many of its runs may be open (None: any number)."""

    is_paused: bool
    concurrency_limit: int | None


async def set_operation(conn: AsyncConnection, workflow_id: str, **changed: Unpack[Operation]) -> None:
    """Changes what is given; the rest stays as it is."""
    await conn.execute(
        update(definitions)
        .where(definitions.c.tenant == this_tenant(), definitions.c.workflow_id == workflow_id)
        .values(**changed, updated_at=func.now())
    )


async def list_versions(conn: AsyncConnection, workflow_id: str) -> list[VersionRow]:
    """Every published version of a workflow, the oldest first."""
    statement = select(*_VERSION).where(versions.c.tenant == this_tenant(), versions.c.workflow_id == workflow_id)
    return [VersionRow.of(row) for row in await conn.execute(statement.order_by(versions.c.version))]


async def find(conn: AsyncConnection, key_or_id: str) -> DefinitionRow | None:
    """The workflow with this id, else the one with this key: what is stored names workflows by their ids."""
    row = (
        await conn.execute(
            select(*_WHOLE)
            .where(
                definitions.c.tenant == this_tenant(),
                or_(definitions.c.key == key_or_id, definitions.c.workflow_id == key_or_id),
            )
            .order_by((definitions.c.workflow_id == key_or_id).desc())
            .limit(1)
        )
    ).one_or_none()
    return None if row is None else DefinitionRow.of(row)


async def list_definitions(conn: AsyncConnection) -> list[DefinitionSummary]:
    """The tenant's workflows by key."""
    rows = await conn.execute(
        select(*_SUMMARY).where(definitions.c.tenant == this_tenant()).order_by(definitions.c.key)
    )
    return [DefinitionSummary.of(row) for row in rows]


async def published_triggers(conn: AsyncConnection, event_name: str) -> list[PublishedTrigger]:
    """The workflows that an event of this name starts, by id; paused ones too, since that is a verdict to record."""
    rows = await conn.execute(
        select(
            definitions.c.workflow_id,
            definitions.c.key,
            versions.c.version,
            versions.c.definition_hash,
            definitions.c.payload_schema_ref,
            definitions.c.trigger,
            definitions.c.is_paused,
            definitions.c.concurrency_limit,
        )
        .join_from(
            definitions,
            versions,
            (versions.c.tenant == definitions.c.tenant)
            & (versions.c.workflow_id == definitions.c.workflow_id)
            & (versions.c.version == definitions.c.published_version),
        )
        .where(definitions.c.tenant == this_tenant(), definitions.c.trigger_event_name == event_name)
        .order_by(definitions.c.workflow_id)
    )
    return [PublishedTrigger.of(row) for row in rows]


def _changed(workflow: str, expected: int | None) -> Refused:
    return Refused.one(
        "DRAFT_CHANGED",
        f"the draft of {workflow!r} is no longer draft {expected}: somebody saved or published meanwhile;"
        " read it again and repeat",
    )
