"""`http.request` against a real server on loopback: what it sends, what it refuses."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from harness.actions import Core
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_addresses import refusal
from workflows_core.actions.http_lookups import Lookups
from workflows_core.actions.http_policy import HttpPolicy, SystemResolver
from workflows_core.actions.secrets import FileSecrets
from workflows_core.errors import ActionFailed, StepFailed
from workflows_core.redaction import REDACTED
from workflows_core.testing import call_action

pytestmark = pytest.mark.asyncio(loop_scope="session")
LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class Named:
    """A name service of the test's own."""

    addresses: dict[str, Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses[host]


@dataclass
class Server:
    """Answers each path as it is told and keeps the requests' heads."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        path = head.split(" ")[1].partition("?")[0]
        if path == "/hang":
            await reader.read()
        else:
            writer.write(self.answers.get(path, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        writer.close()


@asynccontextmanager
async def server(**answers: bytes) -> AsyncIterator[Server]:
    found = Server(answers={f"/{path}": answer for path, answer in answers.items()})
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield found


async def request(url: str, policy: HttpPolicy, *, tenant_id: str = "acme", **fields: Any) -> Any:
    value = {"url": url, **fields}
    return await Core(policy).call("http.request", value, idempotency_key="key-of-the-step", tenant_id=tenant_id)


async def code_of(url: str, policy: HttpPolicy, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(ActionFailed) as failed:
        await request(url, policy, **fields)
    return failed.value.failure.category, failed.value.failure.code


class SlowNames:
    """The operating system's name service, which answers names below `slow.example` only when it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *given: Any, **named: Any) -> Any:
            if not str(host).endswith("slow.example"):
                return real(host, *given, **named)
            self.asked.append(host)
            self.let_go.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowNames]:
    names = SlowNames(monkeypatch)
    yield names
    names.let_go.set()


async def lookup_threads_end() -> None:
    while any(thread.name == "host name look-up" for thread in threading.enumerate()):
        await asyncio.sleep(0.01)


def policy_of(lookups: Lookups) -> HttpPolicy:
    return HttpPolicy(allowed_networks=LOOPBACK, resolver=SystemResolver(lookups))


