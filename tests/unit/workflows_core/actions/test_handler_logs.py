"""What a handler and its errors say in the process log: everything but the secrets that it was given."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pytest

from workflows_core.actions.action import Action, ActionContext
from workflows_core.errors import StepFailed
from workflows_core.testing import call_action

SECRET = "sk_live_12345"
ANY: dict[str, Any] = {"type": "object"}


async def breaks(value: Any, _context: ActionContext) -> Any:
    try:
        raise KeyError(value["token"])
    except KeyError as error:
        raise ValueError(f"Illegal header value {value['token']!r}") from error


async def talks(value: Any, context: ActionContext) -> Any:
    context.logger.info("sending %s to %s", value["token"], "the bank", extra={"header": f"Bearer {value['token']}"})
    context.logger.warning("sent %(token)s", {"token": value["token"]})
    try:
        raise ValueError(value["token"])
    except ValueError:
        context.logger.exception("refused")
    assert context.secrets is not None
    looked_up = await context.secrets.get("any", "OTHER")
    context.logger.error("looked up %s", looked_up)
    context.logger.debug("nobody reads %s", value["token"])
    taken = {"name": "n", "message": "m", "kept": 1}
    context.logger.info("%d items of %s", value["token"], extra=taken)
    return {}


class Mute:
    def __repr__(self) -> str:
        raise ValueError("not to be written")


async def hands_over(value: Any, context: ActionContext) -> Any:
    """Gives values as they are, and not as texts."""
    error = ValueError(f"Bearer {value['token']}")
    context.logger.info("refused", extra={"error": error, "all": {error}, "by": {1: error}})
    context.logger.info("nobody can say %s", Mute(), extra={"what": Mute(), "key": value["token"]})
    return {}


def pack() -> list[Action]:
    handlers = (breaks, talks, hands_over)
    return [Action(f"test.{one.__name__}", 1, one, ANY, ANY, "Says something.") for one in handlers]


async def said_by(action: str, caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    caplog.set_level(logging.INFO)
    secrets = {"TOKEN": SECRET, "OTHER": "hunter2hunter2"}
    with suppress(StepFailed):
        await call_action(pack, action, {"token": {"$secret": "TOKEN"}}, secrets=secrets)
    for record in caplog.records:
        assert SECRET not in str(vars(record)) + record.getMessage()
        assert "hunter2hunter2" not in str(vars(record)) + record.getMessage()
    return caplog.records


@pytest.mark.asyncio
async def test_a_fault_of_a_handler_is_logged_with_its_traceback_and_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    [record] = await said_by("test.breaks", caplog)
    assert record.getMessage() == "action test.breaks@1 failed by a fault of its own"
    text: str = vars(record)["exception"]
    assert text.startswith("Traceback (most recent call last):")
    assert "KeyError: '[REDACTED]'" in text
    assert text.endswith("ValueError: Illegal header value '[REDACTED]'")
    assert vars(record)["step_path"] == "root.steps[0]"


@pytest.mark.asyncio
async def test_lines_of_a_handler_are_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    records = await said_by("test.talks", caplog)
    assert [record.getMessage() for record in records] == [
        "sending [REDACTED] to the bank",
        "sent [REDACTED]",
        "refused",
        "looked up [REDACTED]",
        "%d items of %s ('[REDACTED]',)",
    ]
    assert (vars(records[4])["name"], vars(records[4])["kept"]) == ("workflows_core.actions", 1)
    assert vars(records[0])["header"] == "Bearer [REDACTED]"
    assert "ValueError: [REDACTED]" in vars(records[2])["exception"]


@pytest.mark.asyncio
async def test_values_in_fields_are_logged_as_texts_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    refused, unsaid = await said_by("test.hands_over", caplog)
    assert vars(refused)["error"] == "Bearer [REDACTED]"
    assert vars(refused)["all"] == "{ValueError('Bearer [REDACTED]')}"
    assert vars(refused)["by"] == {"1": "Bearer [REDACTED]"}
    assert unsaid.getMessage() == "nobody can say %s (tuple that cannot be written)"
    assert (vars(unsaid)["what"], vars(unsaid)["key"]) == ("(Mute that cannot be written)", "[REDACTED]")
