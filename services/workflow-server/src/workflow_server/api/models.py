"""What goes in and comes out, as OpenAPI shows it. Answers have the fields of the command line's JSON."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    create_model,
)
from pydantic.alias_generators import to_camel

from workflows_core.storage.rows import (
    DeliveryRow,
    InvocationRow,
    LogRow,
    QueuePlace,
    Row,
    RunRow,
    RunSummary,
    StepRow,
    WaitRow,
)
from workflows_core.wire.records import RunStatus
from workflows_core.wire.text import UNSTORABLE

_ANSWER = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


def _storable(value: str) -> str:
    if UNSTORABLE.search(value):
        raise ValueError("must have no NUL and no half of a surrogate pair")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
"""An id, a key or a name."""


def _iso_8601(value: object) -> object:
    # Numbers, also as texts, are taken for seconds or for milliseconds by their size.
    if not isinstance(value, str) or value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("must be a time such as 2026-01-31T08:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_iso_8601)]
"""ISO 8601 with its zone."""


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", str_strip_whitespace=True)


class StartRun(_Body):
    """A run to start."""

    workflow: Annotated[Name, Field(description="Key or id of a published workflow.", examples=["order-payment"])]
    version: Annotated[
        # Strict, or `true` would be version 1.
        int | None,
        Field(strict=True, ge=1, le=2**31 - 1, description="Published version; by default the newest."),
    ] = None
    payload: Annotated[Any, Field(description="JSON value the run starts with.", examples=[{"orderId": "17"}])] = None


class CancelRun(_Body):
    """Why a run is to end."""

    reason: Annotated[
        str,
        StringConstraints(min_length=3, max_length=1000),
        AfterValidator(_storable),
        Field(description="Recorded with the run.", examples=["the order was withdrawn"]),
    ]


class PublishEvent(_Body):
    """An event to publish."""

    event_name: Annotated[Name, Field(description="What waits and triggers know.", examples=["PAYMENT_RECEIVED"])]
    event_id: Annotated[Name | None, Field(description="The same id is published once; by default a new one.")] = None
    correlation_key: Annotated[
        Name | None, Field(description="Without one, keys are derived from the payload.", examples=["order-17"])
    ] = None
    payload: Annotated[Any, Field(description="JSON value.", examples=[{"amount": 100}])] = None
    payload_schema_ref: Annotated[
        Name | None, Field(description="Schema that the payload keeps to; by default that of the event catalogue.")
    ] = None
    occurred_at: Annotated[Time | None, Field(description="The publisher's own time.")] = None


class StartedRun(BaseModel):
    """A started run."""

    model_config = _ANSWER

    run_id: str
    workflow_id: str
    workflow_version: int
    status: str
    created: Annotated[bool, Field(description="False when this idempotency key has started it before.")]
    polled: Annotated[
        bool | None, Field(description="False while no workflow-worker lives: the run waits for one. Null: unknown.")
    ]


class CancelRequested(BaseModel):
    """A run that was asked to end."""

    model_config = _ANSWER

    run_id: str
    cancel_requested: bool


class PublishedEvent(BaseModel):
    """A published event."""

    model_config = _ANSWER

    event_id: str
    created: Annotated[bool, Field(description="False when an event of this id was published before.")]


class ProblemItem(BaseModel):
    """One thing that is wrong."""

    code: str
    message: str
    path: str
    suggestion: str | None = None


class ProblemDocument(BaseModel):
    """A refusal: RFC 9457, with every problem."""

    type: str
    title: str
    status: int
    code: Annotated[str, Field(description="Stable; docs/problem-codes.md has cause and remedy.")]
    detail: str
    problems: list[ProblemItem]


def _model_of(row: type[Row], name: str, doc: str) -> type[BaseModel]:
    """The row's own fields under their JSON names, so that there is no second list of them."""
    hints = get_type_hints(row)
    members: dict[str, Any] = {field.name: (hints[field.name], ...) for field in fields(row)}
    return create_model(name, __config__=_ANSWER, __doc__=doc, **members)


Run = _model_of(RunRow, "Run", "A run.")
ListedRun = _model_of(RunSummary, "ListedRun", "A run without its input and its result.")
Step = _model_of(StepRow, "Step", "One visit of one step.")
Wait = _model_of(WaitRow, "Wait", "A wait of a run.")
Invocation = _model_of(InvocationRow, "Invocation", "A call of an action.")
Delivery = _model_of(DeliveryRow, "Delivery", "What became of an event for the run.")
Log = _model_of(LogRow, "Log", "A line of the run's own log.")
Queue = _model_of(QueuePlace, "Queue", "Where a run stands that waits for another one to end before it starts.")

_RunList = Literal["steps", "waits", "invocations", "deliveries", "logs"]
RunDetail = create_model(
    "RunDetail",
    __doc__="A run and everything recorded about it.",
    run=(Run, ...),
    steps=(list[Step], ...),  # type: ignore[valid-type]
    waits=(list[Wait], ...),  # type: ignore[valid-type]
    invocations=(list[Invocation], ...),  # type: ignore[valid-type]
    deliveries=(list[Delivery], ...),  # type: ignore[valid-type]
    logs=(list[Log], ...),  # type: ignore[valid-type]
    queue=(Queue | None, ...),  # type: ignore[arg-type]
    leftOut=(
        list[_RunList],
        Field(description="Lists that have the newest rows only, since there are very many or they are very large."),
    ),
)
RunPage = create_model(
    "RunPage",
    __doc__="Runs, newest first.",
    runs=(list[ListedRun], ...),  # type: ignore[valid-type]
    next=(str | None, Field(description="Cursor of the next page; null on the last one.")),
)


class RunFilter(BaseModel):
    """Which runs to list. A name that is none of these is refused: without its filter every run would be listed."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[RunStatus | None, Field(description="Only runs of this status.")] = None
    workflow: Annotated[Name | None, Field(description="Only runs of this workflow, by key or id.")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=1000, description="`next` of the page before.")] = None


class Cursor(BaseModel):
    """The last run of a page."""

    at: AwareDatetime
    run_id: Name
