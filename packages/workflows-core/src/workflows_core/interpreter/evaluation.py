"""Evaluates plan values and expressions against a run's scopes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflows_core.errors import ErrorCategory, Failure, StepFailed
from workflows_core.expressions.engine import NO_VALUE, Expression, ExpressionFailed
from workflows_core.interpreter.effort import Effort
from workflows_core.interpreter.plan import Computed, Constant, ListOf, ObjectOf, Value
from workflows_core.interpreter.scopes import Scopes
from workflows_core.interpreter.state import State

_OF_GENERATION = 2**32
_OF_DRAW = 2**48
"""Steps are counted anew after continue-as-new, expressions with each step: what they add to a seed does not overlap."""


def seed_of(state: State, step_path: str, steps_run: int) -> int:
    """For the expressions of a step, the same in every replay, however many steps a turn takes."""
    return zlib.crc32(step_path.encode(), state.seed) + state.generation * _OF_GENERATION + steps_run


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One step's view of its run at one moment.

    Every name an author can use is in `document`: vars at the top level, what the loops around the step bind, then
    the scopes themselves, which a variable of the same name cannot hide.
    """

    document: Mapping[str, Any]
    now_ms: int
    seed: int
    draws: Iterator[int]
    effort: Effort

    @classmethod
    def of(
        cls,
        state: State,
        scopes: Scopes,
        at: int,
        names: Mapping[str, Any],
        item_vars: Mapping[str, Any],
        seed: int,
        draws: Iterator[int],
        effort: Effort,
    ) -> Evaluator:
        """For a run's scopes at a time.

        Args:
            state: The run.
            scopes: Its scopes as they are now.
            at: The time in milliseconds since the epoch.
            names: What the loops around the step bind, inner loops over outer ones.
            item_vars: Those of the names that are variables, and so members of `vars`.
            seed: Of the step, as `seed_of` gives it.
            draws: Numbers the expressions of the step, so that chance is another one for each.
            effort: What the step has spent.
        """
        identity = state.identity
        system = {
            "runId": identity.run_id,
            "workflowId": identity.workflow_id,
            "workflowVersion": identity.workflow_version,
            "tenantId": identity.tenant,
            "definitionHash": identity.definition_hash,
            "runtimeSemanticsVersion": state.semantics,
        }
        document = {
            **scopes.vars,
            **names,
            "payload": scopes.payload,
            "vars": {**scopes.vars, **item_vars} if item_vars else scopes.vars,
            "local": names,
            "system": system,
            "meta": {**system, **scopes.meta},
            "error": scopes.error,
        }
        return cls(document, at, seed, draws, effort)

    def value(self, expression: Expression) -> Any:
        """The expression's JSON value or `NO_VALUE`.

        Raises:
            StepFailed: Category `ExpressionError`.
        """
        try:
            limits = self.effort.spend(expression)
            seed = self.seed + next(self.draws) * _OF_DRAW
            return expression.evaluate(self.document, now_ms=self.now_ms, seed=seed, limits=limits)
        except ExpressionFailed as error:
            details = None if error.code is None else {"engineCode": error.code}
            raise expression_failure(error.message, expression, details) from error

    def required(self, expression: Expression, what: str) -> Any:
        """As `value`, but a missing value fails the step with a message naming `what`."""
        found = self.value(expression)
        if found is NO_VALUE:
            raise expression_failure(
                f"{what} has no value: {expression.source!r} reads a path that is not there", expression
            )
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


def expression_failure(message: str, expression: Expression, details: Mapping[str, Any] | None = None) -> StepFailed:
    """A step failure of category `ExpressionError` that shows the source."""
    evidence = {"expression": expression.source, **(details or {})}
    return StepFailed(Failure(ErrorCategory.EXPRESSION, message, code="EXPRESSION_FAILED", details=evidence))
