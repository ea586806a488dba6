"""What travels from a run to the database: typed JSON, so that a record is encoded once and as it is.

Key names are column names. Times are integers, milliseconds since the epoch. `generation` counts
continue-as-new, `sequence` counts the writes a run has issued: together they are the fence, and an
older write never overwrites a newer one (docs/adr/0004-who-may-write.md).
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

RunStatus = Literal["QUEUED", "STARTING", "RUNNING", "WAITING", "SUCCEEDED", "FAILED", "CANCELED"]
FINAL_RUN_STATUSES = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})

StepStatus = Literal["STARTED", "SUCCEEDED", "FAILED", "CANCELED", "RETRY_SCHEDULED"]
WaitType = Literal["event", "time", "human", "quota"]
WaitOutcome = Literal["RESOLVED", "TIMED_OUT", "CANCELED"]

INLINE_OUTPUT_BYTES = 2 * 1024
"""A step row keeps an output up to this size; a larger one stays in the invocation row only."""


class InvocationRecord(TypedDict):
    """One use of an action, keyed by (tenant, action_id, action_version, idempotency_key)."""

    action_id: str
    action_version: int
    idempotency_key: str
    status: Literal["STARTED", "SUCCEEDED", "FAILED"]
    attempt: int
    input_json: Any
    output_json: Any
    error_json: dict[str, Any] | None


class StepRecord(TypedDict):
    """The row of one visit of one step, keyed by (run, step_path, visit)."""

    step_path: str
    visit: int
    definition_step_id: str
    step_type: str
    name: str | None
    status: StepStatus
    attempt: int
    started_at: int
    completed_at: int | None
    output_json: Any
    error_json: dict[str, Any] | None
    generation: int
    sequence: int
    invocation: InvocationRecord | None
    # Of a step that a redriven run has kept, and another run has done.
    kept: NotRequired[bool]


class FilterRecord(TypedDict):
    """A filter of an event wait; its value was resolved when the wait opened."""

    path: str
    op: str
    value: Any


class WaitRecord(TypedDict):
    """An open wait. `look_back_from` is the start of the window in which routed events still match.

    `match` is there for `one` only: of such waits a single one gets an event. `lookback_ms` is there where the author
    gives it: then `look_back_from` is so long before `opened_at`, by Temporal's clock; else it is by the database's.
    """

    wait_id: str
    step_path: str
    visit: int
    wait_type: WaitType
    event_name: str | None
    key: str | None
    filters: list[FilterRecord]
    opened_at: int
    timeout_at: int | None
    look_back_from: int
    payload: dict[str, Any]
    match: NotRequired[Literal["one"]]
    lookback_ms: NotRequired[int]


class ConsumedRecord(TypedDict):
    """An event that resolved a wait of the run; `delivery_id` is None for a caller's bare signal."""

    wait_id: str
    event_id: str
    delivery_id: str | None
    at: int


class ClosedRecord(TypedDict):
    """A wait that closed without an event."""

    wait_id: str
    outcome: WaitOutcome
    at: int


class RefusedRecord(TypedDict):
    """An event that its wait, a human task, did not take; the wait stays open."""

    wait_id: str
    event_id: str
    reason: str


class LogRecord(TypedDict):
    """A line of the run's own log (`workflow_run_logs`)."""

    level: Literal["DEBUG", "INFO", "WARN", "ERROR"]
    message: str
    step_path: str | None
    context_json: dict[str, Any] | None
    at: int


class RunWrite(TypedDict):
    """Everything one regular activity writes for its run, in one transaction.

    `waits` is the whole set of waits open when the write was scheduled, or None when the write says
    nothing about waits. `status` None leaves the run's status alone. Workflow, version, hash and trigger are for a run
    that has no row yet, and None where it has one.
    """

    tenant: str
    run_id: str
    workflow_id: str | None
    workflow_version: int | None
    definition_hash: str | None
    trigger_type: str | None
    generation: int
    sequence: int
    status: RunStatus | None
    node_path: str | None
    waiting_for: dict[str, Any] | None
    steps: list[StepRecord]
    consumed: list[ConsumedRecord]
    closed: list[ClosedRecord]
    waits: list[WaitRecord] | None
    logs: list[LogRecord]
    result_json: Any
    error_json: dict[str, Any] | None
    # There when a delivery was refused.
    refused: NotRequired[list[RefusedRecord]]
    # Put there by the activity: by how much Temporal's clock is ahead of that of its process.
    temporal_ahead_ms: NotRequired[float]


