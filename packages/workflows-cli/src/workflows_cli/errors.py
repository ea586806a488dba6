"""Refusals that several commands give."""

from __future__ import annotations

from workflows_core.errors import Refused


def not_found(code: str, what: str, name: str, tenant: str) -> Refused:
    """Nothing of that name in the tenant."""
    return Refused.one(code, f"tenant {tenant!r} has no {what} {name!r}; list them with `workflows {what}s list`", name)
