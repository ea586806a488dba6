"""Names of the log events of this package; operators and tests rely on them."""

from __future__ import annotations

from typing import Final

PROCESS_STARTED: Final = "process_started"
START_REFUSED: Final = "start_refused"
QUEUE_NOT_OWNED_HERE: Final = "queue_not_owned_here"
BACKING_SERVICE_UNREACHABLE: Final = "backing_service_unreachable"
BACKING_SERVICE_REACHED: Final = "backing_service_reached"
HEALTH_LISTENING: Final = "health_listening"
LOOP_STARTED: Final = "loop_started"
LOOP_RUNNING: Final = "loop_running"
LOOP_DEGRADED: Final = "loop_degraded"
LOOP_FAILED: Final = "loop_failed"
LOOP_RESTARTED: Final = "loop_restarted"
LOOP_STOPPED: Final = "loop_stopped"
RESTARTS_SPENT: Final = "restarts_spent"
WORKER_FATAL: Final = "worker_fatal"
DRAIN_STARTED: Final = "drain_started"
DRAIN_OVERDUE: Final = "drain_overdue"
PROCESS_STOPPED: Final = "process_stopped"
FOREIGN_POLLER: Final = "foreign_poller"
FOREIGN_POLLER_GONE: Final = "foreign_poller_gone"
EVENT_LOOP_BLOCKED: Final = "event_loop_blocked"
EVENT_LOOP_FREE: Final = "event_loop_free"
QUEUE_FINDING: Final = "queue_finding"
QUEUE_FINDING_GONE: Final = "queue_finding_gone"
