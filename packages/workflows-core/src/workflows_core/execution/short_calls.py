"""The run's side of short actions: how one is called, and answers that were found ahead of the run.

The way to a local activity and back costs more than most short actions take. So the activity that is asked for one goes
on behind it as the run would, and calls the short actions that follow (`execution.short_actions`). What it found is an
offer: the run takes an answer when it makes that very call, and only then. Where something came between, such as a
cancel, the rest is left; short actions are pure.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from workflows_core.execution import options
from workflows_core.execution.action_calls import call_body
from workflows_core.execution.budget import TaskBudget
from workflows_core.execution.clock import now_ms
from workflows_core.execution.failures import NOT_SHORT_HERE, TIMED_OUT, step_failure
from workflows_core.execution.payloads import decode, encode, size_of
from workflows_core.execution.short_answers import bytes_of, event_of, fingerprint
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.messages import ActionStepFailed, ActionSucceeded, RunAction
from workflows_core.interpreter.state import BLOCK_KINDS, State, carried
from workflows_core.wire.messages import RunInput
from workflows_core.wire.names import ACTIVITY_SHORT_ACTION
from workflows_core.wire.records import ShortAnswer

PATCH_LOST_IS_REGULAR = "lost-short-call-is-regular"
"""Executions of builds before it failed a step whose process stood still for half a second, and do so."""

MAX_COPIED_BYTES = 32 * 1024
"""A run that carries more makes its calls one by one: to hand its state over would cost what that saves."""


class ShortCalls:
    """The short actions of one execution.

    Whether the answers ahead are asked for decides nothing that history must agree with: an answer says what it has.
    """

    def __init__(self, run_input: RunInput, budget: TaskBudget, *, ahead: bool) -> None:
        self._input = run_input
        self._budget = budget
        self._is_timed = ahead
        self._ahead = ahead
        self._offers: dict[str, ShortAnswer] = {}
        self._forgotten = 0
        self._overcounted = 0
        self._weighed_at: int | None = None

    @property
    def has_done_enough(self) -> bool:
        """True when a regular activity must come before the next call."""
        return self._budget.exhausted or (self._is_timed and not self._budget.effort_left)

    def offered(self, command: RunAction) -> ActionSucceeded | ActionStepFailed | None:
        """The answer to this very call, if one was found ahead in this workflow task."""
        answer = self._offers.pop(fingerprint(command), None) if self._offers else None
        return None if answer is None else self._taken(command, answer)

    def forget(self) -> None:
        """Time has passed: what was found ahead is of before."""
        self._offers = {}
        self._forgotten += 1

    async def call(self, command: RunAction, state: State) -> ActionSucceeded | ActionStepFailed | None:
        """Calls the action, keeping what was found ahead for the calls that follow.

        None where it is to be called as a regular one: the process that was asked does not have it as a short one, or
        has not answered.
        """
        self._offers = {}
        forgotten = self._forgotten
        ahead = self._ahead and self._budget.takes_another and self._decides_alone(state)
        config = options.for_short_action(command.name or command.step_id)
        body: dict[str, Any] = {"tenant": self._input.tenant_id, "runId": self._input.run_id}
        body["call"] = call_body(command, None)
        if self._is_timed:
            body["at"] = now_ms()
        if ahead:
            body["ahead"] = {
                "budget": asdict(self._budget),
                "commandId": command.command_id,
                "state": state.to_copy(),
            }
        try:
            raw = await workflow.execute_local_activity(
                ACTIVITY_SHORT_ACTION, encode(body), result_type=RawValue, **config
            )
        except FailureError as error:
            cause = error.cause if isinstance(error, ActivityError) else error
            if isinstance(cause, ApplicationError) and cause.type == NOT_SHORT_HERE:
                return None
            failed = step_failure(error)
            if self._ahead and failed.failure.code == TIMED_OUT:
                # Perhaps by a call that follows. From here on each is made by itself.
                self._ahead = False
                return await self.call(command, state)
            if failed.failure.code == TIMED_OUT and workflow.patched(PATCH_LOST_IS_REGULAR):
                # It is pure, and a process that stands still is no fault of it: as a regular one it may be lost.
                return None
            self._budget.spend(0, failed.elapsed_ms)
            return ActionStepFailed(command.command_id, now_ms(), failed.failure, recorded=False)
        answer: ShortAnswer = decode(raw)
        if "at" not in answer:
            self._budget.spend(size_of(raw), answer["elapsedMs"])
            return ActionSucceeded(command.command_id, now_ms(), answer["output"], size_of(raw), recorded=False)
        if forgotten == self._forgotten:
            self._offers = {offer["call"]: offer for offer in answer.get("ahead", ())}
        else:
            answer["at"] = now_ms()
        return self._taken(command, answer)

    def _taken(self, command: RunAction, answer: ShortAnswer) -> ActionSucceeded | ActionStepFailed:
        event = event_of(command.command_id, answer)
        self._budget.spend(bytes_of(event), answer["elapsedMs"])
        return event

    def _decides_alone(self, state: State) -> bool:
        """Whether the answer to one call, and nothing else, decides what the run does next."""
        called = [f.pending for f in state.frames.values() if f.pending is None or f.pending.kind not in BLOCK_KINDS]
        if len(called) != 1 or called[0] is None:
            return False
        return self._carries_little(state, called[0].call_bytes)

    def _carries_little(self, state: State, call_bytes: int) -> bool:
        counted = state.scope_bytes
        if self._weighed_at is not None and counted < self._weighed_at:
            self._weighed_at, self._overcounted = None, 0  # It was counted anew.
        if counted - self._overcounted + call_bytes <= MAX_COPIED_BYTES:
            return True
        if self._weighed_at is not None and counted - self._weighed_at < MAX_COPIED_BYTES:
            return False
        # What was overwritten is counted still, in a long loop above all: weigh it, once in a while.
        held = json_bytes(carried(state.scopes, state.frames, state.undo))
        self._weighed_at = counted
        self._overcounted = max(0, counted + call_bytes - held)
        return held <= MAX_COPIED_BYTES
