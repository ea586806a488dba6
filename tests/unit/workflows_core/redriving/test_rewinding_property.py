"""A run of any definition, taken back to before any of its steps: the state is the one that the run had there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness.driven import Habits, driven
from harness.random_definitions import CATEGORIES, CHILD, definitions, scripts
from workflows_core.errors import Refused
from workflows_core.interpreter.state import BLOCK_KINDS, State
from workflows_core.redriving.rewinding import Rewound


def saves(step_id: str) -> dict[str, Any]:
    config = {"actionId": "test.act", "version": 1, "saveAs": "x"}
    return {"id": step_id, "type": "action.call", "config": config}


DRAWS = {"id": "s905", "type": "transform.assign", "config": {"assign": {"vars.q": {"$expr": "1"}}}}
RACE = {
    "id": "s900",
    "type": "control.parallel",
    "branches": [{"steps": [saves("s901"), saves("s902")]}, {"steps": [saves("s903"), saves("s904"), DRAWS]}],
}
"""In front of every other definition: what is kept depends on who was last."""


def asks(step_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    """A step that waits for an answer, three times at most, and is passed over then."""
    again = {"maxAttempts": 3, "backoffMs": 4, "jitter": False}
    return {"id": step_id, "type": kind, **fields, "retry": again, "onError": {"policy": "continue"}}


NUMBER = {"$expr": "event.n"}
EVENT = {"eventName": "E", "correlationKey": {"$expr": "'k'"}, "timeoutMs": 30, "assign": {"x": NUMBER}}
TASK = {"taskType": "t", "title": {"$expr": "'T'"}, "timeoutMs": 20, "assign": {"y": NUMBER}}
CALLED = {"workflowId": CHILD, "workflowVersion": 1, "outputMapping": {"z": {"$expr": "childRun.result"}}}
ASKING = {
    "id": "s910",
    "type": "control.parallel",
    "branches": [
        {"steps": [asks("s911", "event.wait", config=EVENT), saves("s912")]},
        {"steps": [asks("s913", "human.task", config=TASK), saves("s914")]},
        {"steps": [asks("s915", "control.callWorkflow", **CALLED), saves("s916")]},
    ],
}
"""Likewise: each of them is answered, fails, times out and is asked again, beside the others."""


def behind(*first: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda definition: {**definition, "steps": [*first, *definition["steps"]]}


def chancy(value: Any) -> Any:
    """The document with values, branches and results that depend on chance, on the run and on the time."""
    if isinstance(value, list):
        return [chancy(one) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {name: chancy(one) for name, one in value.items()}
    match value.get("type"):
        case "transform.assign":
            ((name, given),) = value["config"]["assign"].items()
            if name == "vars.p":
                return {"id": value["id"], "type": "time.wait", "config": {"mode": "duration", "durationMs": 7}}
            if name != "vars.n":
                source = f"[{given['$expr']}, $random(), system.runId, nowIso()]"
                changed["config"] = {"assign": {name: {"$expr": source}}}
        case "control.if":
            changed["condition"] = {"$expr": "$random() < 0.5"}
        case "control.forEach":
            changed["collect"] = {"$expr": f"[{value['collect']['$expr']}, $random()]"}
    return changed


def seen(state: State, exact: bool) -> Any:
    """What a run goes on with; an error's time only where it is `exact`."""

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        if not isinstance(value, dict):
            return value
        timeless = "category" in value and not exact
        return {name: plain(one) for name, one in value.items() if not (timeless and name == "at")}

    frames = {}
    for path, frame in state.frames.items():
        open_block = frame.pending if frame.pending is not None and frame.pending.kind in BLOCK_KINDS else None
        frames[path] = (frame.position, frame.binding, plain(open_block and open_block._asdict()))
    ending = state.ending and (state.ending.status, state.ending.at if exact else None)
    return frames, plain(state.scopes.to_json()), state.undo, ending


def same(rewound: Rewound, before: State, exact: bool) -> None:
    """The rewound state is that one, for a new run."""
    assert seen(rewound.state, exact) == seen(before, exact)
    assert list(rewound.state.frames) == list(before.frames)
    assert rewound.state.identity.run_id != before.identity.run_id
    assert rewound.state.seed != before.seed


UNFIT, LATE = CATEGORIES
FAILURES = st.builds(
    lambda others, asked: {**others, **dict(zip(("s911", "s913", "s915"), asked, strict=True))},
    st.dictionaries(
        st.integers(1, 25).map(lambda n: f"s{n}"), st.lists(st.sampled_from(CATEGORIES), max_size=3), max_size=8
    ),
    st.tuples(*[st.sampled_from([[LATE], [UNFIT, LATE], [LATE, UNFIT], [UNFIT], [], [LATE] * 3, [UNFIT] * 3])] * 3),
)
HABITS = st.builds(
    Habits,
    failures=FAILURES | scripts(),
    order=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    own_clock=st.booleans(),
    tells_of_times=st.booleans(),
)


DEFINITIONS = st.builds(
    lambda definition, change: chancy(change(definition)),
    definitions() | definitions(waiting=True),
    st.sampled_from([behind(), behind(RACE), behind(ASKING)]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(definition=DEFINITIONS, first=HABITS, second=HABITS, where=st.tuples(*[st.integers(0, 50)] * 3))
def test_the_state_before_a_step_is_the_one_that_the_run_had(
    definition: dict[str, Any], first: Habits, second: Habits, where: tuple[int, int, int]
) -> None:
    old = driven(definition, first)
    assume(old.before)
    wanted, begin = (list(old.before)[n % len(old.before)] for n in where[:2])
    same(old.rewound(wanted), old.before[wanted], exact=not first.own_clock)
    new = old.redriven(begin, second)
    assert begin in new.before
    wanted = list(new.before)[where[2] % len(new.before)]
    exact = not (first.own_clock or second.own_clock)
    same(new.rewound(wanted, "newest"), new.before[wanted], exact)


@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(
    definition=DEFINITIONS,
    habits=HABITS,
    continues=st.frozensets(st.integers(0, 10), min_size=1),
    where=st.integers(0, 50),
)
def test_of_a_run_that_went_on_as_another_execution_it_is_the_same_or_refused(
    definition: dict[str, Any], habits: Habits, continues: frozenset[int], where: int
) -> None:
    habits.continues = continues
    old = driven(definition, habits)
    assume(old.before and old.state.generation)
    wanted = list(old.before)[where % len(old.before)]
    try:
        rewound = old.rewound(wanted)
    except Refused as refused:
        if "draws at random" not in refused.message:
            raise
    else:
        same(rewound, old.before[wanted], exact=not habits.own_clock)
