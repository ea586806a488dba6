"""Refusals that several commands give."""

from __future__ import annotations

from service_host.postgres import database_reason
from workflows_core.errors import Refused
from workflows_core.storage.database import is_unavailable, sqlstate

_NOT_ALLOWED = "42501"
_CANCELLED = "57014"


def not_found(code: str, what: str, name: str, tenant: str) -> Refused:
    """Nothing of that name in the tenant."""
    return Refused.one(code, f"tenant {tenant!r} has no {what} {name!r}; list them with `workflows {what}s list`", name)


def of_database(error: BaseException, where: str, check: str, login: str) -> Refused | None:
    """What a database is told as that does not answer, or does not let us; None for any other error.

    Args:
        error: What a statement, or connecting, ended with.
        where: `host:port/database`.
        check: What to look at where it does not answer.
        login: Who the role has to be that is not let.
    """
    reason = database_reason(error)
    if is_unavailable(error):
        # A variable of TLS that has been named is what to look at, and nothing else; who cancels a statement is found.
        remedy = "" if "PGSSL" in reason or sqlstate(error) == _CANCELLED else f"; {check}"
        return Refused.one("DATABASE_UNAVAILABLE", f"PostgreSQL at {where} cannot be used: {reason}{remedy}")
    if sqlstate(error) == _NOT_ALLOWED:
        return Refused.one("DATABASE_REFUSED", f"PostgreSQL at {where} refuses: {reason}; {login}")
    return None
