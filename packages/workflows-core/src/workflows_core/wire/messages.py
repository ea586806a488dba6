"""What a caller sends to a run: its input and its event signal, with the original's field names."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflows_core.errors import Problem, Refused

_MAX_PLAIN_BYTES = 1536 * 1024
"""Of a checkpoint as a text inside JSON, where each quote in it is two; a longer one travels compressed."""


@dataclass(frozen=True, slots=True)
class RunInput:
    """Input of `workflowRuntimeV2RunWorkflow`.

    `checkpoint` is ours and internal: the carried state after continue-as-new, as JSON text.
    """

    run_id: str
    tenant_id: str
    workflow_id: str
    workflow_version: int
    trigger_type: str | None = None
    execution_key: str | None = None
    checkpoint: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """The dictionary that travels."""
        out: dict[str, Any] = {
            "runId": self.run_id,
            "tenantId": self.tenant_id,
            "workflowId": self.workflow_id,
            "workflowVersion": self.workflow_version,
            "triggerType": self.trigger_type,
            "executionKey": self.execution_key,
        }
        if self.checkpoint is not None:
            out["checkpoint"] = _packed(self.checkpoint)
        return out

    @classmethod
    def from_wire(cls, value: Any) -> RunInput:
        """Reads a caller's input.

        Raises:
            Refused: With every missing or wrong field (`RUN_INPUT_INVALID`).
        """
        if not isinstance(value, Mapping):
            raise Refused.one("RUN_INPUT_INVALID", "the run's input must be an object")
        problems: list[Problem] = []
        for field, kind, word in (
            ("runId", str, "a non-empty string"),
            ("tenantId", str, "a non-empty string"),
            ("workflowId", str, "a non-empty string"),
            ("workflowVersion", int, "an integer above 0"),
        ):
            found = value.get(field)
            if not isinstance(found, kind) or isinstance(found, bool) or not found or not _positive(found):
                problems.append(Problem("RUN_INPUT_INVALID", f"must be {word}, found {found!r}", field))
        if problems:
            raise Refused(problems)
        return cls(
            run_id=value["runId"],
            tenant_id=value["tenantId"],
            workflow_id=value["workflowId"],
            workflow_version=value["workflowVersion"],
            trigger_type=value.get("triggerType"),
            execution_key=value.get("executionKey"),
            checkpoint=_unpacked(value.get("checkpoint")),
        )


@dataclass(frozen=True, slots=True)
class EventSignal:
    """Body of signal `workflowRuntimeV2Event`.

    `wait_id` and `delivery_id` are ours; a caller of the original contract leaves them out and the
    run matches the event itself. `received_at` is an ISO 8601 time.
    """

    event_id: str
    event_name: str
    correlation_key: str | None
    payload: Any
    received_at: str | None = None
    wait_id: str | None = None
    delivery_id: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """The dictionary that travels."""
        out: dict[str, Any] = {
            "eventId": self.event_id,
            "eventName": self.event_name,
            "correlationKey": self.correlation_key,
            "payload": self.payload,
            "receivedAt": self.received_at,
        }
        if self.wait_id is not None:
            out["waitId"] = self.wait_id
        if self.delivery_id is not None:
            out["deliveryId"] = self.delivery_id
        return out

    @classmethod
    def from_wire(cls, value: Any) -> EventSignal | None:
        """Reads a signal; None when it is not one (a run ignores it and records a warning)."""
        if not isinstance(value, Mapping):
            return None
        event_id, name = value.get("eventId"), value.get("eventName")
        if not isinstance(event_id, str) or not isinstance(name, str) or not event_id or not name:
            return None
        key = value.get("correlationKey")
        return cls(
            event_id=event_id,
            event_name=name,
            correlation_key=key if isinstance(key, str) else None,
            payload=value.get("payload"),
            received_at=value.get("receivedAt"),
            wait_id=value.get("waitId"),
            delivery_id=value.get("deliveryId"),
        )


def _packed(checkpoint: str) -> str:
    """As it travels: Temporal takes 2 MB, and a state of texts that are full of quotes would have more."""
    if len(json.dumps(checkpoint)) <= _MAX_PLAIN_BYTES:
        return checkpoint
    return base64.b64encode(zlib.compress(checkpoint.encode(errors="surrogatepass"))).decode()


def _unpacked(checkpoint: str | None) -> str | None:
    """Inverse of `_packed`; a text that is not compressed is an object's."""
    if checkpoint is None or checkpoint.startswith("{"):
        return checkpoint
    return zlib.decompress(base64.b64decode(checkpoint)).decode(errors="surrogatepass")


def _positive(value: str | int) -> bool:
    return isinstance(value, str) or value > 0
