"""How steps hang together: names of loop variables, steps that are never reached, variables that nothing has set."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from workflows_core.definitions.model import (
    CallWorkflowStep,
    Definition,
    EventWaitStep,
    Expr,
    ForEachStep,
    HumanTaskStep,
    IfStep,
    ParallelStep,
    ReturnStep,
    Step,
    SwitchStep,
    TimeWaitStep,
    TryCatchStep,
    WhileStep,
)
from workflows_core.definitions.paths import parse_assign_path
from workflows_core.definitions.spelling import nearest
from workflows_core.definitions.values import Scalar
from workflows_core.definitions.walk import branches_of, walk_steps
from workflows_core.errors import Problem
from workflows_core.expressions.engine import NO_VALUE, ExpressionEngine, ExpressionFailed, ExpressionInvalid
from workflows_core.expressions.reading import EVERYTHING
from workflows_core.validation.targets import assign_targets
from workflows_core.validation.values import references_of

RESERVED_NAMES = frozenset({"payload", "vars", "local", "meta", "error", "system"})
"""Names that a loop variable cannot have: expressions see the scope of that name instead."""

LOOP_NAMES = frozenset({"index", "length", "isFirst", "isLast"})
"""Names that every loop gives its body, beside `item`."""

_MOST_HINTS, _MOST_NAMES = 50, 500
"""Names for which, and among which, the one that was meant is looked for."""

VARYING = re.compile("random|shuffle|now|millis")
"""In the source of an expression that may give another value each time."""

_PROVIDES = re.compile("coalesce|exists")
"""In the source of an expression whose author knows that something may be missing."""


def loop_variable_problems(definition: Definition) -> Iterator[Problem]:
    """Every `itemVar` is a name of its own."""
    yield from _loop_variables("root", definition.steps, ())


def _loop_variables(parent: str, steps: Sequence[Step], outer: tuple[str, ...]) -> Iterator[Problem]:
    for index, step in enumerate(steps):
        path, inner = f"{parent}.steps[{index}]", outer
        if isinstance(step, ForEachStep):
            name, where = step.item_var, f"{path}.itemVar"
            if not name.isidentifier():
                message = f"{name!r} is no name: letters, digits and _, a letter or _ first"
                yield Problem("LOOP_VARIABLE_INVALID", message, where, step_id=step.id)
            elif name in RESERVED_NAMES:
                message = f"{name!r} is the name of a scope, which expressions see instead; choose another name"
                yield Problem("LOOP_VARIABLE_INVALID", message, where, step_id=step.id)
            elif (giver := _giver(name, step.body)) is not None:
                message = (
                    f"{name!r} is what {giver} in the loop gives, and expressions would see only one of the two; "
                    "choose another name"
                )
                yield Problem("LOOP_VARIABLE_INVALID", message, where, step_id=step.id)
            elif name in outer:
                message = f"{name!r} is the variable of a loop around this one, which cannot be seen in here"
                yield Problem("LOOP_VARIABLE_SHADOWED", message, where, severity="warning", step_id=step.id)
            elif name in LOOP_NAMES:
                message = f"{name!r} is a name that every loop gives its body, and in this one it is the item"
                yield Problem("LOOP_VARIABLE_SHADOWED", message, where, severity="warning", step_id=step.id)
            elif name == "item" and _has_loop(step.body):
                message = "'item' is in each loop its own item, so that the loops inside see this one as vars.item only"
                yield Problem("LOOP_VARIABLE_SHADOWED", message, where, severity="warning", step_id=step.id)
            inner = (*outer, name)
        for branch, nested in branches_of(step):
            yield from _loop_variables(f"{path}.{branch}", nested, inner)


def _giver(name: str, steps: Sequence[Step]) -> str | None:
    """The first of the steps, or of those inside them, whose expressions get something of this name."""
    for step in steps:
        gives_child = isinstance(step, CallWorkflowStep) and bool(step.output_mapping)
        if name in _given(step) or (name == "childRun" and gives_child):
            return f"{step.type} {step.id!r}"
        for _, nested in branches_of(step):
            if (found := _giver(name, nested)) is not None:
                return found
    return None


def _has_loop(steps: Sequence[Step]) -> bool:
    return any(
        isinstance(step, ForEachStep) or any(_has_loop(nested) for _, nested in branches_of(step)) for step in steps
    )


def compensation_problems(definition: Definition) -> Iterator[Problem]:
    """No step that undoes another one ends the run, whose end is decided when it runs."""
    for path, step in walk_steps(definition):
        if isinstance(step, ReturnStep) and ".onCompensate." in path:
            message = "steps of onCompensate cannot end the run, which has failed or was cancelled before they run"
            yield Problem("RETURN_IN_COMPENSATION", message, path, step_id=step.id)


def unreachable_problems(definition: Definition) -> Iterator[Problem]:
    """No step stands behind one that surely ends the run, or undoes what no end of the run has undone."""
    yield from _unreachable("root", definition.steps)
    if definition.compensate_on:
        return
    for path, step in walk_steps(definition):
        undoing = getattr(step, "on_compensate", None)
        if undoing:
            message = "is never reached: the definition has no compensateOn, such as ['failure', 'cancel']"
            where = f"{path}.onCompensate.steps[0]"
            yield Problem("UNREACHABLE_STEP", message, where, severity="warning", step_id=undoing[0].id)
            return


def _unreachable(parent: str, steps: Sequence[Step]) -> Iterator[Problem]:
    ended: str | None = None
    for index, step in enumerate(steps):
        path = f"{parent}.steps[{index}]"
        if ended is not None:
            message = f"is never reached: {ended} ends the run before"
            yield Problem("UNREACHABLE_STEP", message, path, severity="warning", step_id=step.id)
            return
        repeated = _repeated_cases(step) if isinstance(step, SwitchStep) else {}
        for branch, nested in branches_of(step):
            if branch in repeated and nested:
                message = f"is never reached: {repeated[branch]} takes the same value before"
                where = f"{path}.{branch}.steps[0]"
                yield Problem("UNREACHABLE_STEP", message, where, severity="warning", step_id=nested[0].id)
            elif branch not in repeated:
                yield from _unreachable(f"{path}.{branch}", nested)
        if _returns(step):
            ended = path


def _repeated_cases(step: SwitchStep) -> dict[str, str]:
    """The cases whose value an earlier one has, with that one."""
    first: dict[tuple[bool, Scalar], str] = {}
    repeated: dict[str, str] = {}
    for index, case in enumerate(step.cases):
        name = f"cases[{index}]"
        # In JSON, true is not 1; in Python it is.
        earlier = first.setdefault((isinstance(case.equals, bool), case.equals), name)
        if earlier != name:
            repeated[name] = earlier
    return repeated


def _returns(step: Step) -> bool:
    """True when the run surely ends in this step."""
    match step:
        case ReturnStep():
            return True
        case IfStep():
            return _block_returns(step.then) and _block_returns(step.else_ or ())
        case SwitchStep():
            blocks = [*(case.steps for case in step.cases), step.default or []]
            return all(_block_returns(block) for block in blocks)
        case TryCatchStep():
            return _block_returns(step.try_) and _block_returns(step.catch)
        case ParallelStep():
            # One that fails instead ends the step all the same, or with `any` is left out.
            return (all if step.wait == "any" else any)(_block_returns(branch.steps) for branch in step.branches)
    return False


def _block_returns(steps: Sequence[Step]) -> bool:
    return any(_returns(step) for step in steps)


def variable_problems(definition: Definition, engine: ExpressionEngine) -> Iterator[Problem]:
    """No expression reads `vars.x` that no step could have set before.

    What a loop's body sets counts for the whole body, since a later pass sees it; what side-by-side branches set counts
    for all of them; and whatever any step sets for steps that undo, which run at the end.
    """
    everything = {name for _, step in walk_steps(definition) for name in _sets(step)}
    yield from _variables("root", definition.steps, set(), _Names(everything), engine)


class _Names:
    """All names that steps set, and which of them was likely meant by one that none sets."""

    def __init__(self, every: set[str]) -> None:
        self.every = every
        self._asked = 0

    def meant(self, name: str, known: set[str]) -> str | None:
        """Looked up for some names, among some: a wrong document may have thousands of both."""
        self._asked += 1
        return nearest(name, sorted(self.every | known)[:_MOST_NAMES]) if self._asked <= _MOST_HINTS else None


class _Earlier:
    """The names that are set before one of a step's targets."""

    def __init__(self, positions: Mapping[str, int], position: int) -> None:
        self._positions = positions
        self._position = position

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._positions.get(name, self._position) < self._position


