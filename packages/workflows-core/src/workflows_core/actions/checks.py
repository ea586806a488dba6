"""What must be right about an action before it is registered."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workflows_core.actions.action import MAX_SHORT_MS, Action, Effect, Place
from workflows_core.actions.json_schemas import schema_problems
from workflows_core.actions.json_text import text_of
from workflows_core.errors import Problem

_ID = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")
_MAX_ID_LENGTH = 128
_MAX_VERSION = 2**31 - 1
_MAX_LIMIT_MS = 10 * 365 * 86_400_000
"""Ten years. The task of a run could not write down a limit without end, and failed again and again."""


def reason_of(error: BaseException) -> str:
    """What a pack raises, on one line."""
    return f"{type(error).__name__}: {text_of(error)}".splitlines()[0][:300]


def action_problems(action: Action, origin: str, *, schemas: bool = True) -> Iterator[Problem]:
    """Everything wrong with one action of the pack called `origin`, in the order of its fields.

    Args:
        action: The action.
        origin: Name of its pack.
        schemas: Whether to look at its schemas, which is most of the work.
    """
    where = f"{origin}: {action.id}@{action.version}"
    yield from _name_problems(action, where)
    if not callable(action.handler):
        yield Problem("ACTION_HANDLER_INVALID", "must be an async function of (input, context)", f"{where} handler")
    if schemas:
        yield from _schema_problems(action, where)
    for field, limit in (("timeout_ms", action.timeout_ms), ("heartbeat_ms", action.heartbeat_ms)):
        if not _is_count(limit, _MAX_LIMIT_MS):
            message = f"must be a whole number of milliseconds above 0 and at most {_MAX_LIMIT_MS}, found {limit!r}"
            yield Problem("ACTION_LIMIT_INVALID", message, f"{where} {field}")
    yield from _trait_problems(action, where)
    if action.short:
        yield from _short_problems(action, where)


def _name_problems(action: Action, where: str) -> Iterator[Problem]:
    if not isinstance(action.id, str) or len(action.id) > _MAX_ID_LENGTH or not _ID.fullmatch(action.id):
        message = (
            f"{action.id!r} is no action id; write lower-case names with dots between them, "
            f"such as tickets.create, at most {_MAX_ID_LENGTH} characters"
        )
        yield Problem("ACTION_ID_INVALID", message, f"{where} id")
    if not _is_count(action.version, _MAX_VERSION):
        message = f"must be a whole number above 0 and at most {_MAX_VERSION}, found {action.version!r}"
        yield Problem("ACTION_VERSION_INVALID", message, f"{where} version")


def _schema_problems(action: Action, where: str) -> Iterator[Problem]:
    for field, schema in (("input_schema", action.input_schema), ("output_schema", action.output_schema)):
        wrong = list(schema_problems(schema))
        for pointer, message in wrong:
            yield Problem("ACTION_SCHEMA_INVALID", message, f"{where} {field}{pointer}")
        if field == "input_schema" and not wrong and schema.get("type") != "object":
            message = 'must have "type": "object", since a step maps its input by field names'
            yield Problem("ACTION_SCHEMA_INVALID", message, f"{where} {field}")


def _trait_problems(action: Action, where: str) -> Iterator[Problem]:
    for field, kind, value in (("effect", Effect, action.effect), ("place", Place, action.place)):
        if not isinstance(value, kind):
            known = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
            yield Problem("ACTION_TRAIT_INVALID", f"must be one of {known}, found {value!r}", f"{where} {field}")
    if action.effect is Effect.TRANSACTIONAL and action.place is not Place.WORKER:
        message = "a transactional action uses the runtime's own transaction, so it must run in the worker"
        yield Problem("ACTION_TRAIT_INVALID", message, f"{where} place")


def _short_problems(action: Action, where: str) -> Iterator[Problem]:
    reasons = []
    if action.effect is not Effect.PURE:
        reasons.append(f"its effect must be pure, found {action.effect}")
    if action.place is not Place.WORKER:
        reasons.append(f"it must run in the worker, found {action.place}")
    if _is_count(action.timeout_ms, _MAX_LIMIT_MS) and action.timeout_ms > MAX_SHORT_MS:
        reasons.append(f"its timeout_ms must be at most {MAX_SHORT_MS}, found {action.timeout_ms}")
    for reason in reasons:
        message = f"a short action runs inside the workflow task: {reason}; or register it without short"
        yield Problem("ACTION_NOT_SHORT", message, f"{where} short")


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
