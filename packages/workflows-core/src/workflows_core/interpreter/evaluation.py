"""Evaluates plan values and expressions against a run's scopes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE, Expression, ExpressionFailed
from workflows_core.interpreter.effort import Effort
from workflows_core.interpreter.plan import Computed, Constant, ListOf, ObjectOf, Value
from workflows_core.interpreter.scopes import Scopes
from workflows_core.interpreter.state import State

_OF_GENERATION = 2**32
"""Steps are counted anew after continue-as-new; its seeds are behind all of the generation before."""

_OF_EXPRESSION = 2**48
"""Between the seeds of two expressions of a step."""

RESUMED = 4096
"""Behind the numbers of all expressions that a step may evaluate when it begins."""


def chance_of(state: State, step_path: str, steps_run: int, first: int = 0) -> Iterator[int]:
    """Seeds for the expressions of a step, one after the other: the same however many steps a turn takes.

    Args:
        state: The run.
        step_path: Of the step.
        steps_run: Steps of this execution before it.
        first: Number of the first expression.
    """
    seed = zlib.crc32(step_path.encode(), state.seed) + state.generation * _OF_GENERATION + steps_run
    return count(seed + first * _OF_EXPRESSION, _OF_EXPRESSION)


def system_of(state: State) -> Mapping[str, Any]:
    """What `system` is in expressions."""
    identity = state.identity
    return {
        "runId": identity.run_id,
        "workflowId": identity.workflow_id,
        "workflowVersion": identity.workflow_version,
        "tenantId": identity.tenant,
        "definitionHash": identity.definition_hash,
        "runtimeSemanticsVersion": state.semantics,
    }


class Evaluator:
    """One step's view of its run at one moment.

    Every name an author can use is in `document`: vars at the top level, what the loops around the step bind, then
    the scopes themselves, which a variable of the same name cannot hide.

    Args:
        system: The run, as `system_of` shows it.
        scopes: Its scopes as they are now.
        now_ms: The time in milliseconds since the epoch.
        seen: All names that the loops around the step bind, inner loops over outer ones; and those of them that are
            variables, and so members of `vars`.
        chance: Seeds for the expressions of the step, as `chance_of` gives them.
        effort: What the step has spent.
    """

    __slots__ = ("chance", "document", "effort", "now_ms")

    def __init__(
        self,
        system: Mapping[str, Any],
        scopes: Scopes,
        now_ms: int,
        seen: tuple[Mapping[str, Any], Mapping[str, Any]],
        chance: Iterator[int],
        effort: Effort,
    ) -> None:
        names, item_vars = seen
        variables = scopes.vars
        self.document: Mapping[str, Any] = {
            **variables,
            **names,
            "payload": scopes.payload,
            "vars": {**variables, **item_vars} if item_vars else variables,
            "local": names,
            "system": system,
            "meta": {**system, **scopes.meta},
            "error": scopes.error,
        }
        self.now_ms = now_ms
        self.chance = chance
        self.effort = effort

    def value(self, expression: Expression) -> Any:
        """The expression's JSON value or `NO_VALUE`.

        Raises:
            StepFailed: Category `ExpressionError`.
        """
        try:
            limits = self.effort.spend(expression)
            return expression.evaluate(self.document, now_ms=self.now_ms, seed=next(self.chance), limits=limits)
        except ExpressionFailed as error:
            details = None if error.code is None else {"engineCode": error.code}
            raise expression_failure(error.message, expression, details) from error

    def required(self, expression: Expression, what: str) -> Any:
        """As `value`, but a missing value fails the step with a message naming `what`."""
        found = self.value(expression)
        if found is NO_VALUE:
            raise no_value(expression, what)
        return found

    def build(self, value: Value) -> Any:
        """A mapping's value; `NO_VALUE` when it is one expression without value."""
        match value:
            case Constant():
                return value.value
            case Computed():
                return self.value(value.expression)
            case ObjectOf():
                built = {name: self.build(member) for name, member in value.members.items()}
                return {name: found for name, found in built.items() if found is not NO_VALUE}
            case ListOf():
                items = [self.build(item) for item in value.items]
                return [None if item is NO_VALUE else item for item in items]


def no_value(expression: Expression, what: str) -> StepFailed:
    """The failure of a step that needs a value where there is none; `what` names it."""
    return expression_failure(f"{what} has no value: {expression.source!r} reads a path that is not there", expression)


def expression_failure(message: str, expression: Expression, details: Mapping[str, Any] | None = None) -> StepFailed:
    """A step failure of category `ExpressionError` that shows the source."""
    evidence = {"expression": expression.source, **(details or {})}
    return StepFailed(Failure(ErrorCategory.EXPRESSION, message, code="EXPRESSION_FAILED", details=evidence))
