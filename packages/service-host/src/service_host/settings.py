"""Settings models that services combine, and the one way to read them from an environment.

A service writes `class Settings(TemporalSettings, PostgresSettings, HealthSettings, LogSettings, BaseSettings)` in
its own settings module, which alone reads the process environment and hands it to `load_settings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from service_host.certificates import require_certificate, require_pair
from service_host.errors import StartProblem, StartRefused
from service_host.payload_codec import parse_keys

_ADDRESS = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$")
_SHOWN_CHARACTERS = 40

FILE_SUFFIX: Final = "_FILE"
"""What follows a secret variable's name where a file has its value."""

SettingsType = TypeVar("SettingsType", bound=BaseModel)


def _resolvable(value: str) -> str:
    # What no resolver can be asked ends in an error of the codec, wherever the name is used first.
    try:
        for part in [] if value.startswith(("/", "@")) else value.split(","):
            part.encode("idna")
    except UnicodeError:
        raise ValueError("no host name: a part between two dots is empty or too long") from None
    return value


HostName = Annotated[str, Field(min_length=1), AfterValidator(_resolvable)]
"""A host's name or address, several of them, or the directory of a socket."""


class EnvironmentSettings(BaseModel):
    """Base of all settings models: values come from the mapping given to `load_settings` and from nowhere else."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: Any,
        init_settings: Any,
        env_settings: Any,
        dotenv_settings: Any,
        file_secret_settings: Any,
    ) -> tuple[Any, ...]:
        """For a service that also derives from pydantic-settings' `BaseSettings`: no second, hidden source."""
        return (init_settings,)


