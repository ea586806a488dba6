"""Failures across Temporal: a category goes out as the error's type and comes back as a `Failure`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import exceptions
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    FailureError,
    TimeoutType,
)

from workflows_core.actions.action import Place
from workflows_core.errors import ErrorCategory, Failure, WorkflowsError
from workflows_core.interpreter.action_steps import STEP_QUOTA_EXCEEDED
from workflows_core.wire.names import FAILURE_TYPE_PREFIX
from workflows_core.wire.records import ActionCall, FoundAction

TIMED_OUT = "TIMED_OUT"
"""Code of the failure of a step whose activity Temporal ended."""

NOT_SHORT_HERE = "ActionNotShortHere"
"""Type of the failure of a short call in a process that has no such action, or not as a short one; no step's."""

CATEGORIES = frozenset(ErrorCategory)


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A failure that came back from an activity, and whether the activity wrote the step's row."""

    failure: Failure
    recorded: bool
    elapsed_ms: int = 0


def authored_error(failure: Failure, *, recorded: bool, elapsed_ms: int = 0) -> ApplicationError:
    """How an authored failure leaves an activity: Temporal does not retry it, the interpreter decides."""
    details = {"failure": failure.to_json(), "recorded": recorded, "elapsedMs": elapsed_ms}
    return ApplicationError(
        failure.message,
        details,
        type=str(failure.category),
        non_retryable=True,
        # Recorded with its step and handled by the author: no news for the worker's log.
        category=ApplicationErrorCategory.BENIGN,
    )


def refused_error(error: WorkflowsError, category: ErrorCategory = ErrorCategory.VALIDATION) -> ApplicationError:
    """How a coded refusal of ours leaves an activity."""
    return authored_error(Failure(category, error.sentence, code=error.code), recorded=False)


def action_unavailable(
    action_id: str,
    version: int,
    found: FoundAction | None = None,
    waited_ms: int = 0,
    called_at: Place | None = None,
) -> Failure:
    """The failure of a call whose action nobody serves; it says what is missing and where it would be.

    Args:
        action_id: Of the action.
        version: Of the action.
        found: What processes have announced of it.
        waited_ms: How long the run has waited for somebody.
        called_at: Where the run makes the call, which is where the action was when the run was loaded.
    """
    place = None if found is None else found["place"]
    last = None if found is None else found["last_served_by"]
    details = {"action": action_id, "version": version, "place": place, "waitedMs": waited_ms, "lastServedBy": last}
    message = f"no process serves action {action_id}@{version}"
    if place is None:
        message += (
            ": load the pack that has it in workflow-worker (place worker) or in workflow-server (place app), "
            "or correct the step's actionId and version"
        )
    elif called_at is not None and called_at != place:
        message += (
            f" in {called_at.service}, where it was when the run was loaded; it has moved to {Place(place).service}: "
            f"load the pack in {called_at.service} as well until such runs have ended, or redrive this one"
        )
    else:
        message += f" (place {place}): start {Place(place).service} with the pack that has it"
    if last is not None:
        message += f"; last served by {last}"
    return Failure(ErrorCategory.ACTION_UNAVAILABLE, message, code="ACTION_UNAVAILABLE", details=details)


def action_crashed(call: ActionCall, crashes: int) -> Failure:
    """A call that takes its worker with it."""
    key = f"{call['action_id']}@{call['action_version']}"
    message = (
        f"{key} did not come back {crashes} times in a row while no other suspect ran beside it: it kills its worker, "
        "for instance by using too much memory; it is not started again"
    )
    return Failure(ErrorCategory.ACTION_CRASHED, message, code="ACTION_CRASHED", details={"crashes": crashes})


def quota_exceeded(facts: Mapping[str, Any]) -> Failure:
    """No failure for the author: the interpreter makes a pause of it."""
    message = "the tenant's quota of steps is used up: the run waits until it is resumed"
    return Failure(ErrorCategory.QUOTA_EXCEEDED, message, code=STEP_QUOTA_EXCEEDED, details=facts)


def run_error(failure: Failure) -> ApplicationError:
    """How a failed run ends in Temporal."""
    return ApplicationError(
        failure.message, failure.to_json(), type=f"{FAILURE_TYPE_PREFIX}{failure.category}", non_retryable=True
    )


def step_failure(error: FailureError) -> StepFailure:
    """Reads what an activity's failure means for its step."""
    cause = error.cause if isinstance(error, ActivityError) and error.cause is not None else error
    if isinstance(cause, ApplicationError):
        return _application(cause)
    if isinstance(cause, exceptions.TimeoutError):
        kind = "start-to-close" if cause.type == TimeoutType.START_TO_CLOSE else str(cause.type)
        failure = Failure(ErrorCategory.TIMEOUT, f"the action took longer than its limit ({kind})", code=TIMED_OUT)
        return StepFailure(failure, recorded=False)
    if isinstance(cause, CancelledError):
        return StepFailure(Failure(ErrorCategory.CANCELLATION, "the action was cancelled"), recorded=False)
    return StepFailure(Failure(ErrorCategory.ACTION, str(cause)), recorded=False)


def _application(error: ApplicationError) -> StepFailure:
    details: Sequence[Any] = error.details
    known = details[0] if details and isinstance(details[0], dict) else {}
    if "failure" in known:
        return StepFailure(
            Failure.from_json(known["failure"]), bool(known.get("recorded")), int(known.get("elapsedMs", 0))
        )
    category = error.type if error.type in CATEGORIES else ErrorCategory.ACTION
    return StepFailure(Failure(category, error.message), recorded=False)
