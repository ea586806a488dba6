"""A definition made ready to run: expressions compiled, paths parsed, blocks by name; frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows_core.definitions.paths import AssignPath
from workflows_core.expressions.engine import Expression
from workflows_core.interpreter.retry import RetryRule

ROOT_BLOCK = "root.steps"


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal without expressions inside."""

    value: Any


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object some of whose members are computed; a member without value is left out."""

    members: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list some of whose items are computed; an item without value becomes null."""

    items: tuple[Value, ...]


Value = Constant | Computed | ObjectOf | ListOf
"""A mapping's value; `{"$secret": NAME}` is a constant here and resolved where the action runs."""

Assignments = tuple[tuple[AssignPath, Expression], ...]


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """A secret that the document names, and its place in a mapped value: fields and positions from the outermost."""

    path: tuple[str | int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class PlanStep:
    """What every step has. `type` is the authored type."""

    id: str
    type: str
    name: str | None = None
    retry: RetryRule | None = None
    continue_on_error: bool = False
    compensate: str | None = None
    """Block that undoes the step, once it has succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionStep(PlanStep):
    """`action.call`."""

    action_id: str
    version: int
    input: Value = Constant(None)
    secrets: tuple[SecretPlace, ...] = ()
    save_as: AssignPath | None = None
    idempotency_key: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignStep(PlanStep):
    """`transform.assign`: in order, each sees what the earlier ones gave."""

    assignments: Assignments = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStep(PlanStep):
    """`state.set`."""

    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IfStep(PlanStep):
    """`control.if`; a block is None when its branch has no steps."""

    condition: Expression
    then: str | None = None
    otherwise: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchStep(PlanStep):
    """`control.switch`; a block is None when its list has no steps."""

    value: Expression
    cases: tuple[tuple[Any, str | None], ...] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEachStep(PlanStep):
    """`control.forEach`; `collect` and `save_as` are given together."""

    items: Expression
    item_var: str
    body: str | None = None
    concurrency: int = 1
    continue_on_item_error: bool = False
    collect: Expression | None = None
    save_as: AssignPath | None = None
    errors_as: AssignPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhileStep(PlanStep):
    """`control.while`."""

    condition: Expression
    body: str | None = None
    max_iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelStep(PlanStep):
    """`control.parallel`; a branch is None when it has no steps. `any`: the first branch to end ends the step."""

    branches: tuple[str | None, ...] = ()
    any: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TryStep(PlanStep):
    """`control.tryCatch`; `attempt` is the try block."""

    attempt: str | None = None
    catch: str | None = None
    capture_as: AssignPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnStep(PlanStep):
    """`control.return`."""

    value: Expression | None = None


@dataclass(frozen=True, slots=True)
class PlanFilter:
    """A filter of an event wait; its value is resolved when the wait opens."""

    path: str
    op: str
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWaitStep(PlanStep):
    """`event.wait`; `timeout_ms` None waits for ever, `lookback_ms` None looks back to the run's start."""

    event_name: str
    key: Expression
    filters: tuple[PlanFilter, ...] = ()
    timeout_ms: int | None = None
    lookback_ms: int | None = None
    exclusive: bool = False
    assignments: Assignments = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWaitStep(PlanStep):
    """`time.wait`: until the time that `until` gives; where it is None, for `duration_ms`."""

    duration_ms: int = 0
    until: Expression | None = None
    assignments: Assignments = ()


AnswerCheck = Callable[[Any], Sequence[str]]
"""What is wrong with an answer to a human task, in sentences; nothing when it is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanTaskStep(PlanStep):
    """`human.task`; `timeout_ms` None waits for ever, `check` None takes any answer."""

    task_type: str
    title: Expression | None = None
    description: Expression | None = None
    context: Value = Constant(None)
    assigned_users: Expression | None = None
    assigned_roles: Expression | None = None
    due_in_ms: int | None = None
    timeout_ms: int | None = None
    response_schema: Mapping[str, Any] | None = None
    check: AnswerCheck | None = None
    assignments: Assignments = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWorkflowStep(PlanStep):
    """`control.callWorkflow`."""

    workflow_id: str
    workflow_version: int
    input: Value = Constant(None)
    assignments: Assignments = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailStep(PlanStep):
    """`email.parseBody` and `email.renderCommentBlocks`."""

    text: Expression | None = None
    html: Expression | None = None
    save_as: AssignPath


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Plan:
    """The blocks of a definition by their path (`root.steps`, `root.steps[0].then.steps`)."""

    blocks: Mapping[str, tuple[PlanStep, ...]]
    engine: str
    action_keys: tuple[str, ...]
    """`id@version` of every action the definition calls, sorted."""
    compensate_on: frozenset[str] = frozenset()
    """`failure`, `cancel`: the ends before which completed steps are undone."""
    last_asking: Mapping[str, int] = field(default_factory=dict)
    """By block the position of its last step that an answer from outside may be needed for; -1 where none is."""
