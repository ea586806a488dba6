"""How an embedded server says that it did not start."""

from __future__ import annotations

from pathlib import Path

from workflows_core.errors import WorkflowsError

_SHOWN_LINES = 15


class EmbeddedStartFailed(WorkflowsError):
    """An embedded server is not installed, ended early or is not the one that was started."""

    def __init__(self, message: str) -> None:
        super().__init__("EMBEDDED_START_FAILED", message)


def last_lines(log: Path) -> str:
    """The end of a server's log, indented, for the message of a failed start."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
    except OSError:
        lines = []
    return "".join(f"\n  {line}" for line in lines) or "\n  (it wrote nothing)"
