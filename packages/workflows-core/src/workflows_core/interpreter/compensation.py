"""Undoing what has succeeded before a run ends badly: the `onCompensate` steps, last first.

A failure among them is recorded and the next ones still run; the outcome stays what it was.
"""

from __future__ import annotations

from typing import Final

from workflows_core.errors import Failure
from workflows_core.interpreter.bindings import merged
from workflows_core.interpreter.machine import Machine
from workflows_core.interpreter.messages import Finish
from workflows_core.interpreter.state import Frame, Outcome

UNDOING: Final = ".onCompensate.steps"
"""Behind the path of a step: the frame that undoes it."""

_ENDS = {"FAILED": "failure", "CANCELED": "cancel"}


def decide(machine: Machine, outcome: Outcome) -> None:
    """All frames have ended: undoes where the definition asks for it, else the run has its outcome."""
    if machine.undo and _ENDS.get(outcome.status) in machine.plan.compensate_on:
        machine.ending = outcome
        machine.log("INFO", f"{outcome.status}: undoing {len(machine.undo)} step(s)", None)
        go_on(machine)
        return
    machine.outcome = outcome
    machine.commands.append(Finish())


def go_on(machine: Machine) -> None:
    """Undoes the latest step that is not undone yet; after the first one the run has its outcome."""
    if machine.undo:
        last = machine.undo[-1]
        machine.undo = machine.undo[:-1]
        path = f"{last.step_path}{UNDOING}"
        machine.frames[path] = Frame(path, last.block, None, binding=merged(last.bindings) if last.bindings else None)
        return
    machine.outcome, machine.ending = machine.ending, None
    machine.commands.append(Finish())


def failed(machine: Machine, frame: Frame, failure: Failure) -> None:
    """A step that undoes failed: people must look, the others are undone all the same."""
    message = f"could not be undone: {failure.category}: {failure.message}"
    machine.log("ERROR", message, frame.path.removesuffix(UNDOING))
    go_on(machine)
