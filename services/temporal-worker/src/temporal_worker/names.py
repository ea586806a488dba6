"""Literal names of this service's queues, workflows and activities; callers know them by heart."""

from __future__ import annotations

from typing import Final

SERVICE: Final = "temporal-worker"

JOBS_QUEUE: Final = "alga-jobs"

READINESS_WORKFLOW: Final = "readiness"
GENERIC_JOB_WORKFLOW: Final = "genericJobWorkflow"

UPDATE_JOB_STATUS: Final = "updateJobStatus"
CREATE_JOB_DETAIL: Final = "createJobDetail"
EXECUTE_JOB_HANDLER: Final = "executeJobHandler"

JOB_FAILURE: Final = "GenericJobFailure"
JOB_INPUT_INVALID: Final = "GenericJobInputInvalid"


def readiness_activity(queue: str) -> str:
    """The readiness activity of one queue; no other queue has it."""
    return f"readiness:{queue}"
