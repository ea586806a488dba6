"""`workflows dev`: the whole runtime on a laptop, until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import signal
from contextlib import suppress
from pathlib import Path

import click

from workflows_cli.dev.stack import SERVICES, DevStack
from workflows_cli.dev.state import DEFAULT_DIRECTORY


@click.command("dev")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where everything is kept; a restart goes on where it was. As root, PostgreSQL's data is in a directory of its"
    " own under /var/tmp, which the start prints: delete it as well.",
)
@click.option("--without", multiple=True, type=click.Choice(SERVICES), help="Leave a service out.")
def dev(state: Path, without: tuple[str, ...]) -> int:
    """Run Temporal, PostgreSQL, both workers and workflow-server; Ctrl-C stops all.

    Packs, secrets, networks that may be reached and paths of correlation keys are those of the environment:
    WORKFLOW_ACTION_PACKS, WORKFLOW_SECRETS_DIR, WORKFLOW_HTTP_ALLOWED_NETWORKS and
    WORKFLOW_RUNTIME_V2_EVENT_CORRELATION_PATHS_JSON.
    """
    return asyncio.run(_run(state, without))


async def _run(directory: Path, without: tuple[str, ...]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(_stand(directory, without))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        click.echo("stopping")
        running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return 0


async def _stand(directory: Path, without: tuple[str, ...]) -> None:
    """The stack, until it is cancelled, which it may be while it starts too."""
    async with DevStack(directory, tell=click.echo, without=without) as stack:
        where = "" if directory == DEFAULT_DIRECTORY else f" --state {shlex.quote(str(directory))}"
        click.echo(f"Ctrl-C stops all. In a second terminal: workflows runs list --dev{where}")
        await stack.watch()
