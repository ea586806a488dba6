"""The protocol of event ingress has no counterexample, and each of its rules is needed."""

from __future__ import annotations

import pytest

from model.exploring import explore
from model.protocol import RULES, Scenario


def faults(*names: str) -> frozenset[str]:
    return frozenset(names)


SCENARIOS = {
    "an event and a run": Scenario(1, (("all",),), faults("time out r0", "lose the answer of r0")),
    "a loop": Scenario(1, (("all", "all"),), faults("time out r0", "lose the answer of r0", "terminate r0")),
    "two events and a loop": Scenario(2, (("all", "all"),), faults("lose the answer of r0")),
    "one of two": Scenario(1, (("one",), ("one",)), faults("time out r0")),
    "one of two, one ends outside": Scenario(1, (("one",), ("one",)), faults("terminate r0")),
    "a task that refuses": Scenario(2, (("task",),), faults("time out r0", "lose the answer of r0")),
    "a delivery that dies": Scenario(2, (("all",),), faults("lose e0")),
    "one of two, a delivery dies": Scenario(2, (("one",), ("one",)), faults("lose e0")),
    "one and all": Scenario(1, (("one",), ("all",)), faults("time out r0")),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_order_of_steps_loses_or_repeats_an_event(name: str) -> None:
    found = explore(SCENARIOS[name])
    assert found.counterexample is None
    assert found.states > 50


@pytest.mark.parametrize("rule", sorted(RULES))
def test_each_rule_is_needed(rule: str) -> None:
    for scenario in SCENARIOS.values():
        without = Scenario(scenario.events, scenario.programs, scenario.faults, RULES - {rule})
        if explore(without).counterexample is not None:
            return
    pytest.fail("no scenario needs it")
