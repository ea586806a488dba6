"""The action value and what its handler is given."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from workflows_core.actions.ports import EntityLinks, KeyValueStore, SecretProvider
from workflows_core.errors import Json
from workflows_core.wire.names import APPLICATION_ACTIONS_QUEUE, AUTHORED_QUEUE

MAX_SHORT_MS = 500
"""Start-to-close limit of a short action, in milliseconds (a workflow task must stay small)."""


class Effect(StrEnum):
    """What a call changes, which decides how a lost attempt is treated.

    `pure` changes nothing. `idempotent` may be repeated under the same idempotency key.
    `at-most-once` is never repeated once it may have happened (`UnknownOutcome`).
    `transactional` changes only the runtime's own database, in the transaction that records it.
    """

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    AT_MOST_ONCE = "at-most-once"
    TRANSACTIONAL = "transactional"


class Place(StrEnum):
    """Where an action runs: in workflow-worker, or in the application."""

    WORKER = "worker"
    APP = "app"

    @property
    def service(self) -> str:
        """The service that has to serve it."""
        return "workflow-worker" if self is Place.WORKER else "workflow-server"

    @property
    def queue(self) -> str:
        """The task queue on which it is called."""
        return AUTHORED_QUEUE if self is Place.WORKER else APPLICATION_ACTIONS_QUEUE


def _as_it_is(value: Json) -> Json:
    """Where there are no secrets."""
    return value


@dataclass(frozen=True, slots=True)
class ActionContext:
    """What a handler may know and use.

    Attributes:
        tenant_id: Tenant of the run.
        run_id: The run.
        step_path: Path of the step with iteration indices.
        attempt: Authored attempt, from 1.
        idempotency_key: The same for all attempts of this visit; pass it to receivers.
        now: Current time, aware, UTC.
        logger: Bound to run and step.
        store: Key-value store; inside the recording transaction for `transactional` actions,
            None for every other one.
        links: Links between entities; there when `store` is.
        secrets: For handlers that look a secret up by a computed name; mappings need not.
        scrub: A JSON value without the secrets that the call was given. What leaves a handler is scrubbed anyway; but
            a part of a secret is not recognised, so what is to be cut is scrubbed before.
    """

    tenant_id: str
    run_id: str
    step_path: str
    attempt: int
    idempotency_key: str
    now: datetime
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    store: KeyValueStore | None = None
    links: EntityLinks | None = None
    secrets: SecretProvider | None = None
    scrub: Callable[[Json], Json] = _as_it_is


Handler = Callable[[Any, ActionContext], Awaitable[Json]]
"""`async (input, context) -> output`; input and output are JSON values valid for the schemas."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action of one version.

    Attributes:
        id: Dotted lower-case name, such as `transform.pick_fields`.
        version: From 1; a changed schema or meaning is a new version.
        handler: See `Handler`; raises `ActionFailed` to fail its step.
        input_schema: JSON Schema (2020-12) of the input.
        output_schema: JSON Schema of the output.
        description: One sentence for authors.
        category: Group in a designer.
        effect: See `Effect`.
        timeout_ms: Start-to-close limit of one attempt, in milliseconds.
        heartbeat_ms: How long a silent attempt may be before it counts as lost.
        short: Runs inside the workflow task: pure, at most `MAX_SHORT_MS`, no database, no network.
        place: See `Place`.
    """

    id: str
    version: int
    handler: Handler = field(repr=False)
    input_schema: Mapping[str, Any] = field(repr=False)
    output_schema: Mapping[str, Any] = field(repr=False)
    description: str = ""
    category: str = "general"
    effect: Effect = Effect.IDEMPOTENT
    timeout_ms: int = 600_000
    heartbeat_ms: int = 15_000
    short: bool = False
    place: Place = Place.WORKER

    @property
    def key(self) -> str:
        """`id@version`, the name it is registered under."""
        return f"{self.id}@{self.version}"

    @property
    def takes_secrets(self) -> bool:
        """Whether a secret may be in its input: not where it could only give it back or store it."""
        return self.effect not in (Effect.PURE, Effect.TRANSACTIONAL)
