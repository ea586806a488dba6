"""`workflows`: the command line of operators and authors.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly or settings wrong.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module

import click

from service_host.early import Loading
from service_host.errors import StartRefused, Unreachable
from service_host.leaving import leave
from workflows_cli.output import emit
from workflows_core.errors import Refused, WorkflowsError
from workflows_core.storage.database import is_unavailable

_COMMANDS: Mapping[str, str] = {
    "calendars": "schedules:calendars_group",
    "catalog": "contracts:catalog_group",
    "db": "database:db_group",
    "definitions": "definitions:definitions_group",
    "demo": "demo:demo",
    "dev": "dev:dev",
    "events": "events:events_group",
    "ownership": "ownership:ownership",
    "redaction": "redaction:redaction_group",
    "runs": "runs:runs_group",
    "schedules": "schedules:schedules_group",
    "schemas": "contracts:schemas_group",
    "setup": "database:setup",
    "simulate": "simulate:simulate_command",
    "tasks": "tasks:tasks_group",
    "tokens": "tokens:tokens_group",
    "waits": "events:waits_group",
}
"""Module of `workflows_cli.commands` and name in it; loaded when asked for, since all together take a second."""


class _LoadedWhenAskedFor(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        with Loading():
            command: click.Command = getattr(import_module(f"workflows_cli.commands.{module}"), name)
        return command


@click.group(cls=_LoadedWhenAskedFor)
@click.version_option(package_name="workflows-cli")
def cli() -> None:
    """Author, run and watch declarative workflows on Temporal."""


def main() -> None:
    """Entry point: every refusal becomes a sentence and an exit code, never a traceback."""
    # Not by the interpreter's own exit, which the Temporal SDK's threads can turn into an abort.
    leave(_exit_code())


def _exit_code() -> int:
    try:
        code = cli.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except Exception as error:
        return _explain(error)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    """Says what was refused, or shows the trace of a fault of ours; the exit code."""
    match error:
        case StartRefused():
            _refuse([{"code": found.code, "path": found.where, "message": found.message} for found in error.problems])
            return 2
        case Refused():
            _refuse([found.to_json() for found in error.problems], str(error))
        case WorkflowsError():
            _refuse([{"code": error.code, "message": error.message}])
        case Unreachable():
            _refuse([{"code": "UNREACHABLE", "message": str(error)}])
        case _ if type(error).__name__ == "EmbeddedStartFailed":
            # By name: the embedded servers are loaded by the commands that start them only.
            _refuse([{"code": "EMBEDDED_START_FAILED", "message": str(error)}])
        case _ if is_unavailable(error):
            advice = "check DB_HOST and DB_PORT, or start the stack with `workflows dev`"
            _refuse([{"code": "DATABASE_UNAVAILABLE", "message": f"PostgreSQL does not answer; {advice}"}])
        case _:
            traceback.print_exception(error)
    return 1


def _refuse(problems: Sequence[Mapping[str, object]], text: str | None = None) -> None:
    """Prints problems as JSON to standard output, or as text to standard error."""
    if "--format=json" in sys.argv or _follows("--format", "json"):
        emit({"problems": problems}, "", "json")
        return
    lines = [f"error {found['code']} {found.get('path', '')}".rstrip() + f": {found['message']}" for found in problems]
    click.echo(text or "\n".join(lines), err=True)


def _follows(option: str, value: str) -> bool:
    return any(a == option and b == value for a, b in zip(sys.argv, sys.argv[1:], strict=False))
