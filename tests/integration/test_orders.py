"""Orders of {publish, open wait, time out, cancel, close, continue-as-new, crash} on the product's own code."""

from __future__ import annotations

import random

import pytest

from harness.orders import OPERATIONS, legal, play_all
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("match", ["all", "one"])
async def test_every_order_of_three_operations_loses_no_event_and_repeats_none(db: Database, match: str) -> None:
    orders = list(legal(3))
    schedules: tuple[str | int, ...] = ("all", "none", 1)
    for number, schedule in enumerate(schedules):  # Each order under each of them: tests/chaos.
        assert await play_all(db, match, orders[number::3], (schedule,)) == {}


@pytest.mark.parametrize("last", ["close", "cancel", "crash", "continue-as-new"])
async def test_what_ends_a_run_may_come_between_any_two_steps_of_its_parties(db: Database, last: str) -> None:
    orders = [("publish", "open wait", last), ("open wait", "publish", last)]
    assert await play_all(db, "all", orders, range(16)) == {}


async def test_longer_orders_by_chance_lose_no_event_and_repeat_none(db: Database) -> None:
    chance = random.Random(3)  # noqa: S311 - chosen orders, no secrets
    orders = [tuple(chance.choices(OPERATIONS, k=chance.randint(7, 14))) for _ in range(60)]
    assert await play_all(db, "all", orders, (chance.randrange(1000),)) == {}
