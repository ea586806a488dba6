"""Sends deliveries: a signal for a wait, a launch for a trigger.

Sending twice does no harm: a run takes a delivery only while the wait it names is open, and a start has
one run id for ever. What is written here changes only deliveries that are still `new`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from workflows_core.errors import WorkflowsError
from workflows_core.expressions.engine import ExpressionEngine
from workflows_core.ingress.just_routed import ALL_TO_EVERYBODY, JustRouted
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.ingress.trigger_mapping import MappingFailed, mapped_payload
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.problems import (
    RunNotRunning,
    SearchAttributesMissing,
    TemporalUnavailable,
)
from workflows_core.log_context import about
from workflows_core.storage.admission import hold_free_definition
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.storage.definitions import get_version
from workflows_core.storage.deliveries import (
    Delivery,
    delivery_failed,
    mark_accepted,
    mark_decided,
    ready_deliveries,
    send_later,
    take_deliveries,
)
from workflows_core.storage.rows import VersionRow
from workflows_core.storage.statements import is_contended, is_fault_of_schema
from workflows_core.wire.messages import EventSignal

_log = logging.getLogger(__name__)
_REASON_LENGTH = 500
_PASSING = (TemporalUnavailable, SearchAttributesMissing)
"""The fault is not the delivery's: it is tried for ever."""


def request_of_start(delivery: Delivery, version: VersionRow | None, engine: ExpressionEngine) -> LaunchRequest:
    """The run that a delivery starts.

    Args:
        delivery: One of a start.
        version: The newest published version of its workflow.
        engine: Evaluates the payload mapping.

    Raises:
        MappingFailed: With what is wrong with the mapping, or when such an event starts the workflow no more.
    """
    trigger = None if version is None else version.definition.get("trigger")
    if version is None or not trigger or trigger.get("eventName") != delivery.event_name:
        raise MappingFailed(f"no published version of the workflow is started by {delivery.event_name!r} any more")
    event = {
        "name": delivery.event_name,
        "correlationKey": delivery.correlation_key,
        "payload": delivery.payload,
        "payloadSchemaRef": delivery.payload_schema_ref,
    }
    now_ms = int(delivery.created_at.timestamp() * 1000)
    return LaunchRequest(
        tenant=delivery.tenant,
        workflow=delivery.target_id,
        version=version.version,
        payload=mapped_payload(trigger.get("payloadMapping"), event, engine, now_ms=now_ms, seed=0),
        run_id=delivery.run_id,
        trigger_type="event",
        execution_key=f"{delivery.event_id}:{delivery.target_id}",
        trigger_fire_key=f"{delivery.event_id}:{delivery.target_id}",
        trigger_metadata={
            "eventId": delivery.event_id,
            "eventType": delivery.event_name,
            "sourcePayloadSchemaRef": delivery.payload_schema_ref,
            "triggerMappingApplied": "payloadMapping" in trigger,
        },
        event_type=delivery.event_name,
    )


