"""`workflows db upgrade` and `workflows setup`: what an installation needs before its first run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg
from pydantic import Field, SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest

from service_host.errors import StartRefused
from service_host.postgres import database_reason
from service_host.settings import EnvironmentSettings, load_settings
from workflows_cli.dev.state import StackState
from workflows_cli.errors import of_database
from workflows_cli.migrations.upgrade import ROLES, create_login, current, head, upgrade
from workflows_cli.session import Session, command
from workflows_core.errors import Refused
from workflows_core.launching.readiness import SEARCH_ATTRIBUTES, registered_types, type_problem
from workflows_core.storage.database import sqlstate

_CHECK = "check --url or WORKFLOWS_ADMIN_URL"
_LOGIN = "the URL has to name a role that may create tables and roles"
_NO_SUCH_ROLE = "42704"


@click.group("db")
def db_group() -> None:
    """The schema of the authored runtime."""


@db_group.command("upgrade")
@click.option(
    "--url", help="postgresql:// URL of a role that may create tables and roles; else --dev, or WORKFLOWS_ADMIN_URL."
)
@command
async def upgrade_(session: Session, url: str | None) -> int:
    """Bring the schema to the revision of this release."""
    chosen = _parsed(session, url)
    with _explained(chosen):
        before = current(chosen)
        upgrade(chosen)
        after = current(chosen)
    text = f"schema is at {after}" if before == after else f"schema went from {before or 'nothing'} to {after}"
    if after is not None and after > head():
        text += f", of a newer release than this one, which has {head()}: nothing is missing"
    session.emit({"before": before, "after": after}, text)
    return 0


@db_group.command("create-login")
@click.argument("name")
@click.option("--url", help="postgresql:// URL of a role that may create roles; else --dev, or WORKFLOWS_ADMIN_URL.")
@click.option("--service", type=click.Choice(list(ROLES)), default="workflows", show_default=True, help="Who logs in.")
@command
async def create_login_(session: Session, name: str, url: str | None, service: str) -> int:
    """Make NAME a role that a service logs in with, or give it a new password.

    It may do what that service does, and nothing more; `workflows` is for operators.

    The password is WORKFLOWS_LOGIN_PASSWORD, or in the file that WORKFLOWS_LOGIN_PASSWORD_FILE names.
    """
    password = load_settings(LoginSettings, os.environ).password.get_secret_value()
    chosen = _parsed(session, url)
    with _explained(chosen):
        try:
            create_login(chosen, name, password, service)
        except psycopg.Error as error:
            raise _refused_login(chosen, error) from error
    session.emit({"login": name, "service": service}, f"{service} may log in as {name}")
    return 0


class LoginSettings(EnvironmentSettings):
    """What `db create-login` is told."""

    password: SecretStr = Field(validation_alias="WORKFLOWS_LOGIN_PASSWORD", description="the role's password")


class AdminSettings(EnvironmentSettings):
    """What the commands of `db` are told."""

    url: SecretStr = Field(
        validation_alias="WORKFLOWS_ADMIN_URL",
        description="a postgresql:// URL of a role that may create tables and roles; or give --url or --dev",
    )


def _parsed(session: Session, given: str | None) -> URL:
    """The URL that was given, or the one of the installation.

    Raises:
        StartRefused: `SETTING_MISSING`, or `SETTING_INVALID`, without the value, which has a password.
    """
    text = given or _admin_url(session)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        message = (
            "***: no URL such as postgresql://ROLE:PASSWORD@HOST:5432/DATABASE, "
            "with %40 and %25 for @ and % in a password"
        )
        raise StartRefused.one("SETTING_INVALID", "--url" if given else "WORKFLOWS_ADMIN_URL", message)
    return url


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    """Around what is done as the role of the URL.

    Raises:
        Refused: `DATABASE_UNAVAILABLE`, `DATABASE_REFUSED`.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        told = of_database(error, _where(url), _CHECK, _LOGIN)
        if told is None:
            raise
        raise told from error


def _refused_login(url: URL, error: psycopg.Error) -> Refused:
    told = of_database(error, _where(url), _CHECK, _LOGIN)
    if told is not None:
        return told
    reason = f"PostgreSQL at {_where(url)} refuses: {database_reason(error)}"
    if sqlstate(error) == _NO_SUCH_ROLE:
        return Refused.one("SCHEMA_NOT_FITTING", f"{reason}; run `workflows db upgrade` first")
    return Refused.one("DATABASE_REFUSED", reason)


def _where(url: URL) -> str:
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"


def _admin_url(session: Session) -> str:
    """Of the development stack where that is asked for, as in every command; else from the environment, or a file.

    Raises:
        Refused: No such stack runs.
        StartRefused: `SETTING_MISSING`.
    """
    if session.dev_directory is not None:
        return StackState.read(session.dev_directory).admin_url
    return load_settings(AdminSettings, os.environ).url.get_secret_value()


@click.command("setup")
@command
async def setup(session: Session) -> int:
    """Register the search attributes of runs in the namespace."""
    client = await session.temporal()
    namespace = session.settings.temporal_namespace
    types = await registered_types(client)
    wrong = type_problem(types)
    if wrong is not None:
        raise Refused.one("SEARCH_ATTRIBUTE_TYPE_WRONG", f"namespace {namespace}: {wrong}")
    missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in types}
    if missing:
        kinds = {name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}") for name, kind in missing.items()}
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=namespace, search_attributes=kinds)
        )
    text = f"registered {', '.join(sorted(missing))}" if missing else "every search attribute is registered"
    session.emit({"namespace": namespace, "registered": sorted(missing)}, text)
    return 0
