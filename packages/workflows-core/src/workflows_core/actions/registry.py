"""The registry: the actions of one process, checked once, then only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from jsonschema import Draft202012Validator

from workflows_core.actions.action import Action, Effect, Place
from workflows_core.actions.checks import action_problems, reason_of
from workflows_core.actions.json_schemas import compile_schema
from workflows_core.errors import Problem, Refused
from workflows_core.wire.records import ActionTraits

CORE_PACK: Final = "core"
"""The name of core's own pack. Its schemas are checked by a test and not at each start, of which that took a tenth."""

Pack = Callable[[], Sequence[Action]]
"""A pack of actions: called once per registry, without side effects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAction(Action):
    """An action as registered: the pack it came from, and its schemas compiled."""

    origin: str
    input_validator: Draft202012Validator = field(repr=False, compare=False)
    output_validator: Draft202012Validator = field(repr=False, compare=False)

    @classmethod
    def of(cls, action: Action, origin: str) -> RegisteredAction:
        """Compiles the schemas of a checked action."""
        return cls(
            **{member.name: getattr(action, member.name) for member in fields(Action)},
            origin=origin,
            input_validator=compile_schema(action.input_schema),
            output_validator=compile_schema(action.output_schema),
        )


@dataclass(frozen=True, slots=True)
class ActionRegistry:
    """Actions by id and version; build it with `of`."""

    _actions: Mapping[tuple[str, int], RegisteredAction]

    @classmethod
    def of(cls, packs: Mapping[str, Pack]) -> ActionRegistry:
        """Calls each pack once, in order, and registers what it returns.

        Args:
            packs: Name of each pack, as operators know it, and the pack.

        Raises:
            Refused: With everything wrong in every pack; a duplicate names both packs
                (`ACTION_DUPLICATE`).
        """
        actions: dict[tuple[str, int], Action] = {}
        origins: dict[tuple[str, int], str] = {}
        problems: list[Problem] = []
        for origin, pack in packs.items():
            for action in _members(pack, origin, problems):
                problems.extend(action_problems(action, origin, schemas=origin != CORE_PACK))
                key = (action.id, action.version)
                if key in actions:
                    problems.append(_duplicate(action, origins[key], origin))
                else:
                    actions[key], origins[key] = action, origin
        if problems:
            raise Refused(problems)
        registered = {key: RegisteredAction.of(actions[key], origins[key]) for key in sorted(actions)}
        return cls(MappingProxyType(registered))

    def get(self, action_id: str, version: int) -> RegisteredAction | None:
        """One action, or None when this process does not have it."""
        return self._actions.get((action_id, version))

    def versions(self, action_id: str) -> tuple[int, ...]:
        """Versions of an action, ascending; empty when there is none."""
        return tuple(version for known, version in self._actions if known == action_id)

    def ids(self) -> tuple[str, ...]:
        """Ids of all actions, sorted, each once."""
        return tuple(dict.fromkeys(action_id for action_id, _ in self._actions))

    def lacking(self, action_id: str, version: int) -> str | None:
        """None: a registry alone does not know what processes serve."""

    def __iter__(self) -> Iterator[RegisteredAction]:
        """By id, then version."""
        return iter(self._actions.values())

    def __len__(self) -> int:
        """Number of actions, each version counted."""
        return len(self._actions)

    def describe(self) -> list[dict[str, Any]]:
        """Everything but the handlers, JSON-ready, by id and version."""
        return [
            {
                "id": action.id,
                "version": action.version,
                "pack": action.origin,
                "description": action.description,
                "category": action.category,
                "effect": str(action.effect),
                "place": str(action.place),
                "short": action.short,
                "timeoutMs": action.timeout_ms,
                "heartbeatMs": action.heartbeat_ms,
                "inputSchema": dict(action.input_schema),
                "outputSchema": dict(action.output_schema),
            }
            for action in self
        ]

    def announced(self, place: Place) -> list[dict[str, Any]]:
        """What a process that serves the actions of `place` tells others of them, JSON-ready, by id and version."""
        return [
            {
                "id": action.id,
                "version": action.version,
                "traits": dict(self.traits(action)),
                "inputSchema": dict(action.input_schema),
                "takesSecrets": action.takes_secrets,
            }
            for action in self
            if action.place is place
        ]

    def traits(self, action: Action) -> ActionTraits:
        """What a run records of an action when it loads.

        `cancellable` is whether a running call may be stopped half-way: not one whose effect must not be
        left unknown, and not a short one, which ends by itself.
        """
        return {
            "short": action.short,
            "place": action.place.value,
            "timeout_ms": action.timeout_ms,
            "heartbeat_ms": action.heartbeat_ms,
            "cancellable": not action.short and action.effect is not Effect.AT_MOST_ONCE,
        }


def _members(pack: Pack, origin: str, problems: list[Problem]) -> list[Action]:
    if not callable(pack):
        problems.append(Problem("ACTION_PACK_INVALID", "must be a function that returns actions", origin))
        return []
    try:
        found = pack()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # It may even exit.
        message = f"the pack failed when it was asked for its actions: {reason_of(error)}"
        problems.append(Problem("ACTION_PACK_INVALID", message, origin))
        return []
    if not isinstance(found, Sequence):
        message = f"the pack must return a sequence of actions, found {type(found).__name__}"
        problems.append(Problem("ACTION_PACK_INVALID", message, origin))
        return []
    actions = []
    for index, action in enumerate(found):
        if isinstance(action, Action):
            actions.append(action)
        else:
            message = f"must be an Action, found {type(action).__name__}"
            problems.append(Problem("ACTION_PACK_INVALID", message, f"{origin}[{index}]"))
    return actions


def _duplicate(action: Action, first: str, second: str) -> Problem:
    where = f"twice by pack {first!r}" if first == second else f"by pack {first!r} and by pack {second!r}"
    message = f"{action.key} is registered {where}; load one of them, or give one another id or version"
    return Problem("ACTION_DUPLICATE", message, f"{second}: {action.key}")
