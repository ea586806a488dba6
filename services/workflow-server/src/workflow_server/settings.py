"""Every setting of workflow-server; the only place of this service that knows the environment's names."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_host.settings import HealthSettings, LogSettings, PostgresSettings, TemporalSettings, load_settings
from workflows_core.settings import ActionSettings

RETIRED: Mapping[str, str] = {
    "TEMPORAL_TASK_QUEUE": "workflow-server has no queue setting: it owns workflow-app-actions",
    "TEMPORAL_TASK_QUEUES": "workflow-server has no queue setting: it owns workflow-app-actions",
}
"""Variables that mean nothing here; one that is set is refused with this sentence."""


class Settings(ActionSettings, TemporalSettings, PostgresSettings, HealthSettings, LogSettings, BaseSettings):
    """Environment of the process."""

    model_config = SettingsConfigDict(extra="ignore")

    port: int = Field(
        default=4010, validation_alias="PORT", ge=0, lt=65536, description="port of health; 0 takes a free one"
    )
    api_host: str = Field(
        default="127.0.0.1",
        validation_alias="WORKFLOW_SERVER_HOST",
        min_length=1,
        description="address the HTTP API listens on; 0.0.0.0 in a container",
    )
    api_port: int = Field(
        default=8090,
        validation_alias="WORKFLOW_SERVER_PORT",
        ge=0,
        lt=65536,
        description="port of the HTTP API; 0 takes a free one",
    )
    max_activities: int = Field(
        default=50,
        ge=1,
        validation_alias="WORKFLOW_SERVER_MAX_ACTIVITIES",
        description="actions of the application at once",
    )


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the process environment.

    Raises:
        StartRefused: Every variable that is missing, wrong or retired.
    """
    return load_settings(Settings, os.environ if environ is None else environ, retired=RETIRED)
