"""The command line that every service has: `run | check | describe`, and what the service adds.

Exit codes: 0 as asked; 1 something failed or is not reachable; 2 wrong usage or a refused start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from service_host.errors import EXIT_FAILED, EXIT_REFUSED, StartRefused, Unreachable, together
from service_host.leaving import leave
from service_host.ownership import QueueOwnership
from service_host.postgres import create_engine, ping_postgres, where_is
from service_host.serving import check_free
from service_host.settings import HealthSettings, PostgresSettings, TemporalSettings
from service_host.temporal import try_temporal

SettingsType = TypeVar("SettingsType")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a service carries, by registered names."""

    workflows: Sequence[str] = ()
    activities: Sequence[str] = ()
    actions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one check of `check`."""

    name: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok    ' if self.ok else 'FAILED'} {self.name}: {self.detail}"


@dataclass(frozen=True, slots=True)
class FurtherCommand(Generic[SettingsType]):
    """A command that only this service has; returns the exit code."""

    help: str
    run: Callable[[SettingsType], int]


@dataclass(frozen=True, slots=True)
class ServiceCommand(Generic[SettingsType]):
    """A service as its command line sees it.

    Attributes:
        service: Its name: console script, identity prefix, owner in the ownership file, and distribution name.
        purpose: One sentence for `--help`.
        load_settings: Reads the environment; raises `StartRefused`.
        read_listening: The settings of what it listens on alone: ports are looked at beside settings that are wrong.
        contents: What `describe` and the banner list.
        run: Runs the service and returns the exit code; raises `StartRefused`.
        check: Verdicts about backing services, for `check` without `--offline`.
        further: More commands by name.
    """

    service: str
    purpose: str
    load_settings: Callable[[], SettingsType]
    read_listening: Callable[[], HealthSettings]
    contents: Callable[[], Contents]
    run: Callable[[SettingsType], Awaitable[int]]
    check: Callable[[SettingsType], Awaitable[Sequence[Verdict]]]
    further: Mapping[str, FurtherCommand[SettingsType]] = field(default_factory=dict)


def describe(service: str, contents: Contents, ownership: QueueOwnership) -> dict[str, Any]:
    """What `describe` prints: needs no settings and no network."""
    return {
        "service": service,
        "version": installed_version(service),
        "queuesOwned": list(ownership.queues_of(service)),
        "queuesRefused": list(ownership.refused_by(service)),
        "workflows": sorted(contents.workflows),
        "activities": sorted(contents.activities),
        "actions": sorted(contents.actions),
    }


def execute(command: ServiceCommand[SettingsType], arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do it; returns the exit code, except `run`, which ends the process.

    Raises:
        SystemExit: From argparse, for `--help` (0) and wrong usage (2).
    """
    options = _parser(command).parse_args(arguments)
    try:
        if options.command == "describe":
            print(json.dumps(describe(command.service, command.contents(), QueueOwnership.load()), indent=2))
            return 0
        # A process that runs already has its ports: only a start looks at them.
        listening = [lambda: check_free(command.read_listening().addresses)] if options.command == "run" else []
        settings = together(command.load_settings, *listening)
        if options.command == "check":
            return _check(command, settings, offline=options.offline)
        if options.command != "run":
            return command.further[options.command].run(settings)
    except StartRefused as refused:
        return _refuse(command.service, refused)
    return leave(_run(command, settings))


def _run(command: ServiceCommand[SettingsType], settings: SettingsType) -> int:
    async def started() -> int:
        return await command.run(settings)

    try:
        return asyncio.run(started())
    except StartRefused as refused:
        return _refuse(command.service, refused)
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED


def _check(command: ServiceCommand[SettingsType], settings: SettingsType, *, offline: bool) -> int:
    verdicts = [
        Verdict("settings", True, "complete and well formed"),
        Verdict("ownership", True, "every queue asked for belongs to this service"),
    ]
    if not offline:
        verdicts += asyncio.run(_collect(command, settings))
    for verdict in verdicts:
        print(verdict)
    return 0 if all(verdict.ok for verdict in verdicts) else EXIT_FAILED


async def _collect(command: ServiceCommand[SettingsType], settings: SettingsType) -> Sequence[Verdict]:
    return await command.check(settings)


async def check_temporal(settings: TemporalSettings, identity: str) -> Verdict:
    """One connection to Temporal, as a verdict."""

    async def serves(_: Client) -> tuple[bool, str]:
        return True, f"{settings.temporal_address} serves namespace {settings.temporal_namespace}"

    return await check_namespace("temporal", settings, identity, serves)


async def check_namespace(
    name: str, settings: TemporalSettings, identity: str, ask: Callable[[Client], Awaitable[tuple[bool, str]]]
) -> Verdict:
    """What a client of the namespace finds, as a verdict."""
    try:
        ok, detail = await ask(await try_temporal(settings, identity))
    except Unreachable as error:
        ok, detail = False, str(error)
    return Verdict(name, ok, detail)


async def check_database(
    name: str, settings: PostgresSettings, ask: Callable[[AsyncEngine], Awaitable[tuple[bool, str]]]
) -> Verdict:
    """What a connection to the database finds, as a verdict."""
    engine = create_engine(settings, pool_size=1, max_overflow=0)
    try:
        ok, detail = await ask(engine)
    except Unreachable as error:
        ok, detail = False, str(error)
    finally:
        await engine.dispose()
    return Verdict(name, ok, detail)


async def check_postgres(settings: PostgresSettings) -> Verdict:
    """One connection to PostgreSQL, as a verdict."""

    async def answers(engine: AsyncEngine) -> tuple[bool, str]:
        await ping_postgres(engine)
        return True, f"{where_is(settings)} answers"

    return await check_database("postgres", settings, answers)


def _refuse(service: str, refused: StartRefused) -> int:
    print(f"{service} does not start:", file=sys.stderr)
    for problem in refused.problems:
        print(f"  {problem}", file=sys.stderr)
    return EXIT_REFUSED


def _parser(command: ServiceCommand[SettingsType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=command.service, description=command.purpose)
    parser.add_argument(
        "--version", action="version", version=f"{command.service} {installed_version(command.service)}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run the service until it is told to stop")
    check = commands.add_parser("check", help="check settings, ownership, and that Temporal and PostgreSQL answer")
    check.add_argument("--offline", action="store_true", help="only settings and ownership")
    commands.add_parser("describe", help="print queues, workflows, activities and actions as JSON")
    for name, further in command.further.items():
        commands.add_parser(name, help=further.help)
    return parser
