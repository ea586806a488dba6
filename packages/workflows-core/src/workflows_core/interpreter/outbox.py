"""What a run has yet to write, and which write carries it.

An entry stays here until a write that carried it is acknowledged; a write that failed for good gives
its entries back. What was consumed or refused, and how waits closed, goes with every write until then, because
it must not hang on one particular write's fate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from workflows_core.errors import Failure
from workflows_core.expressions.reading import json_bytes
from workflows_core.wire.records import RunStatus

MAX_ENTRIES = 50
MAX_BYTES = 64 * 1024
"""At this many entries, or this many bytes of them, a write of its own is due."""

MAX_TEXT = 4_000
"""Characters of a message, or of a text in its details, that a row of a step or of the log has: what an author's own
`$error` says, or the end of a child, may have hundreds of KiB, and a turn may have dozens of these rows."""

_MAX_TEXT_AROUND = 500
_MAX_DETAILS_BYTES = 32 * 1024
_DEPTH = 3
"""How far into details texts are shortened: those of a child that failed have its failure, which has details."""

EntryKind = Literal["step", "log", "consumed", "closed", "refused"]
_EVERY_WRITE: frozenset[EntryKind] = frozenset({"consumed", "closed", "refused"})


class Entry(NamedTuple):
    """One record to write.

    Attributes:
        carried_by: The sequence of the first write that carries it; None while it waits for one.
        step_path: Of a step's row that waits: a newer row of the same path takes its place.
    """

    kind: EntryKind
    record: Mapping[str, Any]
    size: int
    carried_by: int | None = None
    step_path: str | None = None

    @classmethod
    def waiting(cls, kind: EntryKind, record: Mapping[str, Any], size: int) -> Entry:
        """One that no write carries."""
        return cls(kind, record, size, None, record["step_path"] if kind == "step" else None)


@dataclass(frozen=True, slots=True)
class Taken:
    """The records of one write, by kind."""

    steps: list[Any]
    logs: list[Any]
    consumed: list[Any]
    closed: list[Any]
    refused: list[Any]


@dataclass(frozen=True, slots=True)
class Outbox:
    """Entries in the order they came, the last sequence used, and what the last write told.

    `waits_written` is None when it is not certain which set of waits the database knows.
    """

    entries: tuple[Entry, ...] = ()
    sequence: int = 0
    waits_written: frozenset[str] | None = frozenset()
    status_written: RunStatus | None = None

    def add(self, added: Sequence[Entry]) -> Outbox:
        """With more entries that wait; of a step only the newest of them waits to be carried."""
        newest = {e.step_path: e for e in added}
        entries = (e for e in (*self.entries, *added) if e.step_path is None or newest.get(e.step_path, e) is e)
        return Outbox(tuple(entries), self.sequence, self.waits_written, self.status_written)

    @property
    def uncarried(self) -> int:
        """Records that no write carries yet."""
        return sum(1 for e in self.entries if e.carried_by is None)

    @property
    def is_full(self) -> bool:
        """True when a write of its own is due."""
        waiting = [e for e in self.entries if e.carried_by is None]
        return len(waiting) >= MAX_ENTRIES or sum(e.size for e in waiting) >= MAX_BYTES

    @property
    def tells_of_waits(self) -> bool:
        """True while something consumed, closed or refused is not acknowledged: such writes carry the set of waits."""
        return any(e.kind in _EVERY_WRITE for e in self.entries)

    def take(
        self, status: RunStatus, waits: frozenset[str] | None, *, everything: bool = False
    ) -> tuple[Outbox, Taken]:
        """The records of the next write and the outbox that knows they are on their way.

        Args:
            status: The run's status that the write tells.
            waits: Ids of the waits the write names, None when it says nothing of waits.
            everything: The final write carries all that is not acknowledged.
        """
        sequence = self.sequence + 1
        taken = Taken([], [], [], [], [])
        entries: list[Entry] = []
        lists = {
            "step": taken.steps,
            "log": taken.logs,
            "consumed": taken.consumed,
            "closed": taken.closed,
            "refused": taken.refused,
        }
        for entry in self.entries:
            if entry.carried_by is None or entry.kind in _EVERY_WRITE or everything:
                lists[entry.kind].append(entry.record)
            entries.append(
                entry if entry.carried_by is not None else Entry(entry.kind, entry.record, entry.size, sequence)
            )
        written = self.waits_written if waits is None else waits
        return Outbox(tuple(entries), sequence, written, status), taken

    def leaving_out_one(self) -> Outbox:
        """The next sequence is for somebody else's write."""
        return replace(self, sequence=self.sequence + 1)

    def acknowledge(self, sequence: int) -> Outbox:
        """Write `sequence` is in the database."""
        return replace(self, entries=tuple(e for e in self.entries if not _settled(e, sequence)))

    def release(self, sequence: int) -> Outbox:
        """Write `sequence` will never be in the database: its records wait for another."""
        entries = tuple(
            Entry.waiting(e.kind, e.record, e.size) if e.carried_by == sequence else e for e in self.entries
        )
        return Outbox(entries, self.sequence, None, None)

    def to_checkpoint(self) -> dict[str, Any]:
        """What continue-as-new carries; nothing is on its way then."""
        return {
            "entries": [{"kind": e.kind, "record": dict(e.record), "size": e.size} for e in self.entries],
            "waitsWritten": None if self.waits_written is None else sorted(self.waits_written),
            "statusWritten": self.status_written,
        }

    @classmethod
    def from_checkpoint(cls, value: Mapping[str, Any]) -> Outbox:
        """Inverse of `to_checkpoint`; sequences start again, the generation is newer."""
        written = value["waitsWritten"]
        return cls(
            entries=tuple(Entry.waiting(e["kind"], e["record"], e["size"]) for e in value["entries"]),
            waits_written=None if written is None else frozenset(written),
            status_written=value["statusWritten"],
        )


def shortened(text: str, characters: int = MAX_TEXT) -> str:
    """A text as far as a row has it."""
    return text if len(text) <= characters else f"{text[:characters]} … ({len(text)} characters)"


def error_of_row(failure: Failure, step_path: str) -> dict[str, Any]:
    """A failure as the row of a step has it; a step around the one that has failed says less of it."""
    if failure.step_path == step_path:
        details = None if failure.details is None else _shortened_in(failure.details)
        return replace(failure, message=shortened(failure.message), details=details).to_json()
    return replace(failure, message=shortened(failure.message, _MAX_TEXT_AROUND), details=None).to_json()


def _shortened_in(details: Mapping[str, Any]) -> dict[str, Any]:
    short = {name: _short(value, _DEPTH) for name, value in details.items()}
    if (size := json_bytes(short)) > _MAX_DETAILS_BYTES:
        return {"leftOut": f"details of {size} bytes, at most {_MAX_DETAILS_BYTES} are kept"}
    return short


def _short(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, Mapping) and depth:
        return {name: _short(member, depth - 1) for name, member in value.items()}
    return value


def _settled(entry: Entry, sequence: int) -> bool:
    if entry.carried_by is None:
        return False
    # What goes with every write went with this one too when its first carrier is not younger.
    return entry.carried_by <= sequence if entry.kind in _EVERY_WRITE else entry.carried_by == sequence
