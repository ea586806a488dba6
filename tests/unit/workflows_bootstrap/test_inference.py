"""`ai.infer` over real HTTP, and over the local provider."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

import pytest

from harness.actions import call
from harness.chat_server import Answer, NoAnswer, chat_server, completion, status
from workflows_bootstrap.inference import openai_compatible
from workflows_bootstrap.inference.accounting import TokenAccount
from workflows_bootstrap.inference.action import TIMEOUT_MS, infer_actions
from workflows_bootstrap.inference.openai_compatible import (
    CALL_SECONDS,
    MAX_BODY_BYTES,
    VENDOR_URL,
    OpenAiCompatibleProvider,
)
from workflows_bootstrap.inference.provider import MAX_ANSWER_BYTES
from workflows_bootstrap.inference.repeats import pause_after
from workflows_bootstrap.inference.service import inference_provider
from workflows_bootstrap.inference.settings import InferenceSettings, ProviderKind
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import ActionFailed

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "sk-very-secret"
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["mood", "score"],
    "additionalProperties": False,
}
QUESTION = {"prompt": "How is it?", "outputSchema": SCHEMA}
GOOD = json.dumps({"mood": "good", "score": 4})


async def ask(
    *answers: Any, question: dict[str, Any] | None = None, secrets: dict[str, str] | None = None, **settings: Any
) -> tuple[Any, list[tuple[dict[str, str], dict[str, Any]]], TokenAccount]:
    """The output or the failure, what the server saw, and the account."""
    account = TokenAccount()
    async with chat_server(*answers) as server:
        defaults: dict[str, Any] = {"model": "m", "timeout_seconds": 5, "retries": 0, "base_url": server.url}
        provider = inference_provider(
            InferenceSettings(provider=ProviderKind.OPENAI_COMPATIBLE, **{**defaults, **settings}),
            MappingSecrets({"AI_API_KEY": KEY} if secrets is None else secrets),
        )
        try:
            found: Any = await call(infer_actions(provider, account)[0], question or QUESTION)
        except ActionFailed as error:
            found = error.failure
        finally:
            await provider.close()
    return found, server.requests, account


async def test_an_answer_that_fits_is_the_output() -> None:
    asked = {**QUESTION, "system": "Be brief.", "temperature": 0, "maxTokens": 50}
    output, requests, account = await ask(completion(GOOD), question=asked)
    assert output == {"mood": "good", "score": 4}
    ((headers, body),) = requests
    assert headers["authorization"] == f"Bearer {KEY}"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("m", 0, 50)
    assert list(account.totals.values()) == [(11, 7)]


@pytest.mark.parametrize(
    ("answer", "category", "code"),
    [
        (status(429, **{"retry-after": "3"}), "TransientError", "AI_RATE_LIMITED"),
        (status(401), "ActionError", "AI_UNAUTHORIZED"),
        (status(403), "ActionError", "AI_UNAUTHORIZED"),
        (status(400), "ActionError", "AI_REQUEST_REFUSED"),
        (status(404), "ActionError", "AI_REQUEST_REFUSED"),
        (status(413), "PayloadTooLarge", "AI_REQUEST_TOO_LARGE"),
        (status(500), "TransientError", "AI_PROVIDER_FAILED"),
        (status(503), "TransientError", "AI_PROVIDER_FAILED"),
        (completion(None, refusal="I cannot"), "ActionError", "AI_REFUSED"),
        (completion(GOOD, finish="content_filter"), "ActionError", "AI_REFUSED"),
        (completion(GOOD, finish="length"), "ActionError", "AI_OUTPUT_TRUNCATED"),
        (completion("certainly! {"), "ValidationError", "AI_OUTPUT_INVALID"),
        (completion(json.dumps({"mood": "great", "score": 9})), "ValidationError", "AI_OUTPUT_INVALID"),
        (completion("[" * 100_000), "ValidationError", "AI_OUTPUT_INVALID"),
        (completion('"' + "x" * MAX_ANSWER_BYTES + '"'), "PayloadTooLarge", "AI_OUTPUT_TOO_LARGE"),
        (completion('{"mood": "\ud83d", "score": 4}'), "ValidationError", "AI_OUTPUT_INVALID"),
        (completion(None), "ActionError", "AI_ANSWER_UNREADABLE"),
        ((200, {"content-type": "application/json"}, b"{}"), "ActionError", "AI_ANSWER_UNREADABLE"),
        ((200, {"content-type": "application/json"}, b"<html>"), "ActionError", "AI_ANSWER_UNREADABLE"),
        ((200, {"content-type": "application/json"}, b"[" * 100_000), "ActionError", "AI_ANSWER_UNREADABLE"),
        ((200, {"content-type": "text/html"}, b"<html>"), "ActionError", "AI_ANSWER_UNREADABLE"),
        *(
            ((200, {"content-type": "application/json"}, body), "ActionError", "AI_ANSWER_UNREADABLE")
            for body in (
                b'{"choices": {"0": 1}}',
                b'{"choices": 5}',
                b'{"choices": [{"message": "{}"}]}',
                b'{"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": [1]}}',
                b'{"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": 1e400}}',
            )
        ),
    ],
)
async def test_each_way_to_fail_is_told_apart_and_never_tells_the_key(
    answer: Answer, category: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        failure, _, _ = await ask(answer)
    assert (failure.category, failure.code) == (category, code)
    assert KEY not in json.dumps(failure.to_json())
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", [f"{KEY}é", f"{KEY}\n{KEY}", f"\ufeff{KEY}", f" {KEY}"])
async def test_a_key_that_cannot_be_sent_is_told_as_one_and_asks_nobody(key: str) -> None:
    failure, requests, _ = await ask(completion(GOOD), secrets={"AI_API_KEY": key}, retries=2)
    assert (failure.category, failure.code, requests) == ("ActionError", "AI_UNAUTHORIZED", [])
    assert failure.message.startswith("secret AI_API_KEY is no key")
    assert KEY not in json.dumps(failure.to_json())


async def test_a_rate_limit_says_when_to_come_again() -> None:
    failure, _, _ = await ask(status(429, **{"retry-after": "3"}))
    assert failure.details == {"status": 429, "retryAfter": "3"}


async def test_a_used_up_quota_is_no_rate_limit() -> None:
    body = json.dumps({"error": {"message": "quota", "code": "insufficient_quota"}}).encode()
    failure, _, _ = await ask((429, {"content-type": "application/json"}, body))
    assert (failure.category, failure.code) == ("QuotaExceeded", "AI_QUOTA_EXHAUSTED")


async def test_an_answer_that_was_cut_off_was_paid_for() -> None:
    failure, _, account = await ask(completion(GOOD, finish="length"))
    assert (failure.code, list(account.totals.values())) == ("AI_OUTPUT_TRUNCATED", [(11, 7)])


@pytest.mark.parametrize("counted", [-5, 10**400], ids=["negative", "far too large"])
async def test_totals_of_tokens_never_fall_and_stay_numbers(counted: int) -> None:
    code, headers, body = completion(GOOD)
    usage = {**json.loads(body), "usage": {"prompt_tokens": counted, "completion_tokens": 7}}
    output, _, account = await ask((code, headers, json.dumps(usage).encode()))
    assert output == {"mood": "good", "score": 4}
    [(prompt, completed)] = account.totals.values()
    assert (0 <= prompt <= 10**9, completed) == (True, 7)


async def test_of_an_answer_without_end_only_so_much_is_read() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\n\r\n")
        with suppress(ConnectionError):
            while sent < 20 * MAX_BODY_BYTES:
                writer.write(b" " * 65_536)
                await writer.drain()
                sent += 65_536
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        failure, _, _ = await ask(completion(GOOD), base_url=url)
    assert (failure.category, failure.code) == ("PayloadTooLarge", "AI_OUTPUT_TOO_LARGE")
    assert sent < 20 * MAX_BODY_BYTES


async def test_the_environment_does_not_send_prompts_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    settings = InferenceSettings(provider=ProviderKind.OPENAI_COMPATIBLE, model="m")
    provider = OpenAiCompatibleProvider(settings, MappingSecrets({}))
    assert str(provider._connected().base_url).rstrip("/") == VENDOR_URL
    await provider.close()


async def test_no_answer_in_time() -> None:
    failure, _, _ = await ask(NoAnswer.SILENCE, timeout_seconds=0.2)
    assert (failure.category, failure.code) == ("TimeoutError", "AI_TIMED_OUT")


async def test_a_connection_that_breaks_and_one_that_is_refused() -> None:
    failure, _, _ = await ask(NoAnswer.HANG_UP)
    assert (failure.category, failure.code) == ("TransientError", "AI_UNREACHABLE")
    failure, requests, _ = await ask(completion(GOOD), base_url="http://127.0.0.1:9/v1")
    assert (failure.code, requests) == ("AI_UNREACHABLE", [])


async def test_retries_are_bounded_and_one_that_helps_is_enough() -> None:
    busy = status(503, **{"retry-after-ms": "1"})
    failure, requests, _ = await ask(busy, retries=2)
    assert (failure.code, len(requests)) == ("AI_PROVIDER_FAILED", 3)
    output, requests, account = await ask(busy, completion(GOOD), retries=2)
    assert (output["mood"], len(requests), list(account.totals.values())) == ("good", 2, [(11, 7)])


async def test_a_repeated_request_takes_a_turn_under_the_limits_as_well() -> None:
    busy = status(429, **{"retry-after-ms": "1"})
    failure, requests, _ = await ask(busy, retries=10, requests_per_minute=3, max_wait_seconds=0.05)
    assert (failure.code, len(requests)) == ("AI_RATE_LIMITED", 3)
    assert "own AI rate limit" in failure.message
    failure, requests, _ = await ask(busy, retries=10, tokens_per_minute=2_100, max_wait_seconds=0.05)
    assert (failure.code, len(requests)) == ("AI_RATE_LIMITED", 2)


QUOTA = (429, {"content-type": "application/json"}, b'{"error": {"message": "q", "code": "insufficient_quota"}}')


@pytest.mark.parametrize(
    ("answer", "code", "sent"),
    [
        (status(409, **{"retry-after-ms": "1"}), "AI_REQUEST_REFUSED", 2),
        (status(400, **{"x-should-retry": "true", "retry-after-ms": "1"}), "AI_REQUEST_REFUSED", 2),
        (status(503, **{"x-should-retry": "false"}), "AI_PROVIDER_FAILED", 1),
        (status(503, **{"retry-after": "61"}), "AI_PROVIDER_FAILED", 1),
        (status(400), "AI_REQUEST_REFUSED", 1),
        (QUOTA, "AI_QUOTA_EXHAUSTED", 1),
        (NoAnswer.HANG_UP, "AI_UNREACHABLE", 2),
        (NoAnswer.SILENCE, "AI_TIMED_OUT", 2),
    ],
)
async def test_what_is_worth_another_request(answer: Any, code: str, sent: int) -> None:
    failure, requests, _ = await ask(answer, retries=1, timeout_seconds=0.3)
    assert (failure.code, len(requests)) == (code, sent)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2099 00:00:00 GMT"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
async def test_the_provider_s_own_pause_is_kept_within_reason(headers: dict[str, str], expected: float | None) -> None:
    assert pause_after(429, headers, 0) == expected


@pytest.mark.parametrize(
    "after", ["0", "-1", "nan", "soon", "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 99999999999999 00:00:00 GMT"]
)
async def test_without_a_pause_of_the_provider_s_each_is_longer_than_the_last(after: str) -> None:
    pauses = [pause_after(503, {"retry-after": after}, repeats) or 0 for repeats in range(12)]
    assert pauses[:4] == sorted(pauses[:4])
    assert (pauses[0] >= 0.375, max(pauses) <= 8) == (True, True)


async def test_a_call_ends_before_the_limit_of_the_action(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CALL_SECONDS * 1000 < TIMEOUT_MS
    monkeypatch.setattr(openai_compatible, "CALL_SECONDS", 0.5)
    failure, requests, _ = await ask(NoAnswer.SILENCE, retries=10)
    assert (failure.category, failure.code, len(requests)) == ("TimeoutError", "AI_TIMED_OUT", 1)
    # A pause that would end too late is not begun.
    failure, requests, _ = await ask(status(503, **{"retry-after": "30"}), retries=10)
    assert (failure.code, len(requests)) == ("AI_PROVIDER_FAILED", 1)


async def test_this_process_s_own_limits() -> None:
    async def twice(**limits: Any) -> list[Any]:
        async with chat_server(completion(GOOD)) as server:
            settings = InferenceSettings(
                provider=ProviderKind.OPENAI_COMPATIBLE, model="m", base_url=server.url, max_wait_seconds=0.05, **limits
            )
            provider = inference_provider(settings, MappingSecrets({"AI_API_KEY": KEY}))
            (infer,) = infer_actions(provider, TokenAccount())
            found: list[Any] = []
            for _ in range(2):
                try:
                    found.append(await call(infer, QUESTION))
                except ActionFailed as error:
                    found.append(error.failure.code)
            await provider.close()
        return [*found, len(server.requests)]

    assert await twice(requests_per_minute=1) == [{"mood": "good", "score": 4}, "AI_RATE_LIMITED", 1]
    assert await twice(tokens_per_minute=1_500) == [{"mood": "good", "score": 4}, "AI_RATE_LIMITED", 1]
    assert await twice(tokens_per_minute=500) == ["AI_REQUEST_TOO_LARGE", "AI_REQUEST_TOO_LARGE", 0]


async def test_what_is_missing_is_named() -> None:
    failure, requests, _ = await ask(completion(GOOD), secrets={})
    assert (failure.code, requests) == ("AI_NOT_CONFIGURED", [])
    assert "AI_API_KEY" in failure.message
    failure, _, _ = await ask(completion(GOOD), model=None)
    assert "WORKFLOW_AI_MODEL" in failure.message
    none = inference_provider(InferenceSettings(), MappingSecrets({}))
    with pytest.raises(ActionFailed, match="WORKFLOW_AI_PROVIDER") as raised:
        await call(infer_actions(none, TokenAccount())[0], QUESTION)
    assert raised.value.failure.code == "AI_NOT_CONFIGURED"


@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": "nonsense"}, {}])
async def test_a_wrong_output_schema_is_not_asked_for(schema: dict[str, Any]) -> None:
    failure, requests, _ = await ask(completion(GOOD), question={"prompt": "x", "outputSchema": schema})
    assert (failure.code, requests) == ("AI_OUTPUT_SCHEMA_INVALID", [])
