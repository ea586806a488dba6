"""What a failing activity means: a database that is away is tried again, everything else is the author's to handle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.errors import ErrorCategory, StepFailed, WorkflowsError
from workflows_core.execution.failures import authored_error, refused_error
from workflows_core.storage.database import is_unavailable, unavailable_reason

_T = TypeVar("_T")
_DATABASE_RETRY = timedelta(seconds=2)


async def durably(work: Callable[[], Awaitable[_T]]) -> _T:
    """Tells a database that is away, which Temporal retries quietly, from a failure that is the author's.

    Raises:
        ApplicationError: Retryable and benign for the database, non-retryable with the category else.
    """
    try:
        return await work()
    except StepFailed as error:
        raise authored_error(error.failure, recorded=False) from None
    except WorkflowsError as error:
        category = ErrorCategory.RUN_RESET if error.code == "RUN_RESET" else ErrorCategory.VALIDATION
        raise refused_error(error, category) from error
    except Exception as error:
        if not is_unavailable(error):
            raise
        # Alone: the statement and its values, which the database's own error has, would go into the history.
        raise ApplicationError(
            unavailable_reason(error),
            type="DatabaseUnavailable",
            next_retry_delay=_DATABASE_RETRY,
            category=ApplicationErrorCategory.BENIGN,
        ) from None
