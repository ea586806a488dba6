"""Plans by content: a process compiles a definition once, however many runs use it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from workflows_core.actions.answers import answer_check
from workflows_core.definitions.parse import parse_definition
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.plan import Plan


class _NotCompiled(Exception):
    """Nobody has asked for the plan yet."""


class _Keyed:
    """A definition that is equal to another when their hashes are."""

    def __init__(self, definition: Mapping[str, Any] | None, definition_hash: str) -> None:
        self.hash = definition_hash
        self.definition = definition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)


@lru_cache(maxsize=512)
def _plan(keyed: _Keyed) -> Plan:
    if keyed.definition is None:
        raise _NotCompiled
    return compile_plan(parse_definition(keyed.definition), JlensEngine(), answer_check)


def plan_for(definition: Mapping[str, Any], definition_hash: str) -> Plan:
    """The plan of a definition; a pure function of it, so the cache cannot change a replay.

    Raises:
        Refused: The definition cannot run on this build.
    """
    return _plan(_Keyed(definition, definition_hash))


def compiled_plan(definition_hash: str) -> Plan | None:
    """The plan of a definition that a run of this process uses; None when it does not have it."""
    try:
        return _plan(_Keyed(None, definition_hash))
    except _NotCompiled:
        return None
