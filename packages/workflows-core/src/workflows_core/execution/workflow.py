"""`workflowRuntimeV2RunWorkflow`: signals in, queries out, everything else in the driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows_core.errors import ErrorCategory, Refused
from workflows_core.execution.clock import now_ms
from workflows_core.execution.driver import RunDriver
from workflows_core.expressions.reading import nests_deeper
from workflows_core.interpreter.messages import Event, EventReceived, Noted, QuotaResumed, TaskAnswered
from workflows_core.interpreter.writes import waiting_for
from workflows_core.wire import names
from workflows_core.wire.messages import EventSignal, RunInput
from workflows_core.wire.text import MAX_PARSED_DEPTH

PATCH_SHALLOW_SIGNALS = "shallow-signals"
_TOO_DEEP = f"is nested deeper than {MAX_PARSED_DEPTH} levels"


def _is_too_deep(payload: Any) -> bool:
    """Whether it would have been refused where it should have been published: the run may be unable to store it."""
    return nests_deeper(payload, MAX_PARSED_DEPTH) and workflow.patched(PATCH_SHALLOW_SIGNALS)


@workflow.defn(name=names.RUN_WORKFLOW)
class RunWorkflow:
    """One authored run.

    Whoever sends from Temporal's own tools may leave out what is sent, or send more than one thing: a handler that
    cannot be called fails each workflow task from then on, since the signal stays in the history.
    """

    def __init__(self) -> None:
        self._inbox: deque[Event] = deque()
        self._driver: RunDriver | None = None

    @workflow.run
    async def run(self, run_input: Any = None, *_: Any) -> Any:
        """Executes the run; the result is `{"scopes": ...}`."""
        try:
            parsed = RunInput.from_wire(run_input)
        except Refused as error:
            problems = [problem.to_json() for problem in error.problems]
            raise ApplicationError(
                error.message,
                {"code": error.code, "problems": problems},
                type=f"{names.FAILURE_TYPE_PREFIX}{ErrorCategory.VALIDATION}",
                non_retryable=True,
            ) from error
        self._driver = RunDriver(parsed, self._inbox)
        return await self._driver.run()

    @workflow.signal(name=names.SIGNAL_EVENT)
    def on_event(self, body: Any = None, *_: Any) -> None:
        """An event for a wait of this run."""
        signal = EventSignal.from_wire(body)
        if signal is None:
            self._ignore("its body is no event: eventId and eventName must be non-empty strings")
        elif _is_too_deep(signal.payload):
            self._ignore(f"the payload of event {signal.event_id!r:.200} {_TOO_DEEP}")
        else:
            self._take(EventReceived(signal, now_ms()))

    @workflow.signal(name=names.SIGNAL_HUMAN_TASK)
    def on_human_task(self, body: Any = None, *_: Any) -> None:
        """An answer to a human task: `{taskId, payload, eventId?}`."""
        task_id = body.get("taskId") if isinstance(body, Mapping) else None
        if not isinstance(task_id, str) or not task_id:
            self._ignore("its body is no answer: taskId must be a non-empty string")
            return
        if _is_too_deep(body.get("payload")):
            self._ignore(f"the answer to task {task_id!r:.200} {_TOO_DEEP}")
            return
        event_id = body.get("eventId")
        known = event_id if isinstance(event_id, str) and event_id else None
        self._take(TaskAnswered(task_id, body.get("payload"), known, now_ms()))

    @workflow.signal(name=names.SIGNAL_QUOTA_RESUME)
    def on_quota_resume(self, *_: Any) -> None:
        """The tenant's quota has room again."""
        self._take(QuotaResumed(now_ms()))

    def _ignore(self, reason: str) -> None:
        self._take(Noted("WARN", f"a signal was ignored: {reason}", None, now_ms()))

    def _take(self, event: Event) -> None:
        self._inbox.append(event)
        if self._driver is not None:
            self._driver.signals += 1
            self._driver.budget.signals += 1

    @workflow.query(name=names.QUERY_CURRENT_STEP)
    def current_step(self) -> Any:
        """`{stepPath}`: the step that ran last or runs now."""
        state = None if self._driver is None else self._driver.state
        return {"stepPath": None if state is None else state.current_path}

    @workflow.query(name=names.QUERY_CURRENT_WAIT)
    def current_wait(self) -> Any:
        """`{waits: [...]}` or None: what the run waits for."""
        state = None if self._driver is None else self._driver.state
        return None if state is None else waiting_for(state)

    @workflow.query(name=names.QUERY_SUMMARY)
    def summary(self) -> Any:
        """Where the run stands, and which deliveries and waits it has consumed but not yet written."""
        state = None if self._driver is None else self._driver.state
        if state is None:
            return {"loaded": False}
        consumed = [dict(e.record) for e in state.outbox.entries if e.kind == "consumed"]
        return {
            "loaded": True,
            "status": None if state.outcome is None else state.outcome.status,
            "currentStepPath": state.current_path,
            "stepsRun": state.steps_run,
            "generation": state.generation,
            "openWaits": [wait["wait_id"] for wait in state.open_waits()],
            "consumed": consumed,
            "keptEvents": len(state.kept_events),
        }
