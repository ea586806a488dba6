"""What is recorded about jobs, in the tables of schema `temporal_worker`."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service_host.postgres import TRANSACTION_SECONDS

Json = Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""U+0000 and halves of surrogate pairs, which `jsonb` refuses."""


class JobRecords(Protocol):
    """Port of the job activities to whatever keeps the records."""

    async def set_status(
        self, tenant: str, job_id: str, job_name: str, status: str, metadata: Mapping[str, Json]
    ) -> bool:
        """Set the job's status and merge the metadata; False if nothing keeps records here."""
        ...

    async def add_detail(
        self, tenant: str, job_id: str, execution: str, step_name: str, status: str, result: Json
    ) -> bool:
        """Note one step of one execution, once; False if nothing keeps records here."""
        ...

    async def is_suspended(self, tenant: str) -> bool:
        """Whether jobs of the tenant are to be skipped."""
        ...


# A recurring job's row tracks all its executions: it goes back to `queued` and remembers how the last one ended. Of an
# execution before this one no error stays.
_SET_STATUS: Final = text("""
    INSERT INTO temporal_worker.jobs AS job (tenant, job_id, type, status, metadata)
    VALUES (:tenant, :job_id, :job_name, :status, CAST(:metadata AS jsonb))
    ON CONFLICT (tenant, job_id) DO UPDATE SET
        status = CASE WHEN coalesce((job.metadata ->> 'recurring')::boolean, false)
                       AND :status IN ('completed', 'failed') THEN 'queued' ELSE :status END,
        metadata = job.metadata - 'error' || CAST(:metadata AS jsonb)
            || CASE WHEN coalesce((job.metadata ->> 'recurring')::boolean, false)
                     AND :status IN ('completed', 'failed')
               THEN jsonb_build_object('lastRunStatus', CAST(:status AS text), 'lastRunAt', now())
               ELSE '{}'::jsonb END,
        updated_at = now()
""")
_ADD_DETAIL: Final = text("""
    INSERT INTO temporal_worker.job_details (tenant, job_id, external_run_id, step_name, status, result)
    VALUES (:tenant, :job_id, :execution, :step_name, :status, CAST(:result AS jsonb))
    ON CONFLICT (tenant, job_id, external_run_id, step_name) DO NOTHING
""")
_IS_SUSPENDED: Final = text("SELECT 1 FROM temporal_worker.suspended_tenants WHERE tenant = :tenant")
_HAS_TABLES: Final = text("SELECT to_regclass('temporal_worker.jobs') IS NOT NULL")
_SET_TENANT: Final = text("SELECT set_config('temporal_worker.tenant', :tenant, true)")


class PostgresJobRecords:
    """The records in PostgreSQL; does nothing where the schema is absent.

    Args:
        engine: The service's engine.
        within_seconds: A transaction that takes longer ends with `TimeoutError`: a server that hangs says nothing.
    """

    def __init__(self, engine: AsyncEngine, within_seconds: float = TRANSACTION_SECONDS) -> None:
        self._engine = engine
        self._within_seconds = within_seconds
        self._schema_seen = False

    async def set_status(
        self, tenant: str, job_id: str, job_name: str, status: str, metadata: Mapping[str, Json]
    ) -> bool:
        """See `JobRecords`."""
        async with self._tenant(tenant) as connection:
            if connection is None:
                return False
            values = {"tenant": tenant, "job_id": job_id, "job_name": job_name, "status": status}
            await connection.execute(_SET_STATUS, {**values, "metadata": _json_text(metadata)})
            return True

    async def add_detail(
        self, tenant: str, job_id: str, execution: str, step_name: str, status: str, result: Json
    ) -> bool:
        """See `JobRecords`."""
        async with self._tenant(tenant) as connection:
            if connection is None:
                return False
            values = {"tenant": tenant, "job_id": job_id, "execution": execution, "step_name": step_name}
            await connection.execute(_ADD_DETAIL, {**values, "status": status, "result": _json_text(result)})
            return True

    async def is_suspended(self, tenant: str) -> bool:
        """See `JobRecords`."""
        async with self._tenant(tenant) as connection:
            if connection is None:
                return False
            return (await connection.execute(_IS_SUSPENDED, {"tenant": tenant})).first() is not None

    @asynccontextmanager
    async def _tenant(self, tenant: str) -> AsyncIterator[AsyncConnection | None]:
        """One transaction of the tenant; None where the schema is absent."""
        async with asyncio.timeout(self._within_seconds), self._engine.begin() as connection:
            if not self._schema_seen:
                self._schema_seen = bool((await connection.execute(_HAS_TABLES)).scalar())
            if not self._schema_seen:
                yield None
                return
            await connection.execute(_SET_TENANT, {"tenant": tenant})
            yield connection


def _json_text(value: Json) -> str:
    return json.dumps(_storable(value), allow_nan=False)


def _storable(value: Json) -> Json:
    """Without what `jsonb` refuses: a job whose error says it would stay in progress for ever."""
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_storable(item) for item in value]
        case Mapping():
            return {_storable(key): _storable(item) for key, item in value.items()}
    return value
