"""Thirty definitions that cover every construct; each runs in the simulation and on Temporal with the same outcome.

`answers` are the fixtures of the simulation; on Temporal the events, answers and children give the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.interpreted import document


@dataclass(frozen=True)
class Own:
    """A definition, what it starts with, and what answers its waits."""

    name: str
    steps: list[dict[str, Any]]
    status: str = "completed"
    payload: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The whole document."""
        return {**document(*self.steps), **self.extra}


def expr(source: str) -> dict[str, str]:
    """An expression."""
    return {"$expr": source}


def assign(step_id: str, **values: str) -> dict[str, Any]:
    """Sets variables."""
    config = {"assign": {f"vars.{name}": expr(source) for name, source in values.items()}}
    return {"id": step_id, "type": "transform.assign", "config": config}


def echo(step_id: str, source: str = "1", **fields: Any) -> dict[str, Any]:
    """Calls `test.echo`, whose output is its input, into a variable of the step's name."""
    config = {"actionId": "test.echo", "version": 1, "inputMapping": {"value": expr(source)}, "saveAs": step_id}
    return {"id": step_id, "type": "action.call", "config": config, **fields}


def fail(step_id: str, category: str = "ActionError", **fields: Any) -> dict[str, Any]:
    """Calls `test.fail`."""
    config = {"actionId": "test.fail", "version": 1, "inputMapping": {"category": category}, "saveAs": step_id}
    return {"id": step_id, "type": "action.call", "config": config, **fields}


def step(step_type: str, step_id: str = "s", **fields: Any) -> dict[str, Any]:
    """Any step."""
    return {"id": step_id, "type": step_type, **fields}


