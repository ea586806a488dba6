"""`workflows definitions import | export | validate | publish | pause | resume | limit | list | show | graph`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Unpack

import click

from workflows_cli.actions import declared_actions
from workflows_cli.commands.simulate import chosen, shown_version
from workflows_cli.output import emit, table
from workflows_cli.session import Session, command, read_document
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.graph import mermaid
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Problem, Refused
from workflows_core.publishing.bundle import export_bundle, import_bundle, is_bundle
from workflows_core.publishing.known_actions import AnnouncedActions
from workflows_core.publishing.lookup import find_version, find_workflow
from workflows_core.publishing.publish import import_definition, publish_definition, validate_document
from workflows_core.storage.definitions import MAX_CONCURRENCY_LIMIT, Operation, list_definitions, set_operation

_OPERATION = {"is_paused": "isPaused", "concurrency_limit": "concurrencyLimit"}
_OPERATED = ("workflowId", "key", *_OPERATION.values())
_LISTED = ("key", "workflowId", "status", "publishedVersion", "draftVersion", "isPaused", "concurrencyLimit", "name")


class LimitOrNone(click.ParamType[int | None]):
    """How many runs may be open: a number, or `none`."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number; None for `none`."""
        if value == "none":
            return None
        if re.fullmatch(r"[1-9][0-9]{0,9}", str(value)) is None or int(value) > MAX_CONCURRENCY_LIMIT:
            self.fail(f"{value!r} is neither a number from 1 to {MAX_CONCURRENCY_LIMIT} nor none", param, ctx)
        return int(value)


@click.group("definitions")
def definitions_group() -> None:
    """Drafts and published versions of workflows."""


@definitions_group.command("validate")
@click.argument("file")
@click.option("--workflow", help="Key of the workflow, where FILE is a bundle of several.")
@click.option("--announced", is_flag=True, help="Check against what processes announce as well, as publish does.")
@command
async def validate(session: Session, file: str, workflow: str | None, *, announced: bool) -> int:
    """Check a definition, or a draft of a bundle, without storing it; FILE may be - for standard input.

    Without --announced it needs no database and knows the actions of the core pack only.
    """
    document = chosen(read_document(file), workflow)
    actions: ActionRegistry | AnnouncedActions = declared_actions()
    if announced:
        async with session.db.narrow() as conn:
            actions = await AnnouncedActions.read(conn, declared_actions())
    problems = validate_document(
        document,
        actions,
        correlation_paths=session.authoring.correlation_paths,
        secrets=session.authoring.secret_ages(session.tenant_option or ""),
    )
    _show_problems(session, problems)
    return 1 if any(problem.severity == "error" for problem in problems) else 0


@definitions_group.command("import")
@click.argument("file")
@click.option("--key", help="Key or id of the workflow; by default the definition's id.")
@click.option(
    "--expect-draft",
    type=click.IntRange(min=0),
    metavar="N",
    help="Refuse if the draft is not draft N any more, or, with 0, if there is one.",
)
@click.option(
    "--allow-problems", is_flag=True, help="Of a bundle, store published versions that could not be published here too."
)
@command
async def import_(
    session: Session, file: str, key: str | None, expect_draft: int | None, *, allow_problems: bool
) -> int:
    """Store a definition as the draft of its workflow, or every workflow of a bundle.

    FILE may be what `show` prints: that version becomes the draft of its workflow. Of a bundle, published versions are
    stored as well where the workflow has none yet; the newest of them is live at once, and has to be one that could be
    published. Pause and limit are the bundle's where it has them.
    """
    document = read_document(file)
    if is_bundle(document):
        for option, given in (("--key", key), ("--expect-draft", expect_draft)):
            if given is not None:
                message = f"a bundle has workflows with keys and drafts of their own: leave {option} out"
                raise Refused.one("OPTION_NOT_FITTING", message, option)
        return await _import_bundle(session, document, allow_problems=allow_problems)
    if allow_problems:
        message = "the file is one definition and no bundle, so nothing is published: leave --allow-problems out"
        raise Refused.one("OPTION_NOT_FITTING", message, "--allow-problems")
    document, shown_key = shown_version(document)
    async with session.db.tenant(session.tenant) as conn:
        draft = await import_definition(conn, document, key=key or shown_key, expected_draft_version=expect_draft)
    facts = {"workflowId": draft.workflow_id, "key": draft.key, "draftVersion": draft.draft_version}
    session.emit(facts, f"imported {draft.key}: draft {draft.draft_version} of workflow {draft.workflow_id}")
    return 0


@definitions_group.command("publish")
@click.argument("workflow")
@click.option("--accept-unknown-actions", is_flag=True, help="Publish before the process that has an action has run.")
@click.option(
    "--expect-draft",
    type=click.IntRange(min=1),
    metavar="N",
    help="Refuse if the draft is not draft N any more, as import showed it.",
)
@command
async def publish(session: Session, workflow: str, expect_draft: int | None, *, accept_unknown_actions: bool) -> int:
    """Publish the draft of WORKFLOW (key or id) as an immutable version; the draft has another number then."""
    published = await publish_definition(
        session.db,
        session.tenant,
        workflow,
        declared_actions(),
        published_by=session.actor,
        expected_draft_version=expect_draft,
        correlation_paths=session.authoring.correlation_paths,
        secrets=session.authoring.secret_ages(session.tenant),
        accept_unknown_actions=accept_unknown_actions,
    )
    facts = {
        "workflowId": published.workflow_id,
        "version": published.version,
        "definitionHash": published.definition_hash,
        "draftVersion": published.draft_version,
        "warnings": [problem.to_json() for problem in published.warnings],
    }
    lines = [str(problem) for problem in published.warnings]
    lines.append(f"published {workflow} version {published.version} ({published.definition_hash[:12]})")
    lines.append(f"its draft is draft {published.draft_version} now")
    session.emit(facts, "\n".join(lines))
    return 0


