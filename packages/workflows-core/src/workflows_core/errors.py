"""Errors of the authored runtime: categories that authors route by, problems that people read.

Nothing here knows Temporal or the database. A `Failure` is data (it lives in run state and crosses
every boundary unchanged); the exceptions are how code raises one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict of these."""


class ErrorCategory(StrEnum):
    """What `retryOn`, `onError` and later handlers route by. The first nine are the original's."""

    VALIDATION = "ValidationError"
    EXPRESSION = "ExpressionError"
    TRANSIENT = "TransientError"
    ACTION = "ActionError"
    TIMEOUT = "TimeoutError"
    QUOTA_EXCEEDED = "QuotaExceeded"
    CHILD_WORKFLOW = "ChildWorkflowError"
    INTERPRETER_CORRUPTION = "InterpreterCorruption"
    CANCELLATION = "Cancellation"
    STATE_TOO_LARGE = "StateTooLarge"
    PAYLOAD_TOO_LARGE = "PayloadTooLarge"
    UNKNOWN_OUTCOME = "UnknownOutcome"
    ACTION_UNAVAILABLE = "ActionUnavailable"
    ACTION_CRASHED = "ActionCrashed"
    RUN_RESET = "RunReset"


UNCATCHABLE = frozenset({ErrorCategory.CANCELLATION, ErrorCategory.INTERPRETER_CORRUPTION, ErrorCategory.RUN_RESET})
"""Categories that no retry, `onError` or catch of an author may handle."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step or a run failed.

    Attributes:
        category: One of `ErrorCategory`'s values.
        message: One sentence for people.
        step_path: Path of the failing step, such as `root.steps[0].then.steps[1]`; None for the run.
        at: Milliseconds since the epoch, or None when not known.
        code: Stable UPPER_SNAKE code of the action or of the runtime, if there is one.
        details: JSON object with evidence.
    """

    category: str
    message: str
    step_path: str | None = None
    at: int | None = None
    code: str | None = None
    details: Mapping[str, Json] | None = None

    def to_json(self) -> dict[str, Json]:
        """As stored in `error_json` and seen by authors as `error` (the original's field names)."""
        out: dict[str, Json] = {"category": str(self.category), "message": self.message}
        if self.step_path is not None:
            out["nodePath"] = self.step_path
        if self.at is not None:
            out["at"] = self.at
        if self.code is not None:
            out["code"] = self.code
        if self.details is not None:
            out["details"] = dict(self.details)
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Failure:
        """Inverse of `to_json`."""
        return cls(
            category=value["category"],
            message=value["message"],
            step_path=value.get("nodePath"),
            at=value.get("at"),
            code=value.get("code"),
            details=value.get("details"),
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document, a setting or a request; answers list all of them at once.

    Attributes:
        code: Stable UPPER_SNAKE code with a heading in docs/problem-codes.md.
        message: What is wrong and what would be right.
        path: Where: a step path, a JSON path or a variable name; empty for the whole.
        severity: `error` blocks, `warning` does not.
        step_id: The authored step's id, if the problem is inside one.
        suggestion: A likely intended value ("did you mean").
    """

    code: str
    message: str
    path: str = ""
    severity: Literal["error", "warning"] = "error"
    step_id: str | None = None
    suggestion: str | None = None

    def to_json(self) -> dict[str, Json]:
        """All fields, JSON-ready."""
        return {
            "severity": self.severity,
            "code": self.code,
            "path": self.path,
            "stepId": self.step_id,
            "message": self.message,
            "suggestion": self.suggestion,
        }

    @property
    def sentence(self) -> str:
        """Place, message and suggestion, without the code."""
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        return f"{self.path}: {self.message}{hint}" if self.path else f"{self.message}{hint}"

    def __str__(self) -> str:
        return f"{self.severity} {self.code}{' at ' if self.path else ': '}{self.sentence}"


class WorkflowsError(Exception):
    """Root of this wheel's exceptions: a stable code and one sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def sentence(self) -> str:
        """What is said where the code stands beside it."""
        return self.message


class Refused(WorkflowsError):
    """A request or document that is refused, with every problem found (command line: exit code 1)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = next((p for p in problems if p.severity == "error"), problems[0])
        super().__init__(first.code, "\n".join(str(p) for p in problems))
        self.problems = tuple(problems)

    @property
    def sentence(self) -> str:
        """Of a single problem without its code; of several each with its own."""
        return self.problems[0].sentence if len(self.problems) == 1 else self.message

    @classmethod
    def one(cls, code: str, message: str, path: str = "", suggestion: str | None = None) -> Refused:
        """A refusal with a single problem."""
        return cls([Problem(code, message, path, suggestion=suggestion)])


class StepFailed(Exception):
    """Raised inside the interpreter or an action when a step fails; carries the `Failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class ActionFailed(StepFailed):
    """What an action handler raises to fail its step with a category, a code and details."""

    def __init__(
        self,
        message: str,
        *,
        category: ErrorCategory = ErrorCategory.ACTION,
        code: str | None = None,
        details: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__(Failure(category=category, message=message, code=code, details=details))
