"""Calls an action's handler: secrets in, checks on both sides, every failure with a category."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.call import TrackedSecrets, resolve_secrets, scrub, validate_input, validate_output
from workflows_core.actions.json_text import text_of
from workflows_core.actions.ports import ActionObserver, EntityLinks, KeyValueStore, SecretProvider
from workflows_core.actions.registry import ActionRegistry
from workflows_core.actions.schema_sentences import type_word
from workflows_core.errors import UNCATCHABLE, ErrorCategory, Failure, StepFailed
from workflows_core.execution.failures import CATEGORIES, action_unavailable
from workflows_core.execution.handler_logs import HandlerLogger
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.action_steps import STEP_QUOTA_EXCEEDED
from workflows_core.storage.json_text import json_text
from workflows_core.wire.records import ActionCall
from workflows_core.wire.text import UNSTORABLE

_LOG = logging.getLogger("workflows_core.actions")
MAX_MESSAGE_LENGTH = 8_000
MAX_DETAILS_BYTES = 32 * 1024
"""Of an action's failure; each step around it may repeat them in one write."""
MAX_CODE_LENGTH = 200

_IF_SHORT = (
    "give it less at a time, such as a part of a list; in a pack of your own, register the action without `short`"
)


def required_action(registry: ActionRegistry, call: ActionCall) -> Action:
    """The action of a call.

    Raises:
        StepFailed: `ActionUnavailable`: this process does not have it.
    """
    action = registry.get(call["action_id"], call["action_version"])
    if action is None:
        raise StepFailed(action_unavailable(call["action_id"], call["action_version"]))
    return action


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a call has beside its input.

    Attributes:
        store: See `ActionContext`.
        links: See `ActionContext`.
        observe: Is told of the call.
        now: The time that a simulation has come to; the clock's by default.
        passes: Whether an error of the handler is not the action's own: it leaves as it is.
    """

    store: KeyValueStore | None = None
    links: EntityLinks | None = None
    observe: ActionObserver | None = None
    now: datetime | None = None
    passes: Callable[[BaseException], bool] | None = None


async def call_handler(
    action: Action,
    call: ActionCall,
    tenant_id: str,
    run_id: str,
    secrets: SecretProvider,
    around: Surroundings,
    *,
    max_output_bytes: int,
) -> Any:
    """The action's output.

    Args:
        action: Whose handler.
        call: The call.
        tenant_id: Tenant of the run.
        run_id: The run.
        secrets: Where the input's secrets are.
        around: What else the call has.
        max_output_bytes: A larger output fails the step.

    Raises:
        StepFailed: The authored failure, without any secret's value in it.
    """
    tracked = TrackedSecrets(secrets)
    resolved, _ = await resolve_secrets(call["input"], tenant_id, tracked, action=action, paths=call.get("secrets"))
    about = {"run_id": run_id, "step_path": call["step_path"], "tenant": tenant_id}
    logger = HandlerLogger(_LOG, about, lambda: tracked.values)
    context = ActionContext(
        tenant_id=tenant_id,
        run_id=run_id,
        step_path=call["step_path"],
        attempt=call["attempt"],
        idempotency_key=call["idempotency_key"],
        now=around.now or datetime.now(UTC),
        logger=logger,
        store=around.store,
        links=around.links,
        secrets=tracked,
        scrub=lambda value: scrub(value, tracked.values),
    )
    limit = asyncio.timeout(action.timeout_ms / 1000)
    try:
        validate_input(action, resolved)
        facts = {"tenant": tenant_id, "run": run_id, "step": call["step_path"], "attempt": str(call["attempt"])}
        observed = nullcontext() if around.observe is None else around.observe(action.key, facts)
        with observed:
            async with limit:
                output = await _awaited(action.handler(resolved, context))
        check_size(action, output, max_output_bytes)  # First: the schema of a long list takes a second.
        validate_output(action, output)
    except StepFailed as error:
        raise StepFailed(_bounded(_scrubbed(_plain(error.failure), tracked.values))) from None
    except TimeoutError as error:
        message = f"action {action.key} took longer than its limit of {action.timeout_ms} ms"
        if not limit.expired():
            said = scrub(_said(error), tracked.values) or "it does not say what"
            message = f"action {action.key} waited too long for something of its own: {said}"
        if action.effect is Effect.AT_MOST_ONCE:
            message += "; it may have had its effect, so it is not repeated"
            raise StepFailed(
                _bounded(Failure(ErrorCategory.UNKNOWN_OUTCOME, message, code="UNKNOWN_OUTCOME"))
            ) from None
        raise StepFailed(_bounded(Failure(ErrorCategory.TIMEOUT, message, code="ACTION_TIMED_OUT"))) from None
    except BaseException as error:  # Whatever else left here would be called again and again, unrecorded.
        if _ends_the_call(error) or (around.passes is not None and around.passes(error)):
            raise
        logger.exception("action %s failed by a fault of its own", action.key)
        message = scrub(_named(error), tracked.values)
        raise StepFailed(_bounded(Failure(ErrorCategory.ACTION, message, code="ACTION_FAULT"))) from None
    return scrub(output, tracked.values)


def _ends_the_call(error: BaseException) -> bool:
    """Whether the runtime or its process stops the handler; a cancel that nobody asked for is the handler's own."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, (KeyboardInterrupt, GeneratorExit))


