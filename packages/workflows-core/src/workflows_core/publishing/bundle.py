"""The bundle format: several workflows with their drafts and published versions in one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.definitions.model import ActionCallStep
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import Problem, Refused
from workflows_core.publishing.contracts import registered_schema
from workflows_core.publishing.lookup import find_workflow
from workflows_core.publishing.publish import import_definition
from workflows_core.storage.definitions import find, list_definitions, list_versions, publish_version, set_operation

FORMAT: Final = "alga-psa.workflow-bundle"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class BundledWorkflow:
    """One workflow of a bundle.

    Attributes:
        key: Its key.
        metadata: What the bundle says about it beside its definition.
        draft: The draft's document.
        published: Documents of the published versions, oldest first.
    """

    key: str
    metadata: Mapping[str, Any]
    draft: Mapping[str, Any]
    published: Sequence[Mapping[str, Any]]


def is_bundle(document: Any) -> bool:
    """True for a bundle, whatever is wrong with it; False for a single definition."""
    return isinstance(document, Mapping) and "format" in document and "workflows" in document


def read_bundle(document: Any) -> list[BundledWorkflow]:
    """The workflows of a bundle, in its order.

    Raises:
        Refused: `BUNDLE_INVALID`, with everything that is wrong.
    """
    if not is_bundle(document) or document["format"] != FORMAT or document.get("formatVersion") != FORMAT_VERSION:
        message = f'must be an object with "format": "{FORMAT}", "formatVersion": {FORMAT_VERSION} and "workflows"'
        raise Refused.one("BUNDLE_INVALID", message)
    if not isinstance(document["workflows"], list) or not document["workflows"]:
        raise Refused.one("BUNDLE_INVALID", "must be a list of at least one workflow", "workflows")
    problems: list[Problem] = []
    found: list[BundledWorkflow] = []
    for index, one in enumerate(document["workflows"]):
        where = f"workflows[{index}]"
        draft = one.get("draft") if isinstance(one, Mapping) else None
        if not isinstance(draft, Mapping) or not isinstance(draft.get("definition"), Mapping):
            problems.append(Problem("BUNDLE_INVALID", "needs draft.definition, an object", where))
            continue
        if not isinstance(one.get("key"), str):
            problems.append(Problem("BUNDLE_INVALID", "needs a key, a text", f"{where}.key"))
            continue
        versions = one.get("publishedVersions") or []
        if not all(isinstance(v, Mapping) and isinstance(v.get("definition"), Mapping) for v in versions):
            problems.append(
                Problem("BUNDLE_INVALID", "each needs a definition, an object", f"{where}.publishedVersions")
            )
            continue
        ordered = sorted(versions, key=lambda v: v["definition"].get("version", 0))
        metadata = one.get("metadata") or {}
        found.append(BundledWorkflow(one["key"], metadata, draft["definition"], [v["definition"] for v in ordered]))
    keys = [workflow.key for workflow in found]
    problems += [
        Problem("BUNDLE_INVALID", f"key {key!r} is there twice", "workflows")
        for key in sorted({key for key in keys if keys.count(key) > 1})
    ]
    if problems:
        raise Refused(problems)
    return found


async def import_bundle(
    conn: AsyncConnection, document: Any, *, published_by: str | None = None
) -> list[tuple[str, str, int]]:
    """Stores the drafts, and the published versions of workflows that have none yet; in the caller's transaction.

    A workflow that has published versions already keeps them: they are immutable, and the bundle's become the draft.

    Returns:
        Key, workflow id and newest published version (0 for none) of each.

    Raises:
        Refused: `BUNDLE_INVALID`, or a document that does not parse.
    """
    out: list[tuple[str, str, int]] = []
    for workflow in read_bundle(document):
        before = await find(conn, workflow.key)
        row = await import_definition(conn, workflow.draft, key=workflow.key)
        version = 0 if before is None else before.published_version or 0
        if not version:
            for published in workflow.published:
                parse_definition(published)
                made = await publish_version(
                    conn,
                    row.workflow_id,
                    published,
                    published_by=published_by,
                    payload_schema=await registered_schema(conn, published["payloadSchemaRef"]),
                )
                version = made.version
        await set_operation(
            conn,
            row.workflow_id,
            is_paused=workflow.metadata.get("isPaused") is True,
            concurrency_limit=_limit(workflow.metadata.get("concurrencyLimit")),
        )
        out.append((workflow.key, row.workflow_id, version))
    return out


async def export_bundle(conn: AsyncConnection, keys: Sequence[str], now: datetime) -> dict[str, Any]:
    """A bundle of these workflows, all of the tenant's for none.

    Raises:
        Refused: `WORKFLOW_UNKNOWN`.
    """
    wanted = list(keys) or [row.key for row in await list_definitions(conn)]
    workflows = []
    for key in wanted:
        row = await find_workflow(conn, key)
        versions = await list_versions(conn, row.workflow_id)
        workflows.append(
            {
                "key": row.key,
                "metadata": {
                    "name": row.name,
                    "payloadSchemaRef": row.draft_definition.get("payloadSchemaRef"),
                    "trigger": row.draft_definition.get("trigger"),
                    "isPaused": row.is_paused,
                    "concurrencyLimit": row.concurrency_limit,
                },
                "dependencies": _dependencies(row.draft_definition),
                "draft": {"draftVersion": row.draft_version, "definition": dict(row.draft_definition)},
                "publishedVersions": [
                    {
                        "version": one.version,
                        "definition": dict(one.definition),
                        "payloadSchemaJson": one.payload_schema,
                    }
                    for one in versions
                ],
            }
        )
    exported = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"format": FORMAT, "formatVersion": FORMAT_VERSION, "exportedAt": exported, "workflows": workflows}


def _limit(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _dependencies(document: Mapping[str, Any]) -> dict[str, Any]:
    steps = [step for _, step in walk_steps(parse_definition(document))]
    actions = {(step.config.action_id, step.config.version) for step in steps if isinstance(step, ActionCallStep)}
    return {
        "actions": [{"actionId": name, "version": version} for name, version in sorted(actions)],
        "nodeTypes": sorted({step.type for step in steps}),
        "schemaRefs": [document["payloadSchemaRef"]],
    }
