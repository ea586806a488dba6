"""What a generic job is given and what it answers; field names are those of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from temporalio.exceptions import ApplicationError

from temporal_worker.names import JOB_INPUT_INVALID

Json = Any
JobStep = Literal["initializing", "executing", "completed", "failed"]

_TEXTS = ("jobId", "jobName", "tenantId")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Input of the generic job workflow."""

    job_id: str
    job_name: str
    tenant_id: str
    data: Json

    @classmethod
    def from_json(cls, value: Json) -> JobRequest:
        """From `{jobId, jobName, tenantId, data}`; further fields are ignored.

        Raises:
            ApplicationError: Not retryable, type GenericJobInputInvalid, naming every missing or wrong field.
        """
        fields = value if isinstance(value, Mapping) else {}
        wrong = [name for name in _TEXTS if not isinstance(fields.get(name), str) or not fields[name]]
        if wrong:
            raise ApplicationError(
                f"a job needs the non-empty texts {', '.join(_TEXTS)}; missing or wrong: {', '.join(wrong)}",
                type=JOB_INPUT_INVALID,
                non_retryable=True,
            )
        return cls(fields["jobId"], fields["jobName"], fields["tenantId"], fields.get("data"))

    def to_json(self) -> dict[str, Json]:
        """Inverse of `from_json`."""
        return {"jobId": self.job_id, "jobName": self.job_name, "tenantId": self.tenant_id, "data": self.data}


@dataclass(frozen=True, slots=True)
class JobState:
    """Answer of the query `getJobState`; `progress` is a percentage, times are ISO 8601."""

    step: JobStep = "initializing"
    progress: float = 0
    message: str | None = None
    error: str | None = None
    started_at: str | None = None
    completed_at: str | None = None

    def at(self, step: JobStep, progress: float) -> JobState:
        """The same job, further on."""
        return replace(self, step=step, progress=progress)

    def to_json(self) -> dict[str, Json]:
        """Fields that are not set are left out."""
        fields = {
            "step": self.step,
            "progress": self.progress,
            "message": self.message,
            "error": self.error,
            "startedAt": self.started_at,
            "completedAt": self.completed_at,
        }
        return {name: value for name, value in fields.items() if value is not None}
