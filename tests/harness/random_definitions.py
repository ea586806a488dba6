"""Random definitions of every construct, or of those that need nothing from outside but answers to actions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

CATEGORIES = ("ActionError", "TransientError")
_SCALAR = st.one_of(st.booleans(), st.integers(-50, 50), st.sampled_from(["a", "b c"]))
_BRANCHES = ("then", "else", "default", "body", "try", "catch", "onCompensate")


def _expr(value: Any) -> dict[str, str]:
    return {"$expr": json.dumps(value)}


def _action(step: dict[str, Any], again: Any, policy: Any, undo: Any) -> dict[str, Any]:
    extras = {"retry": again, "onError": policy and {"policy": policy}, "onCompensate": undo}
    return {**step, **{name: value for name, value in extras.items() if value}}


_ASSIGN = st.builds(
    lambda name, value: {"type": "transform.assign", "config": {"assign": {f"vars.{name}": _expr(value)}}},
    st.sampled_from("pqij"),
    _SCALAR,
)
_COUNT = {"type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "coalesce(n, 0) + 1"}}}}
_RETRY = st.builds(
    lambda attempts, on: {"maxAttempts": attempts, "backoffMs": 5, **({"retryOn": on} if on else {})},
    st.integers(1, 3),
    st.lists(st.sampled_from(CATEGORIES), max_size=2, unique=True),
)
_CALL = st.builds(
    lambda name: {"type": "action.call", "config": {"actionId": "test.act", "version": 1, "saveAs": name}},
    st.sampled_from("xyz"),
)
_POLICY = st.none() | st.sampled_from(["fail", "continue"])
_PLAIN_CALL = st.builds(_action, _CALL, st.none() | _RETRY, _POLICY, st.none())
_RETURN = st.builds(
    lambda value: {"type": "control.return", **({} if value is None else {"value": _expr(value)})}, st.none() | _SCALAR
)


_WAITING: tuple[dict[str, Any], ...] = (
    {
        "type": "event.wait",
        "config": {
            "eventName": "E",
            "correlationKey": _expr("k"),
            "timeoutMs": 10,
            "assign": {"x": {"$expr": "event.n"}},
        },
    },
    {
        "type": "human.task",
        "config": {"taskType": "t", "title": _expr("T"), "timeoutMs": 10, "assign": {"y": {"$expr": "event.n"}}},
    },
    {"type": "time.wait", "config": {"mode": "duration", "durationMs": 5, "assign": {"z": _expr(1)}}},
    {
        "type": "control.callWorkflow",
        "workflowId": "c",
        "workflowVersion": 1,
        "outputMapping": {"z": {"$expr": "childRun.result"}},
    },
)
"""Each gives its variable the number of the attempt."""
_AT_ONCE: tuple[dict[str, Any], ...] = (
    {"type": "state.set", "config": {"state": "S"}},
    {"type": "email.parseBody", "config": {"text": _expr("a"), "saveAs": "vars.mail"}},
    {"type": "email.renderCommentBlocks", "config": {"text": _expr("a"), "saveAs": "vars.blocks"}},
)


def _waiting() -> st.SearchStrategy[dict[str, Any]]:
    undo = st.none() | st.lists(st.one_of(_ASSIGN, _PLAIN_CALL), min_size=1, max_size=2)
    wait = st.builds(_action, st.sampled_from(_WAITING), st.none() | _RETRY, _POLICY, undo)
    return st.one_of(wait, wait, wait, st.sampled_from(_AT_ONCE))


def _leaf(*undoing: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    undo = st.none() | st.lists(st.one_of(_ASSIGN, _PLAIN_CALL, *undoing), min_size=1, max_size=2)
    return st.one_of(
        _ASSIGN, _ASSIGN, st.builds(_action, _CALL, st.none() | _RETRY, _POLICY, undo), _PLAIN_CALL, _RETURN
    )


def _nested(children: st.SearchStrategy[dict[str, Any]], side_by_side: bool) -> st.SearchStrategy[dict[str, Any]]:
    block = st.lists(children, max_size=3)
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
        st.sampled_from([True, 1, "a"]),
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
        st.lists(_SCALAR, max_size=3),
        st.sampled_from(["i", "j", "item"]),
        st.sampled_from(["item", None]),
        st.integers(1, 3 if side_by_side else 1),
        block,
        st.sampled_from(["continue", "fail"]),
    )
    repeat = st.builds(
        lambda limit, stop, body: {
            "type": "control.while",
            "condition": {"$expr": f"coalesce(n, 0) < {stop}"},
            "maxIterations": limit,
            "body": [*body, _COUNT],
        },
        st.integers(1, 3),
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
        st.lists(block, min_size=1, max_size=3),
        st.sampled_from(["all", "any"]),
    )
    return st.one_of(choose, switch, loop, repeat, attempt, *([parallel] if side_by_side else []))


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


def definitions(
    depth: int = 5, *, side_by_side: bool = True, refused_too: bool = False, waiting: bool = False
) -> st.SearchStrategy[dict[str, Any]]:
    """Documents whose steps have the ids s1, s2, … in document order; without `side_by_side` one thing at a time.

    With `refused_too` some that publishing refuses, and that have a meaning still; with `waiting` steps that wait for
    something else than an action.
    """
    leaf = _leaf(_RETURN) if refused_too else _leaf()
    if waiting:
        leaf = st.one_of(leaf, _waiting())
    steps = leaf
    for _ in range(depth):
        steps = st.one_of(leaf, _nested(steps, side_by_side))
    return st.builds(
        lambda body, ends: {
            "id": "wf",
            "version": 1,
            "name": "wf",
            "payloadSchemaRef": "payload.Empty.v1",
            **({"compensateOn": ends} if ends else {}),
            "steps": _numbered(body, [0]),
        },
        st.lists(steps, max_size=5),
        st.sampled_from([[], ["failure"], ["failure", "cancel"]]),
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
