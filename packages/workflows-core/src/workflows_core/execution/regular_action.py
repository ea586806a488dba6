"""An action as a regular activity: handler, then one transaction with everything the run had pending.

The ledger row (`workflow_action_invocations`) makes an effect happen once where the receiver cannot:
a later start reads it before it does anything, and only the start that owns the row may complete it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from workflows_core.actions.action import Action, Effect
from workflows_core.actions.ports import ActionObserver, EntityLinks, KeyValueStore, SecretProvider
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.execution.failures import action_crashed, authored_error
from workflows_core.execution.handlers import Surroundings, call_handler, required_action
from workflows_core.execution.lost_rows import with_row
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.suspects import OF_THIS_PROCESS
from workflows_core.interpreter.compensation import UNDOING
from workflows_core.storage import ledger
from workflows_core.storage.begun_runs import require_own
from workflows_core.storage.database import Database, is_unavailable, sqlstate
from workflows_core.storage.entity_links import PostgresEntityLinks
from workflows_core.storage.key_values import PostgresKeyValueStore
from workflows_core.storage.ledger import LedgerEntry
from workflows_core.storage.run_writes import write_run
from workflows_core.wire.records import (
    INLINE_OUTPUT_BYTES,
    ActionCall,
    InvocationRecord,
    RunWrite,
    StepRecord,
    StepStatus,
)

MAX_CRASHES = 5
"""A call that lost so many starts while it ran alone has killed them."""

MAX_ABORTED = 3
"""So often a handler may keep an error of its store to itself: it may have been one that passes, such as a deadlock."""

_ABORTED = "25P02"
_T = TypeVar("_T")
_RELEASE_SECONDS = 1.0
_SLOW_AFTER_SECONDS = 1.0
"""A handler that runs longer than this is announced in the database and starts to heartbeat."""


class RegularAction:
    """One start of one call."""

    def __init__(
        self,
        db: Database,
        registry: ActionRegistry,
        secrets: SecretProvider,
        policy: RunPolicy,
        call: ActionCall,
        observe: ActionObserver | None = None,
    ) -> None:
        self.db = db
        self.registry = registry
        self.secrets = secrets
        self.policy = policy
        self.call = call
        self.observe = observe
        self.write = call["write"]
        self.execution = activity.info().workflow_run_id or ""
        self.token = uuid.uuid4().hex
        self.heartbeat = activity.info().heartbeat_details
        """What later starts of this call are told."""
        self.held = AsyncExitStack()
        self.started_at = int(time.time() * 1000)

    async def run(self) -> Any:
        """The output; everything is recorded when this returns.

        Raises:
            ApplicationError: The authored failure, recorded.
        """
        try:
            return await self._run()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) or is_unavailable(error):
                await self._release()
            raise
        finally:
            await self.held.aclose()

    async def _release(self) -> None:
        """Says that this start was not lost, such as where a worker drains or the database broke a transaction off."""
        # For the ledger only, which a database that is away must not hold up.
        with suppress(Exception):
            await asyncio.wait_for(ledger.release(self.db, self.call, self.token), _RELEASE_SECONDS)

    async def _run(self) -> Any:
        try:
            action = required_action(self.registry, self.call)
            done, output = await self._before(action)
            if done:
                return output
            if action.effect is Effect.TRANSACTIONAL:
                return await self._kept(lambda: self._transactional(action))
            async with self._watched(action):
                output = await self._handle(action)
        except StepFailed as error:
            await self._complete(self._step("FAILED", None, error.failure))
            raise authored_error(error.failure, recorded=True) from None
        await self._complete(self._step("SUCCEEDED", output, None))
        return output

    async def _before(self, action: Action) -> tuple[bool, Any]:
        """What must be known or written before the handler; (True, output) when the effect is there already."""
        if UNDOING in self.call["step_path"]:
            # One that was reset and then cancelled would undo what the run had done, and be refused behind that.
            await self._require_own()
        first = activity.info().attempt == 1
        if first and action.effect is Effect.TRANSACTIONAL:
            # It reads its row in its own transaction, which leaves nothing of a start that is lost: later ones count.
            return False, None
        first = first and self.call["attempt"] == 1 and not self.call["authored_key"]
        if first and action.effect is not Effect.AT_MOST_ONCE:
            return False, None
        before = await self._start_again()
        if not before.taken:
            return True, await self._known_end(before)
        if action.effect is Effect.AT_MOST_ONCE:
            self._require_known(action, before)
        return False, None

    async def _require_own(self) -> None:
        """Lets the run's own execution pass.

        Raises:
            RunReset: The run was reset: this one is another.
        """
        write = self.write
        await require_own(self.db, write["tenant"], write["run_id"], write["generation"], self.execution)

    def _require_known(self, action: Action, before: LedgerEntry) -> None:
        """Refuses what may have had its effect.

        Raises:
            StepFailed: `UnknownOutcome`.
        """
        known = None if before.error is None else Failure.from_json(before.error)
        if before.status == "STARTED":
            what = f"an earlier start of {action.key} was lost"
            if self.call["authored_key"]:
                what = f"another call of {action.key} with this idempotency key is under way, or was lost,"
            message = f"{what} and may have had its effect; it is at-most-once, so it is not repeated"
            raise StepFailed(Failure(ErrorCategory.UNKNOWN_OUTCOME, message, code="UNKNOWN_OUTCOME"))
        if self.call["attempt"] > 1 and known is not None and known.category == ErrorCategory.UNKNOWN_OUTCOME:
            # An author's retry is no look at the receiver.
            raise StepFailed(known)

    async def _start_again(self) -> LedgerEntry:
        """Takes the row, alone if this call has to run alone.

        Raises:
            StepFailed: `ActionCrashed`.
            ApplicationError: It is another suspect's turn.
        """
        lost = 0 if activity.info().attempt == 1 else 1
        before = await self._kept(lambda: ledger.start_again(self.db, self.call, self.token, lost=lost))
        if not before.suspect:
            return before
        if before.crashes < MAX_CRASHES:
            await self.held.enter_async_context(OF_THIS_PROCESS.turn(self.call))
        taken = await self._kept(lambda: ledger.start_again(self.db, self.call, self.token, alone=True))
        if taken.taken and before.crashes >= MAX_CRASHES:
            raise StepFailed(action_crashed(self.call, before.crashes))
        return taken

    async def _known_end(self, before: LedgerEntry) -> Any:
        """Answers a call that has ended before; what travels along is written all the same.

        Raises:
            ApplicationError: It had failed, in this very attempt.
        """
        failure = None if before.error is None else Failure.from_json(before.error)
        status: StepStatus = "SUCCEEDED" if before.status == "SUCCEEDED" else "FAILED"
        # A row that tells it stays: a process that stood still would move its begin and its end behind what followed.
        told = await ledger.is_told(self.db, self.call, status)
        await self._write(None if told else self._step(status, before.output, failure))
        if failure is not None and status == "FAILED":
            raise authored_error(failure, recorded=True)
        return before.output

    async def _handle(
        self, action: Action, store: KeyValueStore | None = None, links: EntityLinks | None = None
    ) -> Any:
        passes = _is_of_our_database if action.effect is Effect.TRANSACTIONAL else None
        return await call_handler(
            action,
            self.call,
            self.write["tenant"],
            self.write["run_id"],
            self.secrets,
            Surroundings(store, links, self.observe, passes=passes),
            max_output_bytes=self.policy.max_output_bytes,
        )

    async def _transactional(self, action: Action) -> Any:
        """The effect and its record in one transaction: exactly once."""
        async with ledger.completing(self.db, self.call, self.token) as (conn, before):
            if before.taken:
                tenant, run_id = self.write["tenant"], self.write["run_id"]
                store = PostgresKeyValueStore(conn, tenant, run_id)
                output = await self._handle(action, store, PostgresEntityLinks(conn, tenant, run_id))
                try:
                    await self._complete_in(conn, self._step("SUCCEEDED", output, None))
                except DBAPIError as error:
                    if sqlstate(error) != _ABORTED or activity.info().attempt < MAX_ABORTED:
                        raise
                    raise StepFailed(_kept_quiet(action)) from None
                return output
        return await self._known_end(before)

    async def _kept(self, work: Callable[[], Awaitable[_T]]) -> _T:
        return await with_row(self.db, work)

    async def _write(self, step: StepRecord | None) -> None:
        """Writes the step, if there is one to write, and what travels along, without the ledger's row."""
        if step is None:
            write: RunWrite = {**self.write, "steps": self._carried()}
            await self._kept(lambda: write_run(self.db, write, self.execution))
            return
        own: StepRecord = {**step, "invocation": None}
        if self.call["authored_key"] and step["invocation"] is not None:
            # The ledger row may be that of another run or step, so this one's own row is where its output is found.
            own["output_json"] = step["invocation"]["output_json"]
        write = {**self.write, "steps": [*self._carried(), own]}
        await self._kept(lambda: write_run(self.db, write, self.execution))

    async def _complete(self, step: StepRecord) -> None:
        if await self._settle(step):
            return
        # Of a run that was reset, this call had ended before: it is refused here, and not after all that follow it.
        await self._require_own()
        if not self.call["authored_key"]:
            return
        if await self._kept(lambda: ledger.is_own(self.db, self.call)):
            return  # A later start of this call has taken the row: its end counts.
        # Another run or step with this key has it.
        action = self.registry.get(self.call["action_id"], self.call["action_version"])
        if step["status"] == "SUCCEEDED" and action is not None and action.effect is Effect.AT_MOST_ONCE:
            # Nobody may do again what has happened.
            taken = await self._kept(lambda: ledger.start_again(self.db, self.call, self.token, alone=True))
            if taken.taken and await self._settle(step):
                return
        await self._write(step)

    async def _settle(self, step: StepRecord) -> bool:
        return await self._kept(lambda: ledger.complete(self.db, self._called(), step, self.token, self.execution))

    async def _complete_in(self, conn: AsyncConnection, step: StepRecord) -> None:
        await ledger.complete_in(conn, self._called(), step, self.token, self.execution)

    def _called(self) -> ActionCall:
        return {**self.call, "write": {**self.write, "steps": self._carried()}}

    def _carried(self) -> list[StepRecord]:
        """The records that travel along, without an older one of this very step."""
        here = (self.call["step_path"], self.call["visit"])
        return [step for step in self.write["steps"] if (step["step_path"], step["visit"]) != here]

    def _step(self, status: StepStatus, output: Any, failure: Failure | None) -> StepRecord:
        # Not before its begin, also where the clock was set back meanwhile.
        ended_at = max(self.started_at, int(time.time() * 1000))
        error = None
        if failure is not None:
            error = Failure(
                failure.category, failure.message, self.call["step_path"], ended_at, failure.code, failure.details
            ).to_json()
        invocation: InvocationRecord = {
            "action_id": self.call["action_id"],
            "action_version": self.call["action_version"],
            "idempotency_key": self.call["idempotency_key"],
            "status": "FAILED" if status == "FAILED" else "SUCCEEDED",
            "attempt": self.call["attempt"],
            "input_json": self.call["input"],
            "output_json": output,
            "error_json": error,
        }
        return {
            "step_path": self.call["step_path"],
            "visit": self.call["visit"],
            "definition_step_id": self.call["definition_step_id"],
            "step_type": "action.call",
            "name": self.call["name"],
            "status": status,
            "attempt": self.call["attempt"],
            "started_at": self.started_at,
            "completed_at": ended_at,
            "output_json": output if len(repr(output)) <= INLINE_OUTPUT_BYTES else None,
            "error_json": error,
            "generation": self.write["generation"],
            "sequence": self.write["sequence"],
            "invocation": invocation,
        }

    @asynccontextmanager
    async def _watched(self, action: Action) -> AsyncIterator[None]:
        """Announces and heartbeats a slow handler; a fast one pays for neither."""
        loop = asyncio.get_running_loop()
        slow: list[asyncio.Task[None]] = []
        slow_after = min(_SLOW_AFTER_SECONDS, action.heartbeat_ms / 3000)
        handle = loop.call_later(slow_after, lambda: slow.append(loop.create_task(self._slow(action))))
        try:
            yield
        finally:
            handle.cancel()
            for task in slow:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _slow(self, action: Action) -> None:
        announcing = asyncio.create_task(self._announce())
        try:
            while True:
                activity.heartbeat(*self.heartbeat)
                await asyncio.sleep(action.heartbeat_ms / 3000)
        finally:
            announcing.cancel()

    async def _announce(self) -> None:
        # For people only: a database that is away must not fail a handler that runs.
        with suppress(Exception):
            await ledger.announce(self.db, self.call, self.token)


def _kept_quiet(action: Action) -> Failure:
    message = (
        f"{action.key} went on after the database had refused a statement of its store, and nothing of it could be "
        "kept: let that error leave the handler"
    )
    return Failure(ErrorCategory.ACTION, message, code="ACTION_FAULT")


def _is_of_our_database(error: BaseException) -> bool:
    """Whether our database broke a transaction off that a handler works in: nothing happened, and it is tried again."""
    return isinstance(error, DBAPIError) and is_unavailable(error)
