"""Whether the database is one that this build works with."""

from __future__ import annotations

from sqlalchemy import text

from workflows_core.storage.database import Database, is_unavailable, may_not, unavailable_reason
from workflows_core.storage.revision import REQUIRED_REVISION

_OF_ANOTHER = (
    "the login may not use the schema as this process does: DB_USER_SERVER has to be one of "
    "`workflows db create-login NAME --service SERVICE`, made for this service"
)
_MAY_CALL = text("SELECT has_function_privilege(:function, 'EXECUTE')")


async def schema_verdict(db: Database, needed: str | None = None) -> tuple[bool, str]:
    """True when the database answers, its schema serves this build and the login may use it; and a sentence for people.

    Args:
        db: The database.
        needed: A function of the schema without which the process is of no use, such as `name(text)`.
    """
    try:
        found = await db.revision()
        oldest = await db.oldest_served() if found is not None and found > REQUIRED_REVISION else None
        asked = needed if found is not None and found >= REQUIRED_REVISION else None
        may_use = asked is None or await _may_call(db, asked)
    except Exception as error:
        if may_not(error):
            return False, _OF_ANOTHER
        if not is_unavailable(error):
            raise
        return False, unavailable_reason(error)
    if not may_use:
        return False, _OF_ANOTHER
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


async def _may_call(db: Database, function: str) -> bool:
    async with db.narrow() as conn:
        return bool((await conn.execute(_MAY_CALL, {"function": function})).scalar())
