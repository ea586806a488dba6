"""How a revision executes the SQL files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alembic import op

_FOLDER = Path(__file__).with_name("sql")


def execute_files(revision: str, names: Sequence[str]) -> None:
    """Executes `sql/<revision>/<name>.sql` for each name, as they are: no parameters, no placeholders.

    Raises:
        RuntimeError: A file is named and not there, or is there and not named.
    """
    folder = _FOLDER / revision
    there = {path.stem for path in folder.glob("*.sql")}
    if there != set(names):
        raise RuntimeError(f"revision {revision} names {sorted(names)}, and the folder {folder} has {sorted(there)}")
    # The driver's own cursor without arguments sends a script as it is.
    cursor = op.get_bind().connection.cursor()
    for name in names:
        cursor.execute((folder / f"{name}.sql").read_text(encoding="utf-8"))
    cursor.close()
