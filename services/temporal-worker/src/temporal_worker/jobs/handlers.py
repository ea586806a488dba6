"""Which code runs for which job name: an explicit table, built once and passed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a handler is given.

    Attributes:
        job_id: Id of the job, the same for every attempt: deduplicate by it.
        job_name: Name under which the handler is registered.
        tenant_id: Tenant on whose behalf the job runs.
        data: JSON value from the caller.
        attempt: 1 for the first start; more after a worker was lost.
    """

    job_id: str
    job_name: str
    tenant_id: str
    data: Json
    attempt: int


JobHandler = Callable[[JobContext], Awaitable[Json]]
"""Does the work and returns a JSON value; raises to fail the job (not retried)."""


@dataclass(frozen=True, slots=True)
class JobHandlers:
    """The frozen table of handlers."""

    by_name: Mapping[str, JobHandler]

    @classmethod
    def of(cls, *tables: Mapping[str, JobHandler]) -> JobHandlers:
        """One table of several.

        Raises:
            ValueError: A job name is in two of them.
        """
        merged: dict[str, JobHandler] = {}
        for table in tables:
            for name, handler in table.items():
                if name in merged:
                    raise ValueError(
                        f"job {name!r} has two handlers: {_origin(merged[name])} and {_origin(handler)}; remove one"
                    )
                merged[name] = handler
        return cls(MappingProxyType(merged))

    def get(self, name: str) -> JobHandler | None:
        """The handler of a job name, if there is one."""
        return self.by_name.get(name)

    def names(self) -> tuple[str, ...]:
        """All job names, sorted."""
        return tuple(sorted(self.by_name))


def built_in_handlers() -> dict[str, JobHandler]:
    """Handlers that every installation has."""
    return {"echo": _echo}


async def _echo(context: JobContext) -> Json:
    return context.data


def _origin(handler: JobHandler) -> str:
    return f"{handler.__module__}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"
