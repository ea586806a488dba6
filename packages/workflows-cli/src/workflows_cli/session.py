"""What a command works with: settings, database, Temporal client; opened when first needed."""

from __future__ import annotations

import asyncio
import functools
import getpass
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from service_host.postgres import create_engine, where_is
from service_host.temporal import try_temporal
from workflows_cli.dev.state import DEFAULT_DIRECTORY
from workflows_cli.errors import of_database
from workflows_cli.output import Format, emit, utc_text
from workflows_cli.settings import AuthoringSettings, Settings, read_authoring_settings, read_settings
from workflows_core.errors import Problem, Refused
from workflows_core.storage.database import Database
from workflows_core.storage.readiness import schema_verdict
from workflows_core.storage.redaction_rules import get_redaction
from workflows_core.wire.text import each_name_once

MAX_FILE_BYTES = 16 * 1024**2
"""A definition or a bundle; counted in characters, since that is what is kept in memory."""

_MAX_DIGITS = 1000
"""A double has 309 at most; Python refuses some thousands in words about Python."""

_CHECK = "check the settings DB_…, or start the stack with `workflows dev`"
_LOGIN = "DB_USER_SERVER has to be a login of `workflows db create-login NAME --service workflows`"


@dataclass
class Session:
    """One call of the command line."""

    style: Format = "text"
    tenant_option: str | None = None
    dev_directory: Path | None = None
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    @functools.cached_property
    def settings(self) -> Settings:
        """Connections, read once."""
        return read_settings(self.dev_directory)

    @functools.cached_property
    def authoring(self) -> AuthoringSettings:
        """What definitions are checked with, read once."""
        return read_authoring_settings()

    @property
    def tenant(self) -> str:
        """The tenant, from `--tenant` or the profile, never guessed.

        Raises:
            Refused: `TENANT_MISSING`.
        """
        # An option that is there and empty, such as of a variable that is not set, means no other tenant.
        tenant = self.settings.tenant if self.tenant_option is None else self.tenant_option
        if not tenant:
            raise Refused.one("TENANT_MISSING", "name the tenant with --tenant or WORKFLOWS_TENANT", "--tenant")
        return tenant

    @property
    def actor(self) -> str:
        """Who published or cancelled, for the records."""
        try:
            return f"cli:{getpass.getuser()}"
        except (KeyError, OSError):
            # The user of an image is a number, which has no name there.
            return f"cli:uid-{os.getuid()}"

    @functools.cached_property
    def db(self) -> Database:
        """The database as the application role."""
        engine = create_engine(self.settings)
        self._open.push_async_callback(engine.dispose)
        return Database(engine)

    async def temporal(self) -> Client:
        """A connected client; one attempt, so that a command answers at once."""
        return await try_temporal(self.settings, self.actor)

    async def shown(self, conn: AsyncConnection, rows: Any) -> Any:
        """Rows as JSON without what the tenant's people are not shown."""
        return (await get_redaction(conn)).shown(rows)

    def emit(self, value: Any, text: str) -> None:
        """Prints an answer in the style the caller asked for."""
        emit(value, text, self.style)

    async def close(self) -> None:
        """Ends what was opened."""
        await self._open.aclose()


