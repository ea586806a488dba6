"""A second meaning of the authored language, written the most direct way: steps are generators, nested as they are
authored. The interpreter must agree with it, whatever the definition and wherever its state is carried.

A generator yields the questions it has asked since it was resumed, and is resumed with one that has its answer.
Questions are answered one at a time, in the order in which they were asked.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


class Question:
    """An action, or a timer."""

    dropped = False


Work = Generator[list[Question], Question, None]
Names = ChainMap[str, Any]
"""What the loops around a step bind, innermost first."""


@dataclass
class Seen:
    """What a run did."""

    calls: list[tuple[str, int]] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)
    status: str = "SUCCEEDED"
    result: Any = None


class Failed(Exception):
    """A step failed."""

    def __init__(self, category: str) -> None:
        super().__init__(category)
        self.category = category


class Cancelled(Exception):
    """The run is to end."""


class Returned(Exception):
    """The run is over; while undoing, only the undoing of one step."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Reference:
    """Runs a definition whose expressions are JSON texts, variable names,
    or `coalesce(<variable>, 0)` compared with, or added to, a number.

    Args:
        definition: The document.
        failures: Per step id with which categories its first attempts fail.
        cancelled_after: So many answers, it is cancelled; None is never.
    """

    def __init__(
        self, definition: Mapping[str, Any], failures: Mapping[str, list[str]], cancelled_after: int | None = None
    ) -> None:
        self.definition = definition
        self.failures = failures
        self.cancelled_after = cancelled_after
        self.undoing = False
        self.seen = Seen()
        self.undo: list[tuple[list[Any], Names]] = []

    def run(self) -> Seen:
        """Everything it does."""
        work = self.whole()
        asked: list[Question] = []
        answers = 0
        with suppress(StopIteration):
            asked = list(next(work))
            while True:
                if answers == self.cancelled_after and not self.undoing:
                    asked = list(work.throw(Cancelled()))
                question = asked.pop(0)
                if not question.dropped:
                    answers += 1
                    asked += work.send(question)
        return self.seen

    def whole(self) -> Work:
        try:
            yield from self.block(self.definition["steps"], ChainMap())
        except Returned as returned:
            self.seen.result = returned.value
        except Failed:
            self.seen.status = "FAILED"
            yield from self.compensate("failure")
        except Cancelled:
            self.seen.status = "CANCELED"
            yield from self.compensate("cancel")

    def compensate(self, end: str) -> Work:
        self.undoing = True
        if end in self.definition.get("compensateOn", ()):
            undo, self.undo = self.undo[::-1], []
            for steps, local in undo:
                with suppress(Failed, Returned):
                    yield from self.block(steps, local)

    def block(self, steps: list[dict[str, Any]], local: Names) -> Work:
        for one in steps:
            yield from getattr(self, "do_" + one["type"].replace(".", "_").lower())(one, local)

    def value(self, expr: Mapping[str, Any], local: Names) -> Any:
        source = expr["$expr"]
        names = {**self.seen.vars, **local}
        counted = re.fullmatch(r"coalesce\((\w+), 0\) ([<+]) (\d+)", source)
        if counted is not None:
            left, right = names.get(counted[1], 0), int(counted[3])
            return left < right if counted[2] == "<" else left + right
        return names[source] if source in names else json.loads(source)

    def put(self, name: str, value: Any, local: Names) -> None:
        name = name.removeprefix("vars.")
        next((names for names in local.maps if name in names), self.seen.vars)[name] = value

    def do_transform_assign(self, one: dict[str, Any], local: Names) -> Work:
        for target, expr in one["config"]["assign"].items():
            self.put(target, self.value(expr, local), local)
        yield from ()

    def do_control_if(self, one: dict[str, Any], local: Names) -> Work:
        yield from self.block(one["then"] if self.value(one["condition"], local) else one.get("else", []), local)

    def do_control_switch(self, one: dict[str, Any], local: Names) -> Work:
        found = self.value(one["value"], local)
        for case in one["cases"]:
            if json.dumps(found) == json.dumps(case["equals"]):
                yield from self.block(case["steps"], local)
                return
        yield from self.block(one.get("default", []), local)

    def do_control_return(self, one: dict[str, Any], local: Names) -> Work:
        yield from ()
        raise Returned(self.value(one["value"], local) if "value" in one else None)

    def do_control_trycatch(self, one: dict[str, Any], local: Names) -> Work:
        try:
            yield from self.block(one["try"], local)
        except Failed as error:
            self.put(one["captureErrorAs"], error.category, local)
            yield from self.block(one["catch"], local)

    def do_control_while(self, one: dict[str, Any], local: Names) -> Work:
        for _ in range(one["maxIterations"]):
            if not self.value(one["condition"], local):
                return
            yield from self.block(one["body"], local)
        if self.value(one["condition"], local):
            raise Failed("ValidationError")

    def do_control_foreach(self, one: dict[str, Any], local: Names) -> Work:
        items = self.value(one["items"], local)
        results: list[Any] = [None] * len(items)
        errors: dict[int, str] = {}

        def item(index: int) -> Work:
            inside = local.new_child({"item": items[index], one["itemVar"]: items[index]})
            try:
                yield from self.block(one["body"], inside)
                results[index] = inside[one["collect"]["$expr"]]
            except Failed as error:
                if one.get("onItemError") != "continue":
                    raise
                errors[index] = error.category

        yield from _side_by_side([item(index) for index in range(len(items))], one.get("concurrency", 1))
        self.put(one["saveAs"], results, local)
        self.put(one["errorsAs"], [[index, errors[index]] for index in sorted(errors)], local)

    def do_control_parallel(self, one: dict[str, Any], local: Names) -> Work:
        branches = [self.block(branch["steps"], local) for branch in one["branches"]]
        yield from _side_by_side(branches, len(branches), one_is_enough=one.get("wait") == "any")

    def do_action_call(self, one: dict[str, Any], local: Names) -> Work:
        attempt = yield from self.attempts(one, local)
        if attempt is not None:
            self.put(one["config"]["saveAs"], {"attempt": attempt}, local)

    def do_event_wait(self, one: dict[str, Any], local: Names, event: str = "E", name: str = "x") -> Work:
        attempt = yield from self.attempts(one, local, "TimeoutError")
        if attempt is not None:
            self.seen.vars.update(event={"n": attempt}, eventName=event)
            self.put(name, attempt, local)

    def do_human_task(self, one: dict[str, Any], local: Names) -> Work:
        yield from self.do_event_wait(one, local, "HUMAN_TASK_COMPLETED", "y")

    def do_time_wait(self, one: dict[str, Any], local: Names) -> Work:
        yield from self.attempts({**one, "id": None}, local, shown=one["id"])
        self.put("z", 1, local)

    def do_control_callworkflow(self, one: dict[str, Any], local: Names) -> Work:
        attempt = yield from self.attempts(one, local, "ChildWorkflowError", questions=2)
        if attempt is not None:
            self.put("z", attempt, local)

    def do_state_set(self, one: dict[str, Any], local: Names) -> Work:
        yield from ()

    def do_email_parsebody(self, one: dict[str, Any], local: Names) -> Work:
        yield from ()
        self.put("mail", {"text": "a", "quoted": "", "signature": "", "source": "text"}, local)

    def do_email_rendercommentblocks(self, one: dict[str, Any], local: Names) -> Work:
        yield from ()
        self.put("blocks", [{"type": "paragraph", "text": "a"}], local)

    def attempts(
        self, one: dict[str, Any], local: Names, fails_as: str | None = None, *, questions: int = 1, shown: str = ""
    ) -> Generator[list[Question], Question, int | None]:
        """The attempt that succeeds; None where the run goes on without one."""
        failures = self.failures.get(one["id"], [])
        retry = one.get("retry", {"maxAttempts": 1})
        category = ""
        for attempt in range(1, retry["maxAttempts"] + 1):
            self.seen.calls.append((shown or one["id"], attempt))
            for _ in range(questions):
                yield [Question()]
            if attempt > len(failures):
                if "onCompensate" in one:
                    self.undo.append((one["onCompensate"], ChainMap(dict(local))))
                return attempt
            category = fails_as or failures[attempt - 1]
            if attempt == retry["maxAttempts"] or (retry.get("retryOn") and category not in retry["retryOn"]):
                break
            yield [Question()]  # The timer until the next attempt.
        if one.get("onError", {}).get("policy") != "continue":
            raise Failed(category)
        return None


def _side_by_side(work: list[Work], at_once: int, *, one_is_enough: bool = False) -> Work:  # noqa: C901
    """So many at a time, in order; the first failure stops the rest, or the first that ends does."""
    waiting = list(work)
    running: dict[Work, list[Question]] = {}
    new: list[Question] = []

    def advance(one: Work, answered: Question | None) -> bool:
        """Runs one until it asks; True when it is done."""
        asked = running.pop(one, [])
        try:
            fresh = next(one) if answered is None else one.send(answered)
        except StopIteration:
            return True
        except Failed:
            if one_is_enough and (running or waiting):
                return False
            raise
        new.extend(fresh)
        running[one] = [*asked, *fresh]
        return False

    try:
        while True:
            while waiting and len(running) < at_once:
                if advance(waiting.pop(0), None) and one_is_enough:
                    return
            if not running:
                return
            asking, new = new, []
            answered = yield asking
            owner = next(one for one, asked in running.items() if answered in asked)
            if advance(owner, answered) and one_is_enough:
                return
    finally:
        for one, asked in running.items():
            one.close()
            for question in asked:
                question.dropped = True