async def test_names_that_are_not_answered_hold_up_nothing_but_their_own_tenants_look_ups(
    slow: SlowNames, tmp_path: Path
) -> None:
    policy = policy_of(Lookups(most=3, most_each=2))
    # More than the event loop has threads of its own.
    calls = [code_of(f"http://h{n}.slow.example/", policy, tenant_id="slow", timeoutMs=100) for n in range(40)]
    assert set(await asyncio.gather(*calls)) == {("TimeoutError", "HTTP_TIMEOUT")}
    assert len(slow.asked) == 2
    (tmp_path / "KEY").write_text("value", encoding="utf-8")
    async with asyncio.timeout(5), server() as found:
        assert await FileSecrets(tmp_path).get("other", "KEY") == "value"
        url = f"http://localhost:{found.port}/"
        assert (await request(url, policy, tenant_id="other"))["body"] == "ok"
        # The threads are held until the name service answers; then they serve whoever waits.
        waiting = asyncio.create_task(request(url, policy, tenant_id="slow"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        slow.let_go.set()
        assert (await waiting)["body"] == "ok"
        await lookup_threads_end()
    assert len(slow.asked) == 2


async def test_a_look_up_that_hangs_does_not_keep_the_process_from_its_exit() -> None:
    program = """
import asyncio, socket, threading
from workflows_core.actions.http_policy import SystemResolver

asked = threading.Event()

def hang(*given, **named):
    asked.set()
    threading.Event().wait(60)

socket.getaddrinfo = hang

async def main():
    task = asyncio.create_task(SystemResolver().resolve("h.example", 80))
    while not asked.is_set():
        await asyncio.sleep(0.01)
    task.cancel()

asyncio.run(main())
"""
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await asyncio.wait_for(run.wait(), 20) == 0


async def test_what_the_name_service_says_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_given: Any, **_named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert await code_of("http://nowhere.example/", policy_of(Lookups())) == (
        "TransientError",
        "HTTP_CONNECTION_FAILED",
    )


async def test_an_allowed_request_is_sent_with_the_steps_key_and_answered() -> None:
    body = json.dumps({"n": 1}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with server(data=answer) as found:
        policy = HttpPolicy(allowed_networks=LOOPBACK)
        url = f"http://127.0.0.1:{found.port}/data"
        output = await request(url, policy, method="POST", json={"a": 1}, query={"q": "x y"})
    assert (output["status"], output["json"]) == (200, {"n": 1})
    (head,) = found.heads
    assert head.startswith("POST /data?q=x")
    assert "idempotency-key: key-of-the-step" in head.lower()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - an address that is refused
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "nonsense",
    ],
)
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
async def test_a_public_address_may_be_reached(address: str) -> None:
    assert refusal(address) is None


async def test_the_default_policy_reaches_nothing_on_this_machine() -> None:
    async with server() as found:
        for host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
            category, _ = await code_of(f"http://{host}:{found.port}/", HttpPolicy())
            assert category in ("ValidationError", "TransientError")
        assert await code_of(f"http://127.0.0.1:{found.port}/", HttpPolicy()) == (
            "ValidationError",
            "HTTP_ADDRESS_REFUSED",
        )
    assert found.heads == []


async def test_a_public_name_that_leads_inside_is_refused_whatever_else_it_leads_to() -> None:
    names = Named({"rebound.example": ["127.0.0.1"], "half.example": ["93.184.216.34", "10.0.0.1"]})
    for host in names.addresses:
        found = await code_of(f"http://{host}:9/", HttpPolicy(resolver=names))
        assert found == ("ValidationError", "HTTP_ADDRESS_REFUSED")


async def test_the_connection_goes_to_the_address_that_was_checked_and_keeps_the_name() -> None:
    async with server() as found:
        names = Named({"service.example": ["127.0.0.1"]})
        policy = HttpPolicy(allowed_networks=LOOPBACK, resolver=names)
        output = await request(f"http://service.example:{found.port}/x", policy)
    assert output["body"] == "ok"
    assert f"host: service.example:{found.port}" in found.heads[0].lower()
    assert names.asked == ["service.example"]


async def test_each_redirect_is_checked_again() -> None:
    inside = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
    again = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    async with server(inside=inside, again=again) as found:
        policy = HttpPolicy(allowed_networks=LOOPBACK)
        base = f"http://127.0.0.1:{found.port}"
        assert await code_of(f"{base}/inside", policy) == ("ValidationError", "HTTP_ADDRESS_REFUSED")
        assert (await code_of(f"{base}/again", policy))[1] == "HTTP_TOO_MANY_REDIRECTS"
        unfollowed = await request(f"{base}/inside", policy, followRedirects=False, expectedStatuses=[302])
    assert unfollowed["status"] == 302


async def test_hosts_can_be_limited() -> None:
    policy = HttpPolicy(allowed_hosts=("api.example",), allowed_networks=LOOPBACK)
    assert (await code_of("http://127.0.0.1:9/", policy))[0] == "ValidationError"


async def test_failures_have_the_category_that_authors_retry_by() -> None:
    def status(line: bytes) -> bytes:
        return b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n"

    large = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    async with server(gone=status(b"404 Not Found"), down=status(b"503 Down"), large=large) as found:
        policy = HttpPolicy(allowed_networks=LOOPBACK, max_response_bytes=1000, max_request_bytes=1000)
        base = f"http://127.0.0.1:{found.port}"
        assert await code_of(f"{base}/gone", policy) == ("ActionError", "HTTP_STATUS")
        assert await code_of(f"{base}/down", policy) == ("TransientError", "HTTP_STATUS")
        assert await code_of(f"{base}/large", policy) == ("PayloadTooLarge", "HTTP_RESPONSE_TOO_LARGE")
        assert (await code_of(f"{base}/x", policy, method="POST", text="x" * 2000))[1] == "HTTP_REQUEST_TOO_LARGE"
        assert await code_of(f"{base}/hang", policy, timeoutMs=200) == ("TimeoutError", "HTTP_TIMEOUT")
        assert (await request(f"{base}/gone", policy, expectedStatuses=[404]))["status"] == 404
    assert await code_of(f"{base}/x", policy) == ("TransientError", "HTTP_CONNECTION_FAILED")
    for url in ("ftp://example.org/", "http://user:password@example.org/", "not a url"):
        assert (await code_of(url, policy))[0] == "ValidationError"


def packed(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\n\r\n" + content


async def test_packed_answers_are_bounded_by_what_arrives_as_well() -> None:
    policy = HttpPolicy(allowed_networks=LOOPBACK, max_response_bytes=1_000)
    random = os.urandom(1_000)
    empty = gzip.compress(b"")
    answers = {
        "bomb": packed(gzip.compress(b"x" * 1_001)),
        "empty": packed(empty * (3_100 // len(empty))),
        # Without an end of its head, nothing is ever unpacked.
        "head": packed(empty[:3] + b"\x08" + empty[4:10] + b"n" * 3_100),
        "parts": packed(gzip.compress(b"some ") + empty * 5 + gzip.compress(b"text")),
        "random": packed(gzip.compress(random)),
        "broken": packed(empty[:10]),
        "nothing": packed(b""),
    }
    async with server(**answers) as found:
        base = f"http://127.0.0.1:{found.port}"
        for path in ("bomb", "empty", "head"):
            assert await code_of(f"{base}/{path}", policy) == ("PayloadTooLarge", "HTTP_RESPONSE_TOO_LARGE"), path
        assert (await request(f"{base}/parts", policy))["body"] == "some text"
        assert base64.b64decode((await request(f"{base}/random", policy))["body"]) == random
        assert await code_of(f"{base}/broken", policy) == ("TransientError", "HTTP_CONNECTION_FAILED")
        assert (await request(f"{base}/nothing", policy))["body"] == ""


@pytest.mark.parametrize(
    ("date", "expected"),
    [("Mon, 01 Jan 99999999999999 00:00:00 GMT", None), ("Mon, 01 Jan 0001 00:00:00 +2300", 0), ("soon", None)],
)
async def test_a_date_that_no_calendar_has_is_no_fault_of_the_action(date: str, expected: int | None) -> None:
    answer = f"HTTP/1.1 503 x\r\nRetry-After: {date}\r\nContent-Length: 0\r\n\r\n".encode()
    async with server(busy=answer) as found:
        with pytest.raises(ActionFailed) as failed:
            await request(f"http://127.0.0.1:{found.port}/busy", HttpPolicy(allowed_networks=LOOPBACK))
    failure = failed.value.failure
    assert (failure.category, failure.code) == ("TransientError", "HTTP_STATUS")
    assert failure.details is not None
    assert (failure.details["retryAfter"], failure.details["retryAfterMs"]) == (date, expected)


KEY = "key-of-the-partner-0123456789"
GIVEN: dict[str, dict[str, Any]] = {
    "headers": {"headers": {"x-key": {"$secret": "KEY"}}},
    "query": {"query": {"key": {"$secret": "KEY"}}},
    "json": {"method": "POST", "json": {"key": {"$secret": "KEY"}}},
    "auth": {"auth": {"type": "bearer", "token": {"$secret": "KEY"}}},
}


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
@pytest.mark.parametrize("given", GIVEN)
async def test_no_part_of_a_secret_is_in_what_is_shown_of_an_answer(given: str, kind: str) -> None:
    """An answer that says what it was sent, at the very place where it is cut."""
    said = "x" * 985 + KEY + "y" * 100
    body = json.dumps([said]) if kind == "application/json" else said
    head = f"HTTP/1.1 500 No\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with server(echo=(head + body).encode()) as found:
        value = {"url": f"http://127.0.0.1:{found.port}/echo", **GIVEN[given]}
        pack = core_pack(HttpPolicy(allowed_networks=LOOPBACK))
        with pytest.raises(StepFailed) as failed:
            await call_action(pack, "http.request", value, secrets={"KEY": KEY})
    failure = failed.value.failure
    assert failure.code == "HTTP_STATUS"
    assert failure.details is not None
    assert failure.details["body"].lstrip('["').startswith("x" * 985 + REDACTED)
    assert KEY[:6] not in json.dumps(failure.to_json())


async def test_json_behind_a_byte_order_mark_is_json() -> None:
    body = b'\xef\xbb\xbf{"a": [1]}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    async with server(marked=head.encode() + body) as found:
        answer = await request(f"http://127.0.0.1:{found.port}/marked", HttpPolicy(allowed_networks=LOOPBACK))
    assert (answer["json"], answer["body"], answer["bodyEncoding"]) == ({"a": [1]}, None, None)


@pytest.mark.parametrize("query", [{}, {"left_out": None}])
async def test_a_query_that_adds_nothing_leaves_the_url_as_it_is(query: dict[str, Any]) -> None:
    async with server() as found:
        url = f"http://127.0.0.1:{found.port}/service?wsdl"
        await request(url, HttpPolicy(allowed_networks=LOOPBACK), query=query)
    assert found.heads[0].splitlines()[0] == "GET /service?wsdl HTTP/1.1"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:65536/", "port from 1 to 65535"),
        ("http://127.0.0.1:0/", "port from 1 to 65535"),
        ("http://127.0.0.1:-1/", "port from 1 to 65535"),
        ("http://xn--a/", "no host name"),
        (f"http://{'a' * 64}.example/", "no host name"),
        ("http://a..example/", "no host name"),
    ],
)
async def test_an_address_that_nobody_can_have_is_the_authors_mistake(url: str, says: str) -> None:
    policy = HttpPolicy(allowed_networks=LOOPBACK)
    with pytest.raises(ActionFailed) as failed:
        await request(url, policy)
    assert (failed.value.failure.category, failed.value.failure.code) == ("ValidationError", "HTTP_REQUEST_INVALID")
    assert says in failed.value.failure.message
    moved = f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()
    async with server(moved=moved) as found:
        code = await code_of(f"http://127.0.0.1:{found.port}/moved", policy)
    assert code == ("ActionError", "HTTP_REDIRECT_REFUSED")


async def test_of_a_long_content_type_only_the_beginning_is_read() -> None:
    """For each `;` inside quotes the library begins anew, which held the process up for many seconds."""
    kind = f'text/plain; x="{";" * 90_000}"; charset=iso-8859-1'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 1\r\n\r\n"
    async with server(long=head.encode() + b"\xe9") as found:
        answer = await request(f"http://127.0.0.1:{found.port}/long", HttpPolicy(allowed_networks=LOOPBACK))
    assert (answer["body"], answer["bodyEncoding"]) == ("6Q==", "base64")


async def test_what_a_server_says_is_shown_in_part_only_and_never_a_part_of_a_secret() -> None:
    long = KEY + "x" * 50_000
    answers = {
        "status": f"HTTP/1.1 200{'x' * 229}{long}\r\n\r\n".encode(),
        "later": f"HTTP/1.1 503 x\r\nRetry-After: {'x' * 85}{long}\r\nContent-Length: 0\r\n\r\n".encode(),
    }
    async with server(**answers) as found:
        for path in answers:
            value = {"url": f"http://127.0.0.1:{found.port}/{path}", **GIVEN["headers"]}
            pack = core_pack(HttpPolicy(allowed_networks=LOOPBACK))
            with pytest.raises(StepFailed) as failed:
                await call_action(pack, "http.request", value, secrets={"KEY": KEY})
            told = json.dumps(failed.value.failure.to_json())
            assert len(told) < 600
            assert KEY[:6] not in told
            assert REDACTED[:6] in told


async def test_headers_are_read_as_utf_8_or_else_as_latin_1() -> None:
    head = "HTTP/1.1 200 OK\r\nX-New: café\r\n".encode() + "X-Old: café\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    moved = "HTTP/1.1 302 Found\r\nLocation: /café\r\nContent-Length: 0\r\n\r\n".encode()
    async with server(named=head, moved=moved) as found:
        base, policy = f"http://127.0.0.1:{found.port}", HttpPolicy(allowed_networks=LOOPBACK)
        headers = (await request(f"{base}/named", policy))["headers"]
        await request(f"{base}/moved", policy)
    assert (headers["x-new"], headers["x-old"]) == ("café", "café")
    assert found.heads[-1].splitlines()[0] == "GET /caf%C3%A9 HTTP/1.1"


async def test_a_user_name_with_a_colon_would_be_another_one() -> None:
    auth = {"type": "basic", "username": "ada:lovelace", "password": "p"}
    assert await code_of("http://example.org/", HttpPolicy(), auth=auth) == ("ValidationError", "HTTP_REQUEST_INVALID")
