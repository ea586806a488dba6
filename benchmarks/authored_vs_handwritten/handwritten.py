"""What an engineer would write by hand with the SDK: N activities one after the other.

`Plain` only calls them (a); `Recorded` also keeps a status row of each in PostgreSQL (a2), which is the
least an operator needs and what the authored runtime does as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from sqlalchemy import text

    from workflows_core.storage.database import Database

QUEUE = "bench-handwritten"
TENANT = "bench"

CREATE_STATUS_TABLE = """
CREATE TABLE bench_step_status (
    run_id text NOT NULL, step text NOT NULL, status text NOT NULL, input jsonb, output jsonb,
    started_at timestamptz NOT NULL, completed_at timestamptz NOT NULL, PRIMARY KEY (run_id, step))
"""
_RECORD = text(
    """
    INSERT INTO bench_step_status (run_id, step, status, input, output, started_at, completed_at)
    VALUES (:run_id, :step, 'SUCCEEDED', CAST(:input AS jsonb), CAST(:output AS jsonb), now(), now())
    ON CONFLICT (run_id, step) DO UPDATE SET status = excluded.status, output = excluded.output
    """
)


@dataclass
class Call:
    """Input of one activity."""

    run_id: str
    step: str
    number: int


async def work(number: int) -> dict[str, Any]:
    """The effect that all variants share."""
    return {"number": number + 1}


@dataclass
class HandwrittenActivities:
    """The activities of both variants."""

    db: Database

    @activity.defn(name="benchPlain")
    async def plain(self, call: Call) -> dict[str, Any]:
        """Does the work."""
        return await work(call.number)

    @activity.defn(name="benchRecorded")
    async def recorded(self, call: Call) -> dict[str, Any]:
        """Does the work and records its status."""
        output = await work(call.number)
        async with self.db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            await conn.execute(
                _RECORD,
                {
                    "run_id": call.run_id,
                    "step": call.step,
                    "input": f'{{"number": {call.number}}}',
                    "output": f'{{"number": {output["number"]}}}',
                },
            )
        return output


async def _sequence(name: str, run_id: str, count: int) -> int:
    number = 0
    for index in range(count):
        output: dict[str, Any] = await workflow.execute_activity(
            name, Call(run_id, f"s{index}", number), start_to_close_timeout=timedelta(seconds=30)
        )
        number = output["number"]
    return number


@workflow.defn(name="BenchPlain")
class Plain:
    """(a)"""

    @workflow.run
    async def run(self, run_id: str, count: int) -> int:
        """Calls the activities."""
        return await _sequence("benchPlain", run_id, count)


@workflow.defn(name="BenchRecorded")
class Recorded:
    """(a2)"""

    @workflow.run
    async def run(self, run_id: str, count: int) -> int:
        """Calls the activities."""
        return await _sequence("benchRecorded", run_id, count)


@workflow.defn(name="BenchSignal")
class Signalled:
    """Waits for one signal: the floor of event-to-resume."""

    def __init__(self) -> None:
        self.value: Any = None

    @workflow.run
    async def run(self) -> Any:
        """Returns what the signal brought."""
        await workflow.wait_condition(lambda: self.value is not None)
        return self.value

    @workflow.signal(name="go")
    def go(self, value: Any) -> None:
        """The signal."""
        self.value = value
