"""Logs: one form for all sources, JSON unless a terminal reads, stable event names, nothing secret in tracebacks."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from harness.actions import call
from harness.chat_server import chat_server, completion
from service_host.logs import configure_logs, log_event, log_failure
from service_host.settings import LogSettings, load_settings
from workflows_bootstrap.inference.accounting import TokenAccount
from workflows_bootstrap.inference.action import infer_actions
from workflows_bootstrap.inference.service import inference_provider
from workflows_bootstrap.inference.settings import InferenceSettings, ProviderKind
from workflows_core.actions.secrets import MappingSecrets


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    logger.remove()


def configured(stream: io.StringIO, **environ: str) -> io.StringIO:
    configure_logs(load_settings(LogSettings, environ), service="a-service", identity="a-service@h:1", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields() -> None:
    stream = configured(io.StringIO())
    log_event("something_happened", "it {happened} <b>", queue="q", count=3)
    (line,) = lines(stream)
    assert line["time"].endswith("+00:00") or "T" in line["time"]
    del line["time"]
    assert line == {
        "level": "INFO",
        "service": "a-service",
        "identity": "a-service@h:1",
        "event": "something_happened",
        "message": "it {happened} <b>",
        "logger": __name__,
        "queue": "q",
        "count": 3,
    }


def test_the_standard_library_flows_into_the_same_stream() -> None:
    stream = configured(io.StringIO())
    logging.getLogger("some.library").warning("%s of {them}", 3, extra={"event": "counted"})
    logging.getLogger("some.library").debug("not at this level")
    (line,) = lines(stream)
    assert (line["logger"], line["level"], line["event"], line["message"]) == (
        "some.library",
        "WARNING",
        "counted",
        "3 of {them}",
    )


@pytest.mark.parametrize(
    ("stream", "environ", "as_json"),
    [
        (Terminal(), {}, False),
        (Terminal(), {"LOG_IS_FORMAT_JSON": "true"}, True),
        (io.StringIO(), {}, True),
        (io.StringIO(), {"LOG_IS_FORMAT_JSON": "false"}, False),
    ],
)
def test_people_get_text_and_machines_get_json(stream: io.StringIO, environ: dict[str, str], as_json: bool) -> None:
    configured(stream, **environ)
    log_event("an_event", "a sentence", queue="q")
    assert stream.getvalue().startswith("{") is as_json
    assert ("an_event: a sentence queue=q" in stream.getvalue()) is not as_json


def test_a_failure_has_its_traceback_without_the_values_of_variables() -> None:
    stream = configured(io.StringIO())
    password = "hunter" + "2"
    try:
        raise ValueError(f"length {len(password)}")
    except ValueError as error:
        log_failure("it_broke", "sorry", error, loop="x")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["loop"]) == ("it_broke", "ERROR", "x")
    assert "ValueError: length 7" in line["exception"]
    assert "hunter2" not in stream.getvalue()


def test_a_traceback_given_as_text_is_shown_as_one() -> None:
    given = {"exception": "Traceback:\n  somewhere\nValueError: [REDACTED]"}
    stream = configured(io.StringIO(), LOG_IS_FORMAT_JSON="true")
    logging.getLogger("a.handler").error("it broke", extra=given)
    assert lines(stream)[0]["exception"] == given["exception"]
    terminal = configured(Terminal())
    logging.getLogger("a.handler").error("it broke", extra=given)
    first, rest = terminal.getvalue().split("\n", 1)
    assert first.endswith("it broke")
    assert rest == given["exception"] + "\n"


def test_a_faulty_line_of_a_library_raises_nothing_where_it_is_logged() -> None:
    stream = configured(io.StringIO())
    logging.getLogger("a.library").info("%d items", "three")
    logging.getLogger("temporalio.core").warning("%s and %s", "one")  # noqa: PLE1206 - the fault
    said, core = lines(stream)
    assert (said["logger"], core["logger"]) == ("a.library", "temporalio.core")
    assert said["message"].startswith("%d items (a faulty log line at ")
    assert said["message"].endswith("its arguments do not fit, TypeError)")


def test_configured_twice_logs_once() -> None:
    configured(io.StringIO())
    stream = configured(io.StringIO())
    log_event("once", "only")
    logging.getLogger("any").warning("once more")
    assert [line["event"] for line in lines(stream)] == ["once", "log"]


def test_the_level_is_obeyed() -> None:
    stream = configured(io.StringIO(), LOG_LEVEL="error")
    log_event("quiet", "no", level="WARNING")
    log_event("loud", "yes", level="ERROR")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_an_outage_does_not_fill_the_log_with_retries_of_the_sdk_core() -> None:
    stream = configured(io.StringIO())
    core = logging.getLogger("temporalio.core")
    for attempt in range(100):
        core.warning("gRPC call poll_workflow_task_queue retried %d times", attempt)
        core.warning("something else happened")
    core.error("gRPC call poll_workflow_task_queue failed for good")
    logging.getLogger("ours").warning("gRPC call poll_workflow_task_queue retried")
    assert [line["message"] for line in lines(stream)] == [
        "gRPC call poll_workflow_task_queue retried 0 times",
        "something else happened",
        "gRPC call poll_workflow_task_queue failed for good",
        "gRPC call poll_workflow_task_queue retried",
    ]


def test_a_line_of_the_core_has_no_object_in_it() -> None:
    stream = configured(io.StringIO())
    logging.getLogger("temporalio.core").warning("a call was retried", extra={"temporal_log": object()})
    (line,) = lines(stream)
    assert "object at" not in json.dumps(line)


@pytest.mark.asyncio(loop_scope="session")
async def test_what_libraries_send_is_not_logged_however_much_is_to_be() -> None:
    stream = configured(io.StringIO(), LOG_LEVEL="DEBUG")
    answer = completion('{"mood": "good"}')
    async with chat_server((answer[0], {**answer[1], "set-cookie": "sid=of-the-session"}, answer[2])) as server:
        settings = InferenceSettings(
            provider=ProviderKind.OPENAI_COMPATIBLE, model="m", timeout_seconds=5, retries=0, base_url=server.url
        )
        provider = inference_provider(settings, MappingSecrets({"AI_API_KEY": "sk-very-secret"}))
        try:
            action = infer_actions(provider, TokenAccount())[0]
            await call(action, {"prompt": "for your eyes only", "outputSchema": {"type": "object"}})
        finally:
            await provider.close()
    said = stream.getvalue()
    assert server.requests
    assert [
        text for text in ("for your eyes only", "of-the-session", "sk-very-secret", server.url) if text in said
    ] == []
