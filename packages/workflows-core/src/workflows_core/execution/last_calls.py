"""The run's side of an action that may be its last: if it succeeds and nothing else is left, it writes the run's end.

So a run needs no activity of its own for its end. With the call, which is in history, the run has consented to that
end: it holds whatever comes beside it, such as a cancel. Where the run does not hear how the call ended, it takes its
consent back: it learns of the end, or writes something newer, behind which the action cannot end it any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.workflow import ActivityConfig

from workflows_core.errors import Failure
from workflows_core.execution import options
from workflows_core.execution.clock import now_ms
from workflows_core.execution.last_answers import ended_of, succeeded
from workflows_core.execution.payloads import decode, encode
from workflows_core.interpreter.endings import may_end_next
from workflows_core.interpreter.messages import ActionSucceeded, RunAction
from workflows_core.interpreter.plan import Plan
from workflows_core.interpreter.state import Outcome, State
from workflows_core.wire.compact import compact_write
from workflows_core.wire.compact_last_calls import Asked, compact_asked, full_answer
from workflows_core.wire.names import ACTIVITY_LAST_ACTION, ACTIVITY_REVOKE_LAST_ACTION
from workflows_core.wire.records import EndedRecord, LastAnswer, RunWrite, WrittenEnd

MAX_STATE_BYTES = 32 * 1024
"""A run that carries more writes its end apart. Which activity is called depends on it, so it stands in histories."""


@dataclass(frozen=True, slots=True)
class LastCall:
    """One call of an action that may be the last of its run.

    Attributes:
        command: What the run asked for.
        sequence: Of the write that the call carries; the end's is the next one.
        state: Of the run, for whoever goes on behind the action.
    """

    command: RunAction
    sequence: int
    state: dict[str, Any]

    async def make(self, call: RawValue, config: ActivityConfig) -> LastAnswer:
        """Calls the action."""
        body = encode(compact_asked(decode(call), Asked(self.command.command_id, now_ms(), self.state)))
        raw = await workflow.execute_activity(ACTIVITY_LAST_ACTION, body, result_type=RawValue, **config)
        return full_answer(decode(raw), self.command.step_path)

    async def revoke(self, write: RunWrite) -> WrittenEnd | None:
        """The end if it has written that already; otherwise it cannot any more, since `write` is newer."""
        known = compact_write(write, workflow.info().workflow_id, has_row=True)
        body = encode({"write": known, "end": self.sequence + 1})
        config = options.for_write(
            write["tenant"], f"take back the end from {self.command.name or self.command.step_id}"
        )
        raw = await workflow.execute_activity(ACTIVITY_REVOKE_LAST_ACTION, body, result_type=RawValue, **config)
        found: WrittenEnd | None = decode(raw)
        return found

    def event_of(self, answer: LastAnswer) -> ActionSucceeded:
        """The answer as the interpreter takes it."""
        at = answer["ended"]["at"] if "ended" in answer else now_ms()
        return succeeded(self.command.command_id, answer["output"], at)


def last_call(plan: Plan, state: State, command: RunAction, write: RunWrite) -> tuple[State, LastCall | None]:
    """The call as the last of its run if it may be that, and the state that leaves the next sequence to its end."""
    if not may_end_next(plan, state):
        return state, None
    called = sum(pending.call_bytes for _, pending in state.pending("action"))
    if state.scope_bytes + called > MAX_STATE_BYTES:
        return state, None
    return replace(state, outbox=state.outbox.leaving_out_one()), LastCall(command, write["sequence"], state.to_copy())


def outcome_of(end: WrittenEnd) -> Outcome:
    """The outcome of a run that takes an end as it was written."""
    failure = None if end["error_json"] is None else Failure.from_json(end["error_json"])
    return Outcome(end["status"], end["at"], failure)


def require_agreement(ended: EndedRecord, state: State) -> None:
    """The run comes to the end that its last action has written.

    Raises:
        RuntimeError: It does not; its task fails visibly instead of writing another end.
    """
    found = ended_of(state)
    if found != ended:
        raise RuntimeError(
            f"the last action has written the run's end as {ended}, and the run comes to {found}: "
            "the processes of this queue differ in what they make of this definition"
        )
