"""An expression engine that remembers which values decided an expression."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows_core.expressions.engine import NO_VALUE, Expression, ExpressionEngine, Limits
from workflows_core.expressions.reading import EVERYTHING

_SHOWN = 200


@dataclass(slots=True)
class ExplainingEngine:
    """Compiles with another engine; `seen` has what has been evaluated since it was last taken."""

    engine: ExpressionEngine
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def version(self) -> str:
        """The other engine's."""
        return self.engine.version

    def compile(self, source: str) -> Expression:
        """As the other engine does.

        Raises:
            ExpressionInvalid: The source is wrong.
        """
        return _Explained(self.engine.compile(source), self.seen)

    def take(self) -> list[dict[str, Any]]:
        """What has been evaluated: `{"expression", "value", "reads": {path: value}}`."""
        taken = list(self.seen)
        self.seen.clear()
        return taken


@dataclass(frozen=True, slots=True)
class _Explained:
    expression: Expression
    seen: list[dict[str, Any]]

    @property
    def source(self) -> str:
        return self.expression.source

    @property
    def reads(self) -> frozenset[str]:
        return self.expression.reads

    @property
    def has_patterns(self) -> bool:
        return self.expression.has_patterns

    def evaluate(self, document: Mapping[str, Any], *, now_ms: int, seed: int, limits: Limits | None = None) -> Any:
        reads = {path: _shown(_at(document, path)) for path in sorted(self.reads) if path != EVERYTHING}
        try:
            found = self.expression.evaluate(document, now_ms=now_ms, seed=seed, limits=limits)
        except Exception as error:
            self.seen.append({"expression": self.source, "error": str(error), "reads": reads})
            raise
        self.seen.append({"expression": self.source, "value": _shown(found), "reads": reads})
        return found


def _at(document: Mapping[str, Any], path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return NO_VALUE
        found = found[name]
    return found


def _shown(value: Any) -> Any:
    if value is NO_VALUE:
        return "(no value)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
