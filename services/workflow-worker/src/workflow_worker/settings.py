"""Every setting of workflow-worker; the only place of this service that knows the environment's names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_host.settings import HealthSettings, LogSettings, PostgresSettings, TemporalSettings, load_settings
from workflows_core.settings import ACTION_PACKS_VARIABLE, ActionSettings, CorrelationSettings, listed

RETIRED: Mapping[str, str] = {
    "WORKFLOW_RUNTIME_V2_ENABLE_TEMPORAL_POLLING": "workflow-worker always polls workflow-runtime-v2; remove it",
    "WORKFLOW_RUNTIME_V2_ENABLE_DB_POLLING": "the polled database engine is gone; remove it",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_TASK_QUEUE": "the queue is workflow-runtime-v2 and cannot be changed; remove it",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_WORKFLOWS_PATH": "workflows come from the installed workflows-core wheel; remove it",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_ACTIVITIES_PATH": "activities come with the workflows-core wheel; remove it",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_USE_SOURCE_PATHS": "nothing is loaded from source paths; remove it",
    "WORKFLOW_RUNTIME_V2_EVENT_CONSUMER_GROUP": "the event stream is a table, workers share it; remove it",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_EXECUTION_TIMEOUT": "runs have no execution time-out; bound waits with timeoutMs",
    "WORKFLOW_RUNTIME_V2_TEMPORAL_RUN_TIMEOUT": "runs have no run time-out; bound waits with timeoutMs",
    "WORKFLOW_WORKER_MODE": "there is one mode; remove it",
    "WORKFLOW_DISTRIBUTED_MODE": "several processes share the work without a switch; remove it",
    "WORKFLOW_REDIS_STREAM_PREFIX": "the event stream is the table workflow_runtime_events; remove it",
    "WORKFLOW_REDIS_CONSUMER_GROUP": "the event stream is the table workflow_runtime_events; remove it",
    "WORKFLOW_REDIS_BATCH_SIZE": "use WORKFLOW_RUNTIME_V2_EVENT_BATCH_SIZE",
    "WORKFLOW_REDIS_IDLE_TIMEOUT_MS": "no message can be left idle in the table; remove it",
    "POLL_INTERVAL_MS": "use WORKFLOW_RUNTIME_V2_EVENT_POLL_INTERVAL_MS",
    "CONCURRENCY_LIMIT": "use WORKFLOW_WORKER_MAX_ACTIVITIES",
    "MAX_RETRIES": "retries are authored in the step's retry policy; remove it",
    "REDIS_HOST": "Redis is not used; events are published with workflow_publish_event",
    "REDIS_PORT": "Redis is not used; events are published with workflow_publish_event",
    "REDIS_PASSWORD": "Redis is not used; events are published with workflow_publish_event",
    "TEMPORAL_TASK_QUEUE": "workflow-worker has no queue setting: it owns workflow-runtime-v2",
    "TEMPORAL_TASK_QUEUES": "workflow-worker has no queue setting: it owns workflow-runtime-v2",
}
"""Variables of the original that mean nothing any more; one that is set is refused with this sentence."""


class Settings(
    ActionSettings, CorrelationSettings, TemporalSettings, PostgresSettings, HealthSettings, LogSettings, BaseSettings
):
    """Environment of the process. Times in milliseconds where the name says so."""

    model_config = SettingsConfigDict(extra="ignore")

    event_poll_interval_ms: int = Field(
        default=5_000,
        ge=50,
        validation_alias="WORKFLOW_RUNTIME_V2_EVENT_POLL_INTERVAL_MS",
        description="milliseconds between two looks at the event stream when no hint comes",
    )
    event_batch_size: int = Field(
        default=10,
        ge=1,
        le=1_000,
        validation_alias="WORKFLOW_RUNTIME_V2_EVENT_BATCH_SIZE",
        description="events and deliveries taken at once",
    )
    action_unavailable_after_ms: int = Field(
        default=60_000,
        ge=1_000,
        validation_alias="WORKFLOW_ACTION_UNAVAILABLE_AFTER_MS",
        description="milliseconds after which a step whose action no process serves fails as ActionUnavailable",
    )
    call_short_actions_ahead: bool = Field(
        default=True,
        validation_alias="WORKFLOW_CALL_SHORT_ACTIONS_AHEAD",
        description="runs that begin now call short actions that follow one another in one local activity",
    )
    last_action_ends_run: bool = Field(
        default=True,
        validation_alias="WORKFLOW_LAST_ACTION_ENDS_RUN",
        description="the last action of runs that begin now writes their end as well",
    )
    max_activities: int = Field(
        default=100, ge=1, validation_alias="WORKFLOW_WORKER_MAX_ACTIVITIES", description="regular activities at once"
    )
    max_workflow_tasks: int = Field(
        default=16, ge=2, validation_alias="WORKFLOW_WORKER_MAX_WORKFLOW_TASKS", description="workflow tasks at once"
    )
    max_cached_runs: int = Field(
        default=500, ge=0, validation_alias="WORKFLOW_WORKER_MAX_CACHED_RUNS", description="runs kept in memory"
    )
    max_plan_mib: int = Field(
        default=128,
        ge=0,
        validation_alias="WORKFLOW_WORKER_MAX_PLAN_MIB",
        description="memory for compiled definitions that no run in memory uses, MiB",
    )


def read_action_packs(environ: Mapping[str, str] | None = None) -> Sequence[str]:
    """Names of the packs to load: the one setting that `describe` needs."""
    return listed((os.environ if environ is None else environ).get(ACTION_PACKS_VARIABLE, ""))


def read_listening(environ: Mapping[str, str] | None = None) -> HealthSettings:
    """What the service listens on.

    Raises:
        StartRefused: As `read_settings`.
    """
    return load_settings(HealthSettings, os.environ if environ is None else environ)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the process environment.

    Raises:
        StartRefused: Every variable that is missing, wrong or retired.
    """
    return load_settings(Settings, os.environ if environ is None else environ, retired=RETIRED)
