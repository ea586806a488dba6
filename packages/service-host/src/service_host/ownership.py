"""Which service owns which Temporal task queue, read from the package's own `queue_ownership.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from service_host.errors import StartProblem, StartRefused

OWNERSHIP_FILE = "queue_ownership.toml"
TASKS = ("workflow", "activity")
"""Kinds of tasks; an entry that does not say has both."""

_RESOURCE = files("service_host").joinpath(OWNERSHIP_FILE)


@dataclass(frozen=True, slots=True)
class OwnedQueue:
    """One entry of the ownership file; `tasks` says which kinds its owner polls for."""

    queue: str
    owner: str
    purpose: str
    tasks: tuple[str, ...] = TASKS


@dataclass(frozen=True, slots=True)
class QueueOwnership:
    """The ownership table.

    Attributes:
        queues: Queue name to its entry, in file order.
        file: Where the table was read from, for messages.
    """

    queues: Mapping[str, OwnedQueue]
    file: str

    @classmethod
    def load(cls) -> QueueOwnership:
        """The table that this installation carries."""
        return cls.parse(_RESOURCE.read_text(encoding="utf-8"), file=str(_RESOURCE))

    @classmethod
    def parse(cls, text: str, file: str) -> QueueOwnership:
        """A table from TOML text.

        Raises:
            StartRefused: Code OWNERSHIP_FILE_INVALID, with every faulty entry.
        """
        try:
            entries = tomllib.loads(text).get("queues", {})
        except tomllib.TOMLDecodeError as error:
            raise StartRefused.one("OWNERSHIP_FILE_INVALID", file, f"is not TOML: {error}") from None
        faulty = [
            name
            for name, entry in entries.items()
            if not isinstance(entry, dict)
            or not all(isinstance(entry.get(key), str) for key in ("owner", "purpose"))
            or not set(entry.get("tasks", TASKS)) <= set(TASKS)
        ]
        if faulty or not entries:
            raise StartRefused(
                [
                    StartProblem(
                        "OWNERSHIP_FILE_INVALID",
                        file,
                        f"[queues.{name}] needs the texts owner and purpose, and tasks of {', '.join(TASKS)}",
                    )
                    for name in faulty or ["<name>"]
                ]
            )
        queues = {
            name: OwnedQueue(name, entry["owner"], entry["purpose"], tuple(entry.get("tasks", TASKS)))
            for name, entry in entries.items()
        }
        return cls(queues, file)

    def owner_of(self, queue: str) -> str | None:
        """The service that owns the queue; None for a queue the file does not name."""
        entry = self.queues.get(queue)
        return None if entry is None else entry.owner

    def queues_of(self, service: str) -> tuple[str, ...]:
        """Queues that the service owns, in file order."""
        return tuple(entry.queue for entry in self.queues.values() if entry.owner == service)

    def refused_by(self, service: str) -> tuple[str, ...]:
        """Queues that the service must never poll: all that others own."""
        return tuple(entry.queue for entry in self.queues.values() if entry.owner != service)

    def services(self) -> tuple[str, ...]:
        """Every owner, each once, in file order."""
        return tuple(dict.fromkeys(entry.owner for entry in self.queues.values()))

    def problems(self, service: str, queues: Iterable[str]) -> tuple[StartProblem, ...]:
        """Why the service may not poll these queues; empty if it owns them all."""
        owned = ", ".join(self.queues_of(service)) or "none"
        found = []
        for queue in queues:
            owner = self.owner_of(queue)
            if owner == service:
                continue
            whose = f"belongs to {owner}" if owner else "belongs to nobody"
            found.append(
                StartProblem(
                    "QUEUE_NOT_OWNED",
                    queue,
                    f"{service} must not poll {queue!r}: it {whose}, says {self.file}. {service} owns: {owned}",
                )
            )
        return tuple(found)

    def check(self, service: str, queues: Iterable[str]) -> None:
        """Refuse the start of a service with a queue that is not its own.

        Raises:
            StartRefused: Code QUEUE_NOT_OWNED, naming each queue, its owner and the file that says so.
        """
        problems = self.problems(service, queues)
        if problems:
            raise StartRefused(problems)
