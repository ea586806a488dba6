"""Loops that look for work, do it, and look again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from temporalio.service import RPCError, RPCStatusCode

from workflows_core.errors import Refused
from workflows_core.launching.passes import repeat


@dataclass
class Told:
    lines: list[str] = field(default_factory=list)

    def mark(self, detail: str = "") -> None:
        self.lines.append(f"ok {detail}")

    def degraded(self, reason: str) -> None:
        self.lines.append(f"degraded {reason}")


@pytest.mark.asyncio
async def test_a_pass_that_a_backing_service_spoils_is_told_and_the_next_one_comes() -> None:
    away = RPCError("no answer", RPCStatusCode.UNAVAILABLE, b"")
    outcomes: list[int | Exception] = [2, away, ConnectionRefusedError("refused"), Refused.one("A_CODE", "away", ""), 0]
    told = Told()

    async def one_pass() -> int:
        if not outcomes:
            raise ValueError("a fault of its own")
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="of its own"):
        await repeat(one_pass, told, 0.0, told=lambda done: f"{done} done", passing=(Refused,))
    assert [line.split()[0] for line in told.lines] == ["ok", "degraded", "degraded", "degraded", "ok"]
    assert (told.lines[0], told.lines[1]) == ("ok 2 done", "degraded Temporal does not answer: no answer")
    assert told.lines[3] == "degraded error A_CODE: away"
