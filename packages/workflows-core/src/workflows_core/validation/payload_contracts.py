"""Payload schemas and events that a definition names, against what its tenant has registered.

Where a tenant has registered nothing, what cannot be known is a warning that says how to register it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from workflows_core.definitions.model import Definition, EventTrigger, RecurringTrigger, ScheduleTrigger, Value
from workflows_core.definitions.spelling import nearest
from workflows_core.errors import Problem
from workflows_core.validation.builtin_schemas import BUILTIN_SCHEMAS
from workflows_core.validation.mappings import missing_fields
from workflows_core.validation.time_triggers import time_trigger_problems

MAX_SUGGESTIONS = 5

_IMPORT_SCHEMAS = "`workflows schemas import FILE`"
_IMPORT_EVENTS = "`workflows catalog import FILE`"


class KnownContracts(Protocol):
    """What validation needs of a tenant's payload schemas and event catalogue, without the built-in ones."""

    def refs(self) -> Collection[str]:
        """Refs of the schemas that the tenant has registered."""
        ...

    def schema(self, ref: str, /) -> Mapping[str, Any] | None:
        """One of these schemas, or None."""
        ...

    def events(self) -> Mapping[str, str | None]:
        """Schema ref of each event in the tenant's catalogue; None where the entry has none."""
        ...


def known_schema(contracts: KnownContracts, ref: str) -> Mapping[str, Any] | None:
    """The schema with this ref, a built-in one or the tenant's; None when there is none."""
    return BUILTIN_SCHEMAS.get(ref) or contracts.schema(ref)


def contract_problems(definition: Definition, contracts: KnownContracts | None, *, now: datetime) -> Iterator[Problem]:
    """What is wrong with a definition's payload schema and trigger.

    Args:
        definition: A parsed document.
        contracts: What the tenant has registered; None where nobody knows, and only times are checked then.
        now: What a time of the trigger has to lie after.
    """
    trigger = definition.trigger
    if contracts is not None:
        yield from _ref_problems("PAYLOAD_SCHEMA_REF_UNKNOWN", definition.payload_schema_ref, contracts)
    if isinstance(trigger, (ScheduleTrigger, RecurringTrigger)):
        yield from time_trigger_problems(trigger, now)
    elif isinstance(trigger, EventTrigger) and contracts is not None:
        yield from _event_problems(trigger, contracts)
        yield from _mapping_problems(definition.payload_schema_ref, trigger, contracts)


def _event_problems(trigger: EventTrigger, contracts: KnownContracts) -> Iterator[Problem]:
    events, name = contracts.events(), trigger.event_name
    if name in events:
        return
    path, code = "trigger.eventName", "UNKNOWN_TRIGGER_EVENT"
    if not events:
        message = (
            f"nobody can say whether event {name!r} exists: the tenant's event catalogue is empty;"
            f" fill it with {_IMPORT_EVENTS}"
        )
        yield Problem(code, message, path, severity="warning")
        return
    suggestion, others = _similar(name, events)
    message = f"the event catalogue has no {name!r}; add it with {_IMPORT_EVENTS}, or correct the name: {others}"
    yield Problem(code, message, path, suggestion=suggestion)


def _mapping_problems(payload_ref: str, trigger: EventTrigger, contracts: KnownContracts) -> Iterator[Problem]:
    source, where = trigger.source_payload_schema_ref, "trigger.sourcePayloadSchemaRef"
    if source is None:
        source, where = contracts.events().get(trigger.event_name), "trigger.eventName"
    if source is not None:
        yield from _ref_problems("UNKNOWN_TRIGGER_SOURCE_SCHEMA_REF", source, contracts, where)
    if trigger.payload_mapping is not None:
        yield from _unmapped(payload_ref, trigger.payload_mapping, contracts)
    elif source is not None and source != payload_ref:
        message = (
            f"event {trigger.event_name!r} has payloads of {source!r} and the workflow takes {payload_ref!r}:"
            " map the one to the other in payloadMapping, or take the event's schema as payloadSchemaRef"
        )
        # Where nothing is registered, the two refs are names that nobody has held to anything.
        known = contracts.refs() or contracts.events()
        problem = Problem("TRIGGER_MAPPING_REQUIRED", message, "trigger.payloadMapping")
        yield problem if known else replace(problem, severity="warning")


def _unmapped(payload_ref: str, mapping: Mapping[str, Value], contracts: KnownContracts) -> Iterator[Problem]:
    schema = known_schema(contracts, payload_ref)
    if schema is None:
        return
    missing = [path.removeprefix(".") for path, _, _ in missing_fields("", _nested(mapping), schema, schema)]
    if missing:
        message = f"{payload_ref} requires fields that nothing is mapped to: {', '.join(missing)}"
        yield Problem("TRIGGER_MAPPING_MISSING_REQUIRED_FIELDS", message, "trigger.payloadMapping")


def _nested(mapping: Mapping[str, Value]) -> dict[str, Value]:
    """The mapping as it will be evaluated: a dotted name stands for a field of a nested object."""
    payload: dict[str, Any] = {}
    for name, value in mapping.items():
        *parents, last = name.split(".")
        target = payload
        for parent in parents:
            inner = target.setdefault(parent, {})
            if not isinstance(inner, dict):
                break
            target = inner
        else:
            target[last] = dict(value) if isinstance(value, dict) else value
    return payload


def _ref_problems(code: str, ref: str, contracts: KnownContracts, path: str = "payloadSchemaRef") -> Iterator[Problem]:
    registered = contracts.refs()
    if ref in BUILTIN_SCHEMAS or ref in registered:
        return
    if not registered:
        message = (
            f"payloads of {ref!r} are checked by nothing: the tenant has registered no payload schemas;"
            f" import them with {_IMPORT_SCHEMAS}, and publish behind that, since a version keeps what was there before"
        )
        yield Problem(code, message, path, severity="warning")
        return
    suggestion, others = _similar(ref, [*registered, *BUILTIN_SCHEMAS])
    message = f"no payload schema {ref!r} is registered; import it with {_IMPORT_SCHEMAS}, or correct the ref: {others}"
    yield Problem(code, message, path, suggestion=suggestion)


def _similar(name: str, known: Iterable[str]) -> tuple[str | None, str]:
    """The one that was likely meant, if any, and up to five in words."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=MAX_SUGGESTIONS, cutoff=0.5)
    likely = nearest(name, names)
    if likely is not None:
        close = [likely, *(one for one in close if one != likely)][:MAX_SUGGESTIONS]
    if close:
        return likely or close[0], f"similar are {', '.join(close)}"
    return None, f"there are {', '.join(names[:MAX_SUGGESTIONS])}" + (
        f" and {len(names) - MAX_SUGGESTIONS} more" if len(names) > MAX_SUGGESTIONS else ""
    )
