"""`workflows simulate`: a definition without any server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from workflows_cli.actions import declared_actions
from workflows_cli.session import Session, command, given_json, read_document
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Problem, Refused
from workflows_core.publishing.bundle import is_bundle, read_bundle
from workflows_core.publishing.publish import validate_document
from workflows_core.simulation.fixtures import Fixtures
from workflows_core.simulation.report import Report
from workflows_core.simulation.simulate import SimulationLimits, simulate


@click.command("simulate")
@click.argument("file")
@click.option("--workflow", help="Key of the workflow, where FILE is a bundle of several.")
@click.option("--payload", default="{}", show_default=True, help="JSON payload, or @FILE.")
@click.option("--fixtures", default="{}", show_default=True, help="JSON answers by step id or action id, or @FILE.")
@click.option("--allow-unknown-actions", is_flag=True, help="Take {} as the output of actions that are not known here.")
@click.option("--now", help="When the run starts, ISO 8601 with a zone; by default now.")
@click.option("--explain", is_flag=True, help="Say which values decided each expression.")
@click.option("--max-steps", type=click.IntRange(1, 100_000), default=5_000, show_default=True)
@command
async def simulate_command(
    session: Session,
    file: str,
    workflow: str | None,
    payload: str,
    fixtures: str,
    *,
    allow_unknown_actions: bool,
    now: str | None,
    explain: bool,
    max_steps: int,
) -> int:
    """Run the definition in FILE (- for standard input) with no server and no side effect.

    Exit code 0 when it completes or pauses at a wait, 1 when it fails or the definition is refused.
    """
    document = chosen(read_document(file), workflow)
    registry = declared_actions()
    problems = [p for p in validate_document(document, registry) if p.severity == "error"]
    if allow_unknown_actions:
        problems = [p for p in problems if p.code != "UNKNOWN_ACTION"]
    if problems:
        raise Refused([_with_what_helps(problem) for problem in problems])
    report = await simulate(
        parse_definition(document),
        registry,
        payload=given_json(payload, "--payload"),
        fixtures=Fixtures.of(given_json(fixtures, "--fixtures")),
        now_ms=_moment(now),
        explain=explain,
        limits=SimulationLimits(max_steps=max_steps),
    )
    session.emit(report.to_json(), _text(report))
    return 1 if report.status == "failed" else 0


def _with_what_helps(problem: Problem) -> Problem:
    """The problem, with the option that simulates without an action that is not known here."""
    if problem.code != "UNKNOWN_ACTION":
        return problem
    message = f"{problem.message}; with --allow-unknown-actions its fixture answers, else `{{}}`"
    return replace(problem, message=message)


def shown_version(document: Any) -> tuple[Any, str | None]:
    """The definition in what `definitions show` prints, with the workflow's key; any other document as it is."""
    if isinstance(document, dict) and {"key", "definitionHash"} <= document.keys() and "definition" in document:
        return document["definition"], document["key"]
    return document, None


def chosen(document: Any, workflow: str | None) -> Any:
    """The definition that is meant: the document itself, the one of a shown version, or the draft of one of a bundle.

    Raises:
        Refused: `BUNDLE_INVALID`, `OPTION_NOT_FITTING`, or `WORKFLOW_UNKNOWN` naming the keys that there are.
    """
    if not is_bundle(document):
        document, key = shown_version(document)
        named = (key, document.get("id")) if isinstance(document, dict) else ()
        if workflow is not None and workflow not in named:
            message = "the file is one definition and no bundle: leave --workflow out"
            raise Refused.one("OPTION_NOT_FITTING", message, "--workflow")
        return document
    found = {one.key: one.draft for one in read_bundle(document)}
    if workflow is None and len(found) == 1:
        return next(iter(found.values()))
    if workflow not in found:
        message = f"name the workflow with --workflow; the bundle has {', '.join(found)}"
        raise Refused.one("WORKFLOW_UNKNOWN", message, "--workflow")
    return found[workflow]


def _moment(text: str | None) -> int:
    if text is None:
        return int(datetime.now(UTC).timestamp() * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused.one(
            "TIME_INVALID", f"{text!r} is no ISO 8601 time with a zone, such as 2026-03-01T09:00Z", "--now"
        )
    return int(moment.timestamp() * 1000)


def _text(report: Report) -> str:
    lines = [f"{report.status} after {report.virtual_ms / 1000:g} s of virtual time", ""]
    for entry in report.trace:
        attempt = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
        lines.append(f"  {entry.status.lower():<10} {entry.step_path}  {entry.type} {entry.step_id}{attempt}")
        if entry.error is not None:
            lines.append(f"             {entry.error['category']}: {entry.error['message']}")
        for one in entry.explained:
            reads = ", ".join(f"{path} = {_json(value)}" for path, value in one["reads"].items())
            gives = _json(one["value"]) if "value" in one else one["error"]
            lines.append(f"             {one['expression']} -> {gives}  {reads}".rstrip())
    lines += [f"waits for {one['eventName']} with key {one['key']!r} at {one['stepPath']}" for one in report.waits]
    lines += ["", *(f"vars.{name} = {_json(value)}" for name, value in report.final_vars.items())]
    if report.result is not None:
        lines.append(f"result = {_json(report.result)}")
    lines += [f"error: {error['category']}: {error['message']}" for error in report.errors]
    lines += [f"warning: {warning}" for warning in report.warnings]
    return "\n".join(lines)


def _json(value: Any) -> str:
    """As authors write values, so that they can be taken into a payload or a fixture."""
    return json.dumps(value, ensure_ascii=False)
