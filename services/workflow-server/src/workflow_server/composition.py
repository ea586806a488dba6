"""What this process is made of, built explicitly from its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service_host.command import Contents
from service_host.errors import StartRefused
from service_host.postgres import TRANSACTION_SECONDS, create_engine
from service_host.temporal import tracing_of
from service_host.tracing import observer_of
from workflow_server.settings import Settings, read_action_packs
from workflows_bootstrap.application import RESERVED_PACKS, application_registry, build_application_runtime
from workflows_bootstrap.services import ApplicationServices
from workflows_core.actions.action import Place
from workflows_core.actions.packs import load_packs
from workflows_core.actions.registry import Pack
from workflows_core.errors import Refused
from workflows_core.execution.activities import APPLICATION_ACTIVITY_NAMES
from workflows_core.execution.worker import WorkerLimits
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import Database

GRACE_SECONDS = 20.0
"""How long running actions may go on after SIGTERM."""


def installed_packs(names: Sequence[str]) -> Mapping[str, Pack]:
    """The installation's own packs, in order.

    Raises:
        StartRefused: A pack that is missing or broken; every one.
    """
    try:
        return load_packs(names, reserved=RESERVED_PACKS)
    except Refused as error:
        raise StartRefused.of(error.problems) from None


def contents() -> Contents:
    """What `describe` and the banner list; needs no settings but the names of packs.

    Raises:
        StartRefused: A pack that is missing or broken, or an action that is wrong; every one.
    """
    try:
        registry = application_registry(installed_packs(read_action_packs()))
    except Refused as error:
        raise StartRefused.of(error.problems) from None
    return Contents(
        activities=APPLICATION_ACTIVITY_NAMES,
        actions=[action.key for action in registry if action.place is Place.APP],
    )


def build_services(settings: Settings) -> ApplicationServices:
    """AI inference and e-mail; they connect on first use."""
    return ApplicationServices.build(settings.inference, settings.mail, settings.secret_provider())


def build_runtime(settings: Settings, services: ApplicationServices, identity: str) -> AuthoredRuntime:
    """The application's runtime of this process; its engine connects on first use."""
    engine = create_engine(settings, application_name=identity, pool_size=20, max_overflow=0)
    return build_application_runtime(
        Database(engine, within_seconds=TRANSACTION_SECONDS),
        settings.secret_provider(),
        services,
        http=settings.http_policy,
        packs=installed_packs(settings.action_packs),
        observe=observer_of(tracing_of(settings, identity)),
    )


def worker_limits(settings: Settings) -> WorkerLimits:
    """Slots of the Temporal worker."""
    return WorkerLimits(activities=settings.max_activities, grace_seconds=GRACE_SECONDS)
