"""Why a process does not start, or cannot reach what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

_T = TypeVar("_T")

EXIT_FAILED = 1
"""The process stopped because something broke, or a check did not pass."""

EXIT_REFUSED = 2
"""The process refused to start: wrong usage, settings, queue, or port."""


@dataclass(frozen=True, slots=True)
class StartProblem:
    """One reason for a refused start.

    Attributes:
        code: Stable UPPER_SNAKE code, such as `SETTING_MISSING` or `QUEUE_NOT_OWNED`.
        where: Name of the environment variable, queue or port.
        message: What is wrong and what would be right; never a secret value.
    """

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.code} {self.where}: {self.message}"


class CodedProblem(Protocol):
    """A problem as libraries report it."""

    @property
    def code(self) -> str:
        """Stable UPPER_SNAKE code."""
        ...

    @property
    def path(self) -> str:
        """Where."""
        ...

    @property
    def message(self) -> str:
        """What is wrong and what would be right."""
        ...


class StartRefused(Exception):
    """The process must not start; carries every problem found (exit code 2)."""

    def __init__(self, problems: Sequence[StartProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
        self.code = self.problems[0].code

    @classmethod
    def one(cls, code: str, where: str, message: str) -> StartRefused:
        """A refusal with a single problem."""
        return cls([StartProblem(code, where, message)])

    @classmethod
    def of(cls, problems: Sequence[CodedProblem]) -> StartRefused:
        """A refusal with the problems that a library found."""
        return cls([StartProblem(problem.code, problem.path, problem.message) for problem in problems])


def together(first: Callable[[], _T], *others: Callable[[], object]) -> _T:
    """Does every one of them, also after one that refuses; what the first one gives.

    Raises:
        StartRefused: What all of them refuse, each problem once.
    """
    problems: dict[StartProblem, None] = {}
    results: list[object] = []
    for check in (first, *others):
        try:
            results.append(check())
        except StartRefused as refused:
            problems.update(dict.fromkeys(refused.problems))
    if problems:
        raise StartRefused(list(problems))
    return cast("_T", results[0])


class Unreachable(Exception):
    """A backing service gave no usable answer.

    Attributes:
        service: What it is, `Temporal` or `PostgreSQL`.
        address: Where it was tried, without credentials.
        reason: The last answer or error, in one line.
        permanent: True if waiting alone will not help, such as a refused credential.
    """

    def __init__(self, service: str, address: str, reason: str, *, permanent: bool = False) -> None:
        super().__init__(f"{service} at {address}: {reason}")
        self.service = service
        self.address = address
        self.reason = reason
        self.permanent = permanent
