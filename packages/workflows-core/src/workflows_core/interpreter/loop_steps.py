"""Loops: forEach, one item or several at a time, and while.

What a loop remembers is in the `progress` of its step. forEach: items, next (index), results and errors (pairs of index
and value), in the order in which items end; while: iterations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows_core.errors import UNCATCHABLE, ErrorCategory, Failure, StepFailed
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.bindings import Binding
from workflows_core.interpreter.branch_steps import condition
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import ForEachStep, WhileStep
from workflows_core.interpreter.state import Frame, Pending

MAX_ITEMS = 10_000
"""Items of one forEach."""

_PASS_BYTES = 300
"""What an open pass weighs beside its item, about."""


def run_for_each(machine: Machine, frame: Frame, step: ForEachStep, pending: Pending) -> None:
    """`control.forEach`."""
    items = machine.evaluator(frame).required(step.items, "the list of items")
    if not isinstance(items, list):
        message = f"a list was expected, {step.items.source!r} gave {items!r:.80}; write [x] to make a list of one"
        raise StepFailed(Failure(ErrorCategory.EXPRESSION, message, code="ITEMS_NOT_A_LIST"))
    if len(items) > MAX_ITEMS:
        message = f"{step.items.source!r} gave {len(items)} items, at most {MAX_ITEMS} are allowed"
        raise StepFailed(Failure(ErrorCategory.VALIDATION, message, code="TOO_MANY_ITEMS"))
    machine.grow(json_bytes(items), "the list of items")
    machine.record(frame, "STARTED", pending)
    progress = {"items": items, "next": 0, "results": [], "errors": []}
    machine.await_blocks(frame, "loop", pending.started_at, progress)
    try:
        _start_items(machine, frame.path)
    except StepFailed:
        # The step leaves its frame by this failure, and what it has opened must not stay behind.
        for child in machine.children(frame):
            machine.drop(child)
        raise


def item_done(machine: Machine, frame: Frame, item: Frame) -> None:
    """An item's steps have ended.

    Raises:
        StepFailed: What is to be collected has no value.
    """
    step, progress = _for_each(machine, frame)
    if step.collect is not None:
        found = machine.evaluator(item).required(step.collect, "what the loop collects")
        machine.grow(json_bytes(found), "the loop's results")
        _remember(machine, frame, results=[*progress["results"], [_index(frame, item), found]])
    del machine.frames[item.path]
    if item.binding is not None:
        machine.scope_bytes -= item.binding.counted
    _start_items(machine, frame.path)


def item_failed(machine: Machine, frame: Frame, item: Frame, failure: Failure) -> bool:
    """An item failed: goes on with the next one, where the author says so."""
    step, progress = _for_each(machine, frame)
    if not step.continue_on_item_error or failure.category in UNCATCHABLE:
        return False
    error = failure.to_json()
    machine.grow(json_bytes(error), "the loop's errors")
    machine.scopes = machine.scopes.set_error(error)
    _remember(machine, frame, errors=[*progress["errors"], [_index(frame, item), error]])
    _start_items(machine, frame.path)
    return True


def _for_each(machine: Machine, frame: Frame) -> tuple[ForEachStep, Mapping[str, Any]]:
    return machine.step_as(frame, ForEachStep), frame.at_work.remembered


def _remember(machine: Machine, frame: Frame, **changes: Any) -> None:
    pending = machine.frames[frame.path].at_work
    machine.block(frame, pending.remembering(**changes))


def _start_items(machine: Machine, path: str) -> None:
    """Starts as many items as may be open; ends the loop when none is."""
    frame = machine.frames[path]
    step, progress = _for_each(machine, frame)
    items, index = progress["items"], progress["next"]
    count = len(items)
    free = step.concurrency - len(machine.children(frame))
    while free > 0 and index < count:
        size = _PASS_BYTES + json_bytes(items[index])
        machine.grow(size, f"item {index} of the loop")
        local = {
            "item": items[index],
            "index": index,
            "length": count,
            "isFirst": index == 0,
            "isLast": index == count - 1,
        }
        local.pop(step.item_var, None)
        machine.push(frame, step.body, f"body[{index}]", Binding(local, {step.item_var: items[index]}, size))
        machine.steps_run += 1
        index, free = index + 1, free - 1
    if index != progress["next"]:
        _remember(machine, frame, next=index)
    if not machine.children(frame):
        _end_loop(machine, frame, step, progress)


def _index(frame: Frame, item: Frame) -> int:
    return int(item.path.removeprefix(f"{frame.step_path}.body[").split("]", 1)[0])


def _end_loop(machine: Machine, frame: Frame, step: ForEachStep, progress: Mapping[str, Any]) -> None:
    errors = sorted(progress["errors"])
    if step.save_as is not None:
        results: dict[int, Any] = dict(progress["results"])
        machine.assign(frame, step.save_as, [results.get(index) for index in range(len(progress["items"]))])
    if step.errors_as is not None:
        machine.assign(frame, step.errors_as, [{"index": index, "error": error} for index, error in errors])
    counts = {"items": len(progress["items"]), "failed": len(errors)}
    machine.record(frame, "SUCCEEDED", frame.at_work, output=counts)
    machine.advance(frame)


def run_while(machine: Machine, frame: Frame, step: WhileStep, pending: Pending) -> None:
    """`control.while`."""
    machine.record(frame, "STARTED", pending)
    machine.await_blocks(frame, "while", pending.started_at, {"iterations": 0})
    _next_pass(machine, machine.frames[frame.path], step, 0)


def pass_done(machine: Machine, frame: Frame, done: Frame) -> None:
    """One pass has ended.

    Raises:
        StepFailed: The condition is no boolean, or the limit is reached.
    """
    del machine.frames[done.path]
    _next_pass(machine, frame, machine.step_as(frame, WhileStep), frame.at_work.remembered["iterations"] + 1)


def _next_pass(machine: Machine, frame: Frame, step: WhileStep, number: int) -> None:
    if not condition(machine, frame, step.condition):
        machine.record(frame, "SUCCEEDED", frame.at_work, output={"iterations": number})
        machine.advance(frame)
        return
    if number >= step.max_iterations:
        message = f"the condition still holds after {number} passes, which is the loop's maxIterations"
        raise StepFailed(Failure(ErrorCategory.VALIDATION, message, code="LOOP_LIMIT_REACHED"))
    machine.await_blocks(frame, "while", frame.at_work.started_at, {"iterations": number})
    machine.push(frame, step.body, f"body[{number}]", Binding({"index": number}))
    machine.steps_run += 1
