"""Every order of six operations on a run, and two thousand longer ones, on the product's own code."""

from __future__ import annotations

import random

import pytest

from harness.orders import OPERATIONS, legal, play_all
from workflows_core.storage.database import Database

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3600)]


async def test_every_order_of_six_operations_loses_no_event_and_repeats_none(db: Database) -> None:
    orders = list(legal(6))
    assert len(orders) > 8000
    assert await play_all(db, "all", orders, ("all", "none", 1)) == {}


async def test_every_order_of_five_operations_on_a_wait_that_takes_its_event_alone(db: Database) -> None:
    assert await play_all(db, "one", list(legal(5)), ("all", "none", 1)) == {}


async def test_two_thousand_longer_orders_lose_no_event_and_repeat_none(db: Database) -> None:
    chance = random.Random(17)  # noqa: S311 - chosen orders, no secrets
    orders = [tuple(chance.choices(OPERATIONS, k=chance.randint(7, 20))) for _ in range(2000)]
    assert await play_all(db, "all", orders, (chance.randrange(10_000),)) == {}
