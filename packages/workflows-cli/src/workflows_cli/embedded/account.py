"""Running PostgreSQL for root: it refuses to be root, so it runs as `nobody`, and no existing permission is touched."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from workflows_cli.embedded.child import Account
from workflows_cli.embedded.failures import EmbeddedStartFailed

# Only a parent: what is made below it has a random name and belongs to the account alone.
_SHORT_PARENT = Path("/var/tmp")  # noqa: S108
_NAME = "nobody"


def unprivileged_account() -> Account | None:
    """The account to run PostgreSQL as: None, which is this one, unless this one is root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        raise EmbeddedStartFailed(f"PostgreSQL cannot run as root, and there is no user {_NAME!r} to run it") from None
    return Account(entry.pw_uid, entry.pw_gid)


def new_directory(account: Account | None, parent: Path | None = None) -> Path:
    """A new directory with a short name that only `account` (and root) can enter."""
    directory = Path(tempfile.mkdtemp(prefix="workflows-", dir=parent or (_SHORT_PARENT if account else None)))
    if account:
        os.chown(directory, account.user, account.group)
    return directory


def belongs_to(directory: Path, account: Account | None) -> bool:
    """Whether it is a real directory that `account` owns and nobody else can write to."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    owner = account.user if account else os.geteuid()
    return directory.is_dir() and not directory.is_symlink() and status.st_uid == owner and not status.st_mode & 0o022


def reachable_installation(installation: Path, account: Account | None, directory: Path) -> Path:
    """`installation`, or a copy of it in `directory` when `account` cannot run what is in it."""
    if account is None or _can_run(installation, account):
        return installation
    copies = directory / "programs"
    # The wheel's own shape: the programs find their libraries and files relative to themselves.
    copy = copies / installation.parent.name / installation.name
    if not (copies / "complete").exists():
        shutil.rmtree(copies, ignore_errors=True)
        shutil.copytree(installation.parent, copies / installation.parent.name)
        for libraries in installation.parent.parent.glob(f"{installation.parent.name}.libs"):
            shutil.copytree(libraries, copies / libraries.name)
        for path in (copies, *copies.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        for program in (copy / "bin").iterdir():
            program.chmod(0o755)
        (copies / "complete").touch()
    return copy


def _can_run(installation: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [installation / "bin" / "initdb", "--version"],
            user=account.user,
            group=account.group,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
