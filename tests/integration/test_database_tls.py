"""PostgreSQL behind TLS, and what is said of it names the variable that mends it, by every program.

The front has PostgreSQL's way to begin TLS; the server that the wheel brings has none.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from harness.certificates import Authority
from harness.databases import MigratedDatabase
from harness.forwarding import Forwarder
from harness.operator import refused, workflows
from harness.service_process import ended

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@asynccontextmanager
async def behind_tls(database: MigratedDatabase, pair: tuple[str, str]) -> AsyncIterator[dict[str, str]]:
    """The environment of an operator, for whom the database is behind a front with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    front = Forwarder(database.host, database.port, context, asked_for=True)
    await front.open()
    try:
        yield {
            **database.environment,
            "DB_HOST": "localhost",
            "DB_PORT": str(front.port),
            "TEMPORAL_ADDRESS": "127.0.0.1:1",
            "WORKFLOWS_TENANT": "acme",
            "PGSSLMODE": "verify-full",
        }
    finally:
        await front.close()


async def told_by_every_program(environment: dict[str, str]) -> list[str]:
    """Lines about PostgreSQL of the command line, of the commands of `db`, of a service and of `temporal-worker`."""
    login = {**environment, "WORKFLOWS_LOGIN_PASSWORD": "x"}
    url = f"postgresql://ada:hidden@localhost:{environment['DB_PORT']}/{environment['DB_NAME_SERVER']}"
    lines = [
        await refused(environment, "runs", "list"),
        await refused(environment, "db", "upgrade", "--url", url),
        await refused(login, "db", "create-login", "ada", "--url", url),
    ]
    _, checked, wrong = await ended("workflow-worker", "check", environment=environment)
    assert wrong == ""
    code, _, migrated = await ended("temporal-worker", "migrate", environment=environment)
    assert code == 1
    return [*lines, next(line for line in checked.splitlines() if "postgres:" in line), migrated]


@pytest.mark.parametrize(
    ("case", "advice"),
    [
        ("of another CA", "the server's certificate is out of date, or PGSSLROOTCERT lacks the CA behind it"),
        ("expired", "the server's certificate is out of date, or PGSSLROOTCERT lacks the CA behind it"),
        ("of another name", "DB_HOST has to be a name of the certificate; PGSSLMODE=verify-ca looks at no name"),
        ("no file", "PGSSLROOTCERT has to name a PEM file with the CA that signed the server's certificate"),
        ("misspelt", "PGSSLMODE is disable, allow, prefer, require, verify-ca or verify-full"),
        ("key of another", "PGSSLKEY is the key of another certificate than PGSSLCERT"),
        ("no key", "PGSSLKEY has to name the file with the key of the certificate of PGSSLCERT"),
    ],
)
async def test_what_is_wrong_with_tls_is_told_with_the_variable_that_mends_it(
    case: str, advice: str, database: MigratedDatabase, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    ago = timedelta(days=3) if case == "expired" else timedelta()
    pair = authority.pair("db.example" if case == "of another name" else "localhost", ago=ago)
    mine, theirs = authority.pair("mine"), authority.pair("theirs")
    set_so = {
        "of another CA": {"PGSSLROOTCERT": other.file},
        "no file": {"PGSSLROOTCERT": str(tmp_path / "none.pem")},
        "misspelt": {"PGSSLMODE": "verify_full"},
        "key of another": {"PGSSLCERT": mine[0], "PGSSLKEY": theirs[1]},
        "no key": {"PGSSLCERT": mine[0], "PGSSLKEY": str(tmp_path / "none.pem")},
    }
    for file in (mine[1], theirs[1]):
        Path(file).chmod(0o600)
    async with behind_tls(database, pair) as environment:
        right = {**environment, "PGSSLROOTCERT": authority.file}
        for line in await told_by_every_program({**right, **set_so.get(case, {})}):
            assert line.rstrip().endswith(f"; {advice}"), line
            assert "hidden" not in line


async def test_a_certificate_that_is_right_is_accepted(database: MigratedDatabase, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    async with behind_tls(database, authority.pair("localhost")) as environment:
        assert await workflows({**environment, "PGSSLROOTCERT": authority.file}, "runs", "list") == []


async def test_a_server_without_tls_is_told_so(database: MigratedDatabase) -> None:
    plain = {**database.environment, "TEMPORAL_ADDRESS": "127.0.0.1:1", "WORKFLOWS_TENANT": "acme"}
    for line in await told_by_every_program({**plain, "PGSSLMODE": "require"}):
        assert line.rstrip().endswith("; PGSSLMODE asks for TLS, and TLS is off in the server"), line
