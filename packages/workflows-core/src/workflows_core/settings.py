"""What operators set for more than one program: plain models, which each program mixes into its own.

Nothing here reads an environment; a service's own settings module does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field, field_validator

from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.ports import SecretProvider
from workflows_core.actions.secrets import FileSecrets, MappingSecrets
from workflows_core.interpreter.correlation import DEFAULT_PATHS

ACTION_PACKS_VARIABLE: Final = "WORKFLOW_ACTION_PACKS"
"""The setting that `describe` reads as well, which needs no others."""


class SecretsSettings(BaseModel):
    """Where secrets are: for who uses them, and for who checks that those which a definition names are there."""

    secrets_directory: Path | None = Field(
        default=None,
        validation_alias="WORKFLOW_SECRETS_DIR",
        description="directory with one file for each secret, named as the secret",
    )

    @field_validator("secrets_directory")
    @classmethod
    def _is_directory(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("not a directory")
        return value

    def secret_ages(self, tenant: str) -> Mapping[str, timedelta] | None:
        """How long ago each secret that the tenant may use was changed; None where nobody has said where they are."""
        return None if self.secrets_directory is None else FileSecrets(self.secrets_directory).ages(tenant)


class ActionSettings(SecretsSettings):
    """What actions may reach, and which there are."""

    http_allowed_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        validation_alias="WORKFLOW_HTTP_ALLOWED_NETWORKS",
        description="comma-separated networks (CIDR) that http.request may reach although they are not public",
    )

    action_packs: tuple[str, ...] = Field(
        default=(),
        validation_alias=ACTION_PACKS_VARIABLE,
        description="comma-separated names of installed action packs, in the order in which they are loaded",
    )

    @property
    def http_policy(self) -> HttpPolicy:
        """What `http.request` may reach."""
        return HttpPolicy(allowed_networks=self.http_allowed_networks)

    def secret_provider(self) -> SecretProvider:
        """Where `{"$secret": NAME}` is looked up; without a directory there is no secret."""
        return MappingSecrets({}) if self.secrets_directory is None else FileSecrets(self.secrets_directory)

    @field_validator("http_allowed_networks", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        return tuple(ip_network(part) for part in listed(value)) if isinstance(value, str) else value

    @field_validator("action_packs", mode="before")
    @classmethod
    def _packs(cls, value: Any) -> Any:
        return tuple(listed(value)) if isinstance(value, str) else value


class CorrelationSettings(BaseModel):
    """How events find who waits for them: for whoever routes them, and whoever explains or checks where they go."""

    correlation_paths: Mapping[str, Sequence[str]] = Field(
        default=DEFAULT_PATHS,
        validation_alias="WORKFLOW_RUNTIME_V2_EVENT_CORRELATION_PATHS_JSON",
        description='a JSON object of event name (or "*") to a payload path or a list of them',
    )

    @field_validator("correlation_paths", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parsed = json.loads(value)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
        if not isinstance(parsed, dict):
            raise ValueError("not a JSON object")
        return {name: (paths,) if isinstance(paths, str) else paths for name, paths in parsed.items()}


def listed(value: str) -> Sequence[str]:
    """The parts of a comma-separated setting, trimmed, empty ones left out."""
    return [part.strip() for part in value.split(",") if part.strip()]
