"""The bundle format: several workflows with their drafts and published versions in one document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.model import ActionCallStep
from workflows_core.definitions.parse import parse_definition, size_problems
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import Problem, Refused
from workflows_core.interpreter.correlation import DEFAULT_PATHS
from workflows_core.publishing.callees import callee_problems
from workflows_core.publishing.contracts import TenantContracts, registered_schema
from workflows_core.publishing.known_actions import AnnouncedActions
from workflows_core.publishing.lookup import find_workflow
from workflows_core.publishing.publish import import_definition, validate_document
from workflows_core.publishing.rebinding import rebind_schedules
from workflows_core.storage.definitions import (
    MAX_CONCURRENCY_LIMIT,
    Operation,
    list_definitions,
    list_versions,
    publish_version,
    set_operation,
)
from workflows_core.storage.rows import DefinitionRow, VersionRow
from workflows_core.validation.mappings import KnownActions

FORMAT: Final = "alga-psa.workflow-bundle"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class BundledWorkflow:
    """One workflow of a bundle.

    Attributes:
        key: Its key.
        operation: Its pause and limit, where the bundle has them.
        draft: The draft's document.
        published: Documents of the published versions, oldest first.
    """

    key: str
    operation: Operation
    draft: Mapping[str, Any]
    published: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ImportedWorkflow:
    """A workflow that was imported just now.

    Attributes:
        row: The workflow as it is now.
        versions: The versions that were stored, none where it had published ones already.
        changed: Pause and limit where the bundle has them otherwise than they were.
        problems: What is wrong with these versions, each at `key@version` and its place in it.
    """

    row: DefinitionRow
    versions: Sequence[int]
    changed: Operation
    problems: Sequence[Problem]


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
        if not isinstance(versions, list) or not all(
            isinstance(v, Mapping) and isinstance(v.get("definition"), Mapping) for v in versions
        ):
            problems.append(
                Problem("BUNDLE_INVALID", "each needs a definition, an object", f"{where}.publishedVersions")
            )
            continue
        documents = [v["definition"] for v in versions]
        if not all(_is_whole(document.get("version", 0)) for document in documents):
            message = "the version of each definition must be a whole number"
            problems.append(Problem("BUNDLE_INVALID", message, f"{where}.publishedVersions"))
            continue
        try:
            operation = _operation(one.get("metadata"), f"{where}.metadata")
        except Refused as error:
            problems += error.problems
            continue
        documents.sort(key=lambda document: document.get("version", 0))
        found.append(BundledWorkflow(one["key"], operation, draft["definition"], documents))
    keys = [workflow.key for workflow in found]
    problems += [
        Problem("BUNDLE_INVALID", f"key {key!r} is there twice", "workflows")
        for key in sorted({key for key in keys if keys.count(key) > 1})
    ]
    if problems:
        raise Refused(problems)
    return found


async def import_bundle(
    conn: AsyncConnection,
    document: Any,
    declared: ActionRegistry,
    *,
    published_by: str | None = None,
    correlation_paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS,
    secrets: Mapping[str, timedelta] | None = None,
    allow_problems: bool = False,
) -> list[ImportedWorkflow]:
    """Stores the drafts, and the published versions of workflows that have none yet; in the caller's transaction.

    A workflow that has published versions already keeps them: they are immutable, and the bundle's become the draft.
    The newest of those that are stored is held to what publishing asks for, and its trigger gets its schedule; what is
    wrong with an older one, which starts nothing by itself, is a warning.

    Args:
        conn: Connection whose transaction has its tenant set.
        document: The bundle.
        declared: See `publish_definition`; so are `published_by`, `correlation_paths` and `secrets`.
        published_by: Who imports.
        correlation_paths: Payload paths that keys of events are derived from.
        secrets: How long ago each secret was last changed.
        allow_problems: Store a newest version that could not be published, all the same.

    Raises:
        Refused: `BUNDLE_INVALID`, or every document that does not parse or could not be published; nothing is stored.
    """
    bundled = read_bundle(document)
    async with conn.begin_nested():
        rows = await _import_drafts(conn, bundled)
        versions = {
            workflow.key: [
                await publish_version(
                    conn,
                    row.workflow_id,
                    published,
                    published_by=published_by,
                    payload_schema=await registered_schema(conn, published["payloadSchemaRef"]),
                )
                for published in (() if row.published_version else workflow.published)
            ]
            for workflow, row in zip(bundled, rows, strict=True)
        }
        checks = _Checks(await AnnouncedActions.read(conn, declared), correlation_paths, secrets)
        out: list[ImportedWorkflow] = []
        # Behind all that is stored, since they may call one another.
        for workflow, row in zip(bundled, rows, strict=True):
            stored = versions[workflow.key]
            problems = await _published_problems(conn, row, stored, checks)
            changed = _changed_operation(row, workflow.operation)
            if changed:
                await set_operation(conn, row.workflow_id, **changed)
            after = await find_workflow(conn, row.workflow_id)
            out.append(ImportedWorkflow(after, [one.version for one in stored], changed, problems))
        every = [problem for one in out for problem in one.problems]
        if not allow_problems and any(problem.severity == "error" for problem in every):
            message = "nothing is imported; `workflows definitions import --allow-problems` does so all the same"
            raise Refused([*every, Problem("BUNDLE_NOT_IMPORTED", message, severity="warning")])
    return out


@dataclass(frozen=True, slots=True)
class _Checks:
    """What versions are checked with, see `validate_document`."""

    actions: KnownActions
    correlation_paths: Mapping[str, Sequence[str]]
    secrets: Mapping[str, timedelta] | None


async def _published_problems(
    conn: AsyncConnection, row: DefinitionRow, stored: Sequence[VersionRow], checks: _Checks
) -> list[Problem]:
    """What is wrong with the versions of a workflow; its schedules follow the newest."""
    problems: list[Problem] = []
    for version in stored:
        contracts = await TenantContracts.read(conn, version.definition["payloadSchemaRef"])
        definition = parse_definition(version.definition)
        found = [
            *validate_document(
                version.definition,
                checks.actions,
                contracts,
                correlation_paths=checks.correlation_paths,
                secrets=checks.secrets,
            ),
            *await callee_problems(conn, definition, row.workflow_id, row.key, version.version),
        ]
        if version is stored[-1]:
            found += await rebind_schedules(conn, version, definition)
        else:
            found = [replace(problem, severity="warning") for problem in found]
        problems += _placed(found, f"{row.key}@{version.version}")
    return problems


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


def _operation(metadata: Any, where: str) -> Operation:
    """Pause and limit that metadata speaks of."""
    if not isinstance(metadata, (Mapping, NoneType)):
        raise Refused.one("BUNDLE_INVALID", "must be an object", where)
    found: Operation = {}
    problems: list[Problem] = []
    paused = (metadata or {}).get("isPaused")
    if isinstance(paused, bool):
        found["is_paused"] = paused
    elif paused is not None:
        problems.append(Problem("BUNDLE_INVALID", "must be true or false", f"{where}.isPaused"))
    if metadata and "concurrencyLimit" in metadata:
        limit = metadata["concurrencyLimit"]
        if limit is None or (_is_whole(limit) and 1 <= limit <= MAX_CONCURRENCY_LIMIT):
            found["concurrency_limit"] = limit
        else:
            message = f"must be a whole number from 1 to {MAX_CONCURRENCY_LIMIT}, or null for no limit"
            problems.append(Problem("BUNDLE_INVALID", message, f"{where}.concurrencyLimit"))
    if problems:
        raise Refused(problems)
    return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


async def _import_drafts(conn: AsyncConnection, bundled: Sequence[BundledWorkflow]) -> list[DefinitionRow]:
    """Stores the drafts, once every document can be read: no other could ever run."""
    problems: list[Problem] = []
    rows: list[DefinitionRow] = []
    for workflow in bundled:
        try:
            rows.append(await import_definition(conn, workflow.draft, key=workflow.key))
        except Refused as error:
            problems += _placed(error.problems, f"{workflow.key} draft")
        for number, published in enumerate(workflow.published, 1):
            wrong: Sequence[Problem] = size_problems(published)
            try:
                if not wrong:
                    parse_definition(published)
            except Refused as error:
                wrong = error.problems
            problems += _placed(wrong, f"{workflow.key}@{number}")
    if problems:
        raise Refused(problems)
    return rows


def _placed(problems: Iterable[Problem], where: str) -> list[Problem]:
    return [replace(problem, path=f"{where} {problem.path}".rstrip()) for problem in problems]


def _changed_operation(row: DefinitionRow, wanted: Operation) -> Operation:
    """What the bundle says otherwise than the workflow has it."""
    changed: Operation = {}
    if "is_paused" in wanted and wanted["is_paused"] is not row.is_paused:
        changed["is_paused"] = wanted["is_paused"]
    if "concurrency_limit" in wanted and wanted["concurrency_limit"] != row.concurrency_limit:
        changed["concurrency_limit"] = wanted["concurrency_limit"]
    return changed


def _dependencies(document: Mapping[str, Any]) -> dict[str, Any]:
    steps = [step for _, step in walk_steps(parse_definition(document))]
    actions = {(step.config.action_id, step.config.version) for step in steps if isinstance(step, ActionCallStep)}
    return {
        "actions": [{"actionId": name, "version": version} for name, version in sorted(actions)],
        "nodeTypes": sorted({step.type for step in steps}),
        "schemaRefs": [document["payloadSchemaRef"]],
    }
