"""What this process is made of, built explicitly from its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service_host.command import Contents
from service_host.errors import StartRefused
from service_host.postgres import TRANSACTION_SECONDS, create_engine
from service_host.temporal import tracing_of
from service_host.tracing import observer_of
from workflow_worker.settings import Settings, read_action_packs
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.packs import load_packs
from workflows_core.actions.registry import CORE_PACK, ActionRegistry, Pack
from workflows_core.errors import Refused
from workflows_core.execution.activities import ACTIVITY_NAMES
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.worker import WORKFLOW_NAMES, WorkerLimits
from workflows_core.ingress.policy import IngressPolicy
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import Database

GRACE_SECONDS = 20.0
"""How long running activities may go on after SIGTERM."""


def packs(http: HttpPolicy, names: Sequence[str]) -> Mapping[str, Pack]:
    """The action packs of this service, in order: core's, then the installed ones of these names.

    Raises:
        StartRefused: A pack that is missing or broken; every one.
    """
    try:
        return {CORE_PACK: core_pack(http), **load_packs(names)}
    except Refused as error:
        raise StartRefused.of(error.problems) from None


def contents() -> Contents:
    """What `describe` and the banner list; needs no settings but the names of packs.

    Raises:
        StartRefused: A pack that is missing or broken, or an action that is wrong; every one.
    """
    try:
        registry = ActionRegistry.of(packs(HttpPolicy(), read_action_packs()))
    except Refused as error:
        raise StartRefused.of(error.problems) from None
    return Contents(workflows=WORKFLOW_NAMES, activities=ACTIVITY_NAMES, actions=[action.key for action in registry])


def build_runtime(settings: Settings, identity: str) -> AuthoredRuntime:
    """The authored runtime of this process; its engine connects on first use."""
    # Activities hold a connection for milliseconds and wait for one for no longer; overflow connections
    # would be opened and closed all the time under load.
    engine = create_engine(settings, application_name=identity, pool_size=20, max_overflow=0)
    policy = RunPolicy(
        call_ahead=settings.call_short_actions_ahead,
        last_action_ends=settings.last_action_ends_run,
        unavailable_after_ms=settings.action_unavailable_after_ms,
    )
    return AuthoredRuntime.build(
        Database(engine, within_seconds=TRANSACTION_SECONDS),
        packs(settings.http_policy, settings.action_packs),
        settings.secret_provider(),
        policy,
        observe=observer_of(tracing_of(settings, identity)),
    )


def ingress_policy(settings: Settings) -> IngressPolicy:
    """Bounds of event ingress."""
    return IngressPolicy(
        poll_seconds=settings.event_poll_interval_ms / 1000,
        batch_size=settings.event_batch_size,
        correlation_paths=settings.correlation_paths,
    )


def worker_limits(settings: Settings) -> WorkerLimits:
    """Slots of the Temporal worker."""
    return WorkerLimits(
        workflow_tasks=settings.max_workflow_tasks,
        activities=settings.max_activities,
        cached_runs=settings.max_cached_runs,
        plan_bytes=settings.max_plan_mib * 1024**2,
        grace_seconds=GRACE_SECONDS,
    )
