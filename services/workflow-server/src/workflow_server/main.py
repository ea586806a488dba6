"""`workflow-server describe`; `run` and `check` say that this build has no server yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from service_host.command import Contents, ServiceCommand, Verdict, execute
from service_host.errors import StartRefused
from service_host.leaving import leave
from workflows_bootstrap.application import application_registry

SERVICE = "workflow-server"


def main() -> None:
    """Entry point of the console script."""
    leave(execute(command()))


def command() -> ServiceCommand[None]:
    """The service as its command line sees it."""
    return ServiceCommand(
        service=SERVICE,
        purpose="The application: HTTP API and executor of application-only actions (not in this build).",
        load_settings=refuse,
        contents=contents,
        run=run,
        check=check,
    )


def contents() -> Contents:
    """What `describe` lists: the application-only actions."""
    return Contents(actions=[action.key for action in application_registry()])


def refuse() -> NoReturn:
    """Say that there is nothing to start; exit code 2.

    Raises:
        StartRefused: Always, with the code `SERVICE_NOT_BUILT`.
    """
    raise StartRefused.one(
        "SERVICE_NOT_BUILT",
        SERVICE,
        "this build has neither the HTTP API nor the executor of workflow-app-actions, only `describe`. Authored runs "
        "need workflow-worker alone; start, list and cancel them with the command line `workflows runs`",
    )


async def run(_settings: None) -> int:
    """Refused before any setting is read."""
    refuse()


async def check(_settings: None) -> Sequence[Verdict]:
    """Refused before any setting is read."""
    refuse()