class ActionCall(TypedDict):
    """Input of the action activities: what to call, and the write that travels with it.

    `secrets`, there where the input has what looks like a reference to one, are the places of those that the document
    puts there; a call of an earlier build has none, and all that it has are meant.
    """

    step_path: str
    visit: int
    definition_step_id: str
    name: str | None
    attempt: int
    action_id: str
    action_version: int
    idempotency_key: str
    authored_key: bool
    input: Any
    write: RunWrite
    secrets: NotRequired[list[list[str | int]]]


class ActionTraits(TypedDict):
    """What a run must know of an action before it can schedule it; recorded in history at load."""

    short: bool
    place: Literal["worker", "app"]
    timeout_ms: int
    heartbeat_ms: int
    cancellable: bool


class ShortAnswer(TypedDict):
    """Result of the activity that calls a short action. Histories of before have `output` and `elapsedMs` only.

    `at` is when the call ended. `ahead`, where they were asked for, has the answers to calls that may follow, each with
    the `call` it is for (`execution.short_answers.fingerprint`), and a `failure` in place of `output` where it failed.
    """

    elapsedMs: int
    output: NotRequired[Any]
    failure: NotRequired[dict[str, Any]]
    at: NotRequired[int]
    call: NotRequired[str]
    ahead: NotRequired[list[ShortAnswer]]


class EndedRecord(TypedDict):
    """An end that the action has come to and written: when, what, and where its way led."""

    at: int
    status: Literal["SUCCEEDED", "FAILED", "CANCELED"]
    category: str | None
    path: str | None
    steps: int


class WrittenEnd(TypedDict):
    """The end of a run as its row has it."""

    status: Literal["SUCCEEDED", "FAILED", "CANCELED"]
    at: int
    result_json: Any
    error_json: dict[str, Any] | None


class LastAnswer(TypedDict):
    """Result of the activity that calls what may be a run's last action.

    `output`, with `ended` where this start has written the run's end; or `found` alone where an earlier one had, and
    the run takes that end as it is.
    """

    output: NotRequired[Any]
    ended: NotRequired[EndedRecord]
    found: NotRequired[WrittenEnd]


class FoundAction(TypedDict):
    """What processes announce of one action; `traits` is None when no live process serves it.

    `place` and `last_served_by` (the process's identity and the time of its last heartbeat) are of the last process
    that did, None when none did within a day.
    """

    traits: ActionTraits | None
    place: Literal["worker", "app"] | None
    last_served_by: str | None


class LoadedRun(TypedDict):
    """Result of the load activity. `actions` has an entry per `id@version` that somebody serves.

    `recorded` is False for a run that has no row yet; `started_at` is the database's time, because
    look-back compares it with the database's time of routing.
    """

    started_at: int
    definition: dict[str, Any]
    definition_hash: str
    payload: Any
    meta: dict[str, Any]
    recorded: bool
    actions: dict[str, ActionTraits]
    continue_after_steps: int
    continue_after_signals: int
    # Absent in histories older than them.
    continue_after_effort: NotRequired[int]
    call_ahead: NotRequired[bool]
    last_action_ends: NotRequired[bool]
    unavailable_after_ms: NotRequired[int]
    semantics: NotRequired[int]
    max_key_bytes: NotRequired[int]
    # `started_at` is the time of the loading's end, and the run is older.
    started_before: NotRequired[bool]
    # By the clock of the loading's machine, which may be off.
    since_start_ms: NotRequired[int]
    # Temporal workflow id of the scheduled launch that waits for the end of the run.
    scheduled_launch: NotRequired[str]
