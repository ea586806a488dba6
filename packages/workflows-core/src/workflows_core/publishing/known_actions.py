"""The actions a definition is checked against: those declared, and those that processes announce."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from workflows_core.actions.action import Place
from workflows_core.actions.registry import ActionRegistry
from workflows_core.storage.capabilities import AnnouncedAction, announced_actions
from workflows_core.storage.processes import live_processes
from workflows_core.storage.rows import ProcessRow
from workflows_core.validation.mappings import KnownAction


class AnnouncedActions:
    """What `publish_problems` asks; a snapshot of what processes announce, on top of declared actions.

    Args:
        declared: Actions whose schemas are known whoever runs, such as core's own pack.
        announced: See `announced_actions`.
        processes: See `live_processes`.
    """

    def __init__(
        self, declared: ActionRegistry, announced: Iterable[AnnouncedAction], processes: Iterable[ProcessRow]
    ) -> None:
        self._declared = declared
        self._processes = list(processes)
        self._announced: dict[tuple[str, int], list[AnnouncedAction]] = {}
        for action in announced:
            self._announced.setdefault((action.id, action.version), []).append(action)

    @classmethod
    async def read(cls, conn: AsyncConnection, declared: ActionRegistry) -> AnnouncedActions:
        """The snapshot of this moment."""
        return cls(declared, await announced_actions(conn), await live_processes(conn))

    def ids(self) -> list[str]:
        """Ids of all actions, sorted, each once."""
        return sorted({*self._declared.ids(), *(action_id for action_id, _ in self._announced)})

    def versions(self, action_id: str) -> list[int]:
        """Versions of an action, ascending."""
        announced = {version for known, version in self._announced if known == action_id}
        return sorted({*self._declared.versions(action_id), *announced})

    def get(self, action_id: str, version: int) -> KnownAction | None:
        """One action as it is served, else as it is declared, else as it was last served."""
        announced = self._announced.get((action_id, version), [])
        if announced and announced[0].live:
            return announced[0]
        return self._declared.get(action_id, version) or next(iter(announced), None)

    def lacking(self, action_id: str, version: int) -> str | None:
        """Which live process lacks a known action, for people; None when all that should have it do."""
        announced = self._announced.get((action_id, version), [])
        declared = self._declared.get(action_id, version)
        place = Place(announced[0].place) if announced else Place.WORKER if declared is None else declared.place
        serving = {action.identity for action in announced if action.live}
        responsible = {process.identity for process in self._processes if place.queue in process.queues}
        if not serving:
            last = f", last {announced[0].identity}" if announced else ""
            return f"no live process serves it: {place.service} (place {place}) has to{last}"
        without = sorted(responsible - serving)
        if not without:
            return None
        return f"{', '.join(without)} lacks it and {', '.join(sorted(serving))} has it: load the same packs in both"
