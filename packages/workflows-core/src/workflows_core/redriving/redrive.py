"""A new run in the place of an ended one: the same input, and, for a redrive, what the steps before one have given."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workflows_core.actions.answers import answer_check
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Json, Problem, Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compensation import UNDOING
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.scopes import meta_of_trigger
from workflows_core.interpreter.state import RunIdentity
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.launching.request import LaunchedRun, checked_reason
from workflows_core.publishing.lookup import find_version
from workflows_core.redriving.recorded import read_recorded
from workflows_core.redriving.rewinding import rewind
from workflows_core.storage.database import Database
from workflows_core.storage.rows import RunRow
from workflows_core.storage.run_logs import append_log
from workflows_core.storage.runs import get_run, runs_in_place_of
from workflows_core.wire.records import FINAL_RUN_STATUSES


@dataclass(frozen=True, slots=True)
class Redrive:
    """What a redrive does.

    Attributes:
        run_id: The ended run.
        new_run_id: The run that takes its place.
        version: Version of the workflow that it runs.
        step_path: Where it begins.
        kept: Steps whose results are kept.
        repeated: Steps that the ended run has begun at or behind that place: their actions are called again, under keys
            of the new run.
        undone: Steps among the kept ones that the ended run has undone.
        earlier: Runs that were started in the ended run's place before, by a redrive or a replay.
        checkpoint: The state that the new run begins with, as JSON text.
    """

    run_id: str
    new_run_id: str
    version: int
    step_path: str
    kept: Sequence[str]
    repeated: Sequence[str]
    undone: Sequence[str]
    earlier: Sequence[str]
    checkpoint: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the checkpoint."""
        return {
            "runId": self.run_id,
            "newRunId": self.new_run_id,
            "workflowVersion": self.version,
            "from": self.step_path,
            "kept": list(self.kept),
            "repeated": list(self.repeated),
            "undone": list(self.undone),
            "earlier": list(self.earlier),
        }

    def check(self, *, keep_undone: bool, again: bool) -> None:
        """Refuses what the caller has not said that it wants.

        Raises:
            Refused: `REDRIVE_KEEPS_UNDONE`, `RUN_REPEATED_BEFORE`, or both.
        """
        problems = [] if again else _repeated_before(self.run_id, self.earlier)
        if self.undone and not keep_undone:
            message = (
                f"run {self.run_id} has undone what it would keep: {', '.join(self.undone)}; begin with"
                f" {self.undone[0]}, or say --keep-undone where there was nothing to undo after all"
            )
            problems.append(Problem("REDRIVE_KEEPS_UNDONE", message, self.step_path))
        if problems:
            raise Refused(problems)


async def plan_redrive(db: Database, tenant: str, run_id: str, wanted: str, version: int | None = None) -> Redrive:
    """Says what a redrive would do; changes nothing.

    Args:
        db: The database.
        tenant: Whose run it is.
        run_id: A run that ended FAILED or CANCELED.
        wanted: Path or id of the step to begin with.
        version: Version of the workflow; the run's own by default.

    Raises:
        Refused: `RUN_NOT_FOUND`, `RUN_NOT_ENDED`, `WORKFLOW_VERSION_UNKNOWN`, `REDRIVE_STEP_NOT_REACHED`,
            `REDRIVE_STEP_CHANGED`.
    """
    async with db.tenant(tenant) as conn:
        recorded = await read_recorded(conn, run_id)
        if recorded is None:
            raise Refused.one("RUN_NOT_FOUND", f"this tenant has no run {run_id!r}", "runId")
        run = recorded.run
        if run.status not in ("FAILED", "CANCELED"):
            message = f"run {run_id} is {run.status}: only a run that ended FAILED or CANCELED can be redriven"
            raise Refused.one("RUN_NOT_ENDED", message, "runId")
        _, found = await find_version(conn, run.workflow_id, version or run.workflow_version)
        earlier = await runs_in_place_of(conn, run_id)
    plan = compile_plan(parse_definition(found.definition), JlensEngine(), answer_check)
    new_run_id = _next_in_place_of(tenant, run_id, earlier)
    identity = RunIdentity(new_run_id, tenant, run.workflow_id, found.version, found.definition_hash, run.trigger_type)
    rewound = rewind(plan, recorded, identity, wanted)
    begun = [step.step_path for step in recorded.timeline.steps]
    undoing = {path: path.partition(UNDOING)[0] for path in begun if UNDOING in path}
    left_out = {*rewound.kept, *(() if UNDOING in rewound.step_path else undoing)}
    return Redrive(
        run_id=run_id,
        new_run_id=new_run_id,
        version=found.version,
        step_path=rewound.step_path,
        kept=rewound.kept,
        repeated=[path for path in begun if path not in left_out],
        undone=[path for path in rewound.kept if path in undoing.values()],
        earlier=earlier,
        checkpoint=json.dumps(rewound.state.to_checkpoint(), separators=(",", ":"), ensure_ascii=False),
    )


