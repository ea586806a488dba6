"""The settings of temporal-worker; the only module of this service that reads the process environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, FilePath, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode

from service_host.ownership import QueueOwnership
from service_host.settings import (
    HealthSettings,
    LogSettings,
    PostgresSettings,
    TemporalSettings,
    load_settings,
)
from temporal_worker.names import SERVICE

RETIRED: Final[Mapping[str, str]] = {
    "TEMPORAL_TASK_QUEUE": "set TEMPORAL_TASK_QUEUES, a comma-separated selection of the queues this service owns.",
    "TEMPORAL_JOB_TASK_QUEUE": "the queue of jobs is always alga-jobs.",
    "EMAIL_DOMAIN_TASK_QUEUE": "the queue of managed e-mail domains is always email-domain-workflows.",
    "ENABLE_HEALTH_CHECK": "health is always served; PORT and HEALTH_HOST say where.",
    "HEALTH_CHECK_PORT": "set PORT.",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_TASK_QUEUE": (
        "the authored queue is always workflow-runtime-v2 and belongs to workflow-worker."
    ),
    "WORKFLOW_RUNTIME_V2_ENABLE_TEMPORAL_POLLING": "run workflow-worker where authored workflows are to be executed.",
    "WORKFLOW_RUNTIME_V2_ENABLE_DB_POLLING": "the engine that polled the database is gone; run workflow-worker.",
}
"""Variables of the original that mean nothing any more, each with its successor."""


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


class ListeningSettings(HealthSettings):
    """What the service listens on: health."""

    port: int = Field(
        default=8080, validation_alias="PORT", ge=0, lt=65536, description="port number; 0 takes a free one"
    )


class Settings(TemporalSettings, PostgresSettings, ListeningSettings, LogSettings, BaseSettings):
    """What temporal-worker can be told."""

    task_queues: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=lambda: QueueOwnership.load().queues_of(SERVICE),
        validation_alias="TEMPORAL_TASK_QUEUES",
        min_length=1,
        description="queues that temporal-worker owns, separated by commas; unset means all of them",
    )
    max_concurrent_activities: int = Field(
        default=10, validation_alias="MAX_CONCURRENT_ACTIVITIES", gt=0, description="activities at once, per queue"
    )
    max_concurrent_workflows: int = Field(
        default=10, validation_alias="MAX_CONCURRENT_WORKFLOWS", gt=1, description="workflow tasks at once, per queue"
    )
    shutdown_grace_seconds: float = Field(
        default=25.0,
        validation_alias="SHUTDOWN_GRACE_SECONDS",
        ge=0,
        le=40,
        description="seconds that running activities may go on after a stop signal, at most 40",
    )
    schedules_file: FilePath | None = Field(
        default=None,
        validation_alias="TEMPORAL_SCHEDULES_FILE",
        description="path of a TOML file with the schedules of domain workflows",
    )
    db_user_admin: str | None = Field(
        default=None, validation_alias="DB_USER_ADMIN", description="role for `temporal-worker migrate` only"
    )
    db_password_admin: SecretStr | None = Field(
        default=None, validation_alias="DB_PASSWORD_ADMIN", description="that role's password"
    )

    @field_validator("task_queues")
    @classmethod
    def _only_owned(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        problems = QueueOwnership.load().problems(SERVICE, queues)
        if problems:
            sentences = "; ".join(problem.message for problem in problems)
            raise PydanticCustomError("QUEUE_NOT_OWNED", "{sentences}", {"sentences": sentences})
        return queues


def read_listening(environ: Mapping[str, str] | None = None) -> ListeningSettings:
    """What the service listens on.

    Raises:
        StartRefused: As `load`.
    """
    return load_settings(ListeningSettings, os.environ if environ is None else environ)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from the process environment, or from the given one.

    Raises:
        StartRefused: With every problem, among them QUEUE_NOT_OWNED for a queue of another service.
    """
    return load_settings(Settings, os.environ if environ is None else environ, RETIRED)
