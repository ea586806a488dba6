"""What a run remembers: payload, vars, meta and error, as values that are never changed in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from workflows_core.definitions.paths import AssignPath

_OF_TRIGGER = ("sourcePayloadSchemaRef", "triggerMappingApplied")


class Scopes(NamedTuple):
    """The authored scopes; an assignment gives a new value that shares what it did not touch."""

    payload: Any
    vars: Mapping[str, Any]
    meta: Mapping[str, Any]
    error: Mapping[str, Any] | None = None

    def assign(self, path: AssignPath, value: Any) -> Scopes:
        """A copy with `value` at `path`; what is not an object on the way becomes one."""
        if path.scope == "vars":  # What nearly all assign to.
            return Scopes(self.payload, put(self.vars, path.segments, value), self.meta, self.error)
        held = {"payload": self.payload, "vars": self.vars, "meta": self.meta, "error": self.error}
        held[path.scope] = put(held[path.scope], path.segments, value)
        return Scopes(**held)

    def set_var(self, name: str, value: Any) -> Scopes:
        """A copy with `vars.<name>` set."""
        return Scopes(self.payload, {**self.vars, name: value}, self.meta, self.error)

    def set_meta(self, name: str, value: Any) -> Scopes:
        """A copy with `meta.<name>` set."""
        return Scopes(self.payload, self.vars, {**self.meta, name: value}, self.error)

    def set_error(self, error: Mapping[str, Any]) -> Scopes:
        """A copy with another `error`."""
        return Scopes(self.payload, self.vars, self.meta, error)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, the original's names."""
        return {"payload": self.payload, "vars": dict(self.vars), "meta": dict(self.meta), "error": self.error}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scopes:
        """Inverse of `to_json`."""
        return cls(payload=value["payload"], vars=value["vars"], meta=value["meta"], error=value["error"])


def meta_of_trigger(metadata: Any) -> dict[str, Any]:
    """What `meta` begins with, of what the run's row says about its trigger: the schema and mapping of its event."""
    found = metadata if isinstance(metadata, Mapping) else {}
    return {name: found[name] for name in _OF_TRIGGER if found.get(name) is not None}


def put(target: Any, segments: Sequence[str], value: Any) -> Any:
    """A copy of `target` with the value at a path below it; what is not an object on the way becomes one."""
    if not segments:
        return value
    head, rest = segments[0], segments[1:]
    base = target if isinstance(target, dict) or isinstance(target, Mapping) else {}  # noqa: SIM101 - as in `reading`
    return {**base, head: put(base.get(head), rest, value)}
