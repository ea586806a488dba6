"""What a simulation answers: by step id, else by action id, else in the shape of the action's output schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows_core.definitions.model import (
    ActionCallStep,
    CallWorkflowStep,
    Definition,
    EventWaitStep,
    HumanTaskStep,
    Step,
)
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import ErrorCategory, Failure, Problem, Refused
from workflows_core.storage.json_text import is_storable, json_text

_DEPTH = 8
_TIMEOUT = {"$timeout": True}


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The wait is not answered in time: fixture `{"$timeout": true}`."""


@dataclass(slots=True)
class Fixtures:
    """Outputs by step id or action id; a list gives one for each visit, the last one for all further visits.

    An output is any JSON value; `{"$error": {"category", "message"}}` fails, `{"$timeout": true}` lets a wait time out.
    An output that is a list itself is written as a list with that list in it.
    """

    given: Mapping[str, Any]
    _visits: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any) -> Fixtures:
        """Checks them.

        Raises:
            Refused: `FIXTURES_INVALID`, with everything that is wrong.
        """
        if not isinstance(given, Mapping):
            raise Refused.one("FIXTURES_INVALID", "fixtures are an object: step id or action id to output", "fixtures")
        problems = [
            Problem("FIXTURES_INVALID", message, f"fixtures.{name}")
            for name, value in given.items()
            for one in _visits_of(value)
            if (message := _wrong(one)) is not None
        ]
        problems += [
            Problem("FIXTURES_INVALID", "an empty list answers no visit", f"fixtures.{name}")
            for name, value in given.items()
            if value == []
        ]
        if problems:
            raise Refused(problems)
        return cls(given)

    def require_fitting(self, definition: Definition) -> None:
        """Looks whether the definition's steps can get what is given for them.

        Raises:
            Refused: `FIXTURES_INVALID`, with everything that no run could do.
        """
        problems = {
            Problem("FIXTURES_INVALID", message, f"fixtures.{name}"): None
            for _, step in walk_steps(definition)
            for name in _names_of(step)
            for one in _visits_of(self.given.get(name))
            if (message := _not_for(step, one)) is not None
        }
        if problems:
            raise Refused(list(problems))

    def next(self, *names: str) -> Any:
        """The output for this visit of the first name that has any: a value, a `Failure`, `TimedOut`, or None.

        Returns:
            A tuple of one when there is a fixture, None when there is none.
        """
        for name in names:
            if name in self.given:
                return (_read(self._for_visit(name, self.given[name])),)
        return None

    def unused(self) -> list[str]:
        """Names that nothing has asked for."""
        return sorted(set(self.given) - set(self._visits))

    def _for_visit(self, name: str, value: Any) -> Any:
        visit = self._visits.get(name, 0)
        self._visits[name] = visit + 1
        return value[min(visit, len(value) - 1)] if isinstance(value, list) else value


def placeholder(schema: Any, depth: int = 0) -> Any:
    """A value in the shape of a JSON Schema: required members only, constants and defaults where it names some."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None if depth else {}
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    plain = {"string": "", "integer": schema.get("minimum", 0), "number": schema.get("minimum", 0), "boolean": False}
    if kind in plain:
        return plain[kind]
    if kind in ("array", "null"):
        return [] if kind == "array" else None
    members = schema.get("properties", {})
    return {name: placeholder(members.get(name), depth + 1) for name in schema.get("required", ())}


def _visits_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names_of(step: Step) -> Iterator[str]:
    """The names by which a step is answered."""
    yield step.id
    if isinstance(step, ActionCallStep):
        yield step.config.action_id


def _not_for(step: Step, value: Any) -> str | None:
    """Why no run of the step could get this; None where one could."""
    times_out, fails = value == _TIMEOUT, isinstance(value, Mapping) and set(value) == {"$error"}
    match step:
        case EventWaitStep() | HumanTaskStep() if fails:
            return f"$error is for actions and children: this {step.type} gets a payload, or $timeout"
        case EventWaitStep() | HumanTaskStep() if times_out and step.config.timeout_ms is None:
            return f"this {step.type} has no timeoutMs, so it never times out: give it one, or leave $timeout out"
        case ActionCallStep() if times_out:
            instead = '{"$error": {"category": "TimeoutError"}}'
            return f"$timeout is for event.wait and human.task: an action that takes too long is {instead}"
        case CallWorkflowStep() if times_out:
            return "$timeout is for event.wait and human.task: the end of a child is waited for without limit"
    return None


def _read(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"$error"}:
        error = value["$error"]
        code, details = error.get("code"), error.get("details")
        return Failure(error["category"], error.get("message", "as the fixture says"), code=code, details=details)
    return TimedOut() if value == _TIMEOUT else value


def _unstorable(value: Any) -> str | None:
    try:
        json_text(value)
        return None if is_storable(value) else "holds U+0000 or half of a surrogate pair, which no run could store"
    except RecursionError:
        return "is nested too deeply"
    except (TypeError, ValueError) as error:
        return f"must be JSON: {error}"


def _wrong(value: Any) -> str | None:
    unstorable = _unstorable(value)
    if unstorable is not None:
        return unstorable
    if not isinstance(value, Mapping) or set(value) != {"$error"}:
        return None
    error = value["$error"]
    category = error.get("category") if isinstance(error, Mapping) else None
    if category not in tuple(ErrorCategory):
        return f"$error needs a category, one of {', '.join(ErrorCategory)}; found {category!r}"
    for name, kind, word in (("message", str, "a text"), ("code", str, "a text"), ("details", dict, "an object")):
        if name in error and not isinstance(error[name], kind):
            return f"{name} of $error must be {word}, found {error[name]!r:.80}"
    return None
