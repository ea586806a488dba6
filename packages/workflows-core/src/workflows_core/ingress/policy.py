"""Bounds of event ingress; a service fills them from its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows_core.interpreter.correlation import DEFAULT_PATHS


@dataclass(frozen=True, slots=True)
class IngressPolicy:
    """How ingress claims, tries and gives up.

    Attributes:
        poll_seconds: Longest pause between two looks at the stream; notifications only shorten it.
        batch_size: Events, and deliveries, that are taken at a time.
        correlation_paths: Payload paths of correlation keys by event name; `*` for every event.
        event_attempts: An event that could not be routed so often is `dead`.
        delivery_attempts: A delivery that Temporal refused so often is `dead`; one that did not reach
            Temporal is tried for ever.
        first_delay_seconds: Pause after the first failed attempt; it doubles from there on.
        longest_delay_seconds: Upper bound of that pause.
        lease_seconds: So long a process has a delivery for itself; after that another may send it.
        unknown_run_seconds: Pause before a run is tried again that Temporal does not know.
    """

    poll_seconds: float = 5.0
    batch_size: int = 10
    correlation_paths: Mapping[str, Sequence[str]] = field(default_factory=lambda: DEFAULT_PATHS)
    event_attempts: int = 5
    delivery_attempts: int = 10
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 60.0
    lease_seconds: float = 5.0
    unknown_run_seconds: float = 5.0

    def delay(self, failed: int) -> float:
        """Seconds until the next attempt, after so many failed ones (from 1)."""
        return float(min(self.first_delay_seconds * 2 ** min(failed - 1, 20), self.longest_delay_seconds))
