"""Who asks, and whether they may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from workflow_server.api.problems import refusal
from workflows_core.storage.api_tokens import ApiRole, TokenHolder

_RANK: Final = ("viewer", "publisher", "operator")
# For the document only: `Guard` has checked the token before any route is called.
_BEARER = HTTPBearer(auto_error=False, description="`workflows tokens create` makes one; it belongs to one tenant.")


def allowed(role: ApiRole) -> Callable[..., TokenHolder]:
    """A dependency: the holder, if the token's role allows as much as this one."""

    def check(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> TokenHolder:
        holder = cast("TokenHolder", request.state.holder)
        if _RANK.index(holder.role) < _RANK.index(role):
            message = f"this needs role {role}; token {holder.name!r} has role {holder.role}"
            raise refusal("ROLE_INSUFFICIENT", message)
        return holder

    return check
