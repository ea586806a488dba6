"""The payload of a run that an event starts: the trigger's mapping over `event`, or the event's payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows_core.errors import Json
from workflows_core.expressions.engine import NO_VALUE, ExpressionEngine, ExpressionFailed, ExpressionInvalid


class MappingFailed(Exception):
    """Indicates that a trigger gives no run for an event, such as when its payload mapping cannot be evaluated."""


def mapped_payload(
    mapping: Mapping[str, Any] | None,
    event: Mapping[str, Any],
    engine: ExpressionEngine,
    *,
    now_ms: int,
    seed: int,
) -> Json:
    """Evaluates a `payloadMapping` (as in the document) with `event` as the only name.

    A value without result is left out; dotted names become nested objects. Secrets stay references.

    Args:
        mapping: The document's `payloadMapping`, or None: the event's payload is the run's.
        event: `name`, `correlationKey`, `payload`, `payloadSchemaRef`.
        engine: Compiles and evaluates.
        now_ms: Time for `nowIso()`, milliseconds since the epoch.
        seed: Seed for `$random()`.

    Raises:
        MappingFailed: With the name and what is wrong with it.
    """
    if mapping is None:
        return event["payload"]
    payload: dict[str, Json] = {}
    for name, value in mapping.items():
        try:
            found = _value(value, event, engine, now_ms, seed)
        except (ExpressionInvalid, ExpressionFailed) as error:
            raise MappingFailed(f"payloadMapping.{name}: {error.message}") from error
        if found is not NO_VALUE:
            _put(payload, name, found)
    return payload


def _value(value: Any, event: Mapping[str, Any], engine: ExpressionEngine, now_ms: int, seed: int) -> Any:
    if isinstance(value, Mapping):
        if "$expr" in value:
            return engine.compile(value["$expr"]).evaluate({"event": event}, now_ms=now_ms, seed=seed)
        built = {name: _value(member, event, engine, now_ms, seed) for name, member in value.items()}
        return {name: found for name, found in built.items() if found is not NO_VALUE}
    if isinstance(value, list):
        items = [_value(item, event, engine, now_ms, seed) for item in value]
        return [None if item is NO_VALUE else item for item in items]
    return value


def _put(payload: dict[str, Json], name: str, value: Json) -> None:
    *parents, last = name.split(".")
    target = payload
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise MappingFailed(f"payloadMapping.{name}: {parent!r} is mapped to a value already, not to an object")
        target = inner
    target[last] = value