@definitions_group.command("pause")
@click.argument("workflow")
@command
async def pause(session: Session, workflow: str) -> int:
    """Start no more runs of WORKFLOW (key or id) until it is resumed.

    Open runs go on. Queued ones wait. What would start one meanwhile, such as an event, a schedule or a caller, is
    refused and not made up for by itself.
    """
    return await _operate(
        session, workflow, "paused {key}: open runs go on, queued ones wait, and no other is started", is_paused=True
    )


@definitions_group.command("resume")
@click.argument("workflow")
@command
async def resume(session: Session, workflow: str) -> int:
    """Start runs of WORKFLOW (key or id) again; queued ones start by themselves, as far as its limit allows."""
    said = "resumed {key}: runs are started again, queued ones first, as far as its limit allows"
    return await _operate(session, workflow, said, is_paused=False)


@definitions_group.command("limit")
@click.argument("workflow")
@click.argument("limit", metavar="N|none", type=LimitOrNone())
@command
async def limit_(session: Session, workflow: str, limit: int | None) -> int:
    """Let at most N runs of WORKFLOW (key or id) be open at a time, or any number for none.

    Open runs go on, also where they are more than that. Queued ones start as far as there is room.
    """
    said = "{key} may have any number of open runs: queued ones start"
    if limit is not None:
        said = f"{{key}} may have {limit} open run(s): more that are open go on, queued ones start when there is room"
    return await _operate(session, workflow, said, concurrency_limit=limit)


@definitions_group.command("list")
@command
async def list_(session: Session) -> int:
    """List the workflows of the tenant."""
    async with session.db.tenant(session.tenant) as conn:
        rows: list[dict[str, Any]] = [row.to_json() for row in await list_definitions(conn)]
    session.emit(rows, table(rows, _LISTED))
    return 0


@definitions_group.command("show")
@click.argument("workflow")
@click.option("--version", type=click.IntRange(min=1), help="A published version; the newest by default.")
@command
async def show(session: Session, workflow: str, version: int | None) -> int:
    """Print a published version of WORKFLOW (key or id) as JSON: what the runs of that version execute."""
    async with session.db.tenant(session.tenant) as conn:
        definition, found = await find_version(conn, workflow, version)
    emit({"key": definition.key, **found.to_json()}, "", "json")
    return 0


@definitions_group.command("export")
@click.argument("keys", nargs=-1)
@command
async def export(session: Session, keys: tuple[str, ...]) -> int:
    """Print a bundle of the workflows KEYS, of all for none; always JSON."""
    async with session.db.tenant(session.tenant) as conn:
        bundle = await export_bundle(conn, keys, datetime.now(UTC))
    emit(bundle, "", "json")
    return 0


@definitions_group.command("graph")
@click.argument("file")
@click.option("--workflow", help="Key of the workflow, where FILE is a bundle of several.")
@command
async def graph(session: Session, file: str, workflow: str | None) -> int:
    """Draw the definition in FILE as a Mermaid flowchart."""
    text = mermaid(parse_definition(chosen(read_document(file), workflow)))
    session.emit({"mermaid": text}, text)
    return 0


async def _import_bundle(session: Session, document: Any, *, allow_problems: bool) -> int:
    async with session.db.tenant(session.tenant) as conn:
        imported = await import_bundle(
            conn,
            document,
            declared_actions(),
            published_by=session.actor,
            correlation_paths=session.authoring.correlation_paths,
            secrets=session.authoring.secret_ages(session.tenant),
            allow_problems=allow_problems,
        )
    facts = [
        {
            "key": one.row.key,
            "workflowId": one.row.workflow_id,
            "draftVersion": one.row.draft_version,
            "publishedVersion": one.row.published_version or 0,
            "importedVersions": list(one.versions),
            "isPaused": one.row.is_paused,
            "concurrencyLimit": one.row.concurrency_limit,
            "changed": [_OPERATION[name] for name in one.changed],
            "problems": [problem.to_json() for problem in one.problems],
        }
        for one in imported
    ]
    lines = [str(problem) for one in imported for problem in one.problems]
    for one in imported:
        if one.row.published_version and not one.versions:
            lines.append(f"{one.row.key} keeps the versions that it has published: of the bundle it has the draft")
        if "is_paused" in one.changed:
            lines.append(f"{one.row.key} is {'paused' if one.row.is_paused else 'resumed'}, as the bundle has it")
        if "concurrency_limit" in one.changed:
            limit = one.row.concurrency_limit
            lines.append(f"{one.row.key} has {'no limit' if limit is None else f'limit {limit}'}, as the bundle has it")
    columns = ("key", "workflowId", "draftVersion", "publishedVersion", "importedVersions")
    session.emit(facts, "\n".join([*lines, table(facts, columns)]))
    return 0


async def _operate(session: Session, workflow: str, said: str, **wanted: Unpack[Operation]) -> int:
    """Changes pause or limit, and says what becomes of runs."""
    async with session.db.tenant(session.tenant) as conn:
        before = await find_workflow(conn, workflow)
        await set_operation(conn, before.workflow_id, **wanted)
        row = await find_workflow(conn, before.workflow_id)
    facts = {name: value for name, value in row.to_json().items() if name in _OPERATED}
    session.emit(facts, said.format(key=row.key))
    return 0


def _show_problems(session: Session, problems: list[Problem]) -> None:
    text = "\n".join(str(problem) for problem in problems) or "no problems"
    session.emit({"problems": [problem.to_json() for problem in problems]}, text)
