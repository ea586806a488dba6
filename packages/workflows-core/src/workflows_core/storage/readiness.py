"""Whether the database is one that this build works with."""

from __future__ import annotations

from workflows_core.storage.database import Database, is_unavailable, unavailable_reason
from workflows_core.storage.revision import REQUIRED_REVISION


async def schema_verdict(db: Database) -> tuple[bool, str]:
    """True when the database answers and its schema is the required one; and a sentence for people."""
    try:
        found = await db.revision()
    except Exception as error:
        if not is_unavailable(error):
            raise
        return False, unavailable_reason(error)
    if found == REQUIRED_REVISION:
        return True, f"revision {found}"
    return False, (
        f"the schema is at {found or 'nothing'}, this build needs {REQUIRED_REVISION}; run `workflows db upgrade`"
    )
