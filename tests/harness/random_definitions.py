"""Random definitions of every construct, and how they are answered; or without what waits for anything but actions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

CATEGORIES = ("ActionError", "TransientError")
TIMED_OUT = "TimeoutError"
_LONGEST = 18_000
"""Characters of a definition's steps: of arguments over 30,000 Hypothesis warns, since nobody reads them."""
CHILD = "c"
"""The workflow that others call."""
_UNFIT = "ExpressionError"
_OF_CHILDREN = "ChildWorkflowError"
_SCALAR = st.one_of(st.booleans(), st.integers(-50, 50), st.sampled_from(["a", "b c"]))
_BRANCHES = ("then", "else", "default", "body", "try", "catch", "onCompensate")


def category_of(step: Mapping[str, Any], failures: Mapping[str, list[str]], attempt: int) -> str | None:
    """With which category an attempt of a step fails from outside: what an action's script says means, of a wait,
    an event without the value that is to be assigned, or no event in time."""
    script = failures.get(step["id"], [])
    if step["type"] == "time.wait" or attempt > len(script):
        return None
    match step["type"]:
        case "action.call":
            return script[attempt - 1]
        case "control.callWorkflow":
            return _OF_CHILDREN
    return _UNFIT if script[attempt - 1] == CATEGORIES[0] else TIMED_OUT


@dataclass(frozen=True)
class InTurn(Mapping[str, list[str]]):
    """How the first attempts of steps fail, of every step in turn, so that failures are met wherever a run goes."""

    turns: tuple[list[str], ...]
    others: Mapping[str, list[str]] = field(default_factory=dict)

    def but(self, step_id: str, script: list[str]) -> InTurn:
        """With another script for one step."""
        return InTurn(self.turns, {**self.others, step_id: script})

    def __getitem__(self, step_id: str) -> list[str]:
        if step_id in self.others:
            return self.others[step_id]
        return self.turns[int(step_id.removeprefix("s")) % len(self.turns)]

    def __iter__(self) -> Iterator[str]:
        return (f"s{number}" for number in range(len(self.turns)))

    def __len__(self) -> int:
        return len(self.turns)


def scripts() -> st.SearchStrategy[InTurn]:
    """What fails: of most definitions something, of a step at most three attempts."""
    script = _often((1, st.just([])), (1, st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=3)))
    turns = _often((1, st.just([[]])), (4, st.lists(script, min_size=2, max_size=7)))
    return turns.map(lambda turns: InTurn(tuple(turns)))


def unanswered() -> st.SearchStrategy[frozenset[str]]:
    """Steps that nobody answers, where they wait: mostly none."""
    some = st.builds(
        lambda every, first: frozenset(f"s{number}" for number in range(first, 150, every)),
        st.integers(2, 9),
        st.integers(1, 9),
    )
    return _often((2, st.just(frozenset())), (1, some))