async def redrive(
    db: Database,
    launcher: Launcher,
    tenant: str,
    planned: Redrive,
    reason: str,
    *,
    keep_undone: bool = False,
    again: bool = False,
) -> LaunchedRun:
    """Starts the planned run; both runs' logs say so.

    Args:
        db: The database.
        launcher: Starts it.
        tenant: Whose run it is.
        planned: What `plan_redrive` said.
        reason: Why.
        keep_undone: Whether steps may be kept that the ended run has undone.
        again: Whether runs may have been started in its place before.

    Raises:
        Refused: `REDRIVE_KEEPS_UNDONE`, `RUN_REPEATED_BEFORE`, `REASON_MISSING`, or what a launch is refused for.
    """
    planned.check(keep_undone=keep_undone, again=again)
    metadata = {
        "redriveOfRunId": planned.run_id,
        "fromStepPath": planned.step_path,
        "reason": checked_reason(reason, "REASON_MISSING", "--reason"),
    }
    run = await _ended(db, tenant, planned.run_id)
    request = LaunchRequest(
        tenant=tenant,
        workflow=run.workflow_id,
        version=planned.version,
        payload=run.input_json,
        run_id=planned.new_run_id,
        trigger_metadata=metadata,
        checkpoint=planned.checkpoint,
    )
    return await _start(db, launcher, request, run.run_id, f"redriven from {planned.step_path}: {reason}")


async def replay(
    db: Database,
    launcher: Launcher,
    tenant: str,
    run_id: str,
    reason: str,
    payload: Json | None = None,
    *,
    again: bool = False,
) -> LaunchedRun:
    """Starts a new run of the same version with the same input, or with another one.

    Raises:
        Refused: `RUN_NOT_FOUND`, `RUN_NOT_ENDED`, `RUN_REPEATED_BEFORE` unless it is wanted again, `REASON_MISSING`,
            or what a launch is refused for.
    """
    why = checked_reason(reason, "REASON_MISSING", "--reason")
    run = await _ended(db, tenant, run_id)
    async with db.tenant(tenant) as conn:
        earlier = await runs_in_place_of(conn, run_id)
    if earlier and not again:
        raise Refused(_repeated_before(run_id, earlier))
    request = LaunchRequest(
        tenant=tenant,
        workflow=run.workflow_id,
        version=run.workflow_version,
        payload=run.input_json if payload is None else payload,
        run_id=_next_in_place_of(tenant, run_id, earlier),
        trigger_metadata={**meta_of_trigger(run.trigger_metadata_json), "replayOfRunId": run_id, "reason": why},
    )
    return await _start(db, launcher, request, run_id, f"replayed: {reason}")


def _next_in_place_of(tenant: str, run_id: str, earlier: Sequence[str]) -> str:
    """Id of one more run: the same for two who ask at once, of whom one starts it and the other one is told."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\x1f".join((tenant, run_id, *earlier))))


def _repeated_before(run_id: str, earlier: Sequence[str]) -> list[Problem]:
    """What keeps an answer that was lost from starting the same a second time."""
    if not earlier:
        return []
    message = (
        f"run {run_id} was redriven or replayed before, as {', '.join(earlier)}: look at that first"
        " (`workflows runs show`), and say --again to start one more, which does everything once more"
    )
    return [Problem("RUN_REPEATED_BEFORE", message, "runId")]


async def _ended(db: Database, tenant: str, run_id: str) -> RunRow:
    async with db.tenant(tenant) as conn:
        run = await get_run(conn, run_id)
    if run is None:
        raise Refused.one("RUN_NOT_FOUND", f"this tenant has no run {run_id!r}", "runId")
    if run.status not in FINAL_RUN_STATUSES:
        raise Refused.one("RUN_NOT_ENDED", f"run {run_id} is {run.status}: cancel it first", "runId")
    return run


async def _start(db: Database, launcher: Launcher, request: LaunchRequest, run_id: str, text: str) -> LaunchedRun:
    """Says so in both logs, in the old run's first: it tells whoever has lost the answer that the run is there."""
    new_run_id, takes = str(request.run_id), f"takes the place of run {run_id}, {text}"
    await _note(db, request.tenant, run_id, f"{text} (run {new_run_id})")
    try:
        launched = await _launched(launcher, request, run_id)
    except Refused as error:
        await _note(db, request.tenant, run_id, f"the start of run {new_run_id} was answered with {error.code}")
        if error.code != "RUN_REPEATED_BEFORE":
            await _note(db, request.tenant, new_run_id, takes)
        raise
    await _note(db, request.tenant, new_run_id, takes)
    return launched


async def _launched(launcher: Launcher, request: LaunchRequest, run_id: str) -> LaunchedRun:
    """Starts the run in a run's place.

    Raises:
        Refused: `RUN_REPEATED_BEFORE`: somebody who asked at the same time was first; else as the launch.
    """
    was_first = Refused(_repeated_before(run_id, [str(request.run_id)]))
    try:
        launched = await launcher.launch(request)
    except Refused as error:
        if error.code != "RUN_ID_TAKEN":
            raise
        raise was_first from error  # And has started it with another version or input.
    if not launched.created:
        raise was_first
    return launched


async def _note(db: Database, tenant: str, run_id: str, line: str) -> None:
    async with db.tenant(tenant) as conn:
        await append_log(conn, run_id, line)
