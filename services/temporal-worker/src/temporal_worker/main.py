"""Entry point of the console script `temporal-worker`."""

from __future__ import annotations

import sys

from service_host.command import FurtherCommand, ServiceCommand, execute
from service_host.errors import EXIT_FAILED, Unreachable
from service_host.leaving import leave
from service_host.ownership import QueueOwnership
from temporal_worker import service, settings
from temporal_worker.names import SERVICE
from temporal_worker.schema.migrate import migrate
from temporal_worker.workers import registered_names


def command() -> ServiceCommand[settings.Settings]:
    """This service as its command line sees it."""
    return ServiceCommand(
        service=SERVICE,
        purpose="Executes the domain Temporal workflows; authored workflows belong to workflow-worker.",
        load_settings=settings.load,
        read_listening=settings.read_listening,
        contents=lambda: registered_names(QueueOwnership.load().queues_of(SERVICE)),
        run=service.run,
        check=service.check,
        further={"migrate": FurtherCommand("create or update the PostgreSQL schema temporal_worker", _migrate)},
    )


def main() -> None:
    """Run the command line and exit."""
    leave(execute(command()))


def _migrate(loaded: settings.Settings) -> int:
    try:
        applied = migrate(loaded)
    except Unreachable as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    print(f"schema temporal_worker: applied {', '.join(applied)}" if applied else "schema temporal_worker: current")
    return 0
