"""What a tenant has registered about payloads and events binds publishing and launching."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client

from harness.interpreted import document
from harness.run_records import TENANT
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import Refused
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.request import LaunchRequest
from workflows_core.publishing.contracts import import_events, import_schemas
from workflows_core.publishing.publish import PublishedVersion, import_definition, publish_definition
from workflows_core.storage.database import Database
from workflows_core.storage.event_catalog import list_catalog
from workflows_core.storage.payload_schemas import list_schemas

pytestmark = pytest.mark.asyncio(loop_scope="session")
CORE = ActionRegistry.of({"core": core_pack(HttpPolicy())})
TICKET = {"type": "object", "required": ["ticketId"], "properties": {"ticketId": {"type": "string"}}}
BILL = {"type": "object", "required": ["billId", "to"], "properties": {"to": {"type": "object", "required": ["city"]}}}


async def register(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        stored = await import_schemas(conn, {"payload.Ticket.v1": TICKET, "payload.Bill.v1": BILL})
        assert set(stored.values()) == {"created"}
        await import_events(conn, {"TICKET_OPENED": {"payloadSchemaRef": "payload.Ticket.v1"}, "PING": {}})


async def publish(db: Database, ref: str, trigger: dict[str, Any] | None = None) -> PublishedVersion:
    content = {**document(), "payloadSchemaRef": ref, **({} if trigger is None else {"trigger": trigger})}
    async with db.tenant(TENANT) as conn:
        await import_definition(conn, content, key="w")
    return await publish_definition(db, TENANT, "w", CORE)


async def codes(work: Any) -> list[tuple[str, str, str | None]]:
    with pytest.raises(Refused) as found:
        await work
    return [(one.code, one.path, one.suggestion) for one in found.value.problems]


def by_event(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "event", "eventName": name, **more}


async def test_where_nothing_is_registered_it_is_a_warning(db: Database) -> None:
    published = await publish(db, "payload.Ticket.v1", by_event("TICKET_OPENED"))
    assert [(w.code, w.severity) for w in published.warnings] == [
        ("PAYLOAD_SCHEMA_REF_UNKNOWN", "warning"),
        ("UNKNOWN_TRIGGER_EVENT", "warning"),
    ]


async def test_what_the_warning_of_unchecked_payloads_says_to_do_has_them_checked(db: Database, client: Client) -> None:
    """It left out the second half: to publish again."""
    launch, (warning,) = Launcher(db, client).launch, (await publish(db, "payload.Ticket.v1")).warnings
    assert "`workflows schemas import FILE`, and publish behind that" in warning.message
    await register(db)
    wrong = LaunchRequest(tenant=TENANT, workflow="w", payload={"ticketId": 7})
    assert (await launch(wrong)).created
    await publish(db, "payload.Ticket.v1")
    assert [code for code, _, _ in await codes(launch(wrong))] == ["PAYLOAD_INVALID"]


async def test_refs_and_events_are_known_or_the_nearest_is_said(db: Database) -> None:
    await register(db)
    assert (await publish(db, "payload.Ticket.v1", by_event("TICKET_OPENED"))).warnings == []
    assert await codes(publish(db, "payload.Tickt.v1")) == [
        ("PAYLOAD_SCHEMA_REF_UNKNOWN", "payloadSchemaRef", "payload.Ticket.v1")
    ]
    assert await codes(publish(db, "payload.Ticket.v1", by_event("TICKET_OPEND"))) == [
        ("UNKNOWN_TRIGGER_EVENT", "trigger.eventName", "TICKET_OPENED")
    ]
    source = by_event("PING", sourcePayloadSchemaRef="payload.Tickets.v1", payloadMapping={"ticketId": "1"})
    assert await codes(publish(db, "payload.Ticket.v1", source)) == [
        ("UNKNOWN_TRIGGER_SOURCE_SCHEMA_REF", "trigger.sourcePayloadSchemaRef", "payload.Ticket.v1")
    ]


async def test_a_mapping_is_there_where_schemas_differ_and_gives_what_is_required(db: Database) -> None:
    await register(db)
    assert [code for code, _, _ in await codes(publish(db, "payload.Bill.v1", by_event("TICKET_OPENED")))] == [
        "TRIGGER_MAPPING_REQUIRED"
    ]
    mapping = {"billId": {"$expr": "event.payload.ticketId"}, "to.street": "S"}
    with pytest.raises(Refused) as found:
        await publish(db, "payload.Bill.v1", by_event("TICKET_OPENED", payloadMapping=mapping))
    (missing,) = found.value.problems
    assert (missing.code, "to.city" in missing.message) == ("TRIGGER_MAPPING_MISSING_REQUIRED_FIELDS", True)
    whole = {"billId": "b", "to": {"$expr": "event.payload.address"}}
    assert (await publish(db, "payload.Bill.v1", by_event("TICKET_OPENED", payloadMapping=whole))).warnings == []


async def test_a_version_keeps_the_schema_it_was_published_with(db: Database, client: Client) -> None:
    await register(db)
    await publish(db, "payload.Ticket.v1")
    launcher = Launcher(db, client)
    with pytest.raises(Refused) as found:
        await launcher.launch(LaunchRequest(tenant=TENANT, workflow="w", payload={"ticketId": 7}))
    assert [(one.code, one.path) for one in found.value.problems] == [("PAYLOAD_INVALID", "payload/ticketId")]
    async with db.tenant(TENANT) as conn:
        assert await import_schemas(conn, {"payload.Ticket.v1": {}}) == {"payload.Ticket.v1": "changed"}
        assert await import_schemas(conn, {"payload.Ticket.v1": {}}) == {"payload.Ticket.v1": "unchanged"}
    with pytest.raises(Refused):
        await launcher.launch(LaunchRequest(tenant=TENANT, workflow="w"))
    await publish(db, "payload.Ticket.v1")
    assert (await launcher.launch(LaunchRequest(tenant=TENANT, workflow="w"))).created


@pytest.mark.parametrize("strange", ["a\x00b", "a\ud800b"])
async def test_what_cannot_be_stored_is_refused_and_not_changed(db: Database, strange: str) -> None:
    async with db.tenant(TENANT) as conn:
        schemas = {"payload.A.v1": {"enum": ["ab", strange]}, "payload.B.v1": {}, "payload.C.v1": 7}
        found = await codes(import_schemas(conn, schemas))
        assert [path for _, path, _ in found] == ['["payload.A.v1"]', '["payload.C.v1"]']
        events = {"A": {"description": strange}, strange: {}, "B": {"description": "ab"}}
        assert len(await codes(import_events(conn, events))) == 2
        assert (await list_schemas(conn), await list_catalog(conn)) == ([], [])


async def test_a_file_with_mistakes_stores_nothing_and_says_all_of_them(db: Database) -> None:
    async with db.tenant(TENANT) as conn:
        found = await codes(
            import_schemas(conn, {"payload.Good.v1": {}, "payload.Empty.v1": {}, "no ref": {"type": "objct"}})
        )
        assert [(code, path) for code, path, _ in found] == [
            ("SCHEMA_IMPORT_INVALID", '["payload.Empty.v1"]'),
            ("SCHEMA_IMPORT_INVALID", '["no ref"]'),
            ("SCHEMA_IMPORT_INVALID", '["no ref"]/type'),
        ]
        events = {"A": {"payloadSchemaRef": "payload.Good.v1", "schema": "x"}, "B": 1}
        assert [path for _, path, _ in await codes(import_events(conn, events))] == [
            "A.payloadSchemaRef",
            "A.schema",
            "B",
        ]
        assert await codes(import_events(conn, []))
