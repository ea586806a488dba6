"""`control.parallel`: branches side by side, until all or the first of them have ended."""

from __future__ import annotations

from workflows_core.errors import UNCATCHABLE, Failure
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.plan import ParallelStep
from workflows_core.interpreter.state import Frame, Pending


def run_parallel(machine: Machine, frame: Frame, step: ParallelStep, pending: Pending) -> None:
    """Opens the branches in their order."""
    machine.record(frame, "STARTED", pending)
    machine.await_blocks(frame, "parallel", pending.started_at, {})
    for index, block in enumerate(step.branches):
        machine.push(frame, block, f"branches[{index}]")


def branch_done(machine: Machine, frame: Frame, branch: Frame) -> None:
    """A branch has ended: the last one ends the step, or the first one when one is enough."""
    del machine.frames[branch.path]
    first, others = machine.step_as(frame, ParallelStep).any, machine.children(frame)
    if others and not first:
        return
    for other in others:
        machine.drop(other)
    output = {"branch": _index(frame, branch)} if first else None
    machine.record(frame, "SUCCEEDED", frame.at_work, output=output)
    machine.advance(frame)


def branch_failed(machine: Machine, frame: Frame, branch: Frame, failure: Failure) -> bool:
    """A branch failed: where one is enough, the others go on without it."""
    if not machine.step_as(frame, ParallelStep).any or failure.category in UNCATCHABLE:
        return False
    if not machine.children(frame):
        return False
    message = f"branch {_index(frame, branch)} failed, the others go on: {failure.message}"
    machine.log("WARN", message, failure.step_path)
    return True


def _index(frame: Frame, branch: Frame) -> int:
    return int(branch.path.removeprefix(f"{frame.step_path}.branches[").split("]", 1)[0])
