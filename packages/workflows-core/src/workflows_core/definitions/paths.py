"""Assignment paths: where `assign`, `saveAs`, `captureErrorAs` and `outputMapping` write."""

from __future__ import annotations

from dataclasses import dataclass

SCOPES = ("payload", "vars", "meta", "error")
"""Scopes that a path may write to."""

_READ_ONLY = ("local", "system", "event", "childRun")
_FORBIDDEN = frozenset({"__proto__", "prototype", "constructor"})


@dataclass(frozen=True, slots=True)
class AssignPath:
    """A place in a run's scopes: `vars.ticket.id` is scope `vars`, segments `("ticket", "id")`."""

    scope: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.scope, *self.segments))


def parse_assign_path(text: str, default_scope: str | None = None) -> AssignPath:
    """Reads a path: `vars.x`, `payload.x.y`, `meta.x`, `error.x`, or a JSON pointer (`/a/b` is `payload.a.b`).

    Args:
        text: As authored; surrounding blanks are ignored.
        default_scope: Scope of a path that names none; None refuses such a path.

    Raises:
        ValueError: With a sentence that says what is wrong and what would be right.
    """
    path = text.strip()
    if not path:
        raise ValueError("the path is empty; write a scope and a name, such as vars.result")
    if path.startswith("/"):
        scope, segments = "payload", [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    else:
        scope, segments = _dotted(path, default_scope)
    for segment in segments:
        if not segment:
            raise ValueError(f"{text!r} has an empty segment; write names with single separators between them")
        if segment in _FORBIDDEN:
            raise ValueError(f"the segment {segment!r} is not allowed in a path")
    return AssignPath(scope, tuple(segments))


def _dotted(path: str, default_scope: str | None) -> tuple[str, list[str]]:
    head, *rest = path.split(".")
    bracketed = next((segment for segment in (head, *rest) if "[" in segment or "]" in segment), None)
    if bracketed is not None:
        message = f"{bracketed!r}: list items cannot be assigned to; assign the whole list"
        if "'" in bracketed or '"' in bracketed:
            message = (
                f"{bracketed!r}: a field has no brackets in a path; write its name behind a dot, such as vars.total"
            )
        raise ValueError(message)
    if head in _READ_ONLY and (rest or default_scope is not None):
        raise ValueError(f"scope {head!r} cannot be written to; use one of {', '.join(SCOPES)}")
    if head in SCOPES and not rest:
        raise ValueError(f"{path!r} names a whole scope; name a field in it, such as {path}.result")
    if head not in SCOPES and default_scope is None:
        raise ValueError(
            f"{path!r} names no scope; begin with {', '.join(f'{name}.' for name in SCOPES)} such as vars.{path}"
        )
    scope, segments = (head, rest) if head in SCOPES or default_scope is None else (default_scope, [head, *rest])
    return scope, segments
