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


def fingerprint(command: RunAction) -> str:
    """Two calls are the same when theirs are: action, step, attempt, key and input."""
    text = json.dumps([command.command_id, command.call], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