def _variables(
    parent: str, steps: Sequence[Step], known: set[str], names: _Names, engine: ExpressionEngine
) -> Iterator[Problem]:
    for index, step in enumerate(steps):
        path = f"{parent}.steps[{index}]"
        branches = branches_of(step)
        seen_within, own = _seen_within(path, step), _set_below([step])
        for where, value in references_of(path, step):
            if not isinstance(value, Expr):
                continue
            within = seen_within.get(where, ())
            missing = [name for name in _reads(value, engine) if name not in known and name not in within]
            decides = where in (f"{path}.condition", f"{path}.value") and isinstance(step, (IfStep, SwitchStep))
            for name in missing:
                if name in own and not _in_vain(value.source, missing, engine, decides=decides):
                    continue  # The first of those that count or collect: made for having nothing before it.
                hint = None if name in names.every else names.meant(name, known)
                message = f"reads vars.{name}, which no step before sets"
                if name in own:
                    message += "; this one does afterwards"
                elif name in names.every:
                    message += "; one that comes later does"
                yield Problem("VARIABLE_NOT_DEFINED", message, where, "warning", step_id=step.id, suggestion=hint)
        for branch, nested in branches:
            seen = names.every if branch == "onCompensate" else _seen_in(step, branch, own)
            yield from _variables(f"{path}.{branch}", nested, seen | known, names, engine)
            known = known | _set_below(nested)
        known = known | set(_sets(step))


