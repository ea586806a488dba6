"""Compiled definitions: how many a process keeps goes by what they weigh."""

from __future__ import annotations

import gc
import json
import threading
from typing import Any

import pytest

from harness.interpreted import document
from workflows_core.errors import Refused
from workflows_core.execution import compiled_plans
from workflows_core.execution.compiled_plans import BYTES_A_CHARACTER, CompiledPlans
from workflows_core.execution.plans import compile_definition


def definition(steps: int) -> dict[str, Any]:
    return document(*[{"type": "transform.assign", "config": {"assign": {"vars.a": {"$expr": "1"}}}}] * steps)


def size(*definitions: dict[str, Any]) -> int:
    return sum(len(json.dumps(one)) for one in definitions) * BYTES_A_CHARACTER


def kept(plans: CompiledPlans, *names: str) -> list[str]:
    gc.collect()
    return [name for name in names if plans.find(name) is not None]


def test_large_definitions_take_the_room_of_many_small_ones() -> None:
    """It was 512 plans of any size: of definitions with 200 steps a GiB, of the largest ones 30."""
    large, small = definition(20), definition(1)
    plans = CompiledPlans(size(large, small))
    plans.wait_for(small, "a")
    plans.wait_for(small, "b")
    plans.wait_for(large, "large")
    assert kept(plans, "a", "b", "large") == ["b", "large"]
    plans.wait_for(small, "c")
    assert kept(plans, "b", "large", "c") == ["large", "c"]


def test_one_that_is_used_stays_and_the_newest_stays_whatever_it_weighs() -> None:
    one = definition(2)
    plans = CompiledPlans(2 * size(one))
    plans.wait_for(one, "a")
    plans.wait_for(one, "b")
    plans.find("a")
    plans.wait_for(one, "c")
    assert kept(plans, "a", "b", "c") == ["a", "c"]
    plans.wait_for(definition(50), "huge")
    assert kept(plans, "a", "b", "c", "huge") == ["huge"]


def test_what_a_run_holds_is_there_once_also_where_it_would_not_be_kept() -> None:
    plans = CompiledPlans(0)
    held = plans.wait_for(definition(2), "held")
    plans.wait_for(definition(2), "other")
    assert plans.find("held") is held
    del held
    assert kept(plans, "held", "other") == ["other"]


def test_those_who_come_meanwhile_get_the_plan_that_is_being_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), []

    def slowly(*given: Any) -> Any:
        begun.append(1)
        assert go_on.wait(10)
        return compile_definition(*given)

    monkeypatch.setattr(compiled_plans, "compile_definition", slowly)
    plans = CompiledPlans()
    waiting = [plans.compiling(definition(1), "same") for _ in range(5)]
    assert not waiting[0].cancel()
    go_on.set()
    assert len({id(one.result(10)) for one in waiting}) == 1
    assert len(begun) == 1


def test_a_definition_that_cannot_be_compiled_is_refused_each_time() -> None:
    plans = CompiledPlans()
    for _ in range(2):
        with pytest.raises(Refused, match=r"no\.such\.step"):
            plans.wait_for(document({"type": "no.such.step"}), "wrong")
    assert plans.find("wrong") is None
