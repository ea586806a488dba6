"""The pack's own tests: no server, no service, only workflows-core."""

from __future__ import annotations

import asyncio

import pytest
from acme_actions.pack import actions

from workflows_core.errors import StepFailed
from workflows_core.testing import MemoryStore, call_action, check_pack


def test_the_pack_is_one_that_a_service_loads() -> None:
    assert check_pack(actions).ids() == ("acme.greet", "acme.reserve_stock", "acme.sign")


def test_it_greets() -> None:
    assert asyncio.run(call_action(actions, "acme.greet", {"name": "Ada"})) == {"text": "Good day, Ada"}


def test_wrong_input_is_told() -> None:
    with pytest.raises(StepFailed) as failed:
        asyncio.run(call_action(actions, "acme.greet", {"nam": "Ada"}))
    assert (failed.value.failure.category, failed.value.failure.code) == ("ValidationError", "ACTION_INPUT_INVALID")


def test_stock_is_taken_and_never_more_than_there_is() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        await store.set("acme-stock", "bolt", 5)
        left = await call_action(actions, "acme.reserve_stock", {"item": "bolt", "quantity": 3}, store=store)
        assert left == {"left": 2}
        with pytest.raises(StepFailed) as failed:
            await call_action(actions, "acme.reserve_stock", {"item": "bolt", "quantity": 3}, store=store)
        assert failed.value.failure.code == "ACME_OUT_OF_STOCK"

    asyncio.run(scenario())


def test_a_secret_is_resolved_and_never_given_back() -> None:
    value = {"text": "abc", "key": {"$secret": "ACME_KEY"}}
    assert asyncio.run(call_action(actions, "acme.sign", value, secrets={"ACME_KEY": "hush"})) == {"length": 7}
    with pytest.raises(StepFailed) as failed:
        asyncio.run(call_action(actions, "acme.sign", value))
    assert "ACME_KEY" in failed.value.failure.message
