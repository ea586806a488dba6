"""Where secrets come from: files, a mapping that a service's settings hand in, several in a row."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from workflows_core.actions.ports import SecretProvider
from workflows_core.errors import ActionFailed, ErrorCategory, Problem, Refused

SECRET_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,254}")
"""A secret's whole name."""

AI_KEY_SECRET: Final = "AI_API_KEY"  # noqa: S105 - the name of a secret
"""The key of the AI provider."""

MAIL_KEY_SECRET: Final = "EMAIL_KEY"  # noqa: S105 - the name of a secret
"""The SMTP password, or the key of the e-mail provider."""

SERVICE_SECRETS: Final = frozenset({AI_KEY_SECRET, MAIL_KEY_SECRET})
"""What the installation's own services look up: for no definition and no action, a tenant's own value included."""

MAX_SECRET_BYTES: Final = 64 * 1024
"""Size of a value in UTF-8."""

# A tenant's id becomes a folder's name, so nothing in it may lead elsewhere.
_TENANT_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_LOG = logging.getLogger(__name__)


class FileSecrets:
    """One file per secret: `<directory>/<tenant>/<NAME>`, else `<directory>/<NAME>`.

    A file directly below the directory is the installation's, and every tenant may use it; `SERVICE_SECRETS`
    are kept from authors where an action is called. Values are UTF-8; one line break at the end is not part of
    them. A file is read at each use, so that a changed secret works at once.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def get(self, tenant_id: str, name: str) -> str | None:
        """The value, or None when there is no such file.

        Raises:
            ActionFailed: `SECRET_UNUSABLE`: the file is empty, too large, not UTF-8
                (`ValidationError`), or cannot be read (`TransientError`).
        """
        if not SECRET_NAME.fullmatch(name):
            return None
        return await asyncio.to_thread(self._read, tenant_id, name)

    def ages(self, tenant_id: str) -> dict[str, timedelta]:
        """How long ago each secret that the tenant may use was last changed; for checks before a run."""
        now, found = datetime.now(UTC), dict[str, timedelta]()
        folders = [self._directory]
        if _TENANT_FOLDER.fullmatch(tenant_id):
            folders.append(self._directory / tenant_id)
        for folder in folders:
            for file in folder.iterdir() if folder.is_dir() else ():
                if SECRET_NAME.fullmatch(file.name) and file.is_file():
                    found[file.name] = now - datetime.fromtimestamp(file.stat().st_mtime, UTC)
        return found

    def _read(self, tenant_id: str, name: str) -> str | None:
        places = [self._directory / name]
        if _TENANT_FOLDER.fullmatch(tenant_id):
            places.insert(0, self._directory / tenant_id / name)
        for place in places:
            try:
                with place.open("rb") as file:
                    content = file.read(MAX_SECRET_BYTES + 3)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            except OSError as error:
                _LOG.warning("secret file %s cannot be read: %s", place, error.strerror)
                raise _unusable(name, "cannot be read by this process", ErrorCategory.TRANSIENT) from None
            return _text(name, content)
        return None

    def __repr__(self) -> str:
        return f"FileSecrets({str(self._directory)!r})"


class MappingSecrets:
    """Secrets of a mapping from name to value, the installation's: every tenant may use them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """Checks and copies the mapping.

        Raises:
            Refused: `INVALID_SECRET_NAME`, `SECRET_UNUSABLE`: every wrong entry, none with its value.
        """
        problems = []
        for name, value in values.items():
            if not SECRET_NAME.fullmatch(name):
                message = "is no secret's name: capital letters, digits and _, a letter first, at most 255 characters"
                problems.append(Problem("INVALID_SECRET_NAME", message, name))
            reason = _reason(value)
            if reason:
                problems.append(Problem("SECRET_UNUSABLE", reason, name))
        if problems:
            raise Refused(problems)
        self._values = dict(values)

    async def get(self, tenant_id: str, name: str) -> str | None:
        """The value, or None."""
        return self._values.get(name)

    def __repr__(self) -> str:
        return f"MappingSecrets({', '.join(sorted(self._values))})"


class ChainSecrets:
    """Several providers: the first that has a secret gives it."""

    def __init__(self, *providers: SecretProvider) -> None:
        self._providers = providers

    async def get(self, tenant_id: str, name: str) -> str | None:
        """The first provider's value, or None when no one has it. What one raises is not passed over."""
        for provider in self._providers:
            value = await provider.get(tenant_id, name)
            if value is not None:
                return value
        return None

    def __repr__(self) -> str:
        return f"ChainSecrets({', '.join(repr(provider) for provider in self._providers)})"


def service_secret_problem(name: str) -> str | None:
    """Why an author may not use a secret that is there for the installation's services; None for every other name."""
    if name not in SERVICE_SECRETS:
        return None
    return (
        f"{name} is the key of one of the installation's own services, and no definition may use it; "
        "put a value that definitions need into a secret of another name"
    )


def bearer_problem(name: str, value: str) -> str | None:
    """Why a secret cannot stand in `Authorization: Bearer …`, without its value; None for one that can."""
    if value.isascii() and value.isprintable() and " " not in value:
        return None
    return f"secret {name} is no key: it holds a space, a line break or a character outside ASCII"


def _text(name: str, content: bytes) -> str:
    if len(content) > MAX_SECRET_BYTES + 2:
        raise _unusable(name, f"is larger than {MAX_SECRET_BYTES} bytes", ErrorCategory.VALIDATION)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _unusable(name, "is not UTF-8", ErrorCategory.VALIDATION) from None
    text = text.removesuffix("\n").removesuffix("\r")
    reason = _reason(text)
    if reason:
        raise _unusable(name, reason, ErrorCategory.VALIDATION)
    return text


def _reason(value: str) -> str | None:
    if not value:
        return "is empty"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_SECRET_BYTES:
        return f"is larger than {MAX_SECRET_BYTES} bytes"
    return None


def _unusable(name: str, reason: str, category: ErrorCategory) -> ActionFailed:
    return ActionFailed(f"secret {name} {reason}", category=category, code="SECRET_UNUSABLE", details={"secret": name})
