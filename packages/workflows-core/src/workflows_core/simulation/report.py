"""What a simulation tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["completed", "paused-at-wait", "failed"]


@dataclass(slots=True)
class TraceEntry:
    """One visit of a step, in the order in which visits began."""

    step_path: str
    step_id: str
    type: str
    status: str
    attempt: int = 1
    output: Any = None
    error: dict[str, Any] | None = None
    explained: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; `explain` only where conditions were explained."""
        out: dict[str, Any] = {
            "stepPath": self.step_path,
            "stepId": self.step_id,
            "type": self.type,
            "status": self.status,
            "attempt": self.attempt,
            "output": self.output,
            "error": self.error,
        }
        return {**out, "explain": self.explained} if self.explained else out


@dataclass(slots=True)
class Report:
    """The outcome, and how it came about.

    Attributes:
        status: `completed`, `paused-at-wait` or `failed`.
        trace: Every visit of a step.
        invocations: Every call of an action, in order: stepPath, actionId, version, attempt, input.
        waits: What a paused run waits for.
        final_vars: Variables at the end.
        final_payload: Payload at the end.
        result: What `control.return` gave.
        errors: Why it failed: `{category, message, nodePath, code}`.
        warnings: What makes the simulation less than the run.
        virtual_ms: How much time has passed in the run.
    """

    status: Status
    trace: list[TraceEntry]
    invocations: list[dict[str, Any]]
    waits: list[dict[str, Any]]
    final_vars: dict[str, Any]
    final_payload: Any
    result: Any
    errors: list[dict[str, Any]]
    warnings: list[str]
    virtual_ms: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "status": self.status,
            "trace": [entry.to_json() for entry in self.trace],
            "invocations": self.invocations,
            "waits": self.waits,
            "finalVars": self.final_vars,
            "finalPayload": self.final_payload,
            "result": self.result,
            "errors": self.errors,
            "warnings": self.warnings,
            "virtualMs": self.virtual_ms,
        }
