"""Tokens of the HTTP API: made once, shown once, kept as a hash.

A token is 256 random bits, so a plain SHA-256 of it can be neither guessed nor searched; what protects a password
(salt, a slow hash) would cost each request and add nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, cast

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.errors import Refused
from workflows_core.storage.rows import Row
from workflows_core.storage.tables import api_tokens, this_tenant

TOKEN_PREFIX: Final = "wft_"  # noqa: S105 - what tokens begin with
"""Every token begins with it, so that people and scanners recognise one."""

ApiRole = Literal["viewer", "publisher", "operator"]
"""`viewer` reads; `publisher` publishes events as well; `operator` starts and cancels runs as well."""

_MAX_NAME = 100
_FIND = text("SELECT tenant, token_id, name, role FROM workflow_api_token(:hash)")


@dataclass(frozen=True, slots=True)
class ApiTokenRow(Row):
    """A token without its secret."""

    token_id: str
    name: str
    role: str
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Who holds a good token."""

    tenant: str
    token_id: str
    name: str
    role: ApiRole


async def create_token(
    conn: AsyncConnection,
    *,
    name: str,
    role: ApiRole,
    created_by: str | None = None,
    lives_for: timedelta | None = None,
) -> tuple[ApiTokenRow, str]:
    """Makes a token of the transaction's tenant.

    Args:
        conn: Connection whose transaction has its tenant set.
        name: For people, who and what for.
        role: What it allows.
        created_by: Who made it, for the records.
        lives_for: How long it is good; None until it is revoked.

    Returns:
        The row, and the token itself, which is nowhere else.

    Raises:
        Refused: `TOKEN_NAME_INVALID`.
    """
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        message = f"must be printable text of 1 to {_MAX_NAME} characters: say who uses the token, and what for"
        raise Refused.one("TOKEN_NAME_INVALID", message, "name")
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    values = {
        "tenant": this_tenant(),
        "token_id": str(uuid.uuid4()),
        "name": name.strip(),
        "role": role,
        "token_hash": _hash(token),
        "created_by": created_by,
        "expires_at": None if lives_for is None else func.now() + lives_for,
    }
    row = (await conn.execute(insert(api_tokens).values(**values).returning(*_SHOWN))).one()
    return ApiTokenRow.of(row), token


async def find_token(conn: AsyncConnection, token: str) -> TokenHolder | None:
    """Who holds this token; None when there is none, or it has expired or was revoked. Any connection will do."""
    if not token.startswith(TOKEN_PREFIX):
        return None
    row = (await conn.execute(_FIND, {"hash": _hash(token)})).one_or_none()
    return None if row is None else TokenHolder(row.tenant, row.token_id, row.name, cast("ApiRole", row.role))


async def list_tokens(conn: AsyncConnection) -> list[ApiTokenRow]:
    """Tokens of the tenant, newest first."""
    rows = await conn.execute(
        select(*_SHOWN).where(api_tokens.c.tenant == this_tenant()).order_by(api_tokens.c.created_at.desc())
    )
    return [ApiTokenRow.of(row) for row in rows]


async def revoke_token(conn: AsyncConnection, token_id: str) -> ApiTokenRow:
    """From now on the token is no good; one that was revoked before stays as it is.

    Raises:
        Refused: `TOKEN_NOT_FOUND`.
    """
    mine = (api_tokens.c.tenant == this_tenant()) & (api_tokens.c.token_id == token_id)
    revoked = func.coalesce(api_tokens.c.revoked_at, func.now())
    row = (
        await conn.execute(update(api_tokens).where(mine).values(revoked_at=revoked).returning(*_SHOWN))
    ).one_or_none()
    if row is None:
        message = f"this tenant has no token {token_id!r}; `workflows tokens list` shows their ids"
        raise Refused.one("TOKEN_NOT_FOUND", message, "tokenId")
    return ApiTokenRow.of(row)


_SHOWN = [column for column in api_tokens.c if column.name not in ("tenant", "token_hash")]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
