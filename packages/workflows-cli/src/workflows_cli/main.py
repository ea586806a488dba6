"""`workflows`: the command line of operators and authors.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly or settings wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from service_host.errors import StartRefused, Unreachable
from workflows_cli.commands.database import db_group, setup
from workflows_cli.commands.definitions import definitions_group
from workflows_cli.commands.demo import demo
from workflows_cli.commands.dev import dev
from workflows_cli.commands.events import events_group
from workflows_cli.commands.ownership import ownership
from workflows_cli.commands.runs import runs_group
from workflows_cli.output import emit
from workflows_core.errors import Refused, WorkflowsError
from workflows_core.storage.database import is_unavailable


@click.group()
@click.version_option(package_name="workflows-cli")
def cli() -> None:
    """Author, run and watch declarative workflows on Temporal."""


for command in (db_group, setup, definitions_group, runs_group, events_group, ownership, dev, demo):
    cli.add_command(command)


def main() -> None:
    """Entry point: every refusal becomes a sentence and an exit code, never a traceback."""
    style = "json" if "--format=json" in sys.argv or _follows("--format", "json") else "text"
    try:
        code = cli.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except StartRefused as error:
        problems = [{"code": p.code, "path": p.where, "message": p.message} for p in error.problems]
        _refuse(problems, "\n".join(f"error {problem}" for problem in error.problems), style)
        sys.exit(2)
    except Unreachable as error:
        _refuse([{"code": "UNREACHABLE", "message": str(error)}], f"error UNREACHABLE: {error}", style)
        sys.exit(1)
    except Refused as error:
        _refuse([problem.to_json() for problem in error.problems], str(error), style)
        sys.exit(1)
    except WorkflowsError as error:
        _refuse([{"code": error.code, "message": error.message}], f"error {error.code}: {error.message}", style)
        sys.exit(1)
    except Exception as error:
        if not is_unavailable(error):
            raise
        message = "PostgreSQL does not answer; check DB_HOST and DB_PORT, or start the stack with `workflows dev`"
        _refuse([{"code": "DATABASE_UNAVAILABLE", "message": message}], f"error DATABASE_UNAVAILABLE: {message}", style)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(problems: Sequence[Mapping[str, object]], text: str, style: str) -> None:
    if style == "json":
        emit({"problems": problems}, text, "json")
    else:
        click.echo(text, err=True)


def _follows(option: str, value: str) -> bool:
    return any(a == option and b == value for a, b in zip(sys.argv, sys.argv[1:], strict=False))
