"""Drives the interpreter from a Temporal workflow: commands out, answers back. It holds no semantics.

Everything here runs in the workflow's event loop and is replayed; decisions use history only.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError
from temporalio.workflow import ActivityConfig

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.execution import action_calls, availability, child_calls, continuing, options, run_ends
from workflows_core.execution.beginning import LoadFailed, first_state, load, unloaded_state
from workflows_core.execution.budget import MAX_STEPS_AT_ONCE, TaskBudget
from workflows_core.execution.clock import now_ms
from workflows_core.execution.failures import run_error, step_failure
from workflows_core.execution.handed_over import handed_over
from workflows_core.execution.last_calls import LastCall, last_call, outcome_of, require_agreement
from workflows_core.execution.payloads import decode, size_of
from workflows_core.execution.run_view import details_of, result_of
from workflows_core.execution.semantics import as_executed, require_supported
from workflows_core.execution.shielding import answers_taken, shielded
from workflows_core.execution.short_calls import ShortCalls
from workflows_core.interpreter.messages import (
    ActionStepFailed,
    ActionSucceeded,
    Begin,
    CancelAction,
    CancelChild,
    CancelRequested,
    CancelTimer,
    ChildLaunched,
    Command,
    Event,
    Finish,
    LaunchChild,
    Noted,
    RunAction,
    StartTimer,
    TimerFired,
)
from workflows_core.interpreter.plan import Plan
from workflows_core.interpreter.state import Outcome, State
from workflows_core.interpreter.step import outstanding, step
from workflows_core.interpreter.writes import (
    has_new_waits,
    take_carried_write,
    take_final_write,
    take_write,
    write_is_due,
)
from workflows_core.wire.messages import RunInput
from workflows_core.wire.names import ACTIVITY_ACTION, ACTIVITY_WRITE
from workflows_core.wire.records import ActionTraits, EndedRecord, LoadedRun, RunWrite, WrittenEnd

PATCH_WAITS_FIRST = "waits-before-actions"
PATCH_ENDS_WHAT_IT_CARRIES = "ends-what-it-carries"


class RunDriver:
    """One execution of a run."""

    def __init__(self, run_input: RunInput, inbox: deque[Event]) -> None:
        self.input = run_input
        self.inbox = inbox
        self.budget = TaskBudget()
        self.waiting_calls: deque[RunAction] = deque()
        self.waiting_launches: deque[LaunchChild] = deque()
        self.launches: dict[str, asyncio.Task[None]] = {}
        self.cancels: dict[str, asyncio.Task[None]] = {}
        self.activities: set[asyncio.Task[None]] = set()
        self.calls: dict[str, asyncio.Task[None]] = {}
        self.timers: dict[str, asyncio.Task[None]] = {}
        self.traits: dict[str, ActionTraits] = {}
        self.ended: EndedRecord | None = None
        self.found: WrittenEnd | None = None
        self.has_more_to_tell = False
        self.write_in_flight = False
        self.write_wanted = False
        self.recorded = False
        self.stopping = False
        self.crash: Exception | None = None
        self.signals = 0
        self.effort = 0
        self.plan: Plan
        self.state: State | None = None
        self.loaded: LoadedRun
        self.short: ShortCalls

    # The run from start to end

    async def run(self) -> dict[str, Any]:
        """Runs to the end, or raises what ends this execution."""
        try:
            await self._begin()
        except LoadFailed as error:
            return await self._end_unloaded(error.failure)
        while self._state.outcome is None:
            try:
                await self._turn()
            except asyncio.CancelledError:
                # Eviction and shutdown cancel too; only a cancel that the server asked for has a reason.
                if workflow.cancellation_reason() is None:
                    raise
                if self._state.ending is None:
                    # What undoes is not cut: nobody would ask for it again.
                    await answers_taken()
                    await self._stop_activities()
                self.inbox.append(CancelRequested(now_ms()))
                self.stopping = False
        return await self._finish()

    @property
    def _state(self) -> State:
        if self.state is None:
            raise RuntimeError("the run is not loaded yet")
        return self.state

    @property
    def _may_step(self) -> bool:
        """Whether something has happened, and this workflow task is not long already."""
        return bool(self.inbox) and self.budget.effort_left > 0

    @property
    def _has_heard(self) -> bool:
        """Whether something from outside waits to be taken."""
        return any(not isinstance(event, Begin) for event in self.inbox)

    @property
    def _spent(self) -> continuing.Spent:
        return continuing.Spent(self._state.steps_run, self.effort, self.signals)

    async def _turn(self) -> None:
        while self._may_step and self._state.outcome is None:
            self.state, commands = step(
                self.plan,
                as_executed(self._state),
                self.inbox.popleft(),
                max_steps=MAX_STEPS_AT_ONCE,
                max_effort=self.budget.effort_left,
            )
            self.budget.effort += self.state.effort
            self.effort += self.state.effort
            self._issue(commands)
        if self.ended is not None:
            require_agreement(self.ended, self._state)
        if self._state.outcome is not None:
            return
        if continuing.is_due(self._spent, self.loaded):
            self._continue_when_quiet()
        else:
            self._go_on()
        await workflow.wait_condition(lambda: self._may_step or self.crash is not None)
        if self.crash is not None:
            raise self.crash

    def _continue_when_quiet(self) -> None:
        if len(self.activities) > self.write_in_flight and not continuing.is_overdue(self._spent, self.loaded):
            self._go_on()
        elif self.activities:
            # Waits that have opened are told, so that events find them, however long the rest takes.
            if not self.write_in_flight and write_is_due(self._state, now_ms()):
                self._start_write()
        elif self._has_heard:
            # This workflow task has done enough: what has come is taken in another one, before the checkpoint.
            self._start_write()
        else:
            self._continue_as_new()

    def _go_on(self) -> None:
        if self._state.runnable and not self._state.outbox.is_full:
            self.inbox.append(Begin(now_ms()))
        # A run that a bare client started gets its row before any action.
        if self.recorded:
            if self._waits_are_told():
                self._call_waiting()
            while self.waiting_launches:
                launch = self.waiting_launches.popleft()
                self.launches[launch.child_run_id] = self._spawn(self._launch_child(launch))
        wanted = self.write_wanted or not self.recorded or not self.budget.effort_left
        if not self.write_in_flight and (wanted or write_is_due(self._state, now_ms())):
            self._start_write()

    async def _begin(self) -> None:
        try:
            await self._load()
        except asyncio.CancelledError as error:
            if workflow.cancellation_reason() is None:
                raise
            if self.input.checkpoint is None or not workflow.patched(PATCH_ENDS_WHAT_IT_CARRIES):
                raise LoadFailed(Failure(ErrorCategory.CANCELLATION, "the run was cancelled")) from error
            # What came before is cancelled and undone as ever.
            await self._load()
            self.inbox.append(CancelRequested(now_ms()))

    async def _load(self) -> None:
        self.loaded, self.plan = await load(self.input)
        self.short = ShortCalls(self.input, self.budget, ahead=self.loaded.get("call_ahead", False))
        self.recorded = self.loaded["recorded"]
        self.traits.update(self.loaded["actions"])
        self.state = first_state(self.plan, self.input, self.loaded)
        if self.input.checkpoint is not None:
            self._issue(outstanding(self.plan, self._state))
        require_supported(self._state.semantics)
        self.inbox.appendleft(Begin(now_ms()))

    # Commands

    def _issue(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            match command:
                case RunAction():
                    self.waiting_calls.append(command)
                case StartTimer():
                    self.timers[command.command_id] = asyncio.create_task(self._timer(command))
                case LaunchChild():
                    self.waiting_launches.append(command)
                case CancelChild():
                    self.cancels[command.child_run_id] = self._spawn(self._cancel_child(command))
                case CancelAction() | CancelTimer():
                    waiting = self.calls if isinstance(command, CancelAction) else self.timers
                    if command.command_id in waiting:
                        waiting.pop(command.command_id).cancel()
                case Finish():
                    pass  # The outcome is in the state; `run` sees it.

    def _call_waiting(self) -> None:
        while self.waiting_calls:
            command = self.waiting_calls[0]
            if not self._state.awaits(command.command_id):
                self.waiting_calls.popleft()
                continue
            traits = self.traits.get(action_calls.action_key(command))
            if traits is None:
                self.waiting_calls.popleft()
                self._spawn(self._wait_until_served(command))
                continue
            local = traits["short"] and not self.budget.flooded
            if local and (self.short.has_done_enough or self._state.outbox.is_full):
                if not self.write_in_flight:
                    self._start_write()
                return
            self.waiting_calls.popleft()
            if local and (offered := self.short.offered(command)) is not None:
                self.inbox.append(offered)
            elif local:
                self._spawn(self._short_action(command, traits))
            else:
                self._call_regular(command, traits)

    def _call_regular(self, command: RunAction, traits: ActionTraits) -> None:
        is_app = traits["place"] == "app"
        if is_app and self._state.outbox.uncarried and not self.write_in_flight:
            # What the run has done so far is not kept from people's eyes by an application that is away.
            self._start_write()
        self.state, write = take_carried_write(self._state, command.step_path)
        last: LastCall | None = None
        if self.loaded.get("last_action_ends") and not is_app and not self.activities:
            self.state, last = last_call(self.plan, self._state, command, write)
        task = self._spawn(self._action(command, traits, write, last))
        if traits["cancellable"]:
            self.calls[command.command_id] = task

    def _waits_are_told(self) -> bool:
        """Whether a write has named every open wait; else one is started, and calls follow the one under way.

        Not an action's own write, which comes with its end: the event may be there long before.
        """
        if not self.waiting_calls or not has_new_waits(self._state) or not workflow.patched(PATCH_WAITS_FIRST):
            return True
        if self.write_in_flight:
            return False
        self._start_write()
        return True

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(work))
        self.activities.add(task)
        task.add_done_callback(self.activities.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            # A fault of ours: the main loop raises it, so that the task fails visibly instead of hanging.
            self.crash = error

    async def _action(self, command: RunAction, traits: ActionTraits, write: RunWrite, last: LastCall | None) -> None:
        config = options.for_action(traits, self.input.tenant_id, command.name or command.step_id)
        body = action_calls.call_input(command, write, has_row=self.recorded)
        event: Event
        try:
            if size_of(body) > action_calls.MAX_INPUT_BYTES:
                raise StepFailed(action_calls.input_too_large(command, size_of(body)))
            if last is not None:
                event = await self._last_action(last, body, config)
            else:
                if traits["place"] == "app":
                    raw = await availability.run_while_served(command.call, body, config, self._unavailable_after_ms)
                else:
                    raw = await workflow.execute_activity(ACTIVITY_ACTION, body, result_type=RawValue, **config)
                event = ActionSucceeded(command.command_id, now_ms(), decode(raw), size_of(raw), recorded=True)
            self._acknowledge(write["sequence"])
            self.has_more_to_tell = bool(self._state.outbox.entries) or self._has_heard
        except (FailureError, StepFailed) as error:
            failed = action_calls.failure_of(error)
            settle = self._acknowledge if failed.recorded else self._release
            settle(write["sequence"])
            if self.stopping and failed.failure.category == ErrorCategory.CANCELLATION:
                return
            if run_ends.is_the_end(failed.failure):
                self.state = replace(self._state, outcome=Outcome("FAILED", now_ms(), failed.failure))
            event = ActionStepFailed(command.command_id, now_ms(), failed.failure, failed.recorded)
        self._begin_task()
        self.inbox.append(event)

    async def _last_action(self, last: LastCall, body: RawValue, config: ActivityConfig) -> Event:
        try:
            answer = await last.make(body, config)
        except (FailureError, asyncio.CancelledError) as error:
            # What the action itself has recorded is no end; and an eviction cancels too.
            if step_failure(error).recorded if isinstance(error, FailureError) else not self.stopping:
                raise
            self.state, write = take_write(self._state, now_ms())
            revoking = asyncio.create_task(last.revoke(write))
            await shielded(revoking)
            self._acknowledge(write["sequence"])
            if (found := revoking.result()) is None:
                raise
            answer = {"found": found}
        if "found" in answer:
            self.found = answer["found"]
            self.state = replace(self._state, outcome=outcome_of(self.found))
            return Begin(now_ms())
        self.ended = answer.get("ended")
        return last.event_of(answer)

    async def _wait_until_served(self, command: RunAction) -> None:
        def on_wait(message: str) -> None:
            self.inbox.append(Noted("WARN", message, command.step_path, now_ms()))
            self.write_wanted = True

        try:
            traits = await availability.wait_until_served(command.call, self._unavailable_after_ms, on_wait)
        except (FailureError, StepFailed) as error:
            failure = action_calls.failure_of(error).failure
            self.inbox.append(ActionStepFailed(command.command_id, now_ms(), failure, recorded=False))
            return
        self.short.forget()
        self._call_again(command, traits)

    def _call_again(self, command: RunAction, traits: ActionTraits) -> None:
        self.traits[action_calls.action_key(command)] = traits
        self.waiting_calls.appendleft(command)
        self.inbox.append(Begin(now_ms()))

    @property
    def _unavailable_after_ms(self) -> int:
        return self.loaded.get("unavailable_after_ms", availability.DEFAULT_UNAVAILABLE_AFTER_MS)

    async def _short_action(self, command: RunAction, traits: ActionTraits) -> None:
        event = await self.short.call(command, self._state)
        if event is None:
            self._call_again(command, {**traits, "short": False})
            return
        cancelled = isinstance(event, ActionStepFailed) and event.failure.category == ErrorCategory.CANCELLATION
        if not (cancelled and self.stopping):
            self.inbox.append(event)

    async def _launch_child(self, command: LaunchChild) -> None:
        if not self._state.awaits(command.command_id):
            return
        event: Event
        try:
            await child_calls.launch(self.input, self._state.generation, command)
            event = ChildLaunched(command.command_id, now_ms())
        except (FailureError, StepFailed) as error:
            failure = action_calls.failure_of(error).failure
            if self.stopping and failure.category == ErrorCategory.CANCELLATION:
                return
            event = ActionStepFailed(command.command_id, now_ms(), failure, recorded=False)
        self._begin_task()
        self.inbox.append(event)

    async def _cancel_child(self, command: CancelChild) -> None:
        if command.child_run_id in self.launches:
            await asyncio.wait([self.launches[command.child_run_id]])
        await child_calls.cancel(self.input, command)

    async def _timer(self, command: StartTimer) -> None:
        remaining = command.due_at - now_ms()
        if remaining > 0:
            await workflow.sleep(timedelta(milliseconds=remaining), summary=command.summary)
        self.timers.pop(command.command_id, None)
        self.inbox.append(TimerFired(command.command_id, now_ms()))

    # Writes

    def _start_write(self) -> None:
        self.state, write = take_write(self._state, now_ms())
        self.write_in_flight = True
        self.write_wanted = False
        workflow.set_current_details(details_of(self._state))
        summary = "wait" if write["status"] == "WAITING" else "record progress"
        self._spawn(self._write(write, summary))

    async def _write(self, write: RunWrite, summary: str) -> None:
        try:
            body = action_calls.write_input(write, has_row=self.recorded)
            config = options.for_write(write["tenant"], summary)
            found = await workflow.execute_activity(ACTIVITY_WRITE, body, result_type=RawValue, **config)
            self._acknowledge(write["sequence"])
            self.recorded = True
            self.inbox.extend(handed_over(decode(found), now_ms()))
        except FailureError as error:
            # Only a refusal of the database's own rules ends here, such as a run that was reset.
            failure = step_failure(error).failure
            self._release(write["sequence"])
            if failure.category != ErrorCategory.CANCELLATION:
                self.state = replace(self._state, outcome=Outcome("FAILED", now_ms(), failure))
        self.write_in_flight = False
        self._begin_task()
        # Wakes the main loop, which may have more to write or calls that wait for room.
        self.inbox.append(Begin(now_ms()))

    def _begin_task(self) -> None:
        """A regular activity has ended."""
        self.budget.renew()
        self.short.forget()

    def _acknowledge(self, sequence: int) -> None:
        self.state = replace(self._state, outbox=self._state.outbox.acknowledge(sequence))

    def _release(self, sequence: int) -> None:
        self.state = replace(self._state, outbox=self._state.outbox.release(sequence))

    # Ends

    def _continue_as_new(self) -> None:
        checkpoint = json.dumps(self._state.to_checkpoint(), separators=(",", ":"), ensure_ascii=False)
        workflow.continue_as_new(replace(self.input, checkpoint=checkpoint).to_wire())

    async def _stop_activities(self) -> None:
        self.stopping = True
        # A child that nobody needs any more is cancelled all the same, once it is launched.
        kept = {*self.cancels.values(), *(self.launches[child] for child in self.cancels if child in self.launches)}
        tasks = [task for task in self.activities if task not in kept]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.write_in_flight = False

    async def _finish(self) -> dict[str, Any]:
        for timer in self.timers.values():
            timer.cancel()
        for cancel in self.cancels.values():
            await shielded(cancel)
        result = result_of(self._state) if self.found is None else self.found["result_json"]
        if (self.ended is None and self.found is None) or self.has_more_to_tell:
            self.state, write = take_final_write(self._state, result)
            await self._write_end(write)
        if "scheduled_launch" in self.loaded:
            await run_ends.tell_scheduled_launch(self.loaded["scheduled_launch"], self.input.run_id)
        return self._return(self._state.outcome, result)

    async def _write_end(self, write: RunWrite) -> None:
        refused = await run_ends.write_end(write, has_row=self.recorded)
        if refused is not None:
            self.state = replace(self._state, outcome=Outcome("FAILED", now_ms(), refused))

    async def _end_unloaded(self, failure: Failure) -> dict[str, Any]:
        """Ends a run whose definition could not be loaded: nothing of this execution has happened."""
        state = unloaded_state(self.input, failure, now_ms())
        children = child_calls.open_children(state)
        if children and workflow.patched(PATCH_ENDS_WHAT_IT_CARRIES):
            for child in children:
                await shielded(asyncio.create_task(child_calls.cancel(self.input, child)))
        self.state, write = take_final_write(state, None)
        await self._write_end(write)
        return self._return(self._state.outcome, None)

    def _return(self, outcome: Outcome | None, result: Any) -> dict[str, Any]:
        if outcome is not None and outcome.status == "CANCELED":
            raise asyncio.CancelledError
        if outcome is not None and outcome.failure is not None:
            raise run_error(outcome.failure)
        return dict(result)
