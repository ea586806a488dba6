"""How a revision executes the SQL files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alembic import op

_FOLDER = Path(__file__).with_name("sql")


def execute_files(revision: str, names: Sequence[str]) -> None:
    """Executes `sql/<revision>_<name>.sql` for each name, as they are: no parameters, no placeholders.

    Raises:
        RuntimeError: A file is named and not there, or is there and not named.
    """
    there = {path.name for path in _FOLDER.glob(f"{revision}_*.sql")}
    named = [f"{revision}_{name}.sql" for name in names]
    if there != set(named):
        raise RuntimeError(f"revision {revision} names {sorted(named)}, and the folder {_FOLDER} has {sorted(there)}")
    # The driver's own cursor without arguments sends a script as it is.
    cursor = op.get_bind().connection.cursor()
    for name in named:
        cursor.execute((_FOLDER / name).read_text(encoding="utf-8"))
    cursor.close()
