"""`store.*`: the tenant's key-value store, in the transaction that records the step: exactly once."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from workflows_core.actions.action import Action, ActionContext, Handler
from workflows_core.actions.building import LIST_LIMIT, object_schema, output_schema, transactional_action
from workflows_core.actions.ports import KeyValueStore
from workflows_core.errors import ActionFailed, ErrorCategory, Json

MAX_VALUE_BYTES: Final = 256 * 1024
"""Size of one value as JSON text in UTF-8."""

MAX_TTL_SECONDS: Final = 365 * 86_400

_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_NAMESPACE = {**_NAME, "description": "Groups keys, such as `counters`."}
_KEY = {**_NAME, "description": "Names one value inside the namespace."}
_VALUE = {"description": "The value: any JSON."}
_REVISION = {"type": "integer", "description": "Counts the writes of this key, from 1."}


def store_actions() -> Sequence[Action]:
    """get, set, delete, increment, list, list_namespaces."""
    return (
        _action(
            "store.get",
            _get,
            "Reads a value.",
            object_schema({"namespace": _NAMESPACE, "key": _KEY}, ["namespace", "key"]),
            {
                "found": {"type": "boolean", "description": "Whether there is a live value."},
                "value": {"description": "The value, or null."},
                "revision": {**_REVISION, "type": ["integer", "null"]},
            },
        ),
        _action(
            "store.set",
            _set,
            "Writes a value, over an older one.",
            object_schema(
                {
                    "namespace": _NAMESPACE,
                    "key": _KEY,
                    "value": _VALUE,
                    "ttl_seconds": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": MAX_TTL_SECONDS,
                        "description": "Seconds until it is gone; without it, it stays.",
                    },
                },
                ["namespace", "key", "value"],
            ),
            {
                "revision": _REVISION,
                "created": {"type": "boolean", "description": "Whether this is the key's first value."},
            },
        ),
        _action(
            "store.delete",
            _delete,
            "Deletes a value.",
            object_schema({"namespace": _NAMESPACE, "key": _KEY}, ["namespace", "key"]),
            {"deleted": {"type": "boolean", "description": "Whether there was a live value."}},
        ),
        _action(
            "store.increment",
            _increment,
            "Adds to a number; a missing one counts as 0.",
            object_schema(
                {
                    "namespace": _NAMESPACE,
                    "key": _KEY,
                    "by": {"type": "number", "description": "What to add, negative to subtract; default 1."},
                },
                ["namespace", "key"],
            ),
            {"value": {"type": "number", "description": "The sum."}, "revision": _REVISION},
        ),
        _action(
            "store.list",
            _list,
            "Lists the values of a namespace by key, ascending.",
            object_schema(
                {
                    "namespace": _NAMESPACE,
                    "prefix": {"type": "string", "maxLength": 256, "description": "Only keys that begin so."},
                    "limit": LIST_LIMIT,
                },
                ["namespace"],
            ),
            {
                "items": {
                    "type": "array",
                    "items": output_schema({"key": {"type": "string"}, "value": {}, "revision": {"type": "integer"}}),
                    "description": "`{key, value, revision}` each.",
                }
            },
        ),
        _action(
            "store.list_namespaces",
            _list_namespaces,
            "Lists the namespaces that have values.",
            object_schema(
                {
                    "limit": LIST_LIMIT,
                },
                [],
            ),
            {"namespaces": {"type": "array", "items": {"type": "string"}, "description": "By name, ascending."}},
        ),
    )


def _action(
    action_id: str, handler: Handler, description: str, input_schema: Mapping[str, Any], output: Mapping[str, Any]
) -> Action:
    return transactional_action(
        action_id, handler, description=description, category="store", input_schema=input_schema, output=output
    )


async def _get(value: Any, context: ActionContext) -> Json:
    found = await _store(context).get(value["namespace"], value["key"])
    if found is None:
        return {"found": False, "value": None, "revision": None}
    return {"found": True, "value": found.value, "revision": found.revision}


async def _set(value: Any, context: ActionContext) -> Json:
    size = len(json.dumps(value["value"], ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_VALUE_BYTES:
        raise ActionFailed(
            f"the value has {size} bytes, at most {MAX_VALUE_BYTES} are stored",
            category=ErrorCategory.PAYLOAD_TOO_LARGE,
            code="STORE_VALUE_TOO_LARGE",
            details={"bytes": size, "limit": MAX_VALUE_BYTES},
        )
    seconds = value.get("ttl_seconds")
    ttl_ms = None if seconds is None else int(seconds) * 1000
    written = await _store(context).set(value["namespace"], value["key"], value["value"], ttl_ms=ttl_ms)
    return {"revision": written.revision, "created": written.revision == 1}


async def _delete(value: Any, context: ActionContext) -> Json:
    return {"deleted": await _store(context).delete(value["namespace"], value["key"])}


async def _increment(value: Any, context: ActionContext) -> Json:
    namespace, key = value["namespace"], value["key"]
    written = await _store(context).increment(namespace, key, value.get("by", 1))
    if abs(written.value) > sys.float_info.max:
        message = (
            f"the sum at {namespace!r}, {key!r} is beyond the largest number, {sys.float_info.max:.2g}: set it anew"
        )
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="STORE_VALUE_INVALID")
    return {"value": written.value, "revision": written.revision}


async def _list(value: Any, context: ActionContext) -> Json:
    found = await _store(context).list(
        value["namespace"], prefix=value.get("prefix", ""), limit=int(value.get("limit", 100))
    )
    return {"items": [{"key": item.key, "value": item.value, "revision": item.revision} for item in found]}


async def _list_namespaces(value: Any, context: ActionContext) -> Json:
    return {"namespaces": list(await _store(context).list_namespaces(limit=int(value.get("limit", 100))))}


def _store(context: ActionContext) -> KeyValueStore:
    if context.store is None:
        message = "the key-value store is there only inside the transaction that records the step"
        raise ActionFailed(message, code="STORE_UNAVAILABLE")
    return context.store
