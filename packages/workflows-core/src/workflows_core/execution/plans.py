"""Plans by content: a process compiles a definition once, however many runs use it."""

from __future__ import annotations

from functools import lru_cache

from workflows_core.actions.answers import answer_check
from workflows_core.definitions.parse import parse_definition
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.interpreter.plan import Plan
from workflows_core.wire.records import LoadedRun


class _Keyed:
    """A definition that is equal to another when their hashes are."""

    def __init__(self, loaded: LoadedRun) -> None:
        self.hash = loaded["definition_hash"]
        self.definition = loaded["definition"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)


@lru_cache(maxsize=512)
def _plan(keyed: _Keyed) -> Plan:
    return compile_plan(parse_definition(keyed.definition), JlensEngine(), answer_check)


def plan_for(loaded: LoadedRun) -> Plan:
    """The plan of a loaded run; a pure function of the definition, so the cache cannot change a replay.

    Raises:
        Refused: The definition cannot run on this build.
    """
    return _plan(_Keyed(loaded))
