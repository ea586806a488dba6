"""Changes of a source before it is compiled, with the way back to the authored positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """What stands from `start` to `end` of the authored source becomes `text`; an insertion where both are equal."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Edited:
    """A source ready to compile.

    Attributes:
        text: JSONata.
        edits: What was replaced, in order, in offsets of the authored source.
    """

    text: str
    edits: tuple[Edit, ...]

    def authored_position(self, position: int) -> int:
        """Offset in the authored source of an offset in `text`."""
        shift = 0
        for edit in self.edits:
            if position + shift < edit.start + len(edit.text):
                break
            shift += (edit.end - edit.start) - len(edit.text)
        return position + shift


def edited(source: str, edits: Iterable[Edit]) -> Edited:
    """The source with all edits, which do not overlap; at one offset insertions come first."""
    ordered = tuple(sorted(edits))
    parts: list[str] = []
    position = 0
    for edit in ordered:
        parts += (source[position : edit.start], edit.text)
        position = edit.end
    return Edited("".join((*parts, source[position:])), ordered)
