"""Why a launch, a signal or a cancel was not done; callers tell them apart by type or by code."""

from __future__ import annotations

from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.service import RPCError

from workflows_core.errors import Problem, Refused


def is_not_there(error: RPCError) -> bool:
    """Whether Temporal says that there is no such workflow or schedule.

    A namespace that is missing has the same status and says nothing of what is in it; nor does a proxy that knows no
    such address.
    """
    return any(detail.Is(NotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)


class TemporalUnavailable(Refused):
    """Indicates that Temporal does not answer: trying again later is right, and safe."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__([Problem("TEMPORAL_UNAVAILABLE", f"{what}: Temporal does not answer ({reason})")])


class LaunchRejected(Refused):
    """Indicates that Temporal refused to start the run; trying the same again is of no use."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__([Problem("LAUNCH_REJECTED", f"Temporal refused to start run {run_id}: {reason}")])


class RunNotRunning(Refused):
    """Indicates that Temporal has no open execution of the run: it has ended, or was not started yet."""

    def __init__(self, run_id: str) -> None:
        super().__init__([Problem("RUN_NOT_RUNNING", f"Temporal has no open execution of run {run_id}", "runId")])


class SearchAttributesMissing(Refused):
    """Indicates that the namespace lacks the search attributes of authored runs, so that nothing can start."""

    def __init__(self, namespace: str, reason: str) -> None:
        message = f"namespace {namespace!r} lacks the search attributes of runs; run `workflows setup` ({reason})"
        super().__init__([Problem("SEARCH_ATTRIBUTES_MISSING", message)])
