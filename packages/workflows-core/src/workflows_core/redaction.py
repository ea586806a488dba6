"""What people are not shown of a tenant's values: texts under names such as `password`, and what the tenant has named.

Only what is shown is redacted. What is stored stays whole, and nothing redacted is ever used as input again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import re2

from workflows_core.errors import Problem, Refused

REDACTED: Final = "[REDACTED]"
SECRET_REDACTED: Final = "[SECRET:REDACTED]"  # noqa: S105 - what is shown instead of one
"""In place of a reference to a secret."""

MAX_RULES: Final = 100
"""Key patterns, and pointers, of a tenant."""

_ALWAYS: Final = re.compile(r"secret|token|password|api[_-]?key|authorization", re.IGNORECASE)
_POINTER: Final = re.compile(r"/(?:[^~]|~[01])*")
_MAX_LENGTH: Final = 500
_VALUES: Final = frozenset(
    {
        "contextJson",
        "context_data",  # Tasks have the names of their columns.
        "errorJson",
        "inputJson",
        "outputJson",
        "payload",
        "response_data",
        "resultJson",
        "triggerMetadataJson",
    }
)
"""Fields of rows that hold what authors, callers and actions put there."""

_REASON: Final = ("category", "code", "nodePath", "at")
_OF_WAITS: Final = frozenset(
    {"assignedRoles", "assignedUsers", "childRunId", "dueAt", "mode", "reason", "responseSchema", "taskId", "taskType"}
)
"""What the runtime itself writes into the payload of a wait."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """Rules of a tenant, beside those that hold for everybody.

    Attributes:
        key_patterns: RE2 expressions; a field is redacted whose name has a match, whatever its case.
        pointers: JSON pointers into each value; what stands there is redacted.
    """

    key_patterns: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    _compiled: tuple[Any, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", tuple(map(_pattern, self.key_patterns)))

    @classmethod
    def parse(cls, document: Any) -> Redaction:
        """Reads `{"keyPatterns": […], "pointers": […]}`, both of which may be left out.

        Raises:
            Refused: `REDACTION_INVALID`, everything that is wrong.
        """
        problems = list(_problems(document))
        if problems:
            raise Refused(problems)
        return cls(tuple(document.get("keyPatterns", ())), tuple(document.get("pointers", ())))

    def to_json(self) -> dict[str, Any]:
        """Inverse of `parse`."""
        return {"keyPatterns": list(self.key_patterns), "pointers": list(self.pointers)}

    def shown(self, rows: Any) -> Any:
        """Rows as JSON, with every value in them redacted; what only the runtime writes stays as it is."""
        if isinstance(rows, Mapping):
            return {
                name: self.value(content) if name in _VALUES else self.shown(content) for name, content in rows.items()
            }
        return [self.shown(row) for row in rows] if isinstance(rows, (list, tuple)) else rows

    def value(self, value: Any) -> Any:
        """One value, redacted: by the names of fields first, then by pointers."""
        found = self._by_name(value)
        for pointer in self.pointers:
            found = _without(found, [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]])
        return found

    def _by_name(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if set(value) == {"$secret"}:
                return SECRET_REDACTED
            return {name: REDACTED if self._hides(name) else self._by_name(content) for name, content in value.items()}
        return [self._by_name(item) for item in value] if isinstance(value, (list, tuple)) else value

    def _hides(self, name: str) -> bool:
        return bool(_ALWAYS.search(name)) or any(pattern.search(name) for pattern in self._compiled)


def without_contents(timeline: Mapping[str, Any]) -> dict[str, Any]:
    """A run's timeline for those who may not see what went into actions and came out of them, nor why one failed."""
    return {
        **timeline,
        "run": run_without_contents(timeline["run"]),
        "steps": [_bare(row) for row in timeline["steps"]],
        "invocations": [_bare(row) for row in timeline["invocations"]],
        "waits": [_bare_wait(row) for row in timeline["waits"]],
        "logs": [_bare_line(row) for row in timeline["logs"]],
    }


def run_without_contents(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run's row for the same; the payload it began with stays, unless a run's step gave it."""
    return _bare(run, ("resultJson",) if run["parentRunId"] is None else ("resultJson", "inputJson"))


def _bare(row: Mapping[str, Any], names: Sequence[str] = ("inputJson", "outputJson")) -> dict[str, Any]:
    hidden: dict[str, Any] = {name: {"redacted": True} for name in names if row.get(name) is not None}
    error = row["errorJson"]
    if error is not None:
        hidden["errorJson"] = {**{name: error[name] for name in _REASON if name in error}, "redacted": True}
    return {**row, **hidden}


def _bare_wait(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a task asks about, and the details of a pause, are values of the run."""
    payload = row["payload"]
    if not isinstance(payload, Mapping) or set(payload) <= _OF_WAITS:
        return dict(row)
    kept = {name: content for name, content in payload.items() if name in _OF_WAITS}
    return {**row, "payload": {**kept, "redacted": True}}


def _bare_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """The run's own warnings quote failures; what operators have noted does not."""
    if row["source"] == "operator" or row["level"] not in ("WARN", "ERROR"):
        return dict(row)
    context = None if row["contextJson"] is None else {"redacted": True}
    return {**row, "message": REDACTED, "contextJson": context}


def _without(value: Any, parts: Sequence[str]) -> Any:
    if not parts:
        return REDACTED
    head, rest = parts[0], parts[1:]
    if isinstance(value, dict) and head in value:
        return {**value, head: _without(value[head], rest)}
    if isinstance(value, list) and head.isdecimal() and int(head) < len(value):
        return [_without(item, rest) if place == int(head) else item for place, item in enumerate(value)]
    return value


def _problems(document: Any) -> Iterator[Problem]:
    if not isinstance(document, Mapping):
        yield _problem("must be an object with keyPatterns and pointers, lists of texts", "")
        return
    for name, given in document.items():
        if name not in ("keyPatterns", "pointers"):
            yield _problem("is no field of the rules; there are keyPatterns and pointers", name)
        elif not isinstance(given, list) or len(given) > MAX_RULES:
            yield _problem(f"must be a list of at most {MAX_RULES} texts", name)
        else:
            for index, text in enumerate(given):
                wrong = _wrong(name, text)
                if wrong:
                    yield _problem(wrong, f"{name}[{index}]")


def _wrong(name: str, text: Any) -> str | None:
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_LENGTH:
        return f"must be a text of 1 to {_MAX_LENGTH} characters"
    if name == "pointers":
        pointed = _POINTER.fullmatch(text)
        return None if pointed else "must be a JSON pointer such as /customer/email (~1 is /, ~0 is ~)"
    try:
        _pattern(text)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        return f"is no regular expression of RE2: {reason}"
    return None


def _pattern(text: str) -> Any:
    # The library would print what is wrong as well.
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    return re2.compile(text, options)


def _problem(message: str, path: str) -> Problem:
    return Problem("REDACTION_INVALID", message, path)
