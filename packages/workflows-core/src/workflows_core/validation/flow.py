"""How steps hang together: names of loop variables, steps that are never reached, variables that nothing has set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workflows_core.definitions.model import (
    CallWorkflowStep,
    Definition,
    EventWaitStep,
    Expr,
    ForEachStep,
    HumanTaskStep,
    IfStep,
    ReturnStep,
    Step,
    SwitchStep,
    TimeWaitStep,
    TryCatchStep,
)
from workflows_core.definitions.paths import parse_assign_path
from workflows_core.definitions.spelling import nearest
from workflows_core.definitions.walk import branches_of, walk_steps
from workflows_core.errors import Problem
from workflows_core.expressions.engine import ExpressionEngine, ExpressionInvalid
from workflows_core.expressions.reading import EVERYTHING
from workflows_core.validation.targets import assign_targets
from workflows_core.validation.values import references_of

RESERVED_NAMES = frozenset({"payload", "vars", "local", "meta", "error", "system"})
"""Names that a loop variable cannot have: expressions see the scope of that name instead."""

LOOP_NAMES = frozenset({"index", "length", "isFirst", "isLast"})
"""Names that every loop gives its body, beside `item`."""


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
    """No step stands behind one that surely ends the run."""
    yield from _unreachable("root", definition.steps)


def _unreachable(parent: str, steps: Sequence[Step]) -> Iterator[Problem]:
    ended: str | None = None
    for index, step in enumerate(steps):
        path = f"{parent}.steps[{index}]"
        if ended is not None:
            message = f"is never reached: {ended} ends the run before"
            yield Problem("UNREACHABLE_STEP", message, path, severity="warning", step_id=step.id)
            return
        for branch, nested in branches_of(step):
            yield from _unreachable(f"{path}.{branch}", nested)
        if _returns(step):
            ended = path


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
    return False


def _block_returns(steps: Sequence[Step]) -> bool:
    return any(_returns(step) for step in steps)


def variable_problems(definition: Definition, engine: ExpressionEngine) -> Iterator[Problem]:
    """No expression reads `vars.x` that no step could have set before.

    What a loop's body sets counts for the whole body, since a later pass sees it; what side-by-side branches set counts
    for all of them.
    """
    everything = {name for _, step in walk_steps(definition) for name in _sets(step)}
    yield from _variables("root", definition.steps, set(), everything, engine)


def _variables(
    parent: str, steps: Sequence[Step], known: set[str], everything: set[str], engine: ExpressionEngine
) -> Iterator[Problem]:
    for index, step in enumerate(steps):
        path = f"{parent}.steps[{index}]"
        branches = branches_of(step)
        inside = {name for _, nested in branches for name in _set_below(nested)}
        names = {step.item_var} if isinstance(step, ForEachStep) else set()
        if isinstance(step, TryCatchStep):
            names = set(_sets(step))  # The captured error, in the catch block.
        seen = known | names | inside | set(_sets(step))
        for where, value in references_of(path, step):
            for name in _reads(value, engine) if isinstance(value, Expr) else ():
                if name not in seen:
                    hint = nearest(name, sorted(everything | names))
                    message = f"reads vars.{name}, which no step before sets"
                    if name in everything:
                        message += "; one that comes later does"
                    yield Problem("VARIABLE_NOT_DEFINED", message, where, "warning", step_id=step.id, suggestion=hint)
        for branch, nested in branches:
            looping = inside if len(branches) == 1 or branch.startswith("branches[") else set()
            yield from _variables(f"{path}.{branch}", nested, known | names | looping, everything, engine)
            known = known | _set_below(nested)
        known = known | set(_sets(step))


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
        try:
            path = parse_assign_path(text, default_scope)
        except ValueError:
            continue  # Said where paths are checked.
        if path.scope == "vars":
            yield path.segments[0]


def _reads(expr: Expr, engine: ExpressionEngine) -> list[str]:
    try:
        reads = engine.compile(expr.source).reads
    except ExpressionInvalid:
        return []
    names = {read.split(".")[1] for read in reads if read.startswith("vars.")}
    return sorted(names - {EVERYTHING})
