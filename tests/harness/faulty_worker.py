"""workflow-worker that kills itself at a named boundary: `FAULT_POINT`, the `FAULT_COUNT`-th time it comes there.

A boundary is a commit, or a call to Temporal, of a part of the runtime; its name is `part:boundary:before|after`, as
`launch:commit1:after`. With `FAULT_NAMES` each new name is written to that file. The service knows nothing of this.
"""

from __future__ import annotations

import functools
import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import TextClause
from sqlalchemy.engine.default import DefaultDialect
from temporalio import activity
from temporalio.service import _BridgeServiceClient

from service_host.early import end_on_signal
from workflow_worker.main import main
from workflows_core.ingress import router
from workflows_core.ingress.just_routed import JustRouted
from workflows_core.ingress.sender import Sender
from workflows_core.launching.launcher import Launcher
from workflows_core.launching.reconciler import Reconciler
from workflows_core.storage.database import Database

_Part = tuple[str, Counter[str]]
_part: ContextVar[_Part | None] = ContextVar("part", default=None)
_activities: dict[bytes, Counter[str]] = {}
_point, _count = os.environ.get("FAULT_POINT", ""), int(os.environ.get("FAULT_COUNT", "1"))
_names = os.environ.get("FAULT_NAMES")
_seen: Counter[str] = Counter()


def _here() -> _Part | None:
    found = _part.get()
    if found is None and activity.in_activity():
        info = activity.info()
        return info.activity_type.removeprefix("workflowRuntimeV2"), _activities.setdefault(info.task_token, Counter())
    return found


def _pass(name: str) -> None:
    _seen[name] += 1
    if _names and _seen[name] == 1:
        with Path(_names).open("a", encoding="utf-8") as stream:
            stream.write(f"{name}\n")
    if name == _point and _seen[name] == _count:
        os.kill(os.getpid(), signal.SIGKILL)


def _enter(kind: str) -> str | None:
    part = _here()
    if part is None:
        return None
    part[1][kind] += 1
    name = f"{part[0]}:{kind}{part[1][kind]}"
    _pass(f"{name}:before")
    return name


def _within(name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(work)
    async def named(*arguments: Any, **options: Any) -> Any:
        token = _part.set((name, Counter()))
        try:
            return await work(*arguments, **options)
        finally:
            _part.reset(token)

    return named


def _from_here(name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """As `_within`, to the end of the task: for a part whose commit is behind it."""

    @functools.wraps(work)
    async def named(*arguments: Any, **options: Any) -> Any:
        _part.set((name, Counter()))
        return await work(*arguments, **options)

    return named


def _bounded(work: Callable[..., Any], kind_of: Callable[..., str | None]) -> Callable[..., Any]:
    @functools.wraps(work)
    def around(*arguments: Any) -> Any:
        kind = kind_of(*arguments)
        name = None if kind is None else _enter(kind)
        result = work(*arguments)
        if name is not None:
            _pass(f"{name}:after")
        return result

    return around


def _called(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(work)
    async def around(self: Any, rpc: str, *arguments: Any, **options: Any) -> Any:
        name = _enter(f"{rpc}-")
        result = await work(self, rpc, *arguments, **options)
        if name is not None:
            _pass(f"{name}:after")
        return result

    return around


_ALONE = re.compile("workflow_(load_run|mark_running|write_run|complete_last_action|take_deliveries|accept_deliveries)")


def _alone(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A function in a transaction of its own."""

    @functools.wraps(work)
    async def around(self: Database, statement: TextClause, values: Any) -> Any:
        found = _ALONE.search(statement.text)
        name = None if found is None else _enter(f"{found.group()}-")
        result = await work(self, statement, values)
        if name is not None:
            _pass(f"{name}:after")
        return result

    return around


def install() -> None:
    """Names the parts and puts itself around their boundaries."""
    router._route = _from_here("route", router._route)  # type: ignore[assignment]
    if _point.startswith("take:"):
        # Nothing is left to the process that routed it, so that all of it has to be looked for.
        JustRouted.lease_for = lambda *_: 0.0  # type: ignore[method-assign]
    for owner, method, name in (
        (Sender, "send_ready", "take"),
        (Sender, "_signal", "signal"),
        (Sender, "_start", "start"),
        (Launcher, "launch", "launch"),
        (Reconciler, "_repair", "repair"),
    ):
        setattr(owner, method, _within(name, getattr(owner, method)))
    DefaultDialect.do_commit = _bounded(DefaultDialect.do_commit, lambda *_: "commit")  # type: ignore[method-assign]
    Database.alone = _alone(Database.alone)  # type: ignore[assignment, method-assign]
    _BridgeServiceClient._rpc_call = _called(_BridgeServiceClient._rpc_call)  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    end_on_signal()
    install()
    main()
