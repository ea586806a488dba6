"""How each activity is scheduled: time limits, Temporal's own retries, what people see."""

from __future__ import annotations

from datetime import timedelta

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig, LocalActivityConfig

from workflows_core.actions.action import MAX_SHORT_MS, Place
from workflows_core.execution.budget import MAX_ELAPSED_MS
from workflows_core.wire.records import ActionTraits

_TIME_OUT_MARGIN = timedelta(seconds=10)
"""The activity itself ends a handler at its limit and records that; Temporal's is for one that goes on."""

_SHORT_LIMIT = timedelta(milliseconds=MAX_SHORT_MS + MAX_ELAPSED_MS + MAX_SHORT_MS)
"""A call, what is found ahead of the run behind it, and the last of those, which may begin late."""

_FOR_EVER = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=10),
    # A start-to-close time-out is the author's to retry; everything else that gets here is not.
    non_retryable_error_types=["TemporalTimeout:StartToClose"],
)


def for_action(traits: ActionTraits, tenant: str, summary: str) -> ActivityConfig:
    """A regular action. One whose process is lost is silent before its time is over, and so it is tried again."""
    silent_for = timedelta(milliseconds=traits["heartbeat_ms"])
    config = ActivityConfig(
        start_to_close_timeout=timedelta(milliseconds=traits["timeout_ms"]) + silent_for + _TIME_OUT_MARGIN,
        heartbeat_timeout=silent_for,
        retry_policy=_FOR_EVER,
        summary=summary,
        priority=Priority(fairness_key=tenant[:64]),
    )
    if traits["place"] == "app":
        config["task_queue"] = Place.APP.queue
    return config


def for_write(tenant: str, summary: str) -> ActivityConfig:
    """A write of the run: it is tried until the database takes it."""
    return ActivityConfig(
        start_to_close_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)),
        summary=summary,
        priority=Priority(fairness_key=tenant[:64]),
    )


def for_child(tenant: str, summary: str) -> ActivityConfig:
    """Starting or cancelling a child run: tried until Temporal and the database take it."""
    config = for_write(tenant, summary)
    # A start that is under way is waited for, so that a cancel finds the child that it made.
    config["cancellation_type"] = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    return config


def for_short_action(summary: str) -> LocalActivityConfig:
    """A short action inside the workflow task, and those ahead.

    The activity ends a handler at its limit. What takes longer, on a machine that stands still, is called otherwise.
    """
    return LocalActivityConfig(
        start_to_close_timeout=_SHORT_LIMIT, retry_policy=RetryPolicy(maximum_attempts=1), summary=summary
    )


def for_load() -> LocalActivityConfig:
    """Loading the run."""
    return _for_reading("load the run")


def for_find(action_id: str) -> LocalActivityConfig:
    """Asking who serves an action."""
    return _for_reading(f"who serves {action_id}")


def _for_reading(summary: str) -> LocalActivityConfig:
    """Read only; a longer outage waits in a timer instead of holding the task."""
    return LocalActivityConfig(
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)),
        local_retry_threshold=timedelta(seconds=3),
        summary=summary,
    )
