"""A second meaning of the authored language, written the most direct way: steps are generators, nested as they are
authored. The interpreter must agree with it, whatever the definition, wherever its state is carried and in whatever
order its questions are answered.

A generator yields the questions it has asked since it was resumed, and is resumed with one that has its answer.
Questions are answered one at a time; which one is next decides whoever drives the run.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from harness.random_definitions import TIMED_OUT, category_of


@dataclass(eq=False)
class Question:
    """What a run waits for.

    Attributes:
        kind: `action`, `launch` (a child's start), `answer` (an event, an answer, a child's end), `time` (of a wait) or
            `retry` (until the next attempt).
        step: The step that asks.
        path: Where it is.
        attempt: The attempt that asks; before the next attempt, that one.
        due: When its time is up; None is never.
        failing: With which category the answer fails.
        never: Nobody answers, and no time passes.
        dropped: Nobody is interested any more.
    """

    kind: str
    step: Mapping[str, Any]
    path: str
    attempt: int
    due: int | None = None
    failing: str | None = None
    never: bool = False
    dropped: bool = False

    @property
    def passes(self) -> bool:
        """It is answered by time, and by nothing else."""
        return self.kind in ("time", "retry") or (
            self.kind == "answer" and self.failing == TIMED_OUT and not self.never
        )


Work = Generator[list[Question], Question, None]
Names = ChainMap[str, Any]
"""What the loops around a step bind, innermost first."""


@dataclass
class Visit:
    """A step at a place, once."""

    type: str
    status: str = "STARTED"
    attempt: int = 1


@dataclass
class Seen:
    """What a run did; `trace` by step path, in the order in which visits began."""

    calls: list[tuple[str, int]] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)
    status: str = "WAITING"
    result: Any = None
    category: str | None = None
    trace: dict[str, Visit] = field(default_factory=dict)

    @property
    def visits(self) -> list[tuple[str, str, str, int]]:
        """The trace, plain."""
        return [(path, visit.type, visit.status, visit.attempt) for path, visit in self.trace.items()]


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
    """Runs a definition whose expressions are JSON texts, names of variables, the run's state,
    or `coalesce(<variable>, 0)` compared with, or added to, a number.

    Args:
        definition: The document.
        failures: Per step id with which categories its first attempts fail.
        unanswered: Ids of waits that nobody answers; while undoing everything is answered.
    """

    def __init__(
        self, definition: Mapping[str, Any], failures: Mapping[str, list[str]], unanswered: Collection[str] = ()
    ) -> None:
        self.definition = definition
        self.failures = failures
        self.unanswered = unanswered
        self.undoing = False
        self.seen = Seen()
        self.state: str | None = None
        self.undo: list[tuple[list[Any], Names, str]] = []
        self.now = 0
        self.over = False
        self.ever_several = False
        self.asked: list[Question] = []
        """What waits for an answer, in the order in which it was asked."""
        self.work = self.whole()
        self._resume(lambda: next(self.work))

    def run(self, order: Collection[int] = (0,), cancelled_after: int | None = None) -> Seen:
        """Everything it does: which question is answered next, and after how many of them it is cancelled."""
        numbers, answers = list(order), 0
        while not self.over:
            if answers == cancelled_after and not self.undoing:
                self.cancel()
                continue
            question = self.asked[numbers[answers % len(numbers)] % len(self.asked)]
            answers += 1
            self.answer(question)
        return self.seen

    def answer(self, question: Question) -> None:
        """One question has its answer."""
        self.asked.remove(question)
        if question.passes and question.due is not None:
            self.now = max(self.now, question.due)
        self._resume(lambda: self.work.send(question))

    def cancel(self) -> None:
        """The run is to end; what it undoes is not cut short."""
        if not self.undoing:
            self.asked.clear()
            self._resume(lambda: self.work.throw(Cancelled()))

    def _resume(self, goes_on: Any) -> None:
        try:
            self.asked += goes_on()
        except StopIteration:
            self.over = True
        self.asked = [one for one in self.asked if not one.dropped and not self.over]
        self.ever_several |= len(self.asked) > 1

    def whole(self) -> Work:
        try:
            yield from self.block(self.definition["steps"], ChainMap(), "root")
        except Returned as returned:
            self.seen.status, self.seen.result = "SUCCEEDED", returned.value
        except Failed as error:
            yield from self.compensate("failure")
            self.seen.status, self.seen.category = "FAILED", error.category
        except Cancelled:
            yield from self.compensate("cancel")
            self.seen.status = "CANCELED"
        else:
            self.seen.status = "SUCCEEDED"

    def compensate(self, end: str) -> Work:
        self.undoing = True
        if end in self.definition.get("compensateOn", ()):
            undo, self.undo = self.undo[::-1], []
            for steps, local, path in undo:
                with suppress(Failed, Returned):
                    yield from self.block(steps, local, f"{path}.onCompensate")

    def block(self, steps: list[dict[str, Any]], local: Names, path: str) -> Work:
        for number, one in enumerate(steps):
            run = getattr(self, "do_" + one["type"].replace(".", "_").lower())
            yield from run(one, local, f"{path}.steps[{number}]")

    @contextmanager
    def visit(self, one: Mapping[str, Any], path: str) -> Iterator[Visit]:
        visit = self.seen.trace[path] = Visit(one["type"])
        try:
            yield visit
        except Failed:
            visit.status = "FAILED"
            raise
        except (Cancelled, GeneratorExit):
            visit.status = "CANCELED"
            raise
        except Returned:
            visit.status = "SUCCEEDED"
            raise
        if visit.status != "FAILED":
            visit.status = "SUCCEEDED"

    def value(self, expr: Mapping[str, Any], local: Names) -> Any:
        source = expr["$expr"]
        names = {**self.seen.vars, **local}
        counted = re.fullmatch(r"coalesce\((\w+), 0\) ([<+]) (\d+)", source)
        if counted is not None:
            left, right = names.get(counted[1], 0), int(counted[3])
            return left < right if counted[2] == "<" else left + right
        if source == "coalesce(meta.state, 0)":
            return self.state or 0
        return names[source] if source in names else json.loads(source)

    def put(self, name: str, value: Any, local: Names) -> None:
        name = name.removeprefix("vars.")
        next((names for names in local.maps if name in names), self.seen.vars)[name] = value

    def do_transform_assign(self, one: dict[str, Any], local: Names, path: str) -> Work:
        yield from ()
        with self.visit(one, path):
            for target, expr in one["config"]["assign"].items():
                self.put(target, self.value(expr, local), local)

    def do_control_if(self, one: dict[str, Any], local: Names, path: str) -> Work:
        with self.visit(one, path):
            name = "then" if self.value(one["condition"], local) else "else"
        yield from self.block(one.get(name, []), local, f"{path}.{name}")

    def do_control_switch(self, one: dict[str, Any], local: Names, path: str) -> Work:
        with self.visit(one, path):
            found = json.dumps(self.value(one["value"], local))
        for number, case in enumerate(one["cases"]):
            if found == json.dumps(case["equals"]):
                yield from self.block(case["steps"], local, f"{path}.cases[{number}]")
                return
        yield from self.block(one.get("default", []), local, f"{path}.default")

    def do_control_return(self, one: dict[str, Any], local: Names, path: str) -> Work:
        yield from ()
        with self.visit(one, path):
            raise Returned(self.value(one["value"], local) if "value" in one else None)

    def do_control_trycatch(self, one: dict[str, Any], local: Names, path: str) -> Work:
        with self.visit(one, path):
            try:
                yield from self.block(one["try"], local, f"{path}.try")
            except Failed as error:
                self.put(one["captureErrorAs"], error.category, local)
                yield from self.block(one["catch"], local, f"{path}.catch")

    def do_control_while(self, one: dict[str, Any], local: Names, path: str) -> Work:
        with self.visit(one, path):
            for number in range(one["maxIterations"]):
                if not self.value(one["condition"], local):
                    return
                yield from self.block(one["body"], local, f"{path}.body[{number}]")
            if self.value(one["condition"], local):
                raise Failed("ValidationError")

    def do_control_foreach(self, one: dict[str, Any], local: Names, path: str) -> Work:
        items = self.value(one["items"], local)
        results: list[Any] = [None] * len(items)
        errors: dict[int, str] = {}

        def item(index: int) -> Work:
            inside = local.new_child({"item": items[index], one["itemVar"]: items[index]})
            try:
                yield from self.block(one["body"], inside, f"{path}.body[{index}]")
                results[index] = inside[one["collect"]["$expr"]]
            except Failed as error:
                if one.get("onItemError") != "continue":
                    raise
                errors[index] = error.category

        with self.visit(one, path):
            yield from _side_by_side([item(index) for index in range(len(items))], one.get("concurrency", 1))
            self.put(one["saveAs"], results, local)
            self.put(one["errorsAs"], [[index, errors[index]] for index in sorted(errors)], local)

    def do_control_parallel(self, one: dict[str, Any], local: Names, path: str) -> Work:
        branches = [
            self.block(branch["steps"], local, f"{path}.branches[{number}]")
            for number, branch in enumerate(one["branches"])
        ]
        with self.visit(one, path):
            yield from _side_by_side(branches, len(branches), one_is_enough=one.get("wait") == "any")

    def do_action_call(self, one: dict[str, Any], local: Names, path: str) -> Work:
        attempt = yield from self.attempts(one, local, path, ["action"])
        if attempt is not None:
            self.put(one["config"]["saveAs"], {"attempt": attempt}, local)

    def do_event_wait(self, one: dict[str, Any], local: Names, path: str) -> Work:
        attempt = yield from self.attempts(one, local, path, ["answer"])
        if attempt is not None:
            self.put("y" if one["type"] == "human.task" else "x", attempt, local)

    do_human_task = do_event_wait

    def do_time_wait(self, one: dict[str, Any], local: Names, path: str) -> Work:
        attempt = yield from self.attempts(one, local, path, ["time"] if "durationMs" in one["config"] else [])
        if attempt is not None:
            self.put("z", 1, local)

    def do_control_callworkflow(self, one: dict[str, Any], local: Names, path: str) -> Work:
        attempt = yield from self.attempts(one, local, path, ["launch", "answer"])
        if attempt is not None:
            self.put("z", attempt, local)

    def do_state_set(self, one: dict[str, Any], local: Names, path: str) -> Work:
        yield from ()
        with self.visit(one, path):
            self.state = one["config"]["state"]

    def do_email_parsebody(self, one: dict[str, Any], local: Names, path: str) -> Work:
        yield from ()
        with self.visit(one, path):
            self.put("mail", {"text": "a", "quoted": "", "signature": "", "source": "text"}, local)

    def do_email_rendercommentblocks(self, one: dict[str, Any], local: Names, path: str) -> Work:
        yield from ()
        with self.visit(one, path):
            self.put("blocks", [{"type": "paragraph", "text": "a"}], local)

    def attempts(
        self, one: dict[str, Any], local: Names, path: str, kinds: list[str]
    ) -> Generator[list[Question], Question, int | None]:
        """The attempt that succeeds; None where the run goes on without one."""
        retry = one.get("retry", {"maxAttempts": 1})
        config = one.get("config", {})
        lasts = config.get("durationMs", config.get("timeoutMs"))
        category: str | None = None
        with self.visit(one, path) as visit:
            for attempt in range(1, retry["maxAttempts"] + 1):
                category = category_of(one, self.failures, attempt)
                if kinds:
                    self.seen.calls.append((one["id"], attempt))
                for kind in kinds:
                    due = None if lasts is None else self.now + lasts
                    never = kind == "answer" and one["id"] in self.unanswered and not self.undoing
                    yield [Question(kind, one, path, attempt, due, category, never)]
                if one["type"] in ("event.wait", "human.task") and category != TIMED_OUT:
                    task = one["type"] == "human.task"
                    event = {"n": attempt} if category is None else {}
                    self.seen.vars.update(event=event, eventName="HUMAN_TASK_COMPLETED" if task else "E")
                if category is None:
                    if "onCompensate" in one:
                        self.undo.append((one["onCompensate"], ChainMap(dict(local)), path))
                    return attempt
                if attempt == retry["maxAttempts"] or (retry.get("retryOn") and category not in retry["retryOn"]):
                    break
                visit.attempt = attempt + 1
                pause = retry["backoffMs"] * 2 ** (attempt - 1)
                yield [Question("retry", one, path, attempt + 1, self.now + min(pause, retry.get("maxDelayMs", pause)))]
            visit.status = "FAILED"
            if one.get("onError", {}).get("policy") != "continue":
                raise Failed(str(category))
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
