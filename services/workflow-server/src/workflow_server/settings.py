"""Every setting of workflow-server; the only place of this service that knows the environment's names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, FilePath, HttpUrl, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service_host.certificates import require_certificate
from service_host.settings import (
    HealthSettings,
    HostName,
    ListenAddress,
    LogSettings,
    PostgresSettings,
    TemporalSettings,
    load_settings,
)
from workflows_bootstrap.inference.settings import InferenceSettings, ProviderKind
from workflows_bootstrap.mail.settings import MailSettings, SmtpSecurity, TransportKind, require_sender
from workflows_core.settings import ACTION_PACKS_VARIABLE, ActionSettings, listed

RETIRED: Mapping[str, str] = {
    "TEMPORAL_TASK_QUEUE": "workflow-server has no queue setting: it owns workflow-app-actions",
    # The vendor's SDK would read these by itself and send prompts and key elsewhere.
    "OPENAI_API_KEY": "the key is the secret AI_API_KEY; remove the variable",
    "OPENAI_ADMIN_KEY": "the key is the secret AI_API_KEY; remove the variable",
    "OPENAI_BASE_URL": "set WORKFLOW_AI_BASE_URL",
    "OPENAI_ORG_ID": "the key decides the organisation; remove the variable",
    "OPENAI_PROJECT_ID": "the key decides the project; remove the variable",
    "OPENAI_CUSTOM_HEADERS": "headers cannot be added; remove the variable",
    "TEMPORAL_TASK_QUEUES": "workflow-server has no queue setting: it owns workflow-app-actions",
}
"""Variables that mean nothing here; one that is set is refused with this sentence."""


class ListeningSettings(HealthSettings):
    """What the service listens on: health and the HTTP API."""

    port: int = Field(
        default=4010, validation_alias="PORT", ge=0, lt=65536, description="port of health; 0 takes a free one"
    )
    api_host: HostName = Field(
        default="127.0.0.1",
        validation_alias="WORKFLOW_SERVER_HOST",
        description="address the HTTP API listens on; 0.0.0.0 in a container",
    )
    api_port: int = Field(
        default=8090,
        validation_alias="WORKFLOW_SERVER_PORT",
        ge=0,
        lt=65536,
        description="port of the HTTP API; 0 takes a free one",
    )

    @property
    def api_address(self) -> ListenAddress:
        """Of the HTTP API."""
        return ListenAddress(self.api_host, self.api_port, "WORKFLOW_SERVER_HOST", "WORKFLOW_SERVER_PORT")

    @property
    def addresses(self) -> Sequence[ListenAddress]:
        """Every one that the service listens on."""
        return (self.health_address, self.api_address)


class Settings(ActionSettings, TemporalSettings, PostgresSettings, ListeningSettings, LogSettings, BaseSettings):
    """Environment of the process."""

    model_config = SettingsConfigDict(extra="ignore")

    max_activities: int = Field(
        default=50,
        ge=1,
        validation_alias="WORKFLOW_SERVER_MAX_ACTIVITIES",
        description="actions of the application at once",
    )

    ai_provider: ProviderKind = Field(
        default=ProviderKind.NONE,
        validation_alias="WORKFLOW_AI_PROVIDER",
        description="none, local (made-up answers, for development) or openai-compatible",
    )
    ai_base_url: HttpUrl | None = Field(
        default=None,
        validation_alias="WORKFLOW_AI_BASE_URL",
        description="URL of an OpenAI-compatible API, such as http://localhost:11434/v1; unset takes the vendor's own",
    )
    ai_model: str | None = Field(
        default=None, validation_alias="WORKFLOW_AI_MODEL", description="model of steps that name none"
    )
    ai_timeout_ms: int = Field(
        default=60_000,
        ge=100,
        le=250_000,
        validation_alias="WORKFLOW_AI_TIMEOUT_MS",
        description="milliseconds that one request to the provider may take",
    )
    ai_retries: int = Field(
        default=2, ge=0, le=10, validation_alias="WORKFLOW_AI_RETRIES", description="repeated requests of one call"
    )
    ai_requests_per_minute: int | None = Field(
        default=None, ge=1, validation_alias="WORKFLOW_AI_REQUESTS_PER_MINUTE", description="limit of this process"
    )
    ai_tokens_per_minute: int | None = Field(
        default=None, ge=1, validation_alias="WORKFLOW_AI_TOKENS_PER_MINUTE", description="limit of this process"
    )
    mail_transport: TransportKind = Field(
        default=TransportKind.NONE, validation_alias="WORKFLOW_MAIL_TRANSPORT", description="none, smtp or http"
    )
    mail_from: str | None = Field(
        default=None, validation_alias="WORKFLOW_MAIL_FROM", description="sender's address where a step names none"
    )
    mail_smtp_host: HostName = Field(
        default="localhost", validation_alias="WORKFLOW_MAIL_SMTP_HOST", description="host of the SMTP server"
    )
    mail_smtp_port: int = Field(
        default=587, gt=0, lt=65536, validation_alias="WORKFLOW_MAIL_SMTP_PORT", description="its port"
    )
    mail_smtp_security: SmtpSecurity = Field(
        default=SmtpSecurity.STARTTLS,
        validation_alias="WORKFLOW_MAIL_SMTP_SECURITY",
        description="tls, starttls or none",
    )
    mail_smtp_user: str | None = Field(
        default=None,
        validation_alias="WORKFLOW_MAIL_SMTP_USER",
        description="user of the SMTP server; its password is the secret EMAIL_KEY",
    )
    mail_smtp_ca: FilePath | None = Field(
        default=None, validation_alias="WORKFLOW_MAIL_SMTP_CA", description="path of a PEM file with the server's CA"
    )
    mail_http_url: HttpUrl | None = Field(
        default=None, validation_alias="WORKFLOW_MAIL_HTTP_URL", description="where the HTTP provider takes messages"
    )

    @property
    def inference(self) -> InferenceSettings:
        """Of AI inference."""
        return InferenceSettings(
            provider=self.ai_provider,
            base_url=None if self.ai_base_url is None else str(self.ai_base_url),
            model=self.ai_model,
            timeout_seconds=self.ai_timeout_ms / 1000,
            retries=self.ai_retries,
            requests_per_minute=self.ai_requests_per_minute,
            tokens_per_minute=self.ai_tokens_per_minute,
        )

    @property
    def mail(self) -> MailSettings:
        """Of e-mail sending."""
        return MailSettings(
            transport=self.mail_transport,
            sender=self.mail_from,
            smtp_host=self.mail_smtp_host,
            smtp_port=self.mail_smtp_port,
            smtp_security=self.mail_smtp_security,
            smtp_user=self.mail_smtp_user,
            smtp_ca=self.mail_smtp_ca,
            http_url=None if self.mail_http_url is None else str(self.mail_http_url),
        )

    @field_validator("mail_from")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        # As below.
        if value is not None:
            require_sender(value)
        return value

    @field_validator("mail_smtp_ca")
    @classmethod
    def _is_certificate(cls, value: Path | None) -> Path | None:
        # Else each message would fail by it.
        if value is not None:
            require_certificate(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if self.mail_transport is TransportKind.HTTP and self.mail_http_url is None:
            raise ValueError("WORKFLOW_MAIL_TRANSPORT is http, so WORKFLOW_MAIL_HTTP_URL must be set")
        return self


def read_action_packs(environ: Mapping[str, str] | None = None) -> Sequence[str]:
    """Names of the packs to load: the one setting that `describe` needs."""
    return listed((os.environ if environ is None else environ).get(ACTION_PACKS_VARIABLE, ""))


def read_listening(environ: Mapping[str, str] | None = None) -> ListeningSettings:
    """What the service listens on.

    Raises:
        StartRefused: As `read_settings`.
    """
    return load_settings(ListeningSettings, os.environ if environ is None else environ)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the process environment.

    Raises:
        StartRefused: Every variable that is missing, wrong or retired.
    """
    return load_settings(Settings, os.environ if environ is None else environ, retired=RETIRED)
