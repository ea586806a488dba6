"""Short actions: pure, inside the workflow task, no database and no network.

Behind the call that it was asked for, the activity goes on as the run would: it gives the answer to the interpreter,
and calls what that asks for next, as long as this is one short action and the workflow task stays small. Nothing of it
is the run's until the run makes the same call (`execution.short_calls`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows_core.actions.ports import ActionObserver, SecretProvider
from workflows_core.actions.registry import ActionRegistry
from workflows_core.errors import StepFailed
from workflows_core.execution.action_calls import call_body
from workflows_core.execution.budget import MAX_ELAPSED_MS, MAX_STEPS_AT_ONCE, TaskBudget
from workflows_core.execution.failures import NOT_SHORT_HERE, authored_error
from workflows_core.execution.handlers import Surroundings, call_handler, required_action
from workflows_core.execution.payloads import encode
from workflows_core.execution.plans import compiled_plan
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.short_answers import bytes_of, event_of, fingerprint
from workflows_core.interpreter.messages import ActionStepFailed, RunAction
from workflows_core.interpreter.state import State
from workflows_core.interpreter.step import step
from workflows_core.log_context import about
from workflows_core.wire.records import ActionCall, ShortAnswer

_LOG = logging.getLogger(__name__)
THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="short-actions")
"""Of their own: authors put into the default ones what blocks."""


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
            ApplicationError: The authored failure of the call itself, or `NOT_SHORT_HERE`.
        """
        tenant, run_id = body["tenant"], body["runId"]
        if not self._is_short(body["call"]):
            message = "this process does not have the action as a short one; the run calls it as a regular one"
            raise ApplicationError(message, type=NOT_SHORT_HERE, category=ApplicationErrorCategory.BENIGN)
        begun = time.monotonic()
        try:
            output = await self._call(tenant, run_id, body["call"])
        except StepFailed as error:
            raise authored_error(error.failure, recorded=False, elapsed_ms=_since(begun)) from None
        answer: ShortAnswer = {"output": output, "elapsedMs": _since(begun)}
        if "at" in body:
            answer["at"] = body["at"] + answer["elapsedMs"]
        if "ahead" in body:
            answer["ahead"] = await self._follow(_Follower(body, answer, begun))
        return answer

    async def _follow(self, follower: _Follower) -> list[ShortAnswer]:
        found: list[ShortAnswer] = []
        try:
            while (command := await follower.next_call()) is not None and self._is_short(command.call):
                begun = time.monotonic()
                call = cast(ActionCall, call_body(command, None))
                try:
                    output = await self._call(follower.tenant, follower.run_id, call)
                    answer: ShortAnswer = {"output": output, "elapsedMs": _since(begun)}
                except StepFailed as error:
                    answer = {"failure": error.failure.to_json(), "elapsedMs": _since(begun)}
                known = follower.answered(command, answer)
                encode(known)  # One that cannot be told is not.
                found.append(known)
        except TimeoutError:
            pass  # There is no time left for more.
        except Exception:
            # Not the fault of the call that was asked for. The run meets it itself, and is told so by its task.
            _LOG.exception("run %s: what follows a short action could not be called ahead", follower.run_id)
        return found

    def _is_short(self, call: Mapping[str, Any]) -> bool:
        action = self.registry.get(call["action_id"], call["action_version"])
        return action is not None and action.short

    async def _call(self, tenant: str, run_id: str, call: ActionCall) -> Any:
        with about(tenant=tenant, run_id=run_id, step_path=call["step_path"], action=call["action_id"]):
            action = required_action(self.registry, call)
            output = await call_handler(
                action,
                call,
                tenant,
                run_id,
                self.secrets,
                Surroundings(observe=self.observe),
                max_output_bytes=self.policy.output_bytes_of(action),
            )
            activity.logger.debug("short action ended", extra={"action": call["action_id"]})
        return output


class _Follower:
    """Goes the run's way from a copy of its state, one call after the other."""

    def __init__(self, body: Mapping[str, Any], answer: ShortAnswer, begun: float) -> None:
        asked = body["ahead"]
        self.tenant: str = body["tenant"]
        self.run_id: str = body["runId"]
        self._at: int = body["at"]
        self._begun = begun
        self._copy = asked["state"]
        self._state: State | None = None
        self._budget = TaskBudget(**asked["budget"])
        self._event = event_of(asked["commandId"], answer)
        self._budget.spend(bytes_of(self._event), answer["elapsedMs"])

    async def next_call(self) -> RunAction | None:
        """What the run asks for next, if that is one call, and one that is made in this workflow task.

        Raises:
            TimeoutError: It takes too long to find out.
        """
        left = MAX_ELAPSED_MS - _since(self._begun)
        if self._budget.exhausted or left <= 0 or isinstance(self._event, ActionStepFailed):
            return None
        # In a thread: an expression may take longer than the other work of this process should wait.
        finding = asyncio.get_running_loop().run_in_executor(THREADS, self._step)
        return await asyncio.wait_for(finding, left / 1000)

    def _step(self) -> RunAction | None:
        plan = compiled_plan(self._copy["identity"]["definition_hash"])
        if plan is None:
            return None
        before = State.from_checkpoint(self._copy) if self._state is None else self._state
        limit = self._budget.effort_left
        self._state, commands = step(plan, before, self._event, max_steps=MAX_STEPS_AT_ONCE, max_effort=limit)
        self._budget.effort += self._state.effort
        if self._state.runnable or self._state.outbox.is_full:
            return None
        match commands:
            case (RunAction() as command,):
                return command
        return None

    def answered(self, command: RunAction, answer: ShortAnswer) -> ShortAnswer:
        """The answer with its time and the call that it is for."""
        known: ShortAnswer = {**answer, "at": self._at + _since(self._begun), "call": fingerprint(command)}
        self._event = event_of(command.command_id, known)
        self._budget.spend(bytes_of(self._event), answer["elapsedMs"])
        return known


def _since(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
