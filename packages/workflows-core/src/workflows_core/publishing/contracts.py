"""Payload schemas and events of a tenant: what a definition is checked against, and how they are imported."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.json_schemas import compile_schema, schema_problems, value_problems
from workflows_core.definitions.walk import field_path
from workflows_core.errors import Problem, Refused
from workflows_core.storage.event_catalog import list_catalog, upsert_event
from workflows_core.storage.json_text import is_storable
from workflows_core.storage.payload_schemas import Stored, get_schema, list_schemas, upsert_schema
from workflows_core.validation.builtin_schemas import BUILTIN_SCHEMAS
from workflows_core.wire.text import UNSTORABLE

_REF = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*\.v[1-9][0-9]*")
_EVENT_FIELDS = ("payloadSchemaRef", "description")
_MAX_NAME = 200
_UNSTORABLE = "holds U+0000 or half of a surrogate pair, which cannot be stored; remove it"


@dataclass(frozen=True, slots=True)
class TenantContracts:
    """What a tenant has registered at this moment; of the schemas only one with its content."""

    known_refs: frozenset[str]
    content: Mapping[str, Mapping[str, Any]]
    catalog: Mapping[str, str | None]

    @classmethod
    async def read(cls, conn: AsyncConnection, ref: str) -> TenantContracts:
        """The snapshot; `ref` is the schema whose content is wanted."""
        row = await get_schema(conn, ref)
        return cls(
            frozenset(one.ref for one in await list_schemas(conn)),
            {} if row is None else {ref: row.schema_json},
            {entry.event_type: entry.payload_schema_ref for entry in await list_catalog(conn)},
        )

    def refs(self) -> Collection[str]:
        """Refs of the schemas that the tenant has registered."""
        return self.known_refs

    def schema(self, ref: str) -> Mapping[str, Any] | None:
        """The schema that was asked for, or None."""
        return self.content.get(ref)

    def events(self) -> Mapping[str, str | None]:
        """Schema ref of each event in the tenant's catalogue."""
        return self.catalog


async def registered_schema(conn: AsyncConnection, ref: str) -> Mapping[str, Any] | None:
    """The schema with this ref, a built-in one or the tenant's; None when there is none."""
    row = None if ref in BUILTIN_SCHEMAS else await get_schema(conn, ref)
    return BUILTIN_SCHEMAS.get(ref) if row is None else row.schema_json


def payload_problems(schema: Mapping[str, Any], payload: Any, code: str, path: str) -> list[Problem]:
    """What is wrong with a payload; the sentences never hold its values."""
    return [
        Problem(code, found.message, f"{path}{found.pointer}")
        for found in value_problems(compile_schema(schema), payload)
    ]


async def import_schemas(conn: AsyncConnection, document: Any) -> dict[str, Stored]:
    """Stores every schema of a document, an object from ref to JSON Schema.

    Raises:
        Refused: `SCHEMA_IMPORT_INVALID`, everything that is wrong; nothing is stored then.
    """
    entries = _entries(document, "SCHEMA_IMPORT_INVALID", "payload schemas, from a ref to its JSON Schema")
    problems: list[Problem] = []
    for ref, schema in entries.items():
        where = field_path("", ref).removeprefix(".")
        if ref in BUILTIN_SCHEMAS:
            message = f"{ref} is built in and cannot be replaced: choose another ref"
            problems.append(Problem("SCHEMA_IMPORT_INVALID", message, where))
        elif len(ref) > _MAX_NAME or _REF.fullmatch(ref) is None:
            message = (
                f"{ref!r:.120} is no ref: write names with dots and a version last, such as payload.TicketCreated.v1"
            )
            problems.append(Problem("SCHEMA_IMPORT_INVALID", message, where))
        wrong = [
            Problem("SCHEMA_IMPORT_INVALID", message, f"{where}{pointer}")
            for pointer, message in schema_problems(schema)
        ]
        if not wrong and not is_storable(schema):
            wrong = [Problem("SCHEMA_IMPORT_INVALID", _UNSTORABLE, where)]
        problems += wrong
    if problems:
        raise Refused(problems)
    return {ref: await upsert_schema(conn, ref, schema) for ref, schema in entries.items()}


async def import_events(conn: AsyncConnection, document: Any) -> dict[str, Stored]:
    """Stores every event of a document, an object from name to `{payloadSchemaRef?, description?}`.

    Raises:
        Refused: `CATALOG_IMPORT_INVALID`, everything that is wrong; nothing is stored then.
    """
    entries = _entries(
        document, "CATALOG_IMPORT_INVALID", "events, from a name to its payloadSchemaRef and description"
    )
    refs = {*BUILTIN_SCHEMAS, *(one.ref for one in await list_schemas(conn))}
    problems: list[Problem] = []
    for name, entry in entries.items():
        where = field_path("", name).removeprefix(".")
        if not name.strip() or len(name) > _MAX_NAME:
            message = f"{name!r:.120} is no event name: 1 to {_MAX_NAME} characters"
            problems.append(Problem("CATALOG_IMPORT_INVALID", message, where))
        if UNSTORABLE.search(name):
            problems.append(Problem("CATALOG_IMPORT_INVALID", f"the name {_UNSTORABLE}", where))
        if not isinstance(entry, Mapping):
            problems.append(Problem("CATALOG_IMPORT_INVALID", "must be an object", where))
            continue
        for field, value in entry.items():
            wrong = _wrong_field(field, value, refs)
            if wrong is not None:
                problems.append(Problem("CATALOG_IMPORT_INVALID", wrong, f"{where}.{field}"))
    if problems:
        raise Refused(problems)
    return {
        name: await upsert_event(
            conn, name, payload_schema_ref=entry.get("payloadSchemaRef"), description=entry.get("description")
        )
        for name, entry in entries.items()
    }


def _wrong_field(field: str, value: Any, refs: Collection[str]) -> str | None:
    """What is wrong with a field of an event; `refs` are the schemas that there are."""
    if field not in _EVENT_FIELDS:
        return f"is no field of an event; there are {', '.join(_EVENT_FIELDS)}"
    if not isinstance(value, str):
        return "must be a text"
    if UNSTORABLE.search(value):
        return _UNSTORABLE
    if field == "payloadSchemaRef" and value not in refs:
        return f"no payload schema {value!r} is registered: import it first, with `workflows schemas import`"
    return None


def _entries(document: Any, code: str, what: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping) or not document:
        raise Refused.one(code, f"must be an object of {what}")
    return document
