"""`workflows`: the command line of operators and authors.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly or settings wrong.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise

import click

from service_host.early import Loading
from service_host.errors import StartRefused, Unreachable
from service_host.leaving import leave
from workflows_cli.output import emit
from workflows_core.errors import Problem, Refused, WorkflowsError

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "calendars": ("schedules:calendars_group", "Business calendars, which the day filters of schedules go by."),
    "catalog": ("contracts:catalog_group", "The events that the tenant knows, and the schema of each."),
    "db": ("database:db_group", "The schema of the authored runtime."),
    "definitions": ("definitions:definitions_group", "Drafts and published versions of workflows."),
    "demo": ("demo:demo", "Start everything, run an authored workflow, and stop everything."),
    "dev": ("dev:dev", "Temporal, PostgreSQL and all processes, until Ctrl-C."),
    "events": ("events:events_group", "The event stream: publish, look, route again."),
    "ownership": ("ownership:ownership", "Each queue's owner and its live pollers."),
    "redaction": ("redaction:redaction_group", "What people are not shown of the tenant's values."),
    "runs": ("runs:runs_group", "Runs of published workflows."),
    "schedules": ("schedules:schedules_group", "What starts runs by the clock."),
    "schemas": ("contracts:schemas_group", "Payload schemas of the tenant."),
    "setup": ("database:setup", "Register the search attributes of runs in the namespace."),
    "simulate": ("simulate:simulate_command", "Run a definition without any server, in virtual time."),
    "tasks": ("tasks:tasks_group", "What runs ask people."),
    "tokens": ("tokens:tokens_group", "Tokens of the HTTP API."),
    "waits": ("events:waits_group", "What runs wait for."),
}
"""Module of `workflows_cli.commands` and name in it, and what `--help` says: to load all of them takes seconds."""

_NO_ANSWER = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
"""Statuses of a call to Temporal that say nothing about what was asked for."""
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)


class _LoadedWhenAskedFor(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        with Loading():
            command: click.Command = getattr(import_module(f"workflows_cli.commands.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


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
        if _wants_json():
            _refuse([{"code": "USAGE_INVALID", "message": error.format_message()}])
        else:
            error.show()
        return 2
    except click.Abort:
        return 130
    except Exception as error:
        return _unwritten(error) if isinstance(error, OSError) and error.errno in _NOT_WRITTEN else _explain(error)
    return code if isinstance(code, int) else 0


def _unwritten(error: OSError) -> int:
    """Says that output was lost, unless whoever read it has gone; the exit code."""
    if error.errno != errno.EPIPE:
        # As text, whatever was asked for: where JSON goes there is no room.
        said = Problem("OUTPUT_NOT_WRITTEN", f"the output cannot be written: {error.strerror}")
        click.echo(str(said), err=True)
    return 1


def _explain(error: Exception) -> int:
    """Says what was refused, or shows the trace of a fault of ours; the exit code."""
    from temporalio.service import RPCError  # noqa: PLC0415 - these take half a second to load

    from service_host.postgres import database_reason  # noqa: PLC0415
    from workflows_core.storage.database import is_unavailable  # noqa: PLC0415

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
        case RPCError() if error.status.name in _NO_ANSWER:
            _refuse([{"code": "UNREACHABLE", "message": f"Temporal does not answer: {error.message}"}])
        case RPCError():
            _refuse(
                [{"code": "TEMPORAL_REFUSED", "message": f"Temporal refuses: {error.status.name}: {error.message}"}]
            )
        case _ if is_unavailable(error):
            _refuse(
                [{"code": "DATABASE_UNAVAILABLE", "message": f"PostgreSQL cannot be used: {database_reason(error)}"}]
            )
        case UnicodeEncodeError() if any(map(_is_no_text, sys.argv)):
            wrong = next(filter(_is_no_text, sys.argv))
            _refuse([{"code": "ARGUMENT_NOT_TEXT", "message": f"the argument {wrong!a} is not UTF-8 text"}])
            return 2
        case _:
            traceback.print_exception(error)
    return 1


def _is_no_text(argument: str) -> bool:
    """Whether it had bytes that are no UTF-8, which come in as halves of surrogate pairs; names of files may have."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False


def _refuse(problems: Sequence[Mapping[str, object]], text: str | None = None) -> None:
    """Prints problems as JSON to standard output, or as text to standard error."""
    if _wants_json():
        emit({"problems": problems}, "", "json")
        return
    lines = [f"error {found['code']} {found.get('path', '')}".rstrip() + f": {found['message']}" for found in problems]
    click.echo(text or "\n".join(lines), err=True)


def _wants_json() -> bool:
    return "--format=json" in sys.argv or ("--format", "json") in pairwise(sys.argv)
