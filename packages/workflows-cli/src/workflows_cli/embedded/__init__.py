"""PostgreSQL and Temporal from their PyPI wheels, as child processes on loopback: for development, demo and tests.

Needs the extra `dev` of `workflows-cli`. Nothing here is for production.
"""

from __future__ import annotations

from workflows_cli.embedded.failures import EmbeddedStartFailed
from workflows_cli.embedded.postgres import EmbeddedPostgres
from workflows_cli.embedded.temporal import EmbeddedTemporal

__all__ = ["EmbeddedPostgres", "EmbeddedStartFailed", "EmbeddedTemporal"]
