"""What every request has to pass before its route sees it: token, size, content type, no name twice.

An ASGI middleware, so that a body is not read, and nothing of it parsed, for somebody without a token.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from workflow_server.api.problems import problem_response, refusal
from workflows_core.errors import Problem, Refused
from workflows_core.storage.api_tokens import TokenHolder, find_token
from workflows_core.storage.database import Database, is_unavailable
from workflows_core.wire.text import NameTwice, each_name_once

MAX_BODY_BYTES: Final = 1024 * 1024
_API = "/v1/"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_LOG = logging.getLogger("workflow_server.api")

_Message = MutableMapping[str, Any]


class Guard:
    """Authenticates, bounds and answers faults.

    Args:
        application: What comes behind.
        db: Has the tokens.
        max_body_bytes: Longest body.
    """

    def __init__(self, application: ASGIApp, db: Database, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._application = application
        self._db = db
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started = False

        async def sending(message: _Message) -> None:
            nonlocal started
            started = True
            await send(message)

        request = Request(scope, receive)
        try:
            # What the router goes by: an address of the request's own is made of what the caller says the host is.
            if scope["path"].startswith(_API):
                scope.setdefault("state", {})["holder"] = await self._holder(request)
                _check_parameters(request)
                receive = await self._body(request, receive)
            await self._application(scope, receive, sending)
        except Refused as error:
            await problem_response(error.problems)(scope, receive, send)
        except Exception as error:
            # One that a route has raised was answered by the application, which raises it once more.
            if not started:
                await fault_response(error)(scope, receive, send)

    async def _holder(self, request: Request) -> TokenHolder:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise refusal("TOKEN_MISSING", "send `Authorization: Bearer <token>`; `workflows tokens create` makes one")
        async with self._db.narrow() as conn:
            holder = await find_token(conn, token.strip())
        if holder is None:
            raise refusal("TOKEN_INVALID", "the token is unknown, has expired or was revoked")
        return holder

    async def _body(self, request: Request, receive: Receive) -> Receive:
        """The whole body, bounded, to be received again by the route."""
        if request.method not in _WITH_BODY:
            return receive
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            found = f"found {kind[:80]!r}" if kind else "there is none"
            raise refusal("CONTENT_TYPE_WRONG", f"the content type must be application/json; {found}")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large()
        content = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            content += message.get("body", b"")
            if len(content) > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                break
        _check_names(bytes(content))
        return _again(bytes(content), receive)

    def _too_large(self) -> Refused:
        return refusal("BODY_TOO_LARGE", f"a body may have {self._max_body_bytes} bytes")


def _check_parameters(request: Request) -> None:
    """Refuses a parameter that is there twice: of two filters one would be lost."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise Refused([Problem("REQUEST_INVALID", "is there more than once", f"query.{name}") for name in twice])


def _check_names(content: bytes) -> None:
    """Refuses a body in which a name is twice in one object; whatever else is wrong with it the route says."""
    try:
        json.loads(content, object_pairs_hook=each_name_once)
    except NameTwice as error:
        raise refusal("NOT_JSON", f"this is not JSON: {error}", "body") from None
    except (ValueError, RecursionError):
        return


def _again(content: bytes, receive: Receive) -> Callable[[], Awaitable[_Message]]:
    given = False

    async def again() -> _Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again


def fault_response(error: Exception) -> JSONResponse:
    """The answer to what is no refusal: the database is away, or a fault of ours, which is logged with a number."""
    if is_unavailable(error):
        return problem_response([Problem("DATABASE_UNAVAILABLE", "PostgreSQL does not answer; try again")])
    number = uuid.uuid4().hex[:12]
    _LOG.error("request failed by a fault of ours, %s", number, exc_info=error, extra={"event": "api_fault"})
    message = f"a fault of ours; the log of workflow-server has it under {number}"
    return problem_response([Problem("INTERNAL_ERROR", message)])