def _in_vain(source: str, missing: Sequence[str], engine: ExpressionEngine, *, decides: bool) -> bool:
    """True when an expression reads nothing but these variables, and nothing comes of it without them.

    Of one that decides between branches nothing comes whatever it gives: it is always the same.
    """
    expression = engine.compile(source)
    if any(not read.startswith("vars.") or read.split(".")[1] not in missing for read in expression.reads):
        return False
    if decides:
        return _PROVIDES.search(source) is None
    try:
        return VARYING.search(source) is None and expression.evaluate({}, now_ms=0, seed=0) is NO_VALUE
    except ExpressionFailed:
        return True


def _seen_within(path: str, step: Step) -> dict[str, Container[str]]:
    """By the place of an expression of the step, what the step itself has set when it is evaluated."""
    seen: dict[str, Container[str]] = {}
    inside = {name for _, nested in branches_of(step) for name in _set_below(nested)}
    if isinstance(step, ForEachStep):
        seen[f"{path}.collect"] = {step.item_var, *inside}
    elif isinstance(step, WhileStep):
        seen[f"{path}.condition"] = inside
    # Another attempt sees what the one before has set.
    before = _sets(step) if getattr(step, "retry", None) is not None else _given(step)
    positions = dict.fromkeys(before, -1)
    for position, (where, text, default_scope) in enumerate(assign_targets(path, step)):
        seen.setdefault(where, _Earlier(positions, position))
        for name in _variable_of(text, default_scope):
            positions.setdefault(name, position)
    return seen


def _seen_in(step: Step, branch: str, own: set[str]) -> set[str]:
    """What a branch of the step may see beside what is set before the step and in its earlier branches.

    Args:
        step: The step.
        branch: Name of the branch.
        own: What the step sets itself or in any branch: gathered once, since there may be thousands of branches.
    """
    match step:
        case ForEachStep():
            return {step.item_var, *_set_below(step.body)}
        case WhileStep():
            return _set_below(step.body)
        case ParallelStep():
            return own
        case TryCatchStep() if branch == "catch":
            return set(_sets(step))  # The captured error.
    return set()


def _set_below(steps: Sequence[Step]) -> set[str]:
    found: set[str] = set()
    for step in steps:
        found |= set(_sets(step))
        for _, nested in branches_of(step):
            found |= _set_below(nested)
    return found


def _given(step: Step) -> tuple[str, ...]:
    """Names of variables that the runtime sets."""
    if isinstance(step, (EventWaitStep, HumanTaskStep)):
        return ("event", "eventName")
    return ("timeWait",) if isinstance(step, TimeWaitStep) else ()


def _sets(step: Step) -> Iterator[str]:
    """Names of variables that a step may set."""
    yield from _given(step)
    for _, text, default_scope in assign_targets("", step):
        yield from _variable_of(text, default_scope)


def _variable_of(text: str, default_scope: str | None) -> Iterator[str]:
    """The variable that a path assigns to, where it is one."""
    try:
        path = parse_assign_path(text, default_scope)
    except ValueError:
        return  # Said where paths are checked.
    if path.scope == "vars":
        yield path.segments[0]


def _reads(expr: Expr, engine: ExpressionEngine) -> list[str]:
    try:
        reads = engine.compile(expr.source).reads
    except ExpressionInvalid:
        return []
    names = {read.split(".")[1] for read in reads if read.startswith("vars.")}
    return sorted(names - {EVERYTHING})