class _UtcTime(click.ParamType[datetime]):
    """A time as our own answers have it, or a date; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = datetime.fromisoformat(value)
            at = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            at = None
        # With a blank it is a time as other programs show it: of this machine's zone, which it does not name.
        if at is None or " " in value:
            self.fail(f"{value!r} is no date or time such as 2026-11-30 or 2026-11-30T01:00:00Z", param, ctx)
        return at


UTC_TIME = _UtcTime()
"""Type of an option that takes a time."""


def window_problems(since: datetime | None, until: datetime | None) -> list[Problem]:
    """A window of time that ends before it begins, which nothing would ever be in."""
    if since is None or until is None or since <= until:
        return []
    return [Problem("OPTION_NOT_FITTING", f"must not be before --from, which is {utc_text(since)}", "--until")]


_OPTIONS: Sequence[tuple[Sequence[str], dict[str, Any]]] = (
    (["--format", "style"], {"type": click.Choice(["text", "json"]), "default": "text", "show_default": True}),
    (["--tenant"], {"metavar": "TENANT", "help": "Tenant to work for; else WORKFLOWS_TENANT."}),
    (["--dev", "use_dev"], {"is_flag": True, "help": "Talk to the development stack."}),
    (
        ["--state"],
        {
            "type": click.Path(path_type=Path),
            "default": DEFAULT_DIRECTORY,
            "show_default": True,
            "help": "Directory of the development stack.",
        },
    ),
)
"""Options that every command has."""


def command(work: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., int | None]:
    """Makes an async function a command: adds the options every command has and hands it its `Session`."""

    @functools.wraps(work)
    def run(*args: Any, style: Format, tenant: str | None, use_dev: bool, state: Path, **kwargs: Any) -> int | None:
        session = Session(style, tenant, state if use_dev else None)

        async def whole() -> int | None:
            try:
                return await work(session, *args, **kwargs)
            except Exception as error:
                told = await _told(session, error) if "db" in session.__dict__ else None
                if told is None:
                    raise
                raise told from error
            finally:
                await session.close()

        return asyncio.run(whole())

    decorated: Callable[..., int | None] = run
    for names, settings in _OPTIONS:
        add_option: Callable[[Callable[..., int | None]], Callable[..., int | None]] = click.option(*names, **settings)
        decorated = add_option(decorated)
    return decorated


def read_document(path: str) -> Any:
    """JSON from a file, or from standard input for `-`.

    Raises:
        Refused: `FILE_NOT_READABLE`, `FILE_TOO_LARGE`, or `NOT_JSON` with line and column.
    """
    return parse_json(read_text(path), path)


def read_text(path: str) -> str:
    """Text of a file, or of standard input for `-`.

    Raises:
        Refused: `FILE_NOT_READABLE`, `FILE_TOO_LARGE`.
    """
    try:
        if path == "-":
            text = sys.stdin.read(MAX_FILE_BYTES + 1)
        else:
            with Path(path).open(encoding="utf-8") as file:
                text = file.read(MAX_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Refused.one("FILE_NOT_READABLE", f"cannot read the file: {reason}", path) from None
    if len(text) > MAX_FILE_BYTES:
        message = f"the file has more than {MAX_FILE_BYTES // 1024**2} MiB: split the bundle, or keep data out of it"
        raise Refused.one("FILE_TOO_LARGE", message, path)
    return text


async def _told(session: Session, error: Exception) -> Refused | None:
    """What the database is to blame for, with its address; None for any other error."""
    where = where_is(session.settings)
    told = of_database(error, where, _CHECK, _LOGIN)
    if told is None and isinstance(error, DBAPIError):
        serves, verdict = await schema_verdict(session.db)
        if not serves:
            return Refused.one("SCHEMA_NOT_FITTING", f"PostgreSQL at {where}: {verdict}")
    return told


def given_json(text: str, option: str) -> Any:
    """A JSON value as it was given to an option, or from the file that `@FILE` names.

    Raises:
        Refused: `FILE_NOT_READABLE`, `FILE_TOO_LARGE`, `NOT_JSON`.
    """
    if not text.startswith("@"):
        return parse_json(text, option)
    return read_document(text[1:])


def parse_json(text: str, where: str) -> Any:
    """A JSON value: no name twice in an object, no NaN, not nested without end.

    Raises:
        Refused: `NOT_JSON`.
    """
    try:
        # Some editors mark a file's encoding at its beginning, and no reader of JSON takes that for JSON.
        marked = text.removeprefix("\ufeff")
        return json.loads(
            marked, object_pairs_hook=each_name_once, parse_constant=_no_constant, parse_int=_whole_number
        )
    except RecursionError:
        raise Refused.one("NOT_JSON", "this is nested too deeply to be read", where) from None
    except ValueError as error:
        raise Refused.one("NOT_JSON", f"this is not JSON: {error}", where) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _whole_number(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits, at most {_MAX_DIGITS} are read")
    return int(text)
