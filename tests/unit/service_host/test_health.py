"""The health endpoint over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service_host.errors import StartRefused
from service_host.health import Health, health_loop
from service_host.loop_lag import LoopLag
from service_host.metrics import LoopMetrics, new_registry
from service_host.progress import Loop, Progress, RestartBudget, StopStage
from service_host.serving import bind, serving_loop, url_of
from service_host.settings import HealthSettings, load_settings
from service_host.supervisor import Supervisor

pytestmark = pytest.mark.asyncio


@dataclass
class Running:
    """A supervisor whose health loop is served."""

    supervisor: Supervisor
    health: Health
    http: httpx.AsyncClient
    start_up_may_end: asyncio.Event


def bind_health(port: int = 0) -> socket.socket:
    settings = load_settings(HealthSettings, {"PORT": str(port)})
    return bind(settings.health_address)


@pytest_asyncio.fixture
async def running() -> AsyncIterator[Running]:
    listener = bind_health()
    supervisor, registry, may_end = Supervisor("a-service"), new_registry(), asyncio.Event()
    registry.register(LoopMetrics("a-service", supervisor.reports))
    health = Health(supervisor, "a-service@host:1", registry, LoopLag())
    supervisor.add(health_loop(health, listener))

    async def start_up() -> None:
        await may_end.wait()

    process = asyncio.create_task(supervisor.run(start_up))
    async with httpx.AsyncClient(base_url=url_of(listener), trust_env=False) as http:
        yield Running(supervisor, health, http, may_end)
    supervisor.request_stop("test ends")
    assert await process == 0
    listener.close()


async def readiness(running: Running) -> tuple[int, dict[str, object]]:
    answer = await running.http.get("/readyz")
    return answer.status_code, answer.json()


async def test_it_answers_while_start_up_waits_and_is_not_ready(running: Running) -> None:
    running.supervisor.waiting("waiting for Temporal at localhost:7233")
    status, body = await readiness(running)
    assert (status, body["state"], body["ready"]) == (503, "starting", False)
    assert body["parts"]["start"] == {"ok": False, "detail": "waiting for Temporal at localhost:7233"}  # type: ignore[index]
    assert (await running.http.get("/livez")).status_code == 200


async def test_one_part_decides_and_all_are_shown(running: Running) -> None:
    verdict = (False, "queue is not polled")

    async def changing() -> tuple[bool, str]:
        return verdict

    async def broken() -> tuple[bool, str]:
        raise LookupError("no such thing")

    running.start_up_may_end.set()
    running.health.add_check("changing", changing)
    status, body = await readiness(running)
    assert (status, body["state"]) == (503, "not_ready")
    assert body["parts"]["changing"] == {"ok": False, "detail": "queue is not polled"}  # type: ignore[index]
    verdict = (True, "polled")
    status, body = await readiness(running)
    assert (status, body["state"], body["service"]) == (200, "ready", "a-service")
    running.health.add_check("broken", broken)
    status, body = await readiness(running)
    assert status == 503
    assert "no such thing" in body["parts"]["broken"]["detail"]  # type: ignore[index]


async def test_a_part_that_does_not_even_give_up_is_told_as_no_answer(running: Running) -> None:
    asked, gone = 0, asyncio.Event()

    async def hanging() -> tuple[bool, str]:
        nonlocal asked
        asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            await gone.wait()
        return True, "never"

    running.start_up_may_end.set()
    running.health.add_check("database", hanging)
    answers = [await readiness(running) for _ in range(2)]
    gone.set()
    for status, body in answers:
        assert (status, body["parts"]["database"]) == (503, {"ok": False, "detail": "no answer within 3 s"})  # type: ignore[index]
    assert asked == 1


async def test_a_degraded_loop_makes_unready_but_not_dead_and_a_hung_one_makes_dead(running: Running) -> None:
    running.start_up_may_end.set()
    seen: list[Progress] = []

    async def run(progress: Progress) -> None:
        progress.degraded("database away")
        seen.append(progress)
        await progress.stopping.wait()

    running.supervisor.add(Loop("ingress", run, turns_within=30, restarts=RestartBudget(restarts=0)))
    while not seen:
        await asyncio.sleep(0.005)
    status, body = await readiness(running)
    assert (status, body["parts"]["loop:ingress"]) == (503, {"ok": False, "detail": "database away"})  # type: ignore[index]
    assert (await running.http.get("/livez")).status_code == 200
    seen[0].mark()
    assert (await readiness(running))[0] == 200
    seen[0].last_turn -= 31
    assert (await readiness(running))[0] == 503
    live = await running.http.get("/livez")
    assert (live.status_code, live.json()["loops"]["ingress"]["turns"]) == (503, False)


async def test_draining_is_not_ready_and_still_answered(running: Running) -> None:
    running.start_up_may_end.set()
    release, draining = asyncio.Event(), asyncio.Event()

    async def run(progress: Progress) -> None:
        progress.mark()
        await progress.stopping.wait()
        draining.set()
        await release.wait()

    running.supervisor.add(Loop("slow", run, stop_within=30))
    while (await readiness(running))[0] != 200:
        await asyncio.sleep(0.005)
    running.supervisor.request_stop("deploy")
    await draining.wait()
    status, body = await readiness(running)
    assert (status, body["state"]) == (503, "draining")
    release.set()


async def test_metrics_show_the_loops(running: Running) -> None:
    answer = await running.http.get("/metrics")
    assert answer.status_code == 200
    assert 'service_loop_state{loop="health",service="a-service",state="running"} 1.0' in answer.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_only_get_is_answered(running: Running, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        answer = await running.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_other_paths_are_not_found_and_tell_nothing(running: Running) -> None:
    for path in ("/", "/health/../x", "/env", "/readyz/"):
        answer = await running.http.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"error": "not found"}


async def test_a_taken_port_refuses_the_start() -> None:
    first = bind_health()
    first.listen()
    with pytest.raises(StartRefused) as caught:
        bind_health(first.getsockname()[1])
    assert caught.value.code == "PORT_NOT_AVAILABLE"
    first.close()


async def test_a_server_that_has_stopped_refuses_callers_while_the_process_still_drains() -> None:
    listener, may_end, draining = bind_health(), asyncio.Event(), asyncio.Event()
    address, served = listener.getsockname(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def works(progress: Progress) -> None:
        await progress.stopping.wait()
        draining.set()
        await may_end.wait()

    async def nothing() -> None:
        """No start-up."""

    supervisor = Supervisor("a-service")
    supervisor.add(serving_loop("api", application, listener, stage=StopStage.CLAIM, on_serving=lambda _: served.set()))
    supervisor.add(Loop("work", works, stage=StopStage.WORK, stop_within=30))
    process = asyncio.create_task(supervisor.run(nothing))
    await served.wait()
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url_of(listener))).status_code == 204
    supervisor.request_stop("enough")
    await draining.wait()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address[:2])
    may_end.set()
    assert await process == 0
