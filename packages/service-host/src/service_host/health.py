"""GET /livez, /readyz and /metrics, served from the process itself.

/livez says whether a restart would help: it looks at the loops of this process only, never at a backing service.
/readyz is a matrix: every part with its verdict, so that one look says what is missing.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from service_host.events import HEALTH_LISTENING
from service_host.logs import log_event
from service_host.loop_lag import LoopLag
from service_host.progress import Loop, StopStage
from service_host.serving import serving_loop
from service_host.supervisor import Supervisor

Check = Callable[[], Awaitable[tuple[bool, str]]]
"""A readiness part: (ok, detail)."""

_CHECK_SECONDS: Final = 3.0

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Answer = tuple[int, str, bytes]


class Health:
    """The ASGI application and the readiness parts behind it.

    Args:
        supervisor: Its start-up, drain state and loops are parts of readiness.
        identity: Identity of the process, in every answer.
        registry: Metrics to expose.
        lag: Whether the event loop turns in time.
    """

    def __init__(self, supervisor: Supervisor, identity: str, registry: CollectorRegistry, lag: LoopLag) -> None:
        self._supervisor = supervisor
        self._identity = identity
        self._registry = registry
        self._lag = lag
        self._checks: dict[str, Check] = {}
        self._asked: dict[str, asyncio.Task[tuple[bool, str]]] = {}

    def add_check(self, name: str, check: Check) -> None:
        """Add a readiness part, under a name that is not taken."""
        if name in self._checks:
            raise ValueError(f"a readiness part named {name!r} exists already")
        self._checks[name] = check

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """The verdict and the matrix as served."""
        started, start_detail = self._supervisor.start
        parts: dict[str, tuple[bool, str]] = {"start": (started, start_detail)}
        names = list(self._checks)
        answers = await asyncio.gather(*(self._ask(name) for name in names))
        parts.update(zip(names, answers, strict=True))
        for report in self._supervisor.reports():
            detail = report.detail or report.state.value
            parts[f"loop:{report.name}"] = (report.healthy, detail if report.turns else f"hung: {detail}")
        draining = self._supervisor.draining
        ready = not draining and all(ok for ok, _ in parts.values())
        state = "draining" if draining else "ready" if ready else "not_ready" if started else "starting"
        body = {
            "service": self._supervisor.service,
            "identity": self._identity,
            "ready": ready,
            "state": state,
            "parts": {name: {"ok": ok, "detail": detail} for name, (ok, detail) in parts.items()},
        }
        return ready, body

    def liveness(self) -> tuple[bool, dict[str, Any]]:
        """Whether every loop still turns, and the event loop itself in time."""
        loops = {
            report.name: {
                "state": report.state.value,
                "turns": report.turns,
                "restarts": report.restarts,
                "secondsSinceProgress": None if report.since_progress is None else round(report.since_progress, 1),
            }
            for report in self._supervisor.reports()
        }
        alive = self._lag.alive() and all(loop["turns"] for loop in loops.values())
        return alive, {
            "service": self._supervisor.service,
            "identity": self._identity,
            "alive": alive,
            "eventLoopLateSeconds": round(self._lag.worst(), 3),
            "loops": loops,
        }

    async def _ask(self, name: str) -> tuple[bool, str]:
        """What a check says in time. To give one up can take long as well, so nobody waits for that."""
        asked = self._asked.get(name)
        if asked is None or asked.done():
            asked = self._asked[name] = asyncio.create_task(_verdict(self._checks[name]))
        await asyncio.wait({asked}, timeout=_CHECK_SECONDS)
        if asked.done() and not asked.cancelled():
            return asked.result()
        if not asked.cancelling():
            asked.cancel()
        return False, f"no answer within {_CHECK_SECONDS:g} s"

    async def __call__(self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: _Send) -> None:
        """The ASGI entry."""
        if scope["type"] != "http":
            return
        headers = []
        if scope["path"] not in ("/livez", "/readyz", "/metrics"):
            status, content_type, content = _json(404, {"error": "not found"})
        elif scope["method"] != "GET":
            status, content_type, content = _json(405, {"error": "method not allowed"})
            headers.append((b"allow", b"GET"))
        elif scope["path"] == "/metrics":
            status, content_type, content = self._metrics(scope)
        elif scope["path"] == "/livez":
            alive, body = self.liveness()
            status, content_type, content = _json(200 if alive else 503, body)
        else:
            ready, body = await self.readiness()
            status, content_type, content = _json(200 if ready else 503, body)
        headers += [(b"content-type", content_type.encode()), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _metrics(self, scope: _Message) -> _Answer:
        accepted = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        encode, content_type = choose_encoder(accepted)
        return 200, content_type, encode(self._registry)


def health_loop(health: Health, listener: socket.socket) -> Loop:
    """The server as a loop; it is the last to stop."""
    return serving_loop("health", health, listener, stage=StopStage.SERVE, on_serving=_tell)


def _tell(url: str) -> None:
    log_event(HEALTH_LISTENING, f"health is served at {url}/readyz", url=url)


async def _verdict(check: Check) -> tuple[bool, str]:
    try:
        return await check()
    except TimeoutError:
        return False, "no answer in time"
    except Exception as error:  # a broken check must not hide the other parts
        return False, f"{type(error).__name__}: {error}"


def _json(status: int, body: dict[str, Any]) -> _Answer:
    return status, "application/json", json.dumps(body).encode()
