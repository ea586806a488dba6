"""Working hours of one day, in wall-clock time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import time

MIDNIGHT = time(0)


@dataclass(frozen=True, slots=True, order=True)
class WorkingHours:
    """One stretch of work within a day.

    Attributes:
        begins: First moment of work, wall clock.
        ends: First moment after work, wall clock; midnight means the end of the day.

    Raises:
        ValueError: The stretch is empty, runs past midnight, or its times carry a zone.
    """

    begins: time
    ends: time

    def __post_init__(self) -> None:
        if self.begins.tzinfo is not None or self.ends.tzinfo is not None:
            raise ValueError(f"working hours {self} carry a zone; the zone belongs to the calendar")
        if self.ends != MIDNIGHT and self.ends <= self.begins:
            raise ValueError(
                f"working hours {self} must end after they begin; split hours that run past midnight over two days"
            )

    def contains(self, wall_clock: time) -> bool:
        """Whether the wall-clock time lies in this stretch; `begins` does, `ends` does not."""
        return self.begins <= wall_clock and (self.ends == MIDNIGHT or wall_clock < self.ends)

    def overlaps(self, other: WorkingHours) -> bool:
        """Whether the two stretches have a moment in common."""
        first, second = sorted((self, other))
        return first.contains(second.begins)

    def __str__(self) -> str:
        return f"{self.begins.isoformat()} to {self.ends.isoformat()}"


def overlapping(hours: Iterable[WorkingHours]) -> Iterator[tuple[WorkingHours, WorkingHours]]:
    """Each stretch that overlaps an earlier one, behind the one of these that reaches furthest."""
    furthest: WorkingHours | None = None
    for one in sorted(hours):
        if furthest is not None and furthest.overlaps(one):
            yield furthest, one
        if furthest is None or (furthest.ends != MIDNIGHT and (one.ends == MIDNIGHT or one.ends > furthest.ends)):
            furthest = one
