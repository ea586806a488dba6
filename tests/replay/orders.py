"""What a history has asked for, in its order, and what a replay of it asks for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from workflows_core.execution.worker import authored_replayer
from workflows_core.wire.compact_loads import full_loaded

Order = tuple[str, str | None]
"""Kind of an activity, and path of the step that it is for."""


def orders_of(history: Mapping[str, Any]) -> list[Order]:
    """The activities of a history."""
    scheduled = (event.get("activityTaskScheduledEventAttributes") for event in history["events"])
    return [_order(one["activityType"]["name"], _values(one)) for one in scheduled if one is not None]


async def replayed_orders(text: str) -> list[Order]:
    """The activities that today's code asks for where it replays a history."""
    orders: list[Order] = []
    replayer = authored_replayer(interceptors=[_Noting(orders)])
    await replayer.replay_workflow(WorkflowHistory.from_json("recorded", text), raise_on_replay_failure=False)
    return orders


def constructs_of(history: Mapping[str, Any]) -> set[str]:
    """Types of steps, and names of fields and signals, that a history has."""
    found: set[str] = set()
    for event in history["events"]:
        signal = event.get("workflowExecutionSignaledEventAttributes")
        if signal is not None:
            found.add(signal["signalName"])
        for value in _values(event):
            found |= set(_names(value))
    return found


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _names(one)
    elif isinstance(value, dict):
        if "definition_zlib" in value or "definition_deflated" in value:
            yield from _names(full_loaded(value)["definition"])
        yield from value
        if isinstance(value.get("type"), str):
            yield value["type"]
        for one in value.values():
            yield from _names(one)


def _values(value: Any) -> Iterator[Any]:
    """The JSON values of all payloads in a part of a history."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one)
    elif isinstance(value, dict):
        if isinstance(value.get("data"), str) and "metadata" in value:
            yield from _decoded(base64.b64decode(value["data"]))
        for one in value.values():
            yield from _values(one)


def _decoded(data: bytes) -> Iterator[Any]:
    try:
        yield json.loads(data)
    except ValueError:
        return


def _order(kind: str, values: Iterator[Any]) -> Order:
    body = next(values, None)
    call = body.get("call", body) if isinstance(body, dict) else {}
    return kind, call.get("step_path")


class _Noting(Interceptor):
    def __init__(self, orders: list[Order]) -> None:
        self.orders = orders

    def workflow_interceptor_class(self, _: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        orders = self.orders

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, asked: StartActivityInput) -> ActivityHandle[Any]:
                values = (json.loads(one.payload.data) for one in asked.args if isinstance(one, RawValue))
                orders.append(_order(asked.activity, values))
                return super().start_activity(asked)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound
