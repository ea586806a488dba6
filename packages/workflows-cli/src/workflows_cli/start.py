"""The console script: loads the command line without collecting garbage meanwhile."""

from __future__ import annotations

import signal

from service_host.early import Loading


def main() -> None:
    """Entry point of the console script."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # While it loads Ctrl-C ends it as any program: there is nothing to leave in order, and no trace to show.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with Loading():
        from workflows_cli.main import main as run  # noqa: PLC0415 - this is what takes time

    signal.signal(signal.SIGINT, handler)
    run()
