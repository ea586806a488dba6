"""A definition as a picture: a Mermaid flowchart, so that people can look instead of read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from workflows_core.definitions.model import (
    ActionCallStep,
    CallWorkflowStep,
    Definition,
    EventWaitStep,
    ForEachStep,
    HumanTaskStep,
    IfStep,
    ParallelStep,
    ReturnStep,
    Step,
    SwitchStep,
    TimeWaitStep,
    TryCatchStep,
    WhileStep,
)
from workflows_core.definitions.walk import branches_of

_LABEL = 60


def mermaid(definition: Definition) -> str:
    """A flowchart from top to bottom: boxes are steps, diamonds choose, subgraphs are steps with steps inside.

    Dotted arrows lead to what undoes a step.
    """
    drawing = _Drawing()
    start = drawing.node("([", definition.name, "])")
    ends = drawing.block([start], definition.steps)
    if ends:
        drawing.join(ends, drawing.node("([", "end", "])"))
    return "\n".join(["flowchart TD", *(f"  {line}" for line in drawing.lines)])


class _Drawing:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def node(self, left: str, label: str, right: str) -> str:
        self.count += 1
        name = f"n{self.count}"
        self.lines.append(f'{name}{left}"{_escaped(label)}"{right}')
        return name

    def join(self, ends: Sequence[str], target: str) -> None:
        for end in ends:
            source, _, label = end.partition("|")
            arrow = f'-->|"{_escaped(label)}"|' if label else "-->"
            self.lines.append(f"{source} {arrow} {target}")

    def block(self, ends: list[str], steps: Sequence[Step]) -> list[str]:
        """Draws steps after these ends (node, or node and label); the ends that are open then."""
        for step in steps:
            ends = self.step(ends, step)
        return ends

    def step(self, ends: list[str], step: Step) -> list[str]:
        match step:
            case IfStep():
                node = self.node("{", step.condition.source, "}")
                self.join(ends, node)
                then = self.block([f"{node}|yes"], step.then)
                return [*then, *self.block([f"{node}|no"], step.else_ or ())]
            case SwitchStep():
                node = self.node("{", step.value.source, "}")
                self.join(ends, node)
                out: list[str] = []
                for case in step.cases:
                    is_word = isinstance(case.equals, str) and case.equals
                    out += self.block([f"{node}|{case.equals if is_word else json.dumps(case.equals)}"], case.steps)
                return [*out, *self.block([f"{node}|else"], step.default or ())]
            case ReturnStep():
                node = self.node("([", "return" if step.value is None else f"return {step.value.source}", "])")
                self.join(ends, node)
                return []
            case ForEachStep() | WhileStep() | ParallelStep() | TryCatchStep():
                return self.group(ends, step)
        node = self.node("[", f"{getattr(step, 'name', None) or step.id}: {_what(step)}", "]")
        self.join(ends, node)
        for name, steps in branches_of(step):
            self.undoing(node, f"{step.id}.{name}", steps)
        return [node]

    def undoing(self, node: str, label: str, steps: Sequence[Step]) -> None:
        """What undoes a step, beside the way of the run."""
        first = f"n{self.count + 1}"
        self.lines.append(f'subgraph {node}_undo["{_escaped(label)}"]')
        self.block([], steps)
        self.lines.append("end")
        if steps:
            self.lines.append(f'{node} -.->|"undone by"| {first}')

    def group(self, ends: list[str], step: ForEachStep | WhileStep | ParallelStep | TryCatchStep) -> list[str]:
        head = self.node("{{", _what(step), "}}")
        self.join(ends, head)
        tail_ends: list[str] = []
        for name, steps in branches_of(step):
            label = name if isinstance(step, TryCatchStep) else ""
            self.lines.append(f'subgraph {head}_{len(tail_ends)}_{self.count}["{_escaped(step.id)}.{_escaped(name)}"]')
            start = [f"{head}|on error" if label == "catch" else head]
            tail_ends += self.block(start, steps)
            self.lines.append("end")
        if isinstance(step, (ForEachStep, WhileStep)):
            self.join([end if "|" in end else f"{end}|next" for end in tail_ends if end != head], head)
            return [f"{head}|done"]
        return list(dict.fromkeys(tail_ends))


def _what(step: Step) -> str:
    text: str = step.type
    match step:
        case ActionCallStep():
            text = f"{step.config.action_id}@{step.config.version}"
        case CallWorkflowStep():
            text = f"run {step.workflow_id} v{step.workflow_version}"
        case EventWaitStep():
            text = f"wait for {step.config.event_name}"
        case TimeWaitStep():
            until = step.config.until
            text = f"wait {step.config.duration_ms} ms" if until is None else f"wait until {until.source}"
        case HumanTaskStep():
            text = f"task {step.config.task_type}"
        case ForEachStep():
            text = f"for each {step.item_var} of {step.items.source}"
        case WhileStep():
            text = f"while {step.condition.source}"
        case ParallelStep():
            text = f"side by side, wait for {step.wait}"
        case TryCatchStep():
            text = "try"
    return text


def _escaped(text: object) -> str:
    shown = str(text).replace("\n", " ")
    shown = shown if len(shown) <= _LABEL else f"{shown[: _LABEL - 1]}…"
    return (
        shown.replace("#", "#35;")
        .replace('"', "#quot;")
        .replace("<", "#lt;")
        .replace(">", "#gt;")
        .replace("|", "#124;")
    )
