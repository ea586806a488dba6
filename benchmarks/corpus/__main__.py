"""Every bundle below a directory: imported, validated, simulated; some of them run on Temporal and compared.

    uv run python -m benchmarks.corpus --path DIR [--run 30]

Actions that the bundles name and nobody has here are stood in for by ones that note their calls. Exit code 1 when a
bundle cannot be read, or when a run calls other actions, or ends otherwise, than its simulation. What publishing would
refuse is listed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from temporalio.client import Client  # noqa: E402

from harness.authored import TENANT, authored_runtime  # noqa: E402 - tests share it, and are no package
from harness.databases import DatabaseFactory, engine_of  # noqa: E402
from harness.ingress import ingress  # noqa: E402
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal  # noqa: E402
from workflows_core.actions.action import Action, ActionContext, Effect  # noqa: E402
from workflows_core.actions.registry import ActionRegistry, Pack  # noqa: E402
from workflows_core.definitions.model import ActionCallStep, CallWorkflowStep, Definition  # noqa: E402
from workflows_core.definitions.parse import parse_definition  # noqa: E402
from workflows_core.definitions.walk import walk_steps  # noqa: E402
from workflows_core.errors import Refused  # noqa: E402
from workflows_core.publishing.bundle import import_bundle, read_bundle  # noqa: E402
from workflows_core.publishing.publish import validate_document  # noqa: E402
from workflows_core.simulation.simulate import simulate  # noqa: E402
from workflows_core.storage.database import Database  # noqa: E402

_ANY: Mapping[str, Any] = {"type": "object"}
Calls = list[tuple[str, str, Any]]


def stand_ins(definitions: Sequence[Definition], calls: Calls) -> Pack:
    """An action for each that the definitions call: it notes the call and gives {}."""
    wanted = {
        (step.config.action_id, step.config.version)
        for definition in definitions
        for _, step in walk_steps(definition)
        if isinstance(step, ActionCallStep)
    }

    def of(name: str, version: int) -> Action:
        async def act(value: Any, context: ActionContext) -> Any:
            calls.append((context.step_path, f"{name}@{version}", value))
            return {}

        return Action(name, version, act, _ANY, _ANY, "Stands in.", effect=Effect.IDEMPOTENT)

    return lambda: [of(*one) for one in sorted(wanted)]


def payload_of(definition: Definition) -> dict[str, Any]:
    """What the fixtures of these bundles read."""
    return {"fixtureNotifyUserId": "user-1", "fixtureDedupeKey": "key-1", "tenantId": TENANT, "id": definition.id}


async def main() -> int:
    """Reads, simulates, runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, type=Path, help="directory with bundles (*.json, at any depth)")
    parser.add_argument("--run", type=int, default=30, help="how many run on Temporal as well")
    options = parser.parse_args()
    begun = time.perf_counter()
    documents: dict[str, Any] = {}
    parsed: dict[str, Definition] = {}
    refused: list[str] = []
    files = sorted(options.path.rglob("*.json"))
    for file in files:
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            for workflow in read_bundle(document):
                parsed[f"{file.parent.name}/{workflow.key}"] = parse_definition(workflow.draft)
                documents[f"{file.parent.name}/{workflow.key}"] = (document, workflow)
        except Refused as error:
            refused.append(f"{file}: {error}")
    calls: Calls = []
    pack = stand_ins(list(parsed.values()), calls)
    registry = ActionRegistry.of({"stand-ins": pack})
    problems: Counter[str] = Counter()
    listed: list[str] = []
    for name, (_, workflow) in documents.items():
        for problem in validate_document(workflow.draft, registry):
            problems[f"{problem.severity} {problem.code}"] += 1
            if problem.severity == "error":
                listed.append(f"not to be published: {name}: {problem}")
            else:
                listed.append(f"warning: {name}: {problem}")
    reports = {name: await simulate(parsed[name], registry, payload=payload_of(parsed[name])) for name in parsed}
    outcomes = Counter(report.status for report in reports.values())
    failures = Counter(error["category"] for report in reports.values() for error in report.errors)
    steps = Counter(entry.type for report in reports.values() for entry in report.trace)
    print(f"{len(files)} bundles, {len(parsed)} workflows; validated: {dict(problems) or 'no problem'}")
    print(f"simulated in {time.perf_counter() - begun:.1f} s: {dict(outcomes)}, failures {dict(failures)}")
    print(f"steps: {dict(steps.most_common())}")
    chosen = _chosen(parsed, options.run)
    different = await _compared(chosen, documents, parsed, reports, pack, calls) if chosen else []
    for line in [*refused, *listed, *different]:
        print(line)
    print(f"{len(chosen)} run on Temporal, {len(different)} differ from their simulation")
    return 1 if refused or different else 0


def _chosen(parsed: Mapping[str, Definition], count: int) -> list[str]:
    """Those that show something rare first; none that calls a workflow that its bundle does not name."""
    kinds = {name: {step.type for _, step in walk_steps(found)} for name, found in parsed.items()}
    seen = Counter(kind for found in kinds.values() for kind in found)
    able = [
        name
        for name, found in parsed.items()
        if not any(isinstance(step, CallWorkflowStep) for _, step in walk_steps(found))
    ]
    return sorted(able, key=lambda name: (min(seen[kind] for kind in kinds[name]), name))[:count]


async def _compared(
    chosen: Sequence[str],
    documents: Mapping[str, Any],
    parsed: Mapping[str, Definition],
    reports: Mapping[str, Any],
    pack: Pack,
    calls: Calls,
) -> list[str]:
    different = []
    with EmbeddedPostgres() as postgres, EmbeddedTemporal() as temporal, DatabaseFactory(postgres).fresh() as made:
        client = await Client.connect(temporal.address, namespace=temporal.namespace)
        async with engine_of(made.url) as engine:
            db = Database(engine)
            async with authored_runtime(db, client, more={"stand-ins": pack}) as authored, ingress(db, client):
                for name in chosen:
                    document, workflow = documents[name]
                    async with db.tenant(TENANT) as conn:
                        # What publishing would refuse is listed above.
                        await import_bundle(conn, document, authored.runtime.registry, allow_problems=True)
                    calls.clear()
                    run = await authored.start(dict(workflow.draft), payload_of(parsed[name]))
                    await asyncio.gather(run.handle.result(), return_exceptions=True)
                    report = reports[name]
                    wanted = [
                        (i["stepPath"], f"{i['actionId']}@{i['version']}", i["input"]) for i in report.invocations
                    ]
                    status = {"completed": "SUCCEEDED", "failed": "FAILED"}.get(report.status)
                    found = (await run.timeline()).run.status
                    if calls != wanted or found != status:
                        different.append(f"{name}: {found} with {calls}, simulated {status} with {wanted}")
    return different


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
