"""Every refusal as `application/problem+json` (RFC 9457), with our codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import JSONResponse

from workflows_core.errors import Problem, Refused

CONTENT_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5

STATUS_OF: Final[Mapping[str, HTTPStatus]] = {
    "NOT_JSON": HTTPStatus.BAD_REQUEST,
    "TOKEN_MISSING": HTTPStatus.UNAUTHORIZED,
    "TOKEN_INVALID": HTTPStatus.UNAUTHORIZED,
    "ROLE_INSUFFICIENT": HTTPStatus.FORBIDDEN,
    "ROUTE_UNKNOWN": HTTPStatus.NOT_FOUND,
    "RUN_NOT_FOUND": HTTPStatus.NOT_FOUND,
    "WORKFLOW_UNKNOWN": HTTPStatus.NOT_FOUND,
    "WORKFLOW_VERSION_UNKNOWN": HTTPStatus.NOT_FOUND,
    "METHOD_NOT_ALLOWED": HTTPStatus.METHOD_NOT_ALLOWED,
    "CONCURRENCY_LIMIT_REACHED": HTTPStatus.CONFLICT,
    "EVENT_CONFLICT": HTTPStatus.CONFLICT,
    "IDEMPOTENCY_KEY_REUSED": HTTPStatus.CONFLICT,
    "RUN_ENDED": HTTPStatus.CONFLICT,
    "RUN_ID_TAKEN": HTTPStatus.CONFLICT,
    "RUN_NOT_RUNNING": HTTPStatus.CONFLICT,
    "WORKFLOW_NOT_PUBLISHED": HTTPStatus.CONFLICT,
    "WORKFLOW_PAUSED": HTTPStatus.CONFLICT,
    "BODY_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "CONTENT_TYPE_WRONG": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "INTERNAL_ERROR": HTTPStatus.INTERNAL_SERVER_ERROR,
    "LAUNCH_REJECTED": HTTPStatus.BAD_GATEWAY,
    "DATABASE_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "SEARCH_ATTRIBUTES_MISSING": HTTPStatus.SERVICE_UNAVAILABLE,
    "SERVICE_STARTING": HTTPStatus.SERVICE_UNAVAILABLE,
    "TEMPORAL_UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Status of each code; any other code is of a body or a parameter that is wrong (422)."""


_TITLES: Final[Mapping[int, str]] = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Of RFC 9110, where Python before 3.13 has older ones: an answer is the same by every interpreter."""


def status_of(code: str) -> HTTPStatus:
    """The status a code is answered with."""
    return STATUS_OF.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def title_of(status: int) -> str:
    """A status in words."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem_response(problems: Sequence[Problem], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer with every problem; the first one decides code and status."""
    first = problems[0]
    status = status_of(first.code)
    body = {
        "type": f"urn:workflows:problem:{first.code}",
        "title": title_of(status),
        "status": status.value,
        "code": first.code,
        "detail": "; ".join(problem.message for problem in problems[:3]),
        "problems": [_shown(problem) for problem in problems],
    }
    more = dict(headers or {})
    if status is HTTPStatus.UNAUTHORIZED:
        more["WWW-Authenticate"] = "Bearer"
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        more["Retry-After"] = str(RETRY_SECONDS)
    return JSONResponse(body, status.value, more, media_type=CONTENT_TYPE)


def refusal(code: str, message: str, path: str = "") -> Refused:
    """A refusal with a single problem."""
    return Refused([Problem(code, message, path)])


def _shown(problem: Problem) -> dict[str, Any]:
    found = {"code": problem.code, "message": problem.message, "path": problem.path}
    return {**found, "suggestion": problem.suggestion} if problem.suggestion else found