def _awaited(given: object) -> Awaitable[Any]:
    if not isinstance(given, Awaitable):
        raise TypeError(f"its handler gave {type_word(given)} and nothing to wait for: write it as `async def`")
    return given


def _said(error: BaseException) -> str:
    """What an error says; of a database's only the driver's first line, without the statement and its values."""
    try:
        of_driver = getattr(error, "orig", None)
    except Exception:
        of_driver = None
    said = text_of(error) if of_driver is None else text_of(of_driver).strip().partition("\n")[0]
    if isinstance(error, BaseExceptionGroup):
        # Such as of a TaskGroup, which says how many there are and not what.
        said += ": " + "; ".join(_named(one) for one in error.exceptions[:3])
    return _storable(said)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_said(error)}"


def _plain(failure: Failure) -> Failure:
    """A handler's failure with what every failure has: texts, details that are JSON, and a category for authors.

    The runtime alone says that a run is cancelled, reset or out of quota.
    """
    code: object = failure.code
    return replace(
        failure,
        category=failure.category if str(failure.category) in CATEGORIES - UNCATCHABLE else ErrorCategory.ACTION,
        message=_storable(failure.message),
        code=None if code in (None, STEP_QUOTA_EXCEEDED) else _storable(code)[:MAX_CODE_LENGTH],
        details=None if failure.details is None else _plain_details(failure.details),
    )


def _plain_details(given: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return dict(json.loads(json_text(json.loads(json.dumps(dict(given), default=text_of)))))
    except Exception as error:  # Even a mapping may be one that raises.
        return {"leftOut": f"details that are no JSON object: {_said(error)[:200]}"}


def _storable(value: object) -> str:
    return UNSTORABLE.sub("\ufffd", text_of(value))


def _scrubbed(failure: Failure, secrets: Collection[str]) -> Failure:
    """What a handler wrote into its failure, without secrets; what the runtime reads stays as it is."""
    details = None if failure.details is None else scrub(dict(failure.details), secrets)
    return replace(failure, message=scrub(failure.message, secrets), details=details)


def _bounded(failure: Failure) -> Failure:
    """Without what Temporal would not take: a failure that cannot be told leaves its run waiting for ever."""
    message, details = failure.message, failure.details
    if len(message) > MAX_MESSAGE_LENGTH:
        message = f"{message[:MAX_MESSAGE_LENGTH]} … ({len(message)} characters)"
    if details is not None and (size := json_bytes(details)) > MAX_DETAILS_BYTES:
        details = {"leftOut": f"details of {size} bytes, at most {MAX_DETAILS_BYTES} are kept"}
    return replace(failure, message=message, details=details)


def check_size(action: Action, output: Any, limit: int) -> None:
    """Refuses an output over `limit` bytes of JSON; of one that is no JSON its own check says so.

    Raises:
        StepFailed: `PayloadTooLarge`, with what would help.
    """
    try:
        size = len(json.dumps(output, separators=(",", ":"), ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError):
        return
    if size > limit:
        advice = _IF_SHORT if action.short else "store it and return a reference"
        message = f"the output of {action.key} has {size} bytes, at most {limit} are allowed; {advice}"
        details = {"bytes": size, "limit": limit}
        raise StepFailed(Failure(ErrorCategory.PAYLOAD_TOO_LARGE, message, code="OUTPUT_TOO_LARGE", details=details))
