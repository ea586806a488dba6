"""The simulation against the reference evaluator: definitions of every construct, answered by fixtures."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.random_definitions import InTurn, definitions, scripts, unanswered, with_scripts
from harness.readable import readable
from harness.reference import Question, Reference
from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.simulation.fixtures import Fixtures
from workflows_core.simulation.simulate import simulate

_STATUS = {"completed": "SUCCEEDED", "failed": "FAILED", "paused-at-wait": "WAITING"}


def scripted() -> list[Action]:
    async def act(value: Any, context: ActionContext) -> Any:
        if context.attempt <= len(value["failures"]):
            raise ActionFailed("scripted", category=ErrorCategory(value["failures"][context.attempt - 1]))
        return {"attempt": context.attempt}

    schema = {"type": "object"}
    return [Action("test.scripted", 1, act, schema, schema, "Fails.", effect=Effect.PURE, timeout_ms=500, short=True)]


class Simulated:
    """The reference, its questions answered in the order that a simulation promises (`simulation.simulate`).

    Attributes:
        given: Fixtures that answer the same, one for each time that the step asked.
        called: Actions, as they were called.
    """

    def __init__(self, reference: Reference, by_fixture: bool) -> None:
        self.reference = reference
        self.by_fixture = by_fixture
        self.given: dict[str, list[Any]] = defaultdict(list)
        self.called: list[tuple[str, int]] = []
        self.timing_out: list[Question] = []
        while not reference.over and (question := self.following()) is not None:
            reference.answer(question)

    def following(self) -> Question | None:
        """The first call; else the first wait that something answers, as they stand in the document; else a time."""
        for question in self.reference.asked:
            if question.kind in ("action", "launch"):
                if question.kind == "action":
                    self.called.append((question.path, question.attempt))
                    if self.by_fixture:
                        self.give(question)
                return question
        for question in sorted(self.reference.asked, key=_place):
            if question.kind != "answer" or question.never or question in self.timing_out:
                continue
            self.give(question)
            if not question.passes:
                return question
            self.timing_out.append(question)
        passing = [one for one in self.reference.asked if one.kind in ("time", "retry") or one in self.timing_out]
        return min(passing, key=lambda one: one.due or 0, default=None)

    def give(self, question: Question) -> None:
        answer: Any = {"attempt": question.attempt}
        if question.kind == "answer":
            answer = {"$timeout": True} if question.passes else {"n": question.attempt}
            if question.failing is not None and not question.passes:
                answer = {}
        if question.step["type"] == "control.callWorkflow":
            answer = {"result": question.attempt}
        if question.failing is not None and question.step["type"] in ("action.call", "control.callWorkflow"):
            answer = {"$error": {"category": question.failing}}
        self.given[question.step["id"]].append(answer)


def _place(question: Question) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", question.path)]


@pytest.mark.asyncio
@settings(max_examples=150)
@given(
    definition=definitions(waiting=True),
    failures=scripts(),
    nobody=unanswered(),
    by_fixture=st.booleans(),
)
async def test_agrees_with_the_reference(
    definition: dict[str, Any], failures: InTurn, nobody: frozenset[str], by_fixture: bool
) -> None:
    reference = Reference(definition, failures, nobody)
    expected = Simulated(reference, by_fixture)
    report = await simulate(
        parse_definition(definition if by_fixture else with_scripts(definition, failures)),
        ActionRegistry.of({"test": scripted}),
        fixtures=Fixtures.of(dict(expected.given)),
    )
    variables = {name: value for name, value in report.final_vars.items() if name != "timeWait"}
    seen = reference.seen
    assert [(e.step_path, e.type, e.status, e.attempt) for e in report.trace] == seen.visits
    assert [(call["stepPath"], call["attempt"]) for call in report.invocations] == expected.called
    assert (_STATUS[report.status], report.result, readable(variables)) == (seen.status, seen.result, seen.vars)
    assert [error["category"] for error in report.errors] == [seen.category] * (seen.category is not None)
    assert [wait["stepPath"] for wait in report.waits] == [one.path for one in sorted(reference.asked, key=_place)]
    assert report.virtual_ms == reference.now
