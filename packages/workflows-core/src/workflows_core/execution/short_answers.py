"""What a short action answers, for the activity that calls it and for the run alike."""

from __future__ import annotations

import hashlib
import json

from workflows_core.errors import Failure
from workflows_core.expressions.reading import json_bytes
from workflows_core.interpreter.messages import ActionStepFailed, ActionSucceeded, RunAction
from workflows_core.wire.records import ShortAnswer


def event_of(command_id: str, answer: ShortAnswer) -> ActionSucceeded | ActionStepFailed:
    """The answer as the interpreter takes it; it has its time."""
    if "failure" in answer:
        failure = Failure.from_json(answer["failure"])
        return ActionStepFailed(command_id, answer["at"], failure, recorded=False)
    output = answer["output"]
    return ActionSucceeded(command_id, answer["at"], output, json_bytes(output), recorded=False)


def bytes_of(event: ActionSucceeded | ActionStepFailed) -> int:
    """What it counts for in a workflow task's budget."""
    return event.size if isinstance(event, ActionSucceeded) else 0


def fingerprint(command: RunAction) -> str:
    """Equal for two calls of the same action for the same step and attempt with the same key and input.

    Stands in histories: it never changes.
    """
    called = {name: value for name, value in command.call.items() if name != "secrets"}
    text = json.dumps([command.command_id, called], separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
