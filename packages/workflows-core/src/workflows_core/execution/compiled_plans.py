"""The plans of a process: each definition is compiled once, however many runs use it.

That is done in a thread of its own. Temporal's SDK gives a workflow task up that computes for two seconds and breaks
its thread off, so that a large definition on a busy machine would be begun again and again. A task that has to wait for
longer gives itself up before: nothing breaks off a thread that waits, and tracers do not stand the attempt.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import Any, Final
from weakref import WeakValueDictionary

from workflows_core.execution.plans import StillCompiling, compile_definition
from workflows_core.execution.recently_used import RecentlyUsed
from workflows_core.interpreter.plan import Plan

BYTES_A_CHARACTER: Final = 95
"""Of memory that a plan takes for each character of its definition's JSON, measured."""

DEFAULT_BYTES: Final = 128 * 1024**2

_WAIT_SECONDS: Final = 1.5
"""For which a workflow task waits, of the two that it has."""


class CompiledPlans:
    """Keeps the plans that a run in memory holds, and of others those used last.

    Args:
        size: How many bytes of memory the others may take, about.
    """

    def __init__(self, size: int = DEFAULT_BYTES) -> None:
        self._lock = threading.Lock()
        self._held: WeakValueDictionary[str, Plan] = WeakValueDictionary()
        self._recent: RecentlyUsed[str, Plan] = RecentlyUsed(size)
        self._compiling: dict[str, Future[Plan]] = {}

    def keep(self, size: int) -> None:
        """Another size; what is too much goes with the next definition."""
        with self._lock:
            self._recent.most = size

    def find(self, definition_hash: str) -> Plan | None:
        """See `plans.Plans.find`."""
        with self._lock:
            return self._recent.get(definition_hash) or self._held.get(definition_hash)

    def wait_for(self, definition: Mapping[str, Any], definition_hash: str) -> Plan:
        """See `plans.Plans.wait_for`."""
        compiling = self.compiling(definition, definition_hash)
        if not wait([compiling], _WAIT_SECONDS).done:
            raise StillCompiling
        return compiling.result()

    def compiling(self, definition: Mapping[str, Any], definition_hash: str) -> Future[Plan]:
        """The plan of a definition that is not compiled yet, for those who can wait for it without a thread."""
        with self._lock:
            found = self._compiling.get(definition_hash)
            if found is None:
                found = self._compiling[definition_hash] = Future()
                found.set_running_or_notify_cancel()  # Nobody who waits for it can cancel it for the others.
                work = (definition, definition_hash, found)
                threading.Thread(target=self._compile, args=work, name="compile-plan", daemon=True).start()
            return found

    def _compile(self, definition: Mapping[str, Any], definition_hash: str, found: Future[Plan]) -> None:
        try:
            plan = compile_definition(definition)
            size = BYTES_A_CHARACTER * len(json.dumps(definition))
        except BaseException as error:
            self._forget(definition_hash)
            found.set_exception(error)
            return
        with self._lock:
            self._held[definition_hash] = plan
            self._recent.put(definition_hash, plan, size)
        self._forget(definition_hash)
        found.set_result(plan)

    def _forget(self, definition_hash: str) -> None:
        with self._lock:
            del self._compiling[definition_hash]


PLANS: Final = CompiledPlans()
"""Of this process."""
