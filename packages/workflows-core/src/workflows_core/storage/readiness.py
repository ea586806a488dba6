"""Whether the database is one that this build works with."""

from __future__ import annotations

from workflows_core.storage.database import Database, is_unavailable, unavailable_reason
from workflows_core.storage.revision import REQUIRED_REVISION


async def schema_verdict(db: Database) -> tuple[bool, str]:
    """True when the database answers and its schema serves this build; and a sentence for people."""
    try:
        found = await db.revision()
        oldest = await db.oldest_served() if found is not None and found > REQUIRED_REVISION else None
    except Exception as error:
        if not is_unavailable(error):
            raise
        return False, unavailable_reason(error)
    if found == REQUIRED_REVISION:
        return True, f"revision {found}"
    if found is not None and found > REQUIRED_REVISION >= (oldest or found):
        return (
            True,
            f"revision {found}, which serves builds for {oldest} and newer; this is one for {REQUIRED_REVISION}",
        )
    return False, (
        f"the schema is at {found or 'nothing'}, this build needs {REQUIRED_REVISION}; run `workflows db upgrade`"
    )
