"""The console script: loads the command line without collecting garbage meanwhile."""

from __future__ import annotations

from service_host.early import Loading


def main() -> None:
    """Entry point of the console script."""
    with Loading():
        from workflows_cli.main import main as run  # noqa: PLC0415 - this is what takes time

    run()
