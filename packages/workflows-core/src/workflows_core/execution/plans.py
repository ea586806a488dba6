"""The plan of a definition: a pure function of it, so that whoever keeps plans cannot change a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from workflows_core.actions.answers import answer_check
from workflows_core.definitions.parse import parse_definition
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.plan import Plan


class StillCompiling(Exception):
    """Fails a workflow task, which Temporal makes again: to compile its definition takes longer than a task may."""

    def __init__(self) -> None:
        super().__init__("the definition of the run is still being compiled; the workflow task is made again")


class Plans(Protocol):
    """Compiled definitions of a process, by their hashes."""

    def find(self, definition_hash: str) -> Plan | None:
        """One that is compiled; None when it is not."""

    def wait_for(self, definition: Mapping[str, Any], definition_hash: str) -> Plan:
        """As `plan_for`, of one that may not be compiled yet."""


_plans: Plans | None = None


def use_plans(plans: Plans) -> None:
    """Says who compiles for the workflows of this process; worker and replayer do, before any of them runs."""
    global _plans  # noqa: PLW0603 - a workflow is given nothing but its input
    _plans = plans


def compile_definition(definition: Mapping[str, Any]) -> Plan:
    """Its plan, made anew.

    Raises:
        Refused: As `plan_for`.
    """
    return compile_plan(parse_definition(definition), JlensEngine(), answer_check)


def plan_for(definition: Mapping[str, Any], definition_hash: str) -> Plan:
    """The plan of a definition, as the process has it.

    Raises:
        Refused: The definition cannot run on this build.
        StillCompiling: It is not compiled in the time of a workflow task; the process goes on with it.
    """
    assert _plans is not None, "authored_worker and authored_replayer say who compiles"
    return _plans.find(definition_hash) or _plans.wait_for(definition, definition_hash)


def compiled_plan(definition_hash: str) -> Plan | None:
    """The plan of a definition that a run of this process uses; None when it does not have it."""
    return None if _plans is None else _plans.find(definition_hash)
