"""The verdict on a queue: who polls, who lives, and of which build."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from workflows_cli.queues import verdict_of
from workflows_core.storage.rows import ProcessRow

OURS = ["workflow-worker@a:1", "workflow-worker@b:2"]


def alive(count: int) -> list[ProcessRow]:
    now = datetime.now(UTC)
    return [ProcessRow(f"workflow-worker@h:{n}", "workflow-worker", "1.0", [], [], now, now) for n in range(count)]


@pytest.mark.parametrize(
    ("identities", "beats", "builds", "verdict"),
    [
        (OURS, None, ("1.0",), "ok"),
        (OURS, alive(2), ("1.0",), "ok"),
        (OURS, alive(2), ("1.0", "1.1"), "split build: 1.0, 1.1"),
        (OURS, [], ("1.0",), "no poller"),
        ([], None, (), "no poller"),
        ([], alive(1), (), "no poller"),
        ([*OURS, "curious@c:3"], alive(1), ("1.0", "x"), "intruder: curious@c:3"),
    ],
)
def test_a_verdict(
    identities: list[str], beats: list[ProcessRow] | None, builds: tuple[str, ...], verdict: str
) -> None:
    assert verdict_of("workflow-worker", identities, beats, builds) == verdict
