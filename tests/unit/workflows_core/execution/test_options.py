"""Time limits of activities, as Temporal is told them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from workflows_core.actions.action import Action
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.execution.options import for_action

CORE = ActionRegistry.of({"core": core_pack(HttpPolicy())})


@pytest.mark.parametrize("action", list(CORE), ids=lambda action: action.key)
def test_a_call_whose_process_was_killed_is_silent_before_its_time_is_over(action: Action) -> None:
    """Silence is tried again; the end of its time failed a short action that was called as a regular one."""
    config = for_action(CORE.traits(action), "acme", "a call")
    assert config["heartbeat_timeout"] == timedelta(milliseconds=action.heartbeat_ms)
    # One that is killed at the end of its limit has said last then that it lives.
    limit = config["start_to_close_timeout"]
    assert limit is not None
    assert limit > timedelta(milliseconds=action.timeout_ms + action.heartbeat_ms)
