"""Short actions: pure, inside the workflow task, no database and no network.

Behind the call that it was asked for, the activity goes on as the run would: it gives the answer to the interpreter,
and calls what that asks for next, as long as this is one short action and the workflow task stays small. Nothing of it
is the run's until the run makes the same call (`execution.short_calls`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from temporalio import activity

from workflows_core.actions.ports import ActionObserver, SecretProvider
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import StepFailed
from workflows_core.execution.action_calls import call_body
from workflows_core.execution.budget import MAX_STEPS_AT_ONCE, TaskBudget
from workflows_core.execution.failures import authored_error
from workflows_core.execution.handlers import call_handler, required_action
from workflows_core.execution.plans import compiled_plan
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.short_answers import event_of, fingerprint
from workflows_core.interpreter.messages import ActionStepFailed, ActionSucceeded, RunAction
from workflows_core.interpreter.plan import Plan
from workflows_core.interpreter.state import State
from workflows_core.interpreter.step import step
from workflows_core.log_context import about
from workflows_core.wire.records import ActionCall, ShortAnswer


@dataclass(frozen=True, slots=True)
class ShortActions:
    """The short actions of one process."""

    registry: ActionRegistry
    secrets: SecretProvider
    policy: RunPolicy
    observe: ActionObserver | None = None

    async def answer(self, body: Mapping[str, Any]) -> ShortAnswer:
        """The answer to a call, with those to the calls that follow if they are wanted (`ahead`).

        Its times go into history, where the driver's budget counts them.

        Raises:
            ApplicationError: The authored failure of the call itself.
        """
        tenant, run_id = body["tenant"], body["runId"]
        begun = time.monotonic()
        try:
            output = await self._call(tenant, run_id, body["call"])
        except StepFailed as error:
            raise authored_error(error.failure, recorded=False, elapsed_ms=_since(begun)) from None
        answer: ShortAnswer = {"output": output, "elapsedMs": _since(begun)}
        ahead = body.get("ahead")
        if ahead is None:
            return answer
        answer["at"] = ahead["at"] + answer["elapsedMs"]
        plan = compiled_plan(ahead["state"]["identity"]["definition_hash"])
        follower = None if plan is None else _Follower(plan, ahead, answer, begun)
        return {**answer, "ahead": [] if follower is None else await self._follow(follower, tenant, run_id)}

    async def _follow(self, follower: _Follower, tenant: str, run_id: str) -> list[ShortAnswer]:
        found: list[ShortAnswer] = []
        # In a thread: an expression may take longer than the other work of this process should wait.
        while (command := await asyncio.to_thread(follower.next_call)) is not None and self._is_short(command):
            begun = time.monotonic()
            try:
                output = await self._call(tenant, run_id, cast(ActionCall, call_body(command, None)))
                answer: ShortAnswer = {"output": output, "elapsedMs": _since(begun)}
            except StepFailed as error:
                answer = {"failure": error.failure.to_json(), "elapsedMs": _since(begun)}
            found.append(follower.answered(command, answer))
        return found

    def _is_short(self, command: RunAction) -> bool:
        action = self.registry.get(command.call["action_id"], command.call["action_version"])
        return action is not None and action.short

    async def _call(self, tenant: str, run_id: str, call: ActionCall) -> Any:
        with about(tenant=tenant, run_id=run_id, step_path=call["step_path"], action=call["action_id"]):
            output = await call_handler(
                required_action(self.registry, call),
                call,
                tenant,
                run_id,
                self.secrets,
                store=None,
                observe=self.observe,
                max_output_bytes=self.policy.max_short_output_bytes,
            )
            activity.logger.debug("short action ended", extra={"action": call["action_id"]})
        return output


class _Follower:
    """Goes the run's way from a copy of its state, one call after the other."""

    def __init__(self, plan: Plan, ahead: Mapping[str, Any], answer: ShortAnswer, begun: float) -> None:
        self._plan = plan
        self._state = State.from_checkpoint(ahead["state"])
        self._budget = TaskBudget(**ahead["budget"])
        self._budget.spend(0, answer["elapsedMs"])
        self._at = ahead["at"]
        self._begun = begun
        self._event: ActionSucceeded | ActionStepFailed = event_of(ahead["commandId"], answer)

    def next_call(self) -> RunAction | None:
        """What the run asks for next, if that is one call and it is made in this workflow task."""
        if self._budget.exhausted or isinstance(self._event, ActionStepFailed):
            return None
        self._state, commands = step(
            self._plan,
            self._state,
            self._event,
            max_steps=MAX_STEPS_AT_ONCE,
            max_effort=self._budget.effort_left,
        )
        self._budget.effort += self._state.effort
        match commands:
            case (RunAction() as command,) if not self._state.runnable:
                return command
        return None

    def answered(self, command: RunAction, answer: ShortAnswer) -> ShortAnswer:
        """The answer with its time and the call that it is for."""
        known: ShortAnswer = {**answer, "at": self._at + _since(self._begun), "call": fingerprint(command)}
        self._event = event_of(command.command_id, known)
        size = self._event.size if isinstance(self._event, ActionSucceeded) else 0
        self._budget.spend(size, answer["elapsedMs"])
        return known


def _since(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
