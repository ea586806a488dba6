"""How the statements of run writes and ledger reach the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import ActionFailed, ErrorCategory, Json, Problem, Refused
from workflows_core.storage.database import Database, sqlstate
from workflows_core.storage.driver_rows import rows_by_driver

_RUN_RESET = "WF001"
_EVENT_CONFLICT = "WF002"
_RUN_ROW_MISSING = "WF003"
_CHECK_VIOLATION = "23514"
_PROGRAM_LIMIT = "54000"
_EVENT_INVALID = "EVENT_INVALID: "


class RunReset(Refused):
    """Indicates that an execution writes which is not the run's own: somebody reset the run in Temporal."""

    def __init__(self, found: str) -> None:
        advice = (
            "a run that was reset with Temporal's own tools is refused, because what its earlier execution did "
            "is recorded and stays: start a new run with the same input instead"
        )
        super().__init__([Problem("RUN_RESET", f"{found}; {advice}")])


class RunRowMissing(Exception):
    """Indicates that a run has no row any more, and that what is written does not say enough for one."""


def is_contended(error: BaseException) -> bool:
    """Whether a statement lost against another one (lock held too long, deadlock); the database itself is there."""
    state = sqlstate(error) or ""
    return state in ("57014", "55P03") or state.startswith("40")


def is_fault_of_schema(error: BaseException) -> bool:
    """Whether a statement names what the schema does not have: it is older than this build, or not ours."""
    state = sqlstate(error) or ""
    return state in ("42883", "42P01", "42703")


async def rows_of(
    where: Database | AsyncConnection, statement: TextClause, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of a statement: in a transaction of its own (`Database.alone`), or in the one of a connection.

    Raises:
        RunReset: And the other refusals of our SQL functions.
    """
    with coded_errors():
        if isinstance(where, Database):
            return await where.alone(statement, values)
        return await rows_by_driver(where, statement, values)


async def value_of(where: Database | AsyncConnection, statement: TextClause, values: Mapping[str, Any]) -> Any:
    """The only value of the only row; otherwise as `rows_of`."""
    [row] = await rows_of(where, statement, values)
    [value] = row.values()
    return value


class coded_errors:  # noqa: N801 - a context manager, read as a verb
    """Turns the refusals of our SQL functions into coded errors."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raises the coded error in place of the database's."""
        if not isinstance(error, DBAPIError):
            return
        state = sqlstate(error)
        message = _said(error)
        if state == _RUN_RESET:
            raise RunReset(message) from None
        if state == _RUN_ROW_MISSING:
            raise RunRowMissing(message) from None
        if state == _EVENT_CONFLICT:
            raise Refused.one("EVENT_CONFLICT", message, "eventId") from None
        if state == _PROGRAM_LIMIT:
            # However often it is tried again.
            found = f"a key, a name or an id is longer than the database can find it by: {message}"
            raise Refused.one("INDEXED_VALUE_TOO_LONG", found) from None
        if state == _CHECK_VIOLATION and message.startswith(_EVENT_INVALID):
            # What only the database can tell, such as the size that a value has there.
            raise Refused.one("EVENT_INVALID", message.removeprefix(_EVENT_INVALID), "payload") from None


@contextmanager
def indexed(texts: Mapping[str, str]) -> Iterator[None]:
    """Around what an action writes under names that its author gives: an index holds no more than a third of a page.

    How much fits is known to the database alone, which packs what repeats itself.

    Args:
        texts: The names, by the fields of the action's input.

    Raises:
        ActionFailed: `ValidationError` `INDEXED_VALUE_TOO_LONG`, with the bytes of each.
    """
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) != _PROGRAM_LIMIT:
            raise
        sizes: dict[str, Json] = {name: len(text.encode()) for name, text in texts.items()}
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ActionFailed(
            f"the names are together longer than the database can find them by, in bytes: {listed} "
            f"({_said(error)}); use shorter ones",
            category=ErrorCategory.VALIDATION,
            code="INDEXED_VALUE_TOO_LONG",
            details={"bytes": sizes},
        ) from None


def _said(error: DBAPIError) -> str:
    return str(getattr(getattr(error.orig, "diag", None), "message_primary", None) or error.orig)
