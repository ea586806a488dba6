"""What loops bind for the steps inside: names that are read only, and variables that are written too.

One pass of a loop makes one binding, which the frame of the pass and every step to be undone that ran in it share; in a
checkpoint it stands once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Binding:
    """What one pass of a loop binds; no name is in both.

    Attributes:
        local: Names such as `item` and `index`.
        item_vars: Variables that only the pass sees, and writes: the loop's `itemVar`.
        counted: Bytes that the open pass counts as in the run's data; 0 where nobody knows any more.
    """

    local: Mapping[str, Any] = field(default_factory=dict)
    item_vars: Mapping[str, Any] = field(default_factory=dict)
    counted: int = field(default=0, compare=False)


def merged(bindings: Sequence[Binding]) -> Binding:
    """The bindings of loops inside each other, outermost first, as one: inner names hide outer ones.

    A variable that an inner name hides stays a variable, which is read as `vars.<name>`.
    """
    local: dict[str, Any] = {}
    item_vars: dict[str, Any] = {}
    for binding in bindings:
        for name in binding.item_vars:
            local.pop(name, None)
        local.update(binding.local)
        item_vars.update(binding.item_vars)
    return Binding(local, item_vars)


class BindingTable:
    """The bindings of a checkpoint, each once, by number."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._held: list[Binding] = []

    def number(self, binding: Binding) -> int:
        """The number of a binding; of one that is the very same as another, that one's."""
        identity = (id(binding.local), id(binding.item_vars))
        if identity not in self._numbers:
            # Held, so that no other mapping can get the identity.
            self._held.append(binding)
            self._numbers[identity] = len(self.entries)
            self.entries.append(_to_json(binding))
        return self._numbers[identity]


def _to_json(binding: Binding) -> dict[str, Any]:
    """JSON-ready; the item, which is the variable as well until that is assigned to, stands once."""
    item = binding.local.get("item")
    same = next((name for name, value in binding.item_vars.items() if value is item), None)
    if same is None or "item" not in binding.local:
        return {"local": dict(binding.local), "itemVars": dict(binding.item_vars)}
    local = {name: value for name, value in binding.local.items() if name != "item"}
    return {"local": local, "itemVars": dict(binding.item_vars), "itemIs": same}


def bindings_of(entries: Sequence[Mapping[str, Any]]) -> list[Binding]:
    """Inverse of `BindingTable.entries`, by number."""
    return [_of_json(entry) for entry in entries]


def _of_json(entry: Mapping[str, Any]) -> Binding:
    item_vars = entry["itemVars"]
    item = {"item": item_vars[entry["itemIs"]]} if "itemIs" in entry else {}
    return Binding({**item, **entry["local"]}, item_vars)
