"""The refusals of a route, for the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from workflow_server.api.models import ProblemDocument
from workflow_server.api.problems import CONTENT_TYPE

_EVERYWHERE = (400, 401, 403, 500)


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the route may answer besides success; the refusals that every route has are added."""
    problem = {"content": {CONTENT_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}}
    listed = sorted({*_EVERYWHERE, *(status for status in statuses if status >= 400)})
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, **problem} for status in listed
    }
    if 201 in statuses:
        answers[200] = {"description": "The run that this key has started before."}
    if 202 in statuses:
        answers[202] = {"description": "Temporal is away: the run is recorded, and starts when it is back."}
    return answers
