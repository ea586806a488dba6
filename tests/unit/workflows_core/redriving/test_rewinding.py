"""What a redrive keeps of large outputs."""

from __future__ import annotations

import json

from harness.driven import Habits, driven
from harness.interpreted import act, document, wait
from workflows_core.interpreter.state import SEMANTICS_VERSION


def test_outputs_are_measured_as_the_run_measured_them() -> None:
    """By their texts in Python, three bytes of a zero width space were six."""
    blank = {"text": "\u200b" * 100_000}
    steps = document(act("a"), act("b"), act("c"))
    old = driven(steps, Habits(outputs={"s0": blank, "s1": blank}, failures={"s2": ["ActionError"]}, own_clock=True))
    assert old.before["root.steps[2]"].scope_bytes < 700_000
    rewound = old.rewound("s2")
    assert rewound.state.scopes.vars == {"a": blank, "b": blank}
    assert rewound.state.scope_bytes == old.before["root.steps[2]"].scope_bytes


def test_a_step_that_a_redriven_run_began_anew_is_gone_back_to_in_that_run() -> None:
    """It was open in the first run too, before steps that both runs have kept."""
    branches = [[{"id": "x", **act("x")}], [{"id": "b1", **act("b1")}, {"id": "b2", **act("b2")}]]
    side = {"type": "control.parallel", "branches": [{"steps": steps} for steps in branches]}
    old = driven(document(side), Habits(failures={"b2": ["ActionError"]}, order=[1]))
    assert old.rewound("x").kept == ("root.steps[0]",)
    new = old.redriven("b2", Habits(failures={"x": ["ActionError"]}))
    rewound = new.rewound("x", "newest")
    assert rewound.kept == ("root.steps[0]", "root.steps[0].branches[1].steps[0]")
    assert set(rewound.state.scopes.vars) == {"b1"}


def test_a_step_that_was_open_is_not_kept() -> None:
    branches = [[{"id": "w", **wait("E", "'k'")}], [{"id": "b1", **act("b1")}, {"id": "b2", **act("b2")}]]
    side = {"type": "control.parallel", "branches": [{"steps": steps} for steps in branches]}
    rewound = driven(document(side), Habits(failures={"b2": ["ActionError"]}, order=[0, 0])).rewound("b2")
    assert rewound.kept == ("root.steps[0]", "root.steps[0].branches[1].steps[0]")
    assert {entry.record["step_path"] for entry in rewound.state.outbox.entries} == set(rewound.kept)


def test_what_attempts_gave_of_a_step_that_was_cut_off_is_kept() -> None:
    """An earlier attempt had taken an event, which the new run knew nothing of."""
    asks = wait("E", "'k'", timeoutMs=20, assign={"n": {"$expr": "event.n"}})
    again = {"retry": {"maxAttempts": 3, "backoffMs": 4, "jitter": False}}
    branches = [[{"id": "w", **asks, **again}], [{"id": "b1", **act("b1")}, {"id": "b2", **act("b2")}]]
    side = {"type": "control.parallel", "branches": [{"steps": steps} for steps in branches]}
    # The first attempt times out, the second one gets an event without `n`, the third one is cut off.
    habits = Habits(failures={"w": ["TransientError", "ActionError"], "b2": ["ActionError"]}, order=[0, 0, 1, 0, 0, 0])
    old = driven(document(side), habits)
    rewound, before = old.rewound("b2").state, old.before["root.steps[0].branches[1].steps[1]"]
    assert rewound.scopes.vars == before.scopes.vars
    assert rewound.scopes.vars["eventName"] == "E"


def test_a_run_of_very_many_steps_is_redriven_in_what_temporal_takes() -> None:
    """The rows of all that was kept went with the start, and Temporal refused it."""
    loop = {
        "type": "control.forEach",
        "items": {"$expr": "[1..1500]"},
        "itemVar": "i",
        "body": [{"id": "x", **act("x")}],
    }
    habits = Habits(outputs={"x": {"text": "x" * 1_500}}, failures={"s1": ["ActionError"]})
    old = driven(document(loop, act("bad")), habits)
    rewound = old.rewound("s1")
    assert len(rewound.kept) == 1_501
    assert len(json.dumps(rewound.state.to_checkpoint())) < 300_000
    first, *others = rewound.state.outbox.entries
    shown = [entry.record["step_path"] for entry in others]
    assert shown[-1] == "root.steps[0].body[1499].steps[0]"
    more = len(rewound.kept) - len(shown)
    assert first.record["message"] == f"{more} earlier step(s) are kept as well: run old shows them"
    assert old.redriven("s1", Habits()).rewound("s1", "newest").kept == rewound.kept


def test_what_is_kept_has_the_meaning_that_the_old_run_began_with() -> None:
    mail = "'Yes, approved.\\n\\nFrom: my desk we will ship it.\\nOrder 55'"
    reads = {"type": "email.parseBody", "config": {"text": {"$expr": mail}, "saveAs": "mail"}}
    meaning = {
        "type": "transform.assign",
        "config": {"assign": {"vars.meaning": {"$expr": "meta.runtimeSemanticsVersion"}}},
    }
    steps = document(reads, meaning, act("a"))
    for semantics, text in ((1, "Yes, approved."), (2, "Yes, approved.\n\nFrom: my desk we will ship it.\nOrder 55")):
        old = driven(steps, Habits(failures={"s2": ["ActionError"]}), semantics)
        rewound = old.rewound("s2").state
        assert (rewound.scopes.vars["meaning"], rewound.scopes.vars["mail"]["text"]) == (semantics, text)
        assert rewound.scopes.vars == old.before["root.steps[2]"].scopes.vars
        assert rewound.semantics == SEMANTICS_VERSION
