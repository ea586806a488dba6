"""Random definitions of every construct on Temporal: what the reference evaluator says, in the order of the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from temporalio.client import Client, WorkflowFailureError

from harness.authored import Started, authored_runtime
from harness.followed_runs import CHILD_DOCUMENT, Followed, Outside, Scripted, events_taken
from harness.ingress import ingress
from harness.random_definitions import CHILD, InTurn, definitions, scripts, unanswered
from harness.readable import readable
from workflows_core.definitions.model import STEP_MODELS
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")


def random_runs(count: int, number: int) -> list[Scripted]:
    found: list[Scripted] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None)
    @given(definitions(waiting=True), scripts(), unanswered())
    def collect(definition: dict[str, Any], failures: InTurn, nobody: frozenset[str]) -> None:
        found.append(Scripted(definition, failures, nobody))

    collect()
    return found


def telling(runs: list[Scripted], count: int) -> list[Scripted]:
    """So many of them, such as show what the others do not first."""
    met: set[str] = set()
    chosen: list[Scripted] = []
    for one in runs:
        followed = Followed(one.reference())
        followed.reference.run()
        new = {*followed.met()} - met
        met |= new
        chosen.insert(0 if new else len(chosen), one)
    return chosen[:count]


async def test_random_definitions_do_on_temporal_what_the_reference_does(db: Database, client: Client) -> None:
    runs = telling(random_runs(120, 66), 28)
    met: Counter[str] = Counter()
    # Continue-as-new after every few steps, so that the state is carried in the middle of everything.
    async with authored_runtime(db, client, policy=RunPolicy(continue_after_steps=8)) as authored, ingress(db, client):
        await authored.publish(CHILD_DOCUMENT, key=CHILD)
        with events_taken() as taken:
            started = [await authored.start(one.document) for one in runs]
            scripted = {run.run_id: one for run, one in zip(started, runs, strict=True)}
            answering = asyncio.create_task(Outside(db, client, scripted).answer())
            results = await asyncio.gather(*(ended(run) for run in started))
            answering.cancel()
        for run, result in zip(started, results, strict=True):
            followed = Followed(scripted[run.run_id].reference())
            followed.follow(taken[run.run_id])
            called = authored.effects.scripted.get(run.run_id, [])
            await agree(run, result, followed, scripted[run.run_id].actions, called)
            met.update(followed.met())
    # That much of the language has to be among them, or they are not worth their time.
    assert met.keys() >= {*STEP_MODELS, "SUCCEEDED", "FAILED", "CANCELED", "side by side", "again", "undone"}, met


async def agree(
    run: Started, result: Any, followed: Followed, actions: set[str], called: list[tuple[str, int]]
) -> None:
    seen = followed.reference.seen
    timeline = await run.timeline()
    error = timeline.run.error_json
    category = "Cancellation" if seen.status == "CANCELED" else seen.category
    assert (timeline.run.status, error and error["category"]) == (seen.status, category)
    assert sorted((s.step_path, s.step_type, s.status, s.attempt) for s in timeline.steps) == sorted(seen.visits)
    if seen.status == "SUCCEEDED":
        variables = {name: value for name, value in result["scopes"]["vars"].items() if name != "timeWait"}
        assert (result.get("result"), readable(variables)) == (seen.result, seen.vars)
    asked = [call for call in seen.calls if call[0] in actions]
    if not followed.reference.ever_several and followed.answered == asked:
        assert called == asked
    # Side by side, the order in which the worker begins is real time's; and one that lost may never have begun.
    assert Counter(followed.answered) <= Counter(called) <= Counter(asked)


async def ended(run: Started) -> Any:
    """Result or failure."""
    try:
        return await run.handle.result()
    except WorkflowFailureError as error:
        return error
