"""`workflows demo`: a whole authored run before your eyes; exit code 0 only when all is as it should be."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import click

from workflows_cli.demo import Demo
from workflows_cli.dev.stack import SERVICES, DevStack


@click.command("demo")
@click.option(
    "--without", multiple=True, type=click.Choice(SERVICES), help="Leave a service out and see what still works."
)
@click.option("--state", type=click.Path(path_type=Path), help="Keep everything here; by default nothing is kept.")
def demo(without: tuple[str, ...], state: Path | None) -> int:
    """Start everything, run an authored workflow to its end, and show who did it."""
    if state is not None:
        return asyncio.run(_run(state, without))
    with tempfile.TemporaryDirectory(prefix="workflows-demo-", ignore_cleanup_errors=True) as directory:
        return asyncio.run(_run(Path(directory), without))


async def _run(directory: Path, without: tuple[str, ...]) -> int:
    begun = time.monotonic()
    click.echo("starting Temporal, PostgreSQL and the services")
    async with DevStack(directory, tell=click.echo, without=without) as stack:
        click.echo(f"ready after {time.monotonic() - begun:.1f} s\n")
        problems = await Demo(stack, click.echo).run()
    for problem in problems:
        click.echo(f"not as it should be: {problem}", err=True)
    click.echo(f"\n{'failed' if problems else 'all as it should be'} after {time.monotonic() - begun:.1f} s")
    return 1 if problems else 0
