"""Walking a definition: every step with its path, every value with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workflows_core.definitions.model import (
    Definition,
    Expr,
    ForEachStep,
    IfStep,
    Model,
    ParallelStep,
    SecretRef,
    Step,
    SwitchStep,
    TryCatchStep,
    Value,
    WhileStep,
)


def branches_of(step: Model) -> tuple[tuple[str, Sequence[Step]], ...]:
    """The step's lists of steps by their place in the document (`then`, `cases[0]`), in order; empty for most."""
    match step:
        case IfStep():
            return (("then", step.then), *_given("else", step.else_))
        case SwitchStep():
            cases = tuple((f"cases[{index}]", case.steps) for index, case in enumerate(step.cases))
            return (*cases, *_given("default", step.default))
        case ForEachStep() | WhileStep():
            return (("body", step.body),)
        case ParallelStep():
            return tuple((f"branches[{index}]", branch.steps) for index, branch in enumerate(step.branches))
        case TryCatchStep():
            return (("try", step.try_), ("catch", step.catch))
    return _given("onCompensate", getattr(step, "on_compensate", None))


def _given(name: str, steps: Sequence[Step] | None) -> tuple[tuple[str, Sequence[Step]], ...]:
    return () if steps is None else ((name, steps),)


def walk_steps(definition: Definition) -> Iterator[tuple[str, Step]]:
    """Every step with its path (`root.steps[0].then.steps[1]`), parents first, in document order."""
    return _walk("root", definition.steps)


def _walk(parent: str, steps: Sequence[Step]) -> Iterator[tuple[str, Step]]:
    for index, step in enumerate(steps):
        path = f"{parent}.steps[{index}]"
        yield path, step
        for name, branch in branches_of(step):
            yield from _walk(f"{path}.{name}", branch)


def field_path(parent: str, key: str | int) -> str:
    """Path of a field or list item below `parent`; a key that is no plain name is quoted."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    if not key.isidentifier() and not key.removeprefix("$").isidentifier():
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        return f'{parent}["{escaped}"]'
    return f"{parent}.{key}" if parent else key


def walk_value(path: str, value: Value) -> Iterator[tuple[str, Value]]:
    """The value and every value nested in it, with paths below `path`."""
    yield path, value
    if isinstance(value, (Expr, SecretRef)):
        return
    if isinstance(value, dict):
        for key, nested in value.items():
            yield from walk_value(field_path(path, key), nested)
    elif isinstance(value, list):
        for index, nested in enumerate(value):
            yield from walk_value(field_path(path, index), nested)