def _often(*weighted: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One of these, by weight: `one_of` takes what it is given twice as given once."""
    choices = [one for weight, one in weighted for _ in range(weight)]
    return st.integers(0, len(choices) - 1).flatmap(choices.__getitem__)


def _expr(value: Any) -> dict[str, str]:
    return {"$expr": json.dumps(value)}


def _action(step: dict[str, Any], again: Any, policy: Any, undo: Any) -> dict[str, Any]:
    extras = {"retry": again, "onError": policy and {"policy": policy}, "onCompensate": undo}
    return {**step, **{name: value for name, value in extras.items() if value}}


_ASSIGN = st.builds(
    lambda name, expr: {"type": "transform.assign", "config": {"assign": {f"vars.{name}": expr}}},
    st.sampled_from("pqij"),
    _SCALAR.map(_expr) | st.just({"$expr": "coalesce(meta.state, 0)"}),
)
_COUNT = {"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "coalesce(n, 0) + 1"}}}}
_RETRY = st.builds(
    lambda attempts, pause, most, on: {
        "maxAttempts": attempts,
        "backoffMs": pause,
        "jitter": False,
        **({"maxDelayMs": most} if most else {}),
        **({"retryOn": on} if on else {}),
    },
    st.sampled_from([2, 3, 1]),
    st.sampled_from([5, 1, 12]),
    st.sampled_from([None, 8]),
    st.just([]) | st.lists(st.sampled_from([*CATEGORIES, TIMED_OUT, _UNFIT, _OF_CHILDREN]), max_size=3, unique=True),
)
_AGAIN = st.sampled_from([True, False, True]).flatmap(lambda again: _RETRY if again else st.none())
_CALL = st.builds(
    lambda name: {"type": "action.call", "config": {"actionId": "test.act", "version": 1, "saveAs": name}},
    st.sampled_from("xyz"),
)
_POLICY = st.sampled_from([None, "continue", "fail"])
_PLAIN_CALL = st.builds(_action, _CALL, _AGAIN, _POLICY, st.none())
_RETURN = st.builds(
    lambda value: {"type": "control.return", **({} if value is None else {"value": _expr(value)})}, st.none() | _SCALAR
)


def _asking(kind: str, lasting: int, **config: Any) -> dict[str, Any]:
    return {"type": kind, "config": {**config, "timeoutMs": lasting}}


_LASTING = st.sampled_from([10, 4, 25])
_WAIT = st.one_of(
    st.builds(
        lambda lasting: _asking(
            "event.wait", lasting, eventName="E", correlationKey=_expr("k"), assign={"x": {"$expr": "event.n"}}
        ),
        _LASTING,
    ),
    st.builds(
        lambda lasting: _asking(
            "human.task", lasting, taskType="t", title=_expr("T"), assign={"y": {"$expr": "event.n"}}
        ),
        _LASTING,
    ),
    st.builds(
        lambda until: {"type": "time.wait", "config": {**until, "assign": {"z": _expr(1)}}},
        st.sampled_from(
            [
                *({"mode": "duration", "durationMs": lasting} for lasting in (5, 9, 30)),
                {"mode": "until", "until": _expr(0)},
            ]
        ),
    ),
    st.just(
        {
            "type": "control.callWorkflow",
            "workflowId": CHILD,
            "workflowVersion": 1,
            "outputMapping": {"z": {"$expr": "childRun.result"}},
        }
    ),
)
"""Each gives its variable the number of the attempt."""
_AT_ONCE = st.sampled_from(
    [
        {"type": "state.set", "config": {"state": "S"}},
        {"type": "state.set", "config": {"state": "T"}},
        {"type": "email.parseBody", "config": {"text": _expr("a"), "saveAs": "vars.mail"}},
        {"type": "email.renderCommentBlocks", "config": {"text": _expr("a"), "saveAs": "vars.blocks"}},
    ]
)


def _waiting() -> st.SearchStrategy[dict[str, Any]]:
    plain = st.builds(_action, _WAIT, _AGAIN, _POLICY, st.none())
    inside = st.one_of(_ASSIGN, _PLAIN_CALL, plain, _AT_ONCE)
    undoing = st.lists(_often((5, inside), (1, _nested(inside))), min_size=1, max_size=2)
    undo = st.none() | undoing
    wait = st.builds(_action, _WAIT, _AGAIN, _POLICY, undo)
    return _often((4, wait), (1, _AT_ONCE))


def _leaf(*undoing: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    undo = st.none() | st.lists(st.one_of(_ASSIGN, _PLAIN_CALL, *undoing), min_size=1, max_size=2)
    call = st.builds(_action, _CALL, _AGAIN, _POLICY, undo)
    return _often((6, _ASSIGN), (6, call), (2, _PLAIN_CALL), (1, _RETURN))


def _nested(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    block = _often((1, st.just([])), (9, st.lists(children, min_size=1, max_size=2)))
    choose = st.builds(
        lambda truth, then, otherwise: {
            "type": "control.if",
            "condition": _expr(truth),
            "then": then,
            **({"else": otherwise} if otherwise is not None else {}),
        },
        st.booleans(),
        block,
        st.none() | block,
    )
    switch = st.builds(
        lambda value, cases, default: {
            "type": "control.switch",
            "value": _expr(value),
            "cases": [{"equals": equals, "steps": steps} for equals, steps in cases],
            **({"default": default} if default is not None else {}),
        },
        st.sampled_from([True, 1]),
        st.lists(st.tuples(st.sampled_from([True, 1, "a"]), block), min_size=1, max_size=3),
        st.none() | block,
    )
    loop = st.builds(
        lambda items, name, collected, at_once, body, policy: {
            "type": "control.forEach",
            "items": _expr(items),
            "itemVar": name,
            "concurrency": at_once,
            "body": body,
            "onItemError": policy,
            "collect": {"$expr": collected or name},
            "saveAs": f"all_{name}",
            "errorsAs": f"bad_{name}",
        },
        _often((1, st.just([])), (5, st.lists(_SCALAR, min_size=1, max_size=3))),
        st.sampled_from(["i", "j", "item"]),
        st.sampled_from(["item", None]),
        st.sampled_from([2, 3, 1]),
        block,
        st.sampled_from(["continue", "fail", "continue"]),
    )
    repeat = st.builds(
        lambda limit, stop, body: {
            "type": "control.while",
            "condition": {"$expr": f"coalesce(n, 0) < {stop}"},
            "maxIterations": limit,
            "body": [*body, _COUNT],
        },
        st.sampled_from([3, 2, 1]),
        st.integers(1, 3),
        block,
    )
    attempt = st.builds(
        lambda tried, caught: {"type": "control.tryCatch", "try": tried, "catch": caught, "captureErrorAs": "caught"},
        block,
        block,
    )
    parallel = st.builds(
        lambda branches, wait: {
            "type": "control.parallel",
            "branches": [{"steps": steps} for steps in branches],
            "wait": wait,
        },
        _often((1, st.lists(block, min_size=1, max_size=3)), (4, st.lists(block, min_size=2, max_size=3))),
        st.sampled_from(["all", "any"]),
    )
    return _often((1, choose), (1, switch), (2, loop), (1, repeat), (1, attempt), (3, parallel))


def _numbered(steps: list[dict[str, Any]], next_id: list[int]) -> list[dict[str, Any]]:
    out = []
    for one in steps:
        next_id[0] += 1
        copy = {"id": f"s{next_id[0]}", **one}
        for name in _BRANCHES:
            if name in copy:
                copy[name] = _numbered(copy[name], next_id)
        for name in ("cases", "branches"):
            if name in copy:
                copy[name] = [{**inner, "steps": _numbered(inner["steps"], next_id)} for inner in copy[name]]
        out.append(copy)
    return out


def _short(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of them, as far as they are no longer than is allowed.

    Nothing is rejected: for that, Hypothesis puts the whole strategy into a text, of hundreds of megabytes.
    """
    while len(str(steps)) > _LONGEST:
        steps = steps[:-1]
    return steps


def definitions(
    depth: int = 6, *, refused_too: bool = False, waiting: bool = False
) -> st.SearchStrategy[dict[str, Any]]:
    """Documents whose steps have the ids s1, s2, … in document order.

    With `refused_too` some that publishing refuses, and that have a meaning still; with `waiting` steps that wait for
    something else than an action.
    """
    leaf = _leaf(_RETURN) if refused_too else _leaf()
    if waiting:
        leaf = _often((1, leaf), (1, _waiting()))
    steps = leaf
    for _ in range(depth - 1):
        steps = _often((3, leaf), (4, _nested(steps)))
    return st.builds(
        lambda body, ends: {
            "id": "wf",
            "version": 1,
            "name": "wf",
            "payloadSchemaRef": "payload.Empty.v1",
            **({"compensateOn": ends} if ends else {}),
            "steps": _numbered(_short(body), [0]),
        },
        st.lists(steps, min_size=1, max_size=5),
        st.sampled_from([["failure", "cancel"], ["failure"], []]),
    )


def with_scripts(value: Any, failures: Mapping[str, list[str]]) -> Any:
    """The document with calls of `test.scripted`, which fail as scripted by themselves."""
    if isinstance(value, list):
        return [with_scripts(one, failures) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "action.call":
        script = {"name": value["id"], "failures": failures.get(value["id"], [])}
        config = {**value["config"], "actionId": "test.scripted", "inputMapping": script}
        return {**value, "config": config, "onCompensate": with_scripts(value.get("onCompensate", []), failures)}
    return {name: with_scripts(one, failures) for name, one in value.items()}
