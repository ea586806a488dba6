"""The literal names of the wire contract. They never change: callers know them by heart."""

from __future__ import annotations

from typing import Final

AUTHORED_QUEUE: Final = "workflow-runtime-v2"
APPLICATION_ACTIONS_QUEUE: Final = "workflow-app-actions"

RUN_WORKFLOW: Final = "workflowRuntimeV2RunWorkflow"
SCHEDULED_LAUNCH_WORKFLOW: Final = "workflowRuntimeV2ScheduledLaunch"

SIGNAL_EVENT: Final = "workflowRuntimeV2Event"
SIGNAL_HUMAN_TASK: Final = "workflowRuntimeV2HumanTask"
SIGNAL_QUOTA_RESUME: Final = "workflowRuntimeV2QuotaResume"
SIGNAL_RUN_ENDED: Final = "workflowRuntimeV2RunEnded"
"""To the scheduled launch that waits for the end of its run."""

QUERY_CURRENT_STEP: Final = "workflowRuntimeV2CurrentStep"
QUERY_CURRENT_WAIT: Final = "workflowRuntimeV2CurrentWait"
QUERY_SUMMARY: Final = "workflowRuntimeV2InterpreterSummary"

ACTIVITY_LOAD: Final = "workflowRuntimeV2LoadRun"
ACTIVITY_ACTION: Final = "workflowRuntimeV2RunAction"
ACTIVITY_SHORT_ACTION: Final = "workflowRuntimeV2RunShortAction"
ACTIVITY_LAST_ACTION: Final = "workflowRuntimeV2RunLastAction"
ACTIVITY_REVOKE_LAST_ACTION: Final = "workflowRuntimeV2RevokeLastAction"
ACTIVITY_WRITE: Final = "workflowRuntimeV2WriteRun"
ACTIVITY_FINISH: Final = "workflowRuntimeV2FinishRun"
ACTIVITY_FIND_ACTION: Final = "workflowRuntimeV2FindAction"
ACTIVITY_LAUNCH_CHILD: Final = "workflowRuntimeV2LaunchChildRun"
ACTIVITY_CANCEL_CHILD: Final = "workflowRuntimeV2CancelChildRun"
ACTIVITY_FIRE_SCHEDULE: Final = "workflowRuntimeV2FireSchedule"
ACTIVITY_WATCH_SCHEDULED_RUN: Final = "workflowRuntimeV2WatchScheduledRun"

SEARCH_TENANT: Final = "WorkflowTenant"
SEARCH_WORKFLOW: Final = "WorkflowKey"
SEARCH_VERSION: Final = "WorkflowVersion"
SEARCH_PARENT: Final = "WorkflowParentRun"

FAILURE_TYPE_PREFIX: Final = "WorkflowRuntimeV2."
"""A failed run ends with an application failure of type `WorkflowRuntimeV2.<category>`."""

HUMAN_TASK_COMPLETED: Final = "HUMAN_TASK_COMPLETED"
"""Event of a human task's answer; its correlation key is the task's id."""

HUMAN_TASK_REMINDER: Final = "HUMAN_TASK_REMINDER"
"""Event of a task that is due and still open; its correlation key is the task's id."""

RUN_ENDED: Final = "WORKFLOW_RUN_ENDED"
"""Event of the end of a run that another run has started; its correlation key is the ended run's id."""

RUNTIME_EVENT_IDS: Final = ("run-ended:", "task-answered:", "task-reminder:")
"""How the ids of the runtime's own events begin; publishers choose others."""

_WORKFLOW_ID_PREFIX: Final = "workflow-runtime-v2:run:"


def workflow_id_of(run_id: str) -> str:
    """The Temporal workflow id of a run, the same for children."""
    return _WORKFLOW_ID_PREFIX + run_id


def run_id_of(temporal_id: str) -> str | None:
    """Inverse of `workflow_id_of`; None for an id that a caller made up."""
    return temporal_id.removeprefix(_WORKFLOW_ID_PREFIX) if temporal_id.startswith(_WORKFLOW_ID_PREFIX) else None
