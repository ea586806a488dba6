"""The API put together; everything it needs is an argument."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from workflow_server.api.events import events_router
from workflow_server.api.guard import MAX_BODY_BYTES, Guard, fault_response
from workflow_server.api.models import ProblemDocument
from workflow_server.api.problems import problem_response
from workflow_server.api.runs import runs_router
from workflows_core.errors import Problem, Refused
from workflows_core.launching.launcher import Launcher
from workflows_core.storage.database import Database

_CODE_OF = {404: "ROUTE_UNKNOWN", 405: "METHOD_NOT_ALLOWED"}


def create_api(db: Database, launcher: Launcher, *, version: str, max_body_bytes: int = MAX_BODY_BYTES) -> ASGIApp:
    """The ASGI application.

    Args:
        db: The database, as the application role.
        launcher: Starts and cancels runs.
        version: Of this build, for the OpenAPI document.
        max_body_bytes: Longest body of a request.
    """
    return Guard(create_routes(db, launcher, version=version), db, max_body_bytes)


class StartingApi:
    """The API from the process's first moment on: while start-up waits, callers are told so, instead of nothing.

    Attributes:
        application: Takes over once it is there.
    """

    def __init__(self) -> None:
        self.application: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if self.application is not None:
            await self.application(scope, receive, send)
            return
        message = "workflow-server waits for PostgreSQL or Temporal before it begins; try again"
        await problem_response([Problem("SERVICE_STARTING", message)])(scope, receive, send)


def create_routes(db: Database, launcher: Launcher, *, version: str) -> FastAPI:
    """The routes without their guard: what the OpenAPI document is made of."""
    # No pages that load scripts from elsewhere; the document itself is served. And no redirect of a path with a slash
    # too many: its address would be made of what the caller says the host is, and would send the token there.
    api = FastAPI(title="Authored workflows", version=version, docs_url=None, redoc_url=None, redirect_slashes=False)
    api.include_router(runs_router(db, launcher))
    api.include_router(events_router(db))
    api.add_exception_handler(Refused, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _not_routed)
    api.add_exception_handler(Exception, _fault)
    api.openapi = lambda: _document(api)  # type: ignore[method-assign]
    return api


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem_response(error.problems)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    problems = [
        Problem(
            "NOT_JSON" if one["type"] == "json_invalid" else "REQUEST_INVALID",
            "is not JSON" if one["type"] == "json_invalid" else str(one["msg"]).removeprefix("Value error, "),
            ".".join(str(part) for part in one["loc"]),
        )
        for one in found
    ]
    return problem_response(problems)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODE_OF.get(error.status_code, "NOT_JSON")
    message = {
        "ROUTE_UNKNOWN": "there is no such route; /openapi.json lists them",
        "METHOD_NOT_ALLOWED": "the route has no such method; /openapi.json lists them",
        "NOT_JSON": "the body cannot be read as JSON",
    }[code]
    headers = {"Allow": _methods_of(request)} if code == "METHOD_NOT_ALLOWED" else error.headers
    return problem_response([Problem(code, message)], headers)


def _methods_of(request: Request) -> str:
    """Every method of the address: the router says those of one of its routes only."""
    routes = request.app.router.routes
    asked = [(method, {**request.scope, "method": method}) for method in ("DELETE", "GET", "PATCH", "POST", "PUT")]
    return ", ".join(method for method, scope in asked if any(one.matches(scope)[0] is Match.FULL for one in routes))


async def _fault(_: Request, error: Exception) -> Response:
    return fault_response(error)


def _document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the one form of every refusal."""
    if api.openapi_schema is None:
        document = get_openapi(title=api.title, version=api.version, routes=api.routes)
        schemas = document["components"]["schemas"]
        problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas[ProblemDocument.__name__] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        api.openapi_schema = document
    return api.openapi_schema
