"""Where the document puts secrets into an action's input: data that looks like a reference to one is data.

A reference stands in the step's own mapping, or in the trigger's `payloadMapping`; a step takes it from there by its
plain path (`payload.credentials.token`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from workflows_core.definitions import model
from workflows_core.interpreter.plan import SecretPlace

_FROM_PAYLOAD = re.compile(r"\s*payload((?:\.(?:[A-Za-z_]\w*|`[^`]+`))*)\s*", re.ASCII)
_NAME = re.compile(r"\.(?:([A-Za-z_]\w*)|`([^`]+)`)", re.ASCII)


def secrets_of_payload(definition: model.Definition) -> tuple[SecretPlace, ...]:
    """Where the trigger puts secrets into the payload."""
    trigger = definition.trigger
    mapping = trigger.payload_mapping if isinstance(trigger, model.EventTrigger) else None
    return tuple(
        SecretPlace((*name.split("."), *place.path), place.name)
        for name, value in (mapping or {}).items()
        for place in secrets_in(value)
    )


def secrets_in(value: model.Value, of_payload: Iterable[SecretPlace] = ()) -> Iterator[SecretPlace]:
    """The secrets of a mapping's value, by their places in what it gives."""
    match value:
        case model.SecretRef():
            yield SecretPlace((), value.name)
        case model.Expr():
            taken = _FROM_PAYLOAD.fullmatch(value.source)
            read = tuple(plain or quoted for plain, quoted in _NAME.findall(taken[1])) if taken else None
            for place in of_payload:
                if read is not None and place.path[: len(read)] == read:
                    yield SecretPlace(place.path[len(read) :], place.name)
        case dict() | list():
            for key, member in value.items() if isinstance(value, dict) else enumerate(value):
                for place in secrets_in(member, of_payload):
                    yield SecretPlace((key, *place.path), place.name)


def paths_in(value: Any, places: Iterable[SecretPlace]) -> list[list[str | int]]:
    """The places where a mapping has given the very reference that the document puts there."""
    return [[*place.path] for place in places if _at(value, place.path) == {"$secret": place.name}]


def _at(value: Any, path: Iterable[str | int]) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
