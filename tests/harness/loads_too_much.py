"""A workflow that loads what no list has."""

from __future__ import annotations

import click
from temporalio import workflow


@workflow.defn(name="loadsTooMuch")
class LoadsTooMuch:
    """Never run."""

    @workflow.run
    async def run(self) -> str:
        """Uses what it loads."""
        return click.style("no")
