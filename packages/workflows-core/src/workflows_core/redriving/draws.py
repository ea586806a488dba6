"""Whether a step draws at random."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from workflows_core.interpreter.plan import ForEachStep, PlanStep, WhileStep

_DRAWING = re.compile(r"\$(?:random|shuffle)\b")
_OF_CALLS = frozenset({"input", "idempotency_key"})
"""What is evaluated for a call alone, of which only the answer is kept."""


def draws(planned: PlanStep, *, begun: bool) -> bool:
    """Whether what is kept of a step hangs on draws: from its begin on, or only those that come once it has begun."""
    names = {field.name for field in fields(planned)} - _OF_CALLS
    if begun:
        names &= {"assignments", *(["collect"] if isinstance(planned, ForEachStep) else [])}
        names |= {"condition"} if isinstance(planned, WhileStep) else set()
    return any(_DRAWING.search(source) for name in names for source in _sources(getattr(planned, name)))


def _sources(value: Any) -> Iterator[str]:
    source = getattr(value, "source", None)
    if isinstance(source, str):
        yield source
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _sources(member)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _sources(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _sources(getattr(value, field.name))
