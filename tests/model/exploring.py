"""Explores every order of a scenario and says what is wrong in states where nothing is left to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from model.protocol import UNDER_WAY, Scenario, State, Step


@dataclass(frozen=True)
class Counterexample:
    """The steps that lead to a state that is wrong, and what is wrong with it."""

    wrong: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Explored:
    """How many states there are, and the first that is wrong."""

    states: int
    counterexample: Counterexample | None


def explore(scenario: Scenario, limit: int = 2_000_000) -> Explored:
    """Breadth first, so that a counterexample is a shortest one.

    Raises:
        RuntimeError: There are more states than the limit.
    """
    start = scenario.start()
    came: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        step = Step(scenario, state)
        following = list(step.system())
        wrong = next(always_wrong(scenario, state), None)
        if wrong is None and not following:
            wrong = next(finally_wrong(scenario, state), None)
        if wrong is not None:
            return Explored(len(came), Counterexample(wrong, _way(came, state)))
        for name, after in (*following, *step.environment()):
            if after not in came:
                came[after] = (state, name)
                waiting.append(after)
        if len(came) > limit:
            raise RuntimeError(f"more than {limit} states")
    return Explored(len(came), None)


def always_wrong(scenario: Scenario, state: State) -> Iterator[str]:
    """Nothing is taken twice, and nothing that lies before a run's window."""
    exclusive: dict[int, int] = {}
    for index, run in enumerate(state.runs):
        taken = [event for _, event in run.took]
        if len(set(taken)) < len(taken):
            yield f"run {index} took an event twice"
        for number, event in run.took:
            if state.events[event].routed < run.started and state.events[event].routed >= 0:
                yield f"run {index} took event {event}, which was routed before it began"
            if scenario.programs[index][number] == "one":
                exclusive[event] = exclusive.get(event, 0) + 1
    for event, count in exclusive.items():
        if count > 1:
            yield f"{count} waits with match one took event {event}"


def finally_wrong(scenario: Scenario, state: State) -> Iterator[str]:
    """Nothing is lost, and every row says what happened."""
    for (event, wait), status in state.deliveries:
        if status in UNDER_WAY:
            yield f"the delivery of event {event} to {wait} stays {status}"
        took = (wait[1], event) in state.runs[wait[0]].took
        if (status == "consumed") is not took:
            yield f"the delivery of event {event} to {wait} is {status}, and the run {'took' if took else 'left'} it"
    rows = dict(state.waits)
    for index, run in enumerate(state.runs):
        waiting = run.started >= 0 and not run.ended
        for number in range(len(scenario.programs[index])):
            is_open = rows.get((index, number)) == "open"
            if is_open is not (waiting and run.at == number):
                yield f"wait {(index, number)} is {rows.get((index, number))}, the run is at {run.at} {run.ended}"
        if waiting:
            yield from _missed(scenario, state, index)


def _missed(scenario: Scenario, state: State, index: int) -> Iterator[str]:
    run = state.runs[index]
    mode = scenario.programs[index][run.at]
    for event, found in enumerate(state.events):
        if found.routed < run.started or any(event == taken for _, taken in run.took):
            continue
        dead = {wait for (one, wait), status in state.deliveries if one == event and status == "dead"}
        # A dead delivery waits for an operator, and keeps its claim: nobody knows whether it came through.
        if (index, run.at) in dead or found.claim in dead or (mode == "task" and event == 0):
            continue
        if mode != "one":
            yield f"run {index} waits, and event {event} is not sent to it"
        elif not _taken_by_one(scenario, state, event):
            yield f"run {index} waits for one, and nobody has event {event}"


def _taken_by_one(scenario: Scenario, state: State, event: int) -> bool:
    return any(
        scenario.programs[index][number] == "one" and taken == event
        for index, run in enumerate(state.runs)
        for number, taken in run.took
    )


def _way(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came[state]) is not None:
        state, name = before
        steps.append(name)
    return tuple(reversed(steps))
