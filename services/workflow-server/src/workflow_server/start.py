"""The console script: takes signals before anything that takes time is loaded."""

from __future__ import annotations

from service_host.early import Loading, end_on_signal


def main() -> None:
    """Entry point of the console script."""
    end_on_signal()
    with Loading():
        from workflow_server.main import main as run  # noqa: PLC0415 - this is what takes time

    run()