def each(step_id: str, items: str, *body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A loop over items named `x`."""
    return step("control.forEach", step_id, items=expr(items), itemVar="x", body=list(body), **fields)


def attempt(step_id: str, tried: list[Any], caught: list[Any]) -> dict[str, Any]:
    """try and catch."""
    return {
        **step("control.tryCatch", step_id, captureErrorAs="problem"),
        "try": tried,
        "catch": caught,
    }


def event(step_id: str, name: str = "PAID", **config: Any) -> dict[str, Any]:
    """A wait."""
    return step("event.wait", step_id, config={"eventName": name, "correlationKey": expr("payload.id"), **config})


def side(*branches: list[dict[str, Any]], wait: str = "all", step_id: str = "p") -> dict[str, Any]:
    """Branches side by side."""
    return step("control.parallel", step_id, branches=[{"steps": steps} for steps in branches], wait=wait)


_KEY = {"id": "k1"}
_GO_ON = {"policy": "continue"}
_TIMES_OUT = {"$timeout": True}
_COUNT = assign("count", n="coalesce(vars.n, 0) + 1")
_TASK = {"taskType": "t", "title": expr("'T ' & payload.id"), "responseSchema": {"type": "object", "required": ["ok"]}}

OWN: list[Own] = [
    Own("empty", []),
    Own("assignments in order", [assign("a", x="1", y="vars.x + 1"), assign("b", z="x + y")]),
    Own("state", [step("state.set", config={"state": "DONE"}), assign("a", state="meta.state")]),
    Own("an action", [echo("a", "payload.n"), echo("b", "a.value & '!'")], payload={"n": 4}),
    Own("a failure", [echo("a"), fail("b", "TransientError"), echo("c")], "failed"),
    Own("retries that run out", [fail("a", retry={"maxAttempts": 3, "backoffMs": 1, "jitter": False})], "failed"),
    Own("retry on another category", [fail("a", retry={"maxAttempts": 3, "backoffMs": 1, "retryOn": ["X"]})], "failed"),
    Own("going on after a failure", [fail("a", onError=_GO_ON), assign("b", why="error.category")]),
    Own(
        "if",
        [{**step("control.if", condition=expr("payload.n > 1"), then=[echo("a")]), "else": [echo("b")]}],
        payload={"n": 1},
    ),
    Own("if without else", [step("control.if", condition=expr("false"), then=[echo("a")]), echo("b")]),
    Own("a condition that is none", [step("control.if", condition=expr("'yes'"), then=[])], "failed"),
    Own(
        "switch",
        [
            step(
                "control.switch",
                value=expr("payload.kind"),
                cases=[{"equals": 1, "steps": [echo("a")]}, {"equals": "b", "steps": [echo("b")]}],
                default=[echo("c")],
            )
        ],
        payload={"kind": "b"},
    ),
    Own("loop", [each("l", "[1, 2, 3]", echo("a", "x * 2"), collect=expr("a.value"), saveAs="all")]),
    Own("loop over nothing", [each("l", "[]", echo("a"), collect=expr("x"), saveAs="all")]),
    Own("loop over no list", [each("l", "5", echo("a"))], "failed"),
    Own(
        "loop that passes over what fails",
        [
            each(
                "l",
                "[1, 2, 3]",
                step("control.if", "i", condition=expr("x = 2"), then=[fail("f")]),
                echo("a", "x"),
                onItemError="continue",
                errorsAs="bad",
            ),
            assign("n", failed="len([bad])"),
        ],
    ),
    Own(
        "loops inside loops", [each("l", "[1, 2]", each("m", "[10, 20]", assign("a", sum="coalesce(vars.sum, 0) + x")))]
    ),
    Own("loop that fails", [each("l", "[1, 2]", echo("a", "x"), fail("f"))], "failed"),
    Own("while", [step("control.while", condition=expr("coalesce(vars.n, 0) < 4"), maxIterations=9, body=[_COUNT])]),
    Own("while without end", [step("control.while", condition=expr("true"), maxIterations=3, body=[_COUNT])], "failed"),
    Own("try that succeeds", [attempt("t", [echo("a")], [echo("b")]), echo("c")]),
    Own("catch", [attempt("t", [echo("a"), fail("f", "TimeoutError")], [assign("c", why="error.category")])]),
    Own(
        "catch that fails",
        [attempt("o", [attempt("t", [fail("f")], [fail("g")])], [assign("c", at="problem.nodePath")])],
    ),
    Own("branches side by side", [side([assign("a", a="1")], [assign("b", b="2"), assign("c", c="b + 1")])]),
    Own("the first branch", [side([event("w", "NEVER")], [echo("a")], wait="any"), echo("b")], payload=_KEY),
    Own(
        "the first to time out",
        [
            side(
                [event("slow", "NEVER", timeoutMs=86_400_000), assign("a", won="'slow'")],
                [{**event("fast", "NEVER", timeoutMs=500), "onError": _GO_ON}, assign("b", won="'fast'")],
                wait="any",
            )
        ],
        payload=_KEY,
        answers={"slow": _TIMES_OUT, "fast": _TIMES_OUT},
    ),
    Own(
        "return from the depths", [each("l", "[1, 2]", step("control.return", "r", value=expr("x + 1"))), echo("never")]
    ),
    Own(
        "compensation",
        [echo("a", onCompensate=[echo("undo_a", "a.value")]), echo("b", onCompensate=[echo("undo_b")]), fail("f")],
        "failed",
        extra={"compensateOn": ["failure"]},
    ),
    Own("an event", [event("w", assign={"got": expr("event.n")})], payload=_KEY, answers={"w": {"n": 7}}),
    Own(
        "a short wait",
        [step("time.wait", config={"mode": "duration", "durationMs": 5}), assign("a", how="timeWait.mode")],
    ),
    Own(
        "a human task",
        [step("human.task", config=_TASK), assign("a", ok="event.ok")],
        payload=_KEY,
        answers={"s": {"ok": 1}},
    ),
    Own(
        "e-mails",
        [
            step("email.parseBody", "p", config={"text": expr("payload.mail"), "saveAs": "vars.mail"}),
            step("email.renderCommentBlocks", "r", config={"html": expr("'<p>a</p>'"), "saveAs": "vars.blocks"}),
        ],
        payload={"mail": "Yes.\n-- \nAnna"},
    ),
    Own(
        "another workflow",
        [
            step(
                "control.callWorkflow",
                "c",
                workflowId="own-child",
                workflowVersion=1,
                inputMapping={"n": expr("payload.n")},
                outputMapping={"n": expr("childRun.result")},
            )
        ],
        payload={"n": 1},
        answers={"c": {"result": 2}},
    ),
]
"""`another workflow` calls `own-child`, which returns `payload.n + 1`."""

CHILD = document(step("control.return", "r", value=expr("payload.n + 1")))