class TemporalSettings(EnvironmentSettings):
    """Where Temporal is and how to speak to it."""

    temporal_address: str = Field(
        validation_alias="TEMPORAL_ADDRESS", description="host:port of the Temporal frontend, such as localhost:7233"
    )
    temporal_namespace: str = Field(
        default="default", validation_alias="TEMPORAL_NAMESPACE", min_length=1, description="an existing namespace"
    )
    temporal_tls: bool | None = Field(
        default=None,
        validation_alias="TEMPORAL_TLS",
        description="true or false; unset means true as soon as another setting of TLS or an API key is given",
    )
    temporal_tls_ca: FilePath | None = Field(
        default=None, validation_alias="TEMPORAL_TLS_CA", description="path of a PEM file with the server's root CA"
    )
    temporal_tls_cert: FilePath | None = Field(
        default=None, validation_alias="TEMPORAL_TLS_CERT", description="path of a PEM file with the client certificate"
    )
    temporal_tls_key: FilePath | None = Field(
        default=None,
        validation_alias="TEMPORAL_TLS_KEY",
        validate_default=True,
        description="path of a PEM file with the client certificate's key",
    )
    temporal_tls_server_name: str | None = Field(
        default=None,
        validation_alias="TEMPORAL_TLS_SERVER_NAME",
        description="server name expected in the certificate; not with TEMPORAL_TLS=false",
    )
    temporal_api_key: SecretStr | None = Field(
        default=None, validation_alias="TEMPORAL_API_KEY", description="an API key of the namespace"
    )
    temporal_payload_keys: SecretStr | None = Field(
        default=None,
        validation_alias="TEMPORAL_PAYLOAD_KEYS",
        description="name:key pairs, comma-separated; a key is 32 bytes in base64; the first encrypts, all decrypt",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        pattern=r"^https?://.+",
        description="URL of an OTLP collector (HTTP), such as http://localhost:4318; turns traces on",
    )
    temporal_worker_build_id: str | None = Field(
        default=None, validation_alias="TEMPORAL_WORKER_BUILD_ID", description="name of this build, such as a commit"
    )

    temporal_worker_deployment: str | None = Field(
        default=None,
        validation_alias="TEMPORAL_WORKER_DEPLOYMENT",
        pattern=r"^[A-Za-z0-9_-]{1,200}$",
        description="name of a worker deployment: turns worker versioning on; unset means off",
    )
    temporal_worker_max_pollers: int = Field(
        default=20,
        ge=2,
        validation_alias="TEMPORAL_WORKER_MAX_POLLERS",
        description="polls of one queue at once, for each kind of task; fewer while there is little to do",
    )

    @field_validator("temporal_address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        match = _ADDRESS.match(value)
        if match is None or not 0 < int(match.group(2)) < 65536:
            raise ValueError("not host:port")
        return value

    @field_validator("temporal_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        # Else it would not be sent, in silence, and the server would say that it knows nobody.
        key = "" if value is None else value.get_secret_value()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("holds a space, a line break or a character outside ASCII")
        return value

    @field_validator("temporal_payload_keys")
    @classmethod
    def _keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_keys(value.get_secret_value())
        return value

    @field_validator("temporal_tls_key")
    @classmethod
    def _certificate_with_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        # Absent from info.data means that it failed on its own and is reported already.
        if "temporal_tls_cert" in info.data and (info.data["temporal_tls_cert"] is None) != (value is None):
            raise ValueError("TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY must be set together")
        if info.data.get("temporal_tls") is False and any(
            (value, info.data.get("temporal_tls_cert"), info.data.get("temporal_tls_ca"))
        ):
            raise ValueError("TEMPORAL_TLS is false but TLS files are given; drop the files or set it to true")
        certificate = info.data.get("temporal_tls_cert")
        if value is not None and certificate is not None:
            require_pair(certificate, value)
        return value

    @field_validator("temporal_tls_server_name")
    @classmethod
    def _name_with_tls(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("temporal_tls") is False:
            raise ValueError("TEMPORAL_TLS is false, so no certificate has a name; drop this or set it to true")
        return value

    @field_validator("temporal_tls_ca", "temporal_tls_cert")
    @classmethod
    def _is_certificate(cls, value: Path | None) -> Path | None:
        if value is not None:
            require_certificate(value)
        return value

    @property
    def temporal_uses_tls(self) -> bool:
        """What `TEMPORAL_TLS` means here: its value, or true if another setting of TLS or an API key is given."""
        if self.temporal_tls is not None:
            return self.temporal_tls
        return any((self.temporal_tls_ca, self.temporal_tls_cert, self.temporal_tls_server_name, self.temporal_api_key))


class PostgresSettings(EnvironmentSettings):
    """Where PostgreSQL is and who asks."""

    db_host: HostName = Field(validation_alias="DB_HOST", description="host name, or directory of the socket")
    db_port: int = Field(default=5432, validation_alias="DB_PORT", gt=0, lt=65536, description="port number")
    db_name_server: str = Field(validation_alias="DB_NAME_SERVER", min_length=1, description="name of the database")
    db_user_server: str = Field(
        validation_alias="DB_USER_SERVER", min_length=1, description="a role that owns no table of the schema"
    )
    db_password_server: SecretStr = Field(validation_alias="DB_PASSWORD_SERVER", description="that role's password")


class ListenAddress(NamedTuple):
    """Where to listen, and the variables that say so."""

    host: str
    port: int
    host_variable: str
    port_variable: str


class HealthSettings(EnvironmentSettings):
    """Where /livez, /readyz and /metrics are served; the base of what else a service listens on."""

    port: int = Field(
        default=4000, validation_alias="PORT", ge=0, lt=65536, description="port number; 0 takes a free one"
    )
    health_host: HostName = Field(
        default="127.0.0.1",
        validation_alias="HEALTH_HOST",
        description="address to bind; 0.0.0.0 in a container whose probes come from outside",
    )

    @property
    def health_address(self) -> ListenAddress:
        """Of /livez, /readyz and /metrics."""
        return ListenAddress(self.health_host, self.port, "HEALTH_HOST", "PORT")

    @property
    def addresses(self) -> Sequence[ListenAddress]:
        """Every one that the service listens on."""
        return (self.health_address,)


class LogSettings(EnvironmentSettings):
    """How much is logged and in which form."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", validation_alias="LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_is_format_json: bool | None = Field(
        default=None,
        validation_alias="LOG_IS_FORMAT_JSON",
        description="true or false; unset means JSON unless standard error is a terminal",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: Any) -> Any:
        return {"WARN": "WARNING"}.get(value.upper(), value.upper()) if isinstance(value, str) else value


def load_settings(
    cls: type[SettingsType], environ: Mapping[str, str], retired: Mapping[str, str] | None = None
) -> SettingsType:
    """Read and check the settings of a process.

    Args:
        cls: The service's settings class; each field's `validation_alias` names its variable.
        environ: The process environment. An empty value counts as not set. A secret may be in a file instead, which
            `<VARIABLE>_FILE` names; one line break at its end is not part of it.
        retired: Variables that no longer mean anything, each with a sentence that names the successor.

    Raises:
        StartRefused: With every wrong variable (values masked) and every retired one that is set.
    """
    given = {name: value for name, value in environ.items() if value != ""}
    fields = {_variable(name, field): field for name, field in cls.model_fields.items()}
    secrets = [name for name, field in fields.items() if _is_secret(field)]
    problems = _read_files(given, secrets)
    problems += [
        # Of all others the types say so.
        StartProblem("SETTING_INVALID", name, "***: is no text: it has bytes that are not UTF-8, or a null byte")
        for name in secrets
        if not _is_text(given.get(name, ""))
    ]
    problems += [
        StartProblem("SETTING_RETIRED", name, f"is no longer read: {successor}")
        for name, successor in (retired or {}).items()
        if name in given
    ]
    unread = {problem.where.removesuffix(FILE_SUFFIX) for problem in problems}
    try:
        settings = cls.model_validate({name: given[name] for name in fields if name in given})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False):
            located = str(detail["loc"][0]) if detail["loc"] else "settings"
            # A default that fails is located by its field's name, a given value by its variable.
            variable = _variable(located, cls.model_fields[located]) if located in cls.model_fields else located
            if variable in unread:
                continue
            problems.append(
                _problem(variable, fields.get(variable), detail["type"], detail["msg"], given.get(variable))
            )
        raise StartRefused(problems) from None
    if problems:
        raise StartRefused(problems)
    return settings


def _read_files(given: dict[str, str], secrets: Sequence[str]) -> list[StartProblem]:
    """Puts the contents of files in the place of the variables that name them."""
    problems = []
    for variable in secrets:
        named = variable + FILE_SUFFIX
        if named not in given:
            continue
        if variable in given:
            problems.append(StartProblem("SETTING_INVALID", named, f"{variable} is set as well: set one of them"))
            continue
        try:
            given[variable] = Path(given[named]).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.append(StartProblem("SETTING_INVALID", named, f"{given[named]!r} cannot be read: {reason}"))
        else:
            if not given[variable]:
                problems.append(StartProblem("SETTING_INVALID", named, f"{given[named]!r} is empty"))
    return problems


def _is_text(value: str) -> bool:
    """Whether every program can be given it; bytes of the environment that are not UTF-8 come as halves of pairs."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_secret(field: FieldInfo) -> bool:
    return "Secret" in str(field.annotation)


def _variable(name: str, field: FieldInfo) -> str:
    return field.validation_alias if isinstance(field.validation_alias, str) else name


def _problem(variable: str, field: FieldInfo | None, kind: str, message: str, value: str | None) -> StartProblem:
    wanted = f"; expected {field.description}" if field is not None and field.description else ""
    if kind == "missing":
        return StartProblem("SETTING_MISSING", variable, f"is not set{wanted}")
    said = message.removeprefix("Value error, ")
    if kind.isupper():  # a code of the service's own validator, whose sentence is complete
        return StartProblem(kind, variable, said)
    return StartProblem("SETTING_INVALID", variable, f"{_masked(field, value)}: {said}{wanted}")


def _masked(field: FieldInfo | None, value: str | None) -> str:
    if value is None:
        return "not set"
    secret = field is None or _is_secret(field) or "@" in value
    shown = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
    return "***" if secret else repr(shown)
