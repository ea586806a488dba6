"""The workflows that a definition calls: they are there, in that version, and do not lead back without end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.definitions.model import CallWorkflowStep, Definition
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.spelling import nearest
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import Problem
from workflows_core.storage.definitions import find, get_version, list_definitions

_MAX_VERSIONS = 200
"""Versions that are followed; beyond, the depth limit of runs remains."""


async def callee_problems(
    conn: AsyncConnection, definition: Definition, workflow_id: str, key: str, version: int
) -> list[Problem]:
    """What is wrong with the workflows that the definition calls, directly or through others.

    Args:
        conn: Connection whose transaction has its tenant set.
        definition: The draft, or a version that was published elsewhere.
        workflow_id: Its workflow.
        key: The workflow's key.
        version: The version that it becomes or has become.
    """
    problems: list[Problem] = []
    for path, step in _calls(definition):
        row = await find(conn, step.workflow_id)
        where = f"{path}.workflowId"
        if row is None:
            known = [one.key for one in await list_definitions(conn)]
            message = f"this tenant has no workflow {step.workflow_id!r}"
            hint = nearest(step.workflow_id, known)
            problems.append(Problem("CALLEE_UNKNOWN", message, where, step_id=step.id, suggestion=hint))
            continue
        is_itself = row.workflow_id == workflow_id and step.workflow_version == version
        if not is_itself and await get_version(conn, row.workflow_id, step.workflow_version) is None:
            newest = f"its newest is {row.published_version}" if row.published_version else "it has none"
            message = f"workflow {row.key!r} has no published version {step.workflow_version}; {newest}"
            where = f"{path}.workflowVersion"
            problems.append(Problem("CALLEE_VERSION_UNKNOWN", message, where, step_id=step.id))
            continue
        way = await _way_back(conn, workflow_id, [key], row.workflow_id, step.workflow_version)
        if way is not None:
            message = f"calls itself: {' calls '.join(way)}; that is right only if some condition ends it"
            where = f"{path}.workflowId"
            problems.append(Problem("CALL_CYCLE", message, where, severity="warning", step_id=step.id))
    return problems


async def _way_back(
    conn: AsyncConnection, origin: str, way: list[str], workflow_id: str, version: int
) -> list[str] | None:
    """Keys on the way from a callee back to the workflow, or None when there is no way."""
    waiting: list[tuple[str, int, list[str]]] = [(workflow_id, version, way)]
    seen: set[tuple[str, int]] = set()
    while waiting and len(seen) < _MAX_VERSIONS:
        current, number, before = waiting.pop()
        row = await find(conn, current)
        if row is None or (row.workflow_id, number) in seen:
            continue
        here = [*before, row.key]
        if row.workflow_id == origin:
            return here
        seen.add((row.workflow_id, number))
        found = await get_version(conn, row.workflow_id, number)
        callees = () if found is None else _calls(_parsed(found.definition))
        waiting += [(step.workflow_id, step.workflow_version, here) for _, step in callees]
    return None


def _parsed(document: Mapping[str, Any]) -> Definition:
    return parse_definition(dict(document))


def _calls(definition: Definition) -> Iterator[tuple[str, CallWorkflowStep]]:
    return ((path, step) for path, step in walk_steps(definition) if isinstance(step, CallWorkflowStep))
