"""Which meaning of the language a run has, and whether this build executes it (docs/compatibility.md)."""

from __future__ import annotations

from dataclasses import replace

from temporalio import workflow

from workflows_core.interpreter.signals import has_several_answers
from workflows_core.interpreter.state import SUPPORTED_SEMANTICS, State
from workflows_core.wire.records import LoadedRun

PATCH_TRIES_ANSWERS = "tries-answers"
"""Runs of builds before it tried the first kept answer only, and do so where they have it in their history."""

_FIRST = 1
"""Of runs whose history does not say."""


class SemanticsNotSupported(Exception):
    """Indicates a run of another release; the workflow task fails, so that a process that can takes the run."""

    def __init__(self, semantics: int) -> None:
        executed = ", ".join(map(str, sorted(SUPPORTED_SEMANTICS)))
        super().__init__(
            f"the run has semantics {semantics} and this build executes {executed}: "
            "it goes on as soon as a workflow-worker of the other release polls"
        )


def semantics_of(loaded: LoadedRun) -> int:
    """The meaning that a run begins with."""
    return loaded.get("semantics", _FIRST)


def require_supported(semantics: int) -> None:
    """Does nothing for a meaning that this build executes.

    Raises:
        SemanticsNotSupported: It is another release's.
    """
    if semantics not in SUPPORTED_SEMANTICS:
        raise SemanticsNotSupported(semantics)


def as_executed(state: State) -> State:
    """The state, told what its history has of a meaning that came with this build; asked only where it matters."""
    if state.tries_answers or not has_several_answers(state) or not workflow.patched(PATCH_TRIES_ANSWERS):
        return state
    return replace(state, tries_answers=True)
