"""Where the command line connects to: the environment, or a development stack's state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_host.settings import PostgresSettings, TemporalSettings, load_settings
from workflows_cli.dev.state import StackState
from workflows_core.settings import CorrelationSettings, SecretsSettings


class AuthoringSettings(CorrelationSettings, SecretsSettings, BaseSettings):
    """What definitions are checked with; the same names as workflow-worker's."""

    model_config = SettingsConfigDict(extra="ignore")


class Settings(TemporalSettings, PostgresSettings, BaseSettings):
    """Connections of the command line; the same names as the services'."""

    model_config = SettingsConfigDict(extra="ignore")

    tenant: str | None = Field(default=None, validation_alias="WORKFLOWS_TENANT")


def read_authoring_settings() -> AuthoringSettings:
    """From the environment; nothing in it is required.

    Raises:
        StartRefused: Every variable that is wrong.
    """
    return load_settings(AuthoringSettings, os.environ, retired={})


def read_settings(dev_directory: Path | None) -> Settings:
    """From the stack in `dev_directory`, else from the environment.

    Raises:
        Refused: No stack runs in that directory.
        StartRefused: Every variable that is missing or wrong.
    """
    environ: Mapping[str, str] = os.environ
    if dev_directory is not None:
        environ = {**environ, **StackState.read(dev_directory).environment()}
    return load_settings(Settings, environ, retired={})
