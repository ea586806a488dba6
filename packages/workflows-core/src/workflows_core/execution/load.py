"""What a run needs before its first step: the pinned version, checked, and its payload."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from workflows_core.actions.action import Place
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.hashing import definition_hash
from workflows_core.definitions.model import ActionCallStep
from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import Refused
from workflows_core.execution.policy import RunPolicy
from workflows_core.execution.recently_used import RecentlyUsed
from workflows_core.interpreter.correlation import MAX_KEY_BYTES
from workflows_core.interpreter.scopes import meta_of_trigger
from workflows_core.storage.begun_runs import begun_run, require_own
from workflows_core.storage.capabilities import announced_actions
from workflows_core.storage.database import Database
from workflows_core.storage.definitions import get_version
from workflows_core.storage.processes import LIVE_FOR
from workflows_core.wire.messages import RunInput
from workflows_core.wire.records import ActionTraits, FoundAction, LoadedRun

_KEPT_CHARACTERS: Final = 4 * 1024 * 1024
"""Of JSON of the versions that are kept; as Python's objects they take some eight times as much."""
_VersionKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """A published version whose content has its hash.

    Attributes:
        definition: The document.
        definition_hash: Of it.
        actions: What it calls, as (id, version).
        characters: Of its JSON.
    """

    definition: dict[str, Any]
    definition_hash: str
    actions: tuple[tuple[str, int], ...]
    characters: int


@dataclass(slots=True)
class RunLoader:
    """Loads runs; keeps the versions it has checked, since they never change."""

    db: Database
    registry: ActionRegistry
    policy: RunPolicy
    _checked: RecentlyUsed[_VersionKey, CheckedVersion] = field(default_factory=lambda: RecentlyUsed(_KEPT_CHARACTERS))

    async def load(
        self, run_input: RunInput, execution_started_at: int, continued_from: str | None = None
    ) -> LoadedRun:
        """The run's definition, payload and traits of its actions; reads only.

        Args:
            run_input: What the run was started with.
            execution_started_at: When, by Temporal's clock; milliseconds since the epoch.
            continued_from: The execution that continued as this one.

        Raises:
            RunReset: That one is not the run's own: nothing that it did was written, and what it left to this one would
                be.
            Refused: No such version (`DEFINITION_VERSION_UNKNOWN`), or its content is not what was
                published or pinned (`DEFINITION_ALTERED`).
        """
        key = (run_input.tenant_id, run_input.workflow_id, run_input.workflow_version)
        if continued_from is not None and run_input.checkpoint is not None:
            before = json.loads(run_input.checkpoint)["generation"] - 1
            await require_own(self.db, run_input.tenant_id, run_input.run_id, before, continued_from)
        run = await begun_run(self.db, run_input.tenant_id, run_input.run_id)
        read_at = time.monotonic()
        version = self._checked.get(key)
        if version is None:
            async with self.db.tenant(run_input.tenant_id) as conn:
                found = await get_version(conn, run_input.workflow_id, run_input.workflow_version)
            # In a thread: the largest takes a quarter of a second, in which the process should hear and answer.
            stored = None if found is None else (found.definition, found.definition_hash)
            version = await asyncio.to_thread(_checked, run_input, stored)
            self._checked.put(key, version, version.characters)
        traits = await self._traits(version)
        if run.recorded and run.definition_hash != version.definition_hash:
            raise _altered(run_input, "the run pinned", version.definition_hash, run.definition_hash)
        loaded: LoadedRun = {
            "started_at": run.started_at,
            "definition": version.definition,
            "definition_hash": version.definition_hash,
            "payload": run.input_json,
            "meta": meta_of_trigger(run.trigger_metadata_json),
            "recorded": run.recorded,
            "actions": traits,
            "continue_after_steps": self.policy.continue_after_steps,
            "continue_after_effort": self.policy.continue_after_effort,
            "continue_after_signals": self.policy.continue_after_signals,
            "call_ahead": self.policy.call_ahead,
            "last_action_ends": self.policy.last_action_ends,
            "unavailable_after_ms": self.policy.unavailable_after_ms,
            "semantics": run.runtime_semantics_version,
            "max_key_bytes": MAX_KEY_BYTES,
        }
        if not run.recorded:
            loaded["started_at"] += int((time.monotonic() - read_at) * 1000)
            loaded["started_before"] = True
            loaded["since_start_ms"] = int(time.time() * 1000) - execution_started_at
        trigger = run.trigger_metadata_json
        if isinstance(trigger, dict) and isinstance(trigger.get("scheduledLaunchId"), str):
            loaded["scheduled_launch"] = trigger["scheduledLaunchId"]
        return loaded

    async def find(self, action_id: str, version: int, at: Place | None = None) -> FoundAction:
        """Whether a live process serves an action, at one place if that is given; reads only.

        Args:
            action_id: Of the action.
            version: Of the action.
            at: Place where it is called already, and has to be. A process there counts also where it went away within
                the time for which an absent action is waited for: the call outlives that it is replaced.
        """
        gone_for = timedelta(milliseconds=0 if at is None else self.policy.unavailable_after_ms)
        async with self.db.narrow() as conn:
            found = await announced_actions(conn, {(action_id, version)}, LIVE_FOR + gone_for)
        if not found:
            registered = self.registry.get(action_id, version)
            return {
                "traits": None,
                "place": None if registered is None else registered.place.value,
                "last_served_by": None,
            }
        newest = next((one for one in found if one.live and one.place == at), found[0])
        return {
            "traits": newest.traits if newest.live and at in (None, newest.place) else None,
            "place": newest.place if at is None or newest.live else at.value,
            "last_served_by": f"{newest.identity}, last heartbeat {newest.seen_at:%Y-%m-%dT%H:%M:%SZ}",
        }

    async def _traits(self, version: CheckedVersion) -> dict[str, ActionTraits]:
        """Of the version's actions that this process has registered, or another one announces."""
        traits: dict[str, ActionTraits] = {}
        elsewhere = set()
        for wanted in version.actions:
            action = self.registry.get(*wanted)
            if action is None:
                elsewhere.add(wanted)
            else:
                traits[action.key] = self.registry.traits(action)
        if elsewhere:
            async with self.db.narrow() as conn:
                announced = await announced_actions(conn, elsewhere)
            for found in announced:
                if found.live:
                    traits.setdefault(f"{found.id}@{found.version}", found.traits)
        return traits


def _checked(run_input: RunInput, found: tuple[Mapping[str, Any], str] | None) -> CheckedVersion:
    if found is None:
        raise Refused.one(
            "DEFINITION_VERSION_UNKNOWN",
            f"workflow {run_input.workflow_id!r} has no published version {run_input.workflow_version} "
            f"in tenant {run_input.tenant_id!r}; list them with `workflows definitions list`",
        )
    document, published = found
    content = definition_hash(document)
    if content != published:
        raise _altered(run_input, "was published", content, published)
    calls = {
        (step.config.action_id, step.config.version)
        for _, step in walk_steps(parse_definition(document))
        if isinstance(step, ActionCallStep)
    }
    return CheckedVersion(dict(document), content, tuple(sorted(calls)), len(json.dumps(document)))


def _altered(run_input: RunInput, what: str, content: str, pinned: str) -> Refused:
    return Refused.one(
        "DEFINITION_ALTERED",
        f"version {run_input.workflow_version} of {run_input.workflow_id!r} is not what {what}: "
        f"its content hashes to {content[:12]}, expected {pinned[:12]}",
    )
