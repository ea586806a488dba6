"""What a run needs before its first step."""

from __future__ import annotations

import time
from typing import Any

from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.hashing import definition_hash
from workflows_core.definitions.model import ActionCallStep
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import Refused
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import get_version
from workflows_core.storage.runs import get_run
from workflows_core.wire.messages import RunInput
from workflows_core.wire.records import ActionTraits, LoadedRun


async def load_run(db: Database, registry: ActionRegistry, policy: RunPolicy, run_input: RunInput) -> LoadedRun:
    """Loads the pinned version and checks that it is what the run was started with.

    Raises:
        Refused: No such version (`DEFINITION_VERSION_UNKNOWN`), or its content is not what was
            published or pinned (`DEFINITION_ALTERED`).
    """
    async with db.tenant(run_input.tenant_id) as conn:
        run = await get_run(conn, run_input.run_id)
        version = await get_version(conn, run_input.workflow_id, run_input.workflow_version)
    if version is None:
        raise Refused.one(
            "DEFINITION_VERSION_UNKNOWN",
            f"workflow {run_input.workflow_id!r} has no published version {run_input.workflow_version} "
            f"in tenant {run_input.tenant_id!r}; list them with `workflows definitions list`",
        )
    content = definition_hash(version.definition)
    for what, pinned in (("was published", version.definition_hash), ("the run pinned", run and run.definition_hash)):
        if pinned and pinned != content:
            raise Refused.one(
                "DEFINITION_ALTERED",
                f"version {run_input.workflow_version} of {run_input.workflow_id!r} is not what {what}: "
                f"its content hashes to {content[:12]}, expected {pinned[:12]}",
            )
    return {
        "started_at": int(time.time() * 1000) if run is None else int(run.started_at.timestamp() * 1000),
        "definition": version.definition,
        "definition_hash": content,
        "payload": {} if run is None else run.input_json,
        "meta": {},
        "recorded": run is not None,
        "actions": _traits(registry, version.definition),
        "continue_after_steps": policy.continue_after_steps,
        "continue_after_signals": policy.continue_after_signals,
    }


def _traits(registry: ActionRegistry, document: dict[str, Any]) -> dict[str, ActionTraits]:
    out: dict[str, ActionTraits] = {}
    for _, step in walk_steps(parse_definition(document)):
        if isinstance(step, ActionCallStep):
            action = registry.get(step.config.action_id, step.config.version)
            if action is not None:
                out[action.key] = registry.traits(action)
    return dict(sorted(out.items()))
