"""The protocol of event ingress at sizes that take a minute or two each."""

from __future__ import annotations

import pytest

from model.exploring import explore
from model.protocol import Scenario

LARGE = {
    "two runs with loops": Scenario(
        2, (("one", "all"), ("one",)), frozenset({"time out r0", "terminate r1", "lose the answer of r0"})
    ),
    "three runs": Scenario(1, (("one",), ("one",), ("all",)), frozenset({"time out r0", "terminate r1"})),
    "a long loop": Scenario(3, (("all", "all", "all"),), frozenset({"time out r0", "lose the answer of r0"})),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LARGE)
def test_no_order_of_steps_loses_or_repeats_an_event(name: str) -> None:
    found = explore(LARGE[name], limit=4_000_000)
    assert found.counterexample is None
    assert found.states > 10_000
