"""Action packs of third parties: found by the name under which an installed wheel announces them.

A wheel announces a pack as an entry point; a service loads the ones that its setting names, and no other:

    [project.entry-points."workflows.action_packs"]
    acme = "acme_actions.pack:actions"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from workflows_core.actions.checks import reason_of
from workflows_core.actions.registry import CORE_PACK, Pack
from workflows_core.definitions.spelling import nearest
from workflows_core.errors import Problem, Refused

ENTRY_POINT_GROUP: Final = "workflows.action_packs"
"""The group under which wheels announce their packs."""


def load_packs(
    names: Sequence[str], *, reserved: Iterable[str] = (CORE_PACK,), installed: Iterable[EntryPoint] | None = None
) -> Mapping[str, Pack]:
    """Loads packs by name, in order; what they contain is checked when they are registered.

    Args:
        names: As wheels announce them.
        reserved: Names of packs that the service has anyway.
        installed: What is installed; this process's own entry points by default.

    Raises:
        Refused: Everything that is wrong: `ACTION_PACK_MISSING`, `ACTION_PACK_BROKEN`, `ACTION_PACK_INVALID`.
    """
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP) if installed is None else installed:
        found.setdefault(entry.name, []).append(entry)
    taken = set(reserved)
    packs: dict[str, Pack] = {}
    problems: list[Problem] = []
    for name in names:
        if name in taken:
            message = (
                "is the name of a pack that is loaded already; name each pack once, and not one of the service's own"
            )
            problems.append(Problem("ACTION_PACK_INVALID", message, name))
            continue
        taken.add(name)
        candidates = found.get(name, [])
        if len(candidates) == 1:
            _load(candidates[0], packs, problems)
        else:
            problems.append(_not_one(name, candidates, found))
    if problems:
        raise Refused(problems)
    return packs


def _load(entry: EntryPoint, packs: dict[str, Pack], problems: list[Problem]) -> None:
    try:
        pack: Any = entry.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a module may even exit while it is imported
        reason = reason_of(error)
        message = f"cannot be loaded from {entry.value} of {_wheel(entry)}: {reason}; mend or update the wheel"
        problems.append(Problem("ACTION_PACK_BROKEN", message, entry.name))
        return
    if not callable(pack):
        message = (
            f"{entry.value} of {_wheel(entry)} must be a function that returns actions, found {type(pack).__name__}"
        )
        problems.append(Problem("ACTION_PACK_INVALID", message, entry.name))
        return
    packs[entry.name] = pack


def _not_one(name: str, candidates: Sequence[EntryPoint], found: Mapping[str, object]) -> Problem:
    if candidates:
        wheels = " and ".join(sorted(_wheel(entry) for entry in candidates))
        return Problem("ACTION_PACK_INVALID", f"is announced by {wheels}; uninstall one of them", name)
    there = f"installed are {', '.join(sorted(found))}" if found else "no wheel with packs is installed"
    message = f"no installed wheel announces a pack of this name; {there}"
    return Problem("ACTION_PACK_MISSING", message, name, suggestion=nearest(name, sorted(found)))


def _wheel(entry: EntryPoint) -> str:
    return "an unknown wheel" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
