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
    """The end of a server's log, indented, for the message of a failed start; with the panic that has a trace there."""
    lines = _lines(log)
    panics = [line for line in lines[:-_SHOWN_LINES] if line.startswith("panic:")]
    return "".join(f"\n  {line}" for line in (*panics, *lines[-_SHOWN_LINES:])) or "\n  (it wrote nothing)"


def says(log: Path, words: str) -> bool:
    """Whether a server's log has these words in any line."""
    return any(words in line for line in _lines(log))


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()
    except OSError:
        return []
