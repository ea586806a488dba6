"""Waiting for backing services that are not there."""

from __future__ import annotations

import asyncio
import socket

import pytest

from service_host.errors import Unreachable
from service_host.postgres import create_engine, ping_postgres, postgres_check, wait_for_postgres
from service_host.reaching import until_reached
from service_host.settings import PostgresSettings, TemporalSettings, load_settings
from service_host.temporal import connect_temporal, identity_of, service_of, try_temporal

pytestmark = pytest.mark.asyncio


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def temporal_at(port: int) -> TemporalSettings:
    return load_settings(TemporalSettings, {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}"})


def postgres_at(port: int) -> PostgresSettings:
    return load_settings(
        PostgresSettings,
        {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(port),
            "DB_NAME_SERVER": "d",
            "DB_USER_SERVER": "u",
            "DB_PASSWORD_SERVER": "hunter2",
        },
    )


async def test_it_tries_again_and_says_what_it_waits_for() -> None:
    attempts: list[int] = []
    told: list[str] = []

    async def attempt() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise Unreachable("Temporal", "host:1", "refused")
        return "there"

    assert await until_reached(attempt, on_wait=told.append, retry_seconds=0.001) == "there"
    assert told == ["waiting for Temporal at host:1: refused"] * 2


async def test_what_waiting_will_not_mend_may_be_raised() -> None:
    async def attempt() -> None:
        raise Unreachable("Temporal", "host:1", "no such namespace", permanent=True)

    with pytest.raises(Unreachable, match="no such namespace"):
        await until_reached(attempt, patience_seconds=0)


async def test_temporal_that_is_not_there_is_named_with_address_and_namespace() -> None:
    port = closed_port()
    with pytest.raises(Unreachable) as caught:
        await try_temporal(temporal_at(port), "me@host:1")
    assert str(caught.value) == f"Temporal at 127.0.0.1:{port} (namespace default): Connection refused"


async def test_waiting_for_temporal_can_be_cancelled() -> None:
    told = asyncio.Event()
    waiting = asyncio.create_task(connect_temporal(temporal_at(closed_port()), "me", on_wait=lambda _: told.set()))
    await told.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_postgres_that_is_not_there_is_named_without_credentials() -> None:
    port = closed_port()
    engine = create_engine(postgres_at(port))
    with pytest.raises(Unreachable) as caught:
        await ping_postgres(engine)
    assert str(caught.value).startswith(f"PostgreSQL at 127.0.0.1:{port}/d: ")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    ready, detail = await postgres_check(engine)()
    assert not ready
    assert f"127.0.0.1:{port}" in detail
    told = asyncio.Event()
    waiting = asyncio.create_task(wait_for_postgres(engine, on_wait=lambda _: told.set()))
    await told.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    await engine.dispose()


async def test_a_server_that_accepts_and_says_nothing_does_not_hold_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = create_engine(postgres_at(silent.getsockname()[1]))
        with pytest.raises(Unreachable, match="connection timeout expired"):
            await ping_postgres(engine)
        await engine.dispose()


async def test_identities_tell_the_service() -> None:
    assert service_of(identity_of("workflow-worker")) == "workflow-worker"
    assert service_of("4711@some-host") == "4711@some-host"
    assert service_of("somebody") == "somebody"