@dataclass(frozen=True, slots=True)
class Sender:
    """What sending needs.

    Attributes:
        db: The database.
        launcher: Signals and starts.
        engine: Evaluates the payload mappings of triggers.
        policy: Bounds.
        just_routed: What this process has routed itself.
        held: Tenant and workflow of starts that somebody who holds the workflow kept waiting: until one of them goes
            through they are not waited for again, which would keep all other deliveries waiting as well.
    """

    db: Database
    launcher: Launcher
    engine: ExpressionEngine
    policy: IngressPolicy
    just_routed: JustRouted = ALL_TO_EVERYBODY
    held: set[tuple[str, str]] = field(default_factory=set)

    async def send_ready(self) -> int:
        """Sends what was just routed, else what is due: side by side, but one at a time per key and run.

        Returns:
            How many were taken, or wait still; 0 means that nothing is due.

        Raises:
            Exception: The database is away; what is not marked is sent again later.
        """
        sent = await self._send_all(self.just_routed.take() or await self._take_due())
        return sent or self.just_routed.waiting

    async def send_rest(self) -> None:
        """Sends what was just routed and not sent yet; raises as `send_ready`."""
        await self._send_all(self.just_routed.take_rest())

    async def _take_due(self) -> list[Delivery]:
        due = await ready_deliveries(self.db, self.policy.batch_size)
        by_tenant: dict[str, list[str]] = defaultdict(list)
        for tenant, delivery_id in due:
            by_tenant[tenant].append(delivery_id)
        taken: list[Delivery] = []
        for tenant, ids in by_tenant.items():
            taken += await take_deliveries(self.db, tenant, ids, self.policy.lease_seconds)
        return taken

    async def _send_all(self, taken: Sequence[Delivery]) -> int:
        outcomes = await asyncio.gather(*(self._send(delivery) for delivery in taken), return_exceptions=True)
        accepted: dict[str, list[str]] = defaultdict(list)
        for delivery, outcome in zip(taken, outcomes, strict=True):
            if outcome is True:
                accepted[delivery.tenant].append(delivery.delivery_id)
        for tenant, ids in accepted.items():
            await mark_accepted(self.db, tenant, ids)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(taken)

    async def _send(self, delivery: Delivery) -> bool:
        """Sends one delivery and writes what became of it; True when it is a signal that Temporal has."""
        with about(tenant=delivery.tenant, run_id=delivery.run_id):
            return await self._try(delivery)

    async def _try(self, delivery: Delivery) -> bool:
        try:
            if delivery.target_kind == "wait":
                await self._signal(delivery)
                return True
            await self._start(delivery)
        except RunNotRunning:
            # Not started yet, or ended without telling: the reconciler judges, here it is only tried again.
            async with self.db.tenant(delivery.tenant) as conn:
                await send_later(conn, delivery, self.policy.unknown_run_seconds)
        except _PASSING as error:
            self.just_routed.temporal_is_away()
            await self._failed(delivery, error, max_attempts=None)
        except Exception as error:
            contended = is_contended(error)
            if is_unavailable(error) and not contended:
                raise
            if contended:
                self.held.add((delivery.tenant, delivery.target_id))
            attempts = None if contended or is_fault_of_schema(error) else self.policy.delivery_attempts
            await self._failed(delivery, error, max_attempts=attempts)
        return False

    async def _signal(self, delivery: Delivery) -> None:
        signal = EventSignal(
            event_id=delivery.event_id,
            event_name=delivery.event_name,
            correlation_key=delivery.key,
            payload=delivery.payload,
            received_at=datetime.now(UTC).isoformat(),
            wait_id=delivery.target_id,
            delivery_id=delivery.delivery_id,
        )
        await self.launcher.signal(delivery.run_id, signal)

    async def _start(self, delivery: Delivery) -> None:
        workflow = (delivery.tenant, delivery.target_id)
        async with self.db.tenant(delivery.tenant) as conn:
            if workflow in self.held:
                await hold_free_definition(conn, delivery.target_id)
                self.held.discard(workflow)
            version = await get_version(conn, delivery.target_id, None)
        try:
            launched = await self.launcher.launch(request_of_start(delivery, version, self.engine))
        except MappingFailed as error:
            await self._undeliverable(delivery, str(error))
            return
        except _PASSING:
            raise
        except WorkflowsError as error:
            await self._undeliverable(delivery, error.message)
            return
        if launched.status == "FAILED" and launched.temporal_run_id is None:
            # An earlier try got this far and died before it could say so.
            await self._undeliverable(delivery, f"run {delivery.run_id} could not be launched; its row says why")
            return
        async with self.db.tenant(delivery.tenant) as conn:
            await mark_decided(conn, delivery, "consumed", None)

    async def _undeliverable(self, delivery: Delivery, reason: str) -> None:
        _log.warning(
            "event %s starts no run of workflow %s: %s",
            delivery.event_id,
            delivery.target_id,
            reason,
            extra={"event": "delivery_undeliverable"},
        )
        async with self.db.tenant(delivery.tenant) as conn:
            await mark_decided(conn, delivery, "undeliverable", reason[:_REASON_LENGTH])

    async def _failed(self, delivery: Delivery, error: Exception, *, max_attempts: int | None) -> None:
        reason = f"{type(error).__name__}: {error}"[:_REASON_LENGTH]
        delay = self.policy.delay(delivery.attempts + 1)
        async with self.db.tenant(delivery.tenant) as conn:
            status = await delivery_failed(conn, delivery, reason, delay_seconds=delay, max_attempts=max_attempts)
        _log.warning(
            "delivery %s of event %s to run %s was not sent (attempt %d, now %s, next in %g s): %s",
            delivery.delivery_id,
            delivery.event_id,
            delivery.run_id,
            delivery.attempts + 1,
            status,
            delay,
            reason,
            extra={"event": "delivery_not_sent"},
        )
