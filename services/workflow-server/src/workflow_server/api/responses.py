"""What a route may answer besides its usual success, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from workflow_server.api.models import ProblemDocument
from workflow_server.api.problems import CONTENT_TYPE, title_of

_EVERYWHERE = (400, 401, 403, 500)


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route; those that every route has are added."""
    problem = {"content": {CONTENT_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}}
    listed = sorted({*_EVERYWHERE, *statuses})
    return {status: {"description": title_of(status), **problem} for status in listed}


def succeeded(status: int, model: type[BaseModel], description: str) -> dict[int | str, dict[str, Any]]:
    """A further success of a route."""
    return {status: {"model": model, "description": description}}
