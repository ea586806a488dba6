"""An action that may be the last of its run: behind its handler the activity goes on as the run would.

If that comes to the end of the run and needs no other answer from outside, the end is written with the action.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Failure, WorkflowsError
from workflows_core.execution.budget import MAX_EFFORT, MAX_ELAPSED_MS, MAX_STEPS_AT_ONCE
from workflows_core.execution.last_answers import ended_of, succeeded
from workflows_core.execution.payloads import decode, encode
from workflows_core.execution.plans import compiled_plan
from workflows_core.execution.regular_action import RegularAction
from workflows_core.execution.run_view import result_of
from workflows_core.execution.short_actions import THREADS
from workflows_core.interpreter.outbox import Entry, EntryKind, Outbox
from workflows_core.interpreter.state import SUPPORTED_SEMANTICS, State
from workflows_core.interpreter.step import step as take
from workflows_core.interpreter.writes import take_final_write
from workflows_core.storage import last_actions
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.ledger import LedgerEntry
from workflows_core.wire.compact_last_calls import full_asked
from workflows_core.wire.records import EndedRecord, LastAnswer, RunWrite, StepRecord, StepStatus, WrittenEnd

_LOG = logging.getLogger(__name__)
_OF_WAITS = frozenset({"consumed", "closed", "refused"})


class Ending(NamedTuple):
    """The end of a run: its final write, and what the run is told of it."""

    write: RunWrite
    record: EndedRecord


class LastAction(RegularAction):
    """One start of such a call; `asked` is what the run gave to it (`execution.last_calls`)."""

    def __init__(self, *args: Any, asked: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked = asked
        self.ended: EndedRecord | None = None
        self.found: WrittenEnd | None = None

    async def run(self) -> LastAnswer:
        """As of a regular action, with the run's end if it was written."""
        output = await super().run()
        if self.found is not None:
            return {"found": self.found}
        return {"output": output} if self.ended is None else {"output": output, "ended": self.ended}

    async def _complete(self, step: StepRecord) -> None:
        end = await self._end_behind(step)
        if end is None:
            await super()._complete(step)
            return
        try:
            if not await self._kept(lambda: self._end_in(self.db, step, end)):
                await super()._complete(step)
        except Exception as error:
            if is_unavailable(error) or isinstance(error, WorkflowsError):
                raise
            # What keeps the run from its end is not the action's fault: it has had its effect, and that is recorded.
            _LOG.exception("run %s: its last action could not write the end", self.write["run_id"])
            await super()._complete(step)

    async def _complete_in(self, conn: AsyncConnection, step: StepRecord) -> None:
        end = await self._end_behind(step)
        if end is None:
            await super()._complete_in(conn, step)
        else:
            await self._end_in(conn, step, end)

    async def _end_in(self, where: Database | AsyncConnection, step: StepRecord, end: Ending) -> bool:
        write = self._called()["write"]
        has_ended = await last_actions.complete_last(where, write, end.write, step, self.token, self.execution)
        self.ended = end.record if has_ended else None
        return has_ended

    async def _known_end(self, before: LedgerEntry) -> Any:
        output = await super()._known_end(before)
        self.found = await last_actions.end_of(self.db, self.write)
        return output

    def _step(self, status: StepStatus, output: Any, failure: Failure | None) -> StepRecord:
        step = super()._step(status, output, failure)
        # The run's clock does not go back where the one of this machine is late.
        return {**step, "completed_at": max(step["completed_at"] or 0, self.asked["at"])}

    async def _end_behind(self, step: StepRecord) -> Ending | None:
        """The end of the run if the action's success leads to it; what the action carries is written with it."""
        if step["status"] != "SUCCEEDED":
            return None
        try:
            # In a thread: an expression may take longer than the other work of this process should wait.
            finding = asyncio.get_running_loop().run_in_executor(THREADS, self._follow, step)
            return await asyncio.wait_for(finding, MAX_ELAPSED_MS / 1000)
        except TimeoutError:
            return None
        except Exception:
            # Not the fault of the action. The run meets it itself, and is told so by its task.
            _LOG.exception("run %s: what follows its last action could not be found out", self.write["run_id"])
            return None

    def _follow(self, step: StepRecord) -> Ending | None:
        asked = full_asked(self.asked, self.call)
        plan = compiled_plan(asked.copy["identity"]["definition_hash"])
        if plan is None or step["invocation"] is None or step["completed_at"] is None:
            return None
        before = replace(State.from_checkpoint(asked.copy), outbox=self._outbox({**step, "invocation": None}))
        if before.semantics not in SUPPORTED_SEMANTICS or before.engine != plan.engine:
            return None
        # As the run will read it.
        output = decode(encode(step["invocation"]["output_json"]))
        event = succeeded(asked.command_id, output, step["completed_at"])
        after, _ = take(plan, before, event, max_steps=MAX_STEPS_AT_ONCE, max_effort=MAX_EFFORT)
        ended = ended_of(after)
        if ended is None or any(e.kind in _OF_WAITS and e.carried_by is None for e in after.outbox.entries):
            # A wait that was opened and left: it may have taken an event that only the run has.
            return None
        _, write = take_final_write(after, result_of(after))
        return Ending(write, ended)

    def _outbox(self, step: StepRecord) -> Outbox:
        """As it is at the run, with the action's own row on its way."""
        carried: Mapping[EntryKind, Sequence[Any]] = {
            "step": [*self._carried(), step],
            "log": self.write["logs"],
            "consumed": self.write["consumed"],
            "closed": self.write["closed"],
            "refused": self.write.get("refused", ()),
        }
        sequence = self.write["sequence"]
        entries = [Entry(kind, record, 0, sequence) for kind, records in carried.items() for record in records]
        return Outbox(tuple(entries), sequence)
