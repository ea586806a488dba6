"""The port: what the rest of the runtime knows of expressions. Only `jlens_engine` imports jlens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol


class _NoValue:
    """Type of `NO_VALUE`."""

    def __repr__(self) -> str:
        return "NO_VALUE"

    def __bool__(self) -> bool:
        return False


NO_VALUE: Final = _NoValue()
"""What an expression gives whose path is missing; JSON null is `None`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one evaluation, all counts, so that every machine decides alike.

    `max_pattern_work` is for expressions with a pattern: steps times bytes of the longest text, since each match costs
    as much as the text is long.
    """

    max_steps: int = 10_000
    max_depth: int = 200
    max_array_length: int = 10_000
    max_result_bytes: int = 256 * 1024
    max_string_bytes: int = 256 * 1024
    max_pattern_work: int = 32 * 1024 * 1024
    max_work: int = 32 * 1024 * 1024
    meter: Callable[[int, int], None] | None = field(default=None, compare=False)
    """Is told of each attempt before it is made: bytes that are read, and the work that it may be. May raise."""


class ExpressionInvalid(Exception):
    """A source that cannot be compiled or uses what is not allowed.

    Attributes:
        message: What is wrong and what would be right.
        position: Zero-based offset in the source, if known.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class ExpressionFailed(Exception):
    """An evaluation that failed or went over a limit; the interpreter adds the step's path.

    Attributes:
        message: With the expression's source and, for a limit, its name and value.
        code: The engine's own code, or None.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Expression(Protocol):
    """A compiled expression; immutable, usable from any thread."""

    @property
    def source(self) -> str:
        """As authored."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Dotted paths of the document it reads, such as `payload.ticket.id`."""
        ...

    @property
    def has_patterns(self) -> bool:
        """Whether it has a pattern (`/…/`), whose cost depends on the texts it meets."""
        ...

    def evaluate(self, document: Mapping[str, Any], *, now_ms: int, seed: int, limits: Limits | None = None) -> Any:
        """The value as JSON, or `NO_VALUE`.

        Args:
            document: The context (`payload`, `vars`, `meta`, `error`, `system`, …).
            now_ms: The run's time, milliseconds since the epoch; what `nowIso()` gives.
            seed: For `$random()`; the same seed gives the same value.
            limits: Others than the engine's own.

        Raises:
            ExpressionFailed: The evaluation failed or went over a limit.
        """
        ...


class ExpressionEngine(Protocol):
    """Compiles authored expressions."""

    @property
    def version(self) -> str:
        """Name and version, such as `jlens 0.25.0`; recorded in each run."""
        ...

    def compile(self, source: str) -> Expression:
        """Compiles and checks a source.

        Raises:
            ExpressionInvalid: Syntax, or a function that is not allowed.
        """
        ...
