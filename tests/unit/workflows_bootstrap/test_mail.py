"""`email.send` over a real SMTP server and over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message as Received
from email.utils import getaddresses
from functools import partial
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.actions import NOW, call
from harness.chat_server import NoAnswer, chat_server, status
from workflows_bootstrap.mail.action import send_actions
from workflows_bootstrap.mail.message import Mailbox, Message, is_line, mime
from workflows_bootstrap.mail.service import NoTransport, mail_transport
from workflows_bootstrap.mail.settings import MailSettings, SmtpSecurity, TransportKind
from workflows_core.actions.action import Effect
from workflows_core.actions.secrets import SERVICE_SECRETS, MappingSecrets
from workflows_core.errors import ActionFailed, StepFailed
from workflows_core.redaction import REDACTED
from workflows_core.testing import call_action

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning"),
]

KEY = "hunter2-very-secret"
MANY = [{"email": f"a{n}@example.com"} for n in range(30)]
MAIL = {"to": [{"email": "ada@example.com", "name": "Ada"}], "subject": "Hello", "text": "Dear Ada"}


class Server:
    """Keeps what it gets; `scripted` answers a command instead."""

    def __init__(self, **scripted: str) -> None:
        self.scripted = scripted
        self.got: list[tuple[list[str], Received]] = []

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, _: Any) -> str:  # noqa: N802
        if "rcpt" in self.scripted:
            return self.scripted["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        if "data" in self.scripted:
            return self.scripted["data"]
        if "hang_up" in self.scripted:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        self.got.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 queued as 17"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=data.password == KEY.encode(), handled=False)


@asynccontextmanager
async def smtp(server: Server, *, auth: bool = False, offered: bool = True) -> AsyncIterator[MailSettings]:
    def protocol() -> SMTP:
        return SMTP(
            server,
            hostname="mail.test",
            authenticator=authenticate if auth else None,
            auth_required=auth,
            # What needs TLS is not offered without.
            auth_require_tls=not offered,
        )

    listening = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with listening:
        yield MailSettings(
            TransportKind.SMTP,
            sender="from@example.org",
            smtp_host="127.0.0.1",
            smtp_port=listening.sockets[0].getsockname()[1],
            smtp_security=SmtpSecurity.NONE,
            smtp_user="sender" if auth else None,
            timeout_seconds=2,
        )


async def send(settings: MailSettings, mail: dict[str, Any] = MAIL, key: str | None = KEY) -> Any:
    """The output, or the failure."""
    transport = mail_transport(settings, MappingSecrets({} if key is None else {"EMAIL_KEY": key}))
    (action,) = send_actions(transport, settings.sender)
    try:
        return await call(action, mail)
    except ActionFailed as error:
        return error.failure
    finally:
        await transport.close()


async def test_a_message_arrives_with_all_its_parts() -> None:
    server = Server()
    mail = {
        **MAIL,
        "cc": [{"email": "cc@example.com"}],
        "bcc": [{"email": "hidden@example.com"}],
        "replyTo": {"email": "answers@example.com", "name": "Answers, Inc."},
        "subject": "Grüße",
        "text": "Liebe Ada, schöne Grüße",
        "html": "<p>Dear Ada</p>",
    }
    async with smtp(server) as settings:
        output = await send(settings, mail)
    ((recipients, message),) = server.got
    assert recipients == ["ada@example.com", "cc@example.com", "hidden@example.com"]
    assert "hidden@example.com" not in message.as_string()
    assert message.as_bytes().isascii()
    assert output == {"messageId": message["Message-ID"], "providerId": "queued as 17", "recipients": 3}
    assert (message["From"], message["To"]) == ("from@example.org", "Ada <ada@example.com>")
    assert message["Reply-To"] == '"Answers, Inc." <answers@example.com>'
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]


async def test_a_repeated_message_has_the_same_id_and_another_tenant_s_another() -> None:
    server = Server()
    async with smtp(server) as settings:
        one = await send(settings)
        two = await send(settings)
        other = await send(settings, {**MAIL, "idempotency_key": "k"})
    assert one["messageId"] == two["messageId"] != other["messageId"]


async def test_smtp_is_at_most_once_and_http_is_idempotent() -> None:
    http = mail_transport(MailSettings(TransportKind.HTTP, http_url="http://127.0.0.1:9/"), MappingSecrets({}))
    smtp_transport = mail_transport(MailSettings(TransportKind.SMTP), MappingSecrets({}))
    assert send_actions(smtp_transport, None)[0].effect is Effect.AT_MOST_ONCE
    assert send_actions(http, None)[0].effect is Effect.IDEMPOTENT
    await http.close()


@pytest.mark.parametrize(
    ("scripted", "category", "code"),
    [
        ({"rcpt": "550 no such user hunter2-very-secret"}, "ActionError", "EMAIL_REFUSED"),
        ({"rcpt": "451 try later"}, "TransientError", "EMAIL_DEFERRED"),
        ({"data": "554 spam"}, "ActionError", "EMAIL_REFUSED"),
        ({"data": "452 full"}, "TransientError", "EMAIL_DEFERRED"),
        ({"hang_up": "yes"}, "UnknownOutcome", "EMAIL_OUTCOME_UNKNOWN"),
    ],
)
async def test_each_way_to_fail_is_told_apart(scripted: dict[str, str], category: str, code: str) -> None:
    async with smtp(Server(**scripted)) as settings:
        failure = await send(settings)
    assert (failure.category, failure.code) == (category, code)
    assert KEY not in json.dumps(failure.to_json())


async def test_authentication() -> None:
    server = Server()
    async with smtp(server, auth=True) as settings:
        assert (await send(settings))["recipients"] == 1
        assert (await send(settings, key="wrong")).code == "EMAIL_UNAUTHORIZED"
        missing = await send(settings, key=None)
    assert (missing.code, "EMAIL_KEY" in missing.message) == ("EMAIL_NOT_CONFIGURED", True)
    assert len(server.got) == 1


async def test_a_user_for_a_server_that_knows_none_is_told_as_that() -> None:
    server = Server()
    async with smtp(server, offered=False) as found:
        failure = await send(replace(found, smtp_user="sender"))
    assert (failure.category, failure.code, server.got) == ("ActionError", "EMAIL_UNAUTHORIZED", [])


async def test_a_server_that_is_not_there_has_no_tls_or_says_nothing() -> None:
    gone = MailSettings(TransportKind.SMTP, sender="a@example.org", smtp_host="127.0.0.1", smtp_port=9)
    assert (await send(gone)).code == "EMAIL_UNREACHABLE"
    async with smtp(Server()) as plain:
        tls = MailSettings(
            TransportKind.SMTP,
            sender="a@example.org",
            smtp_host=plain.smtp_host,
            smtp_port=plain.smtp_port,
            smtp_security=SmtpSecurity.TLS,
            timeout_seconds=2,
        )
        assert (await send(tls)).code == "EMAIL_UNREACHABLE"
        starttls = await send(replace(plain, smtp_security=SmtpSecurity.STARTTLS))
    assert starttls.code == "EMAIL_UNREACHABLE"
    assert "offers no STARTTLS; WORKFLOW_MAIL_SMTP_SECURITY says how it is spoken to" in starttls.message
    async with chat_server(NoAnswer.SILENCE) as silent:
        port = int(silent.url.split(":")[2].split("/")[0])
        quiet = MailSettings(
            TransportKind.SMTP,
            sender="a@example.org",
            smtp_host="127.0.0.1",
            smtp_port=port,
            smtp_security=SmtpSecurity.NONE,
            timeout_seconds=0.2,
        )
        assert (await send(quiet)).code == "EMAIL_TIMED_OUT"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"subject": "Hello\r\nBcc: all@example.com"}, "EMAIL_SUBJECT_INVALID"),
        ({"to": [{"email": "ada@example.com\nX: y"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"to": [{"email": "ada@example.com", "name": "A\r\nX: y"}]}, "EMAIL_ADDRESS_INVALID"),
        *(({"subject": f"a{end}b"}, "EMAIL_SUBJECT_INVALID") for end in "\x0b\x85\u2028\u2029"),
        ({"to": [{"email": "ada@example.com", "name": "A\u2028B"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"to": [{"email": "ada@exämple.com"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"bcc": [{"email": "jörg@example.com"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"from": {"email": "ada@exämple.com"}}, "EMAIL_ADDRESS_INVALID"),
        ({"to": [{"email": "not an address"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"to": [{"email": "ada@"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"to": [{"email": "<ada@example.com>"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"cc": [{"email": "@example.com"}]}, "EMAIL_ADDRESS_INVALID"),
        ({"replyTo": {"email": "ada@;"}}, "EMAIL_ADDRESS_INVALID"),
        (
            {
                "to": [{"email": f"a{n}@example.com"} for n in range(30)],
                "cc": [{"email": f"b{n}@example.com"} for n in range(30)],
            },
            "EMAIL_TOO_MANY_RECIPIENTS",
        ),
        ({"text": None, "html": None}, "ACTION_INPUT_INVALID"),
    ],
)
async def test_bad_input_is_refused_and_nothing_is_sent(change: dict[str, Any], code: str) -> None:
    server = Server()
    mail = {key: value for key, value in {**MAIL, **change}.items() if value is not None}
    async with smtp(server) as settings:
        failure = await send(settings, mail)
    assert (failure.category, failure.code, server.got) == ("ValidationError", code, [])


@pytest.mark.parametrize(
    "subject",
    [
        "=?utf-8?q?=0ABcc:_spy@example.com?=",
        "Re: =?utf-8?q?=0D=0A=0D=0Aanother_body?= here",
        "=?utf-8?q?caf=C3=A9?=",
        "é =?",
    ],
)
async def test_a_subject_that_looks_encoded_arrives_as_it_was_given_and_adds_nothing(subject: str) -> None:
    server = Server()
    async with smtp(server) as settings:
        await send(settings)
        await send(settings, {**MAIL, "subject": subject})
    (_, plain), (_, message) = server.got
    assert str(make_header(decode_header(message["Subject"]))) == subject
    assert sorted(message.keys()) == sorted(plain.keys())
    assert message.get_payload() == plain.get_payload()


def mailboxes_of(header: str) -> list[tuple[str, str]]:
    return [(str(make_header(decode_header(name))), email) for name, email in getaddresses([header])]


@pytest.mark.parametrize("length", [1, 16, 17, 18, 80])
async def test_each_recipient_stays_one_whatever_the_others_are_called(length: int) -> None:
    server = Server()
    names = ["é" * length, "", "Jörg Müller-Lüdenscheidt", "B", "日本語の長い名前" * 8, "", '"A", <b@c> (d) é', "E"]
    named = [
        {"email": f"r{number}@example.com", **({"name": name} if name else {})} for number, name in enumerate(names)
    ]
    async with smtp(server) as found:
        await send(found, {**MAIL, "to": named, "cc": named[::-1]})
    ((_, message),) = server.got
    expected = [(name, f"r{number}@example.com") for number, name in enumerate(names)]
    assert mailboxes_of(message["To"]) == expected
    assert mailboxes_of(message["Cc"]) == expected[::-1]


@given(
    st.lists(st.text(max_size=90).filter(lambda name: is_line(name) and name == name.strip()), min_size=1, max_size=4)
)
@settings(database=None, max_examples=200)
async def test_any_name_comes_back_from_the_written_message(names: list[str]) -> None:
    mailboxes = [Mailbox(f"r{number}@example.com", name) for number, name in enumerate(names)]
    message = Message(sender=mailboxes[0], to=mailboxes, subject="s", key="k", tenant_id="acme", date=NOW, text="t")
    written = mime(message)
    read = message_from_bytes(written)
    assert mailboxes_of(read["To"]) == [(one.name, one.email) for one in mailboxes]
    assert mailboxes_of(read["From"]) == [(names[0], "r0@example.com")]
    assert max(map(len, written.split(b"\r\n"))) <= 998


async def test_what_cannot_be_written_down_opens_no_connection() -> None:
    opened: list[asyncio.StreamWriter] = []
    listening = await asyncio.start_server(lambda _, writer: opened.append(writer), "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        settings = MailSettings(TransportKind.SMTP, smtp_port=port, smtp_security=SmtpSecurity.NONE, timeout_seconds=1)
        one = Mailbox("ada@example.com")
        message = Message(
            sender=one, to=[one], subject="a\u2028b", key="k", tenant_id="acme", date=NOW, text="Dear Ada"
        )
        with pytest.raises(ValueError, match="linefeed"):
            await mail_transport(settings, MappingSecrets({})).send(message)
        for writer in opened:
            writer.close()
    assert opened == []


async def test_what_is_not_configured_is_named() -> None:
    failure = await send(MailSettings(sender="a@example.org"))
    assert (failure.code, "WORKFLOW_MAIL_TRANSPORT" in failure.message) == ("EMAIL_NOT_CONFIGURED", True)
    async with smtp(Server()) as settings:
        failure = await send(MailSettings(TransportKind.SMTP, smtp_port=settings.smtp_port))
    assert (failure.code, "WORKFLOW_MAIL_FROM" in failure.message) == ("EMAIL_NOT_CONFIGURED", True)


def over_http(url: str, **more: Any) -> MailSettings:
    return MailSettings(TransportKind.HTTP, sender="from@example.org", http_url=url, **{"timeout_seconds": 2, **more})


async def test_the_http_provider_gets_the_message_and_its_key() -> None:
    accepted = (202, {"content-type": "application/json"}, b'{"id": "m-17"}')
    async with chat_server(accepted) as provider:
        output = await send(over_http(provider.url))
        again = await send(over_http(provider.url))
    (headers, body), (second, _) = provider.requests
    assert output == again
    assert (output["providerId"], headers["authorization"]) == ("m-17", f"Bearer {KEY}")
    assert headers["idempotency-key"] == second["idempotency-key"] == output["messageId"].strip("<>")
    assert body == {
        "from": {"email": "from@example.org"},
        "to": [{"email": "ada@example.com", "name": "Ada"}],
        "subject": "Hello",
        "messageId": output["messageId"],
        "text": "Dear Ada",
    }


@pytest.mark.parametrize("name", sorted(SERVICE_SECRETS))
async def test_no_step_can_mail_a_key_of_the_installation_to_somebody(name: str) -> None:
    installation = dict.fromkeys(SERVICE_SECRETS, KEY)
    async with chat_server((202, {}, b"")) as provider:
        transport = mail_transport(over_http(provider.url), MappingSecrets(installation))
        pack = partial(send_actions, transport, "a@example.org")
        try:
            with pytest.raises(StepFailed) as failed:
                await call_action(pack, "email.send", {**MAIL, "text": {"$secret": name}}, secrets=installation)
        finally:
            await transport.close()
    assert (failed.value.failure.code, provider.requests) == ("SECRET_RESERVED", [])


@pytest.mark.parametrize(
    ("answer", "category", "code"),
    [
        (status(429, **{"retry-after": "9"}), "TransientError", "EMAIL_RATE_LIMITED"),
        (status(401), "ActionError", "EMAIL_UNAUTHORIZED"),
        (status(422), "ActionError", "EMAIL_REFUSED"),
        (status(302, location="http://elsewhere.example/"), "ActionError", "EMAIL_REFUSED"),
        (status(500), "TransientError", "EMAIL_PROVIDER_FAILED"),
        (NoAnswer.HANG_UP, "TransientError", "EMAIL_UNREACHABLE"),
        (NoAnswer.SILENCE, "TimeoutError", "EMAIL_TIMED_OUT"),
    ],
)
async def test_each_way_the_http_provider_fails(answer: Any, category: str, code: str) -> None:
    async with chat_server(answer) as provider:
        failure = await send(over_http(provider.url, timeout_seconds=0.5))
    assert (failure.category, failure.code) == (category, code)
    assert "secret" not in json.dumps(failure.to_json())


@pytest.mark.parametrize("key", [f"{KEY}é", f"{KEY}\n{KEY}"])
async def test_a_key_that_cannot_be_sent_is_told_as_one_and_nothing_is_sent(key: str) -> None:
    async with chat_server((200, {}, b"{}")) as provider:
        failure = await send(over_http(provider.url), key=key)
    assert (failure.category, failure.code, provider.requests) == ("ActionError", "EMAIL_UNAUTHORIZED", [])
    assert KEY not in json.dumps(failure.to_json())


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"id": 7}', b"x" * 100_000, b"[" * 60_000])
async def test_a_message_that_was_taken_is_sent_whatever_the_answer_says(content: bytes) -> None:
    async with chat_server((200, {}, content)) as provider:
        assert (await send(over_http(provider.url)))["providerId"] is None


@pytest.mark.parametrize("rest", ["content-length: 500", "content-length: 7\r\ncontent-encoding: gzip"])
@pytest.mark.parametrize("hangs", [True, False])
async def test_a_message_that_was_taken_is_sent_where_the_rest_of_the_answer_is_lost(rest: str, hangs: bool) -> None:
    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"Dear Ada")
        writer.write(f'HTTP/1.1 200 x\r\n{rest}\r\n\r\n{{"id": '.encode())
        await writer.drain()
        if hangs:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(breaks_off, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        output = await send(over_http(url, timeout_seconds=0.5))
    assert output["providerId"] is None


async def test_what_cannot_be_stored_of_a_provider_s_answer_is_left_out() -> None:
    async with chat_server((200, {}, b'{"id": "m\\ud800-\\u000017"}')) as provider:
        assert (await send(over_http(provider.url)))["providerId"] == "m-17"


async def test_what_cannot_be_stored_of_a_server_s_words_is_left_out() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"220 x", b"250 x", b"250 x", b"250 x", b"354 x"):
            writer.write(answer + b"\r\n")
            await reader.readline()
        await reader.readuntil(b"\r\n.\r\n")
        writer.write("250 queued für 17\r\n".encode("latin-1"))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        found = MailSettings(
            TransportKind.SMTP, "a@example.org", smtp_port=port, smtp_security=SmtpSecurity.NONE, timeout_seconds=5
        )
        assert (await send(found))["providerId"] == "queued fr 17"


async def test_a_cancelled_send_leaves_no_connection_behind() -> None:
    async with chat_server(NoAnswer.SILENCE) as provider:
        sending = asyncio.create_task(send(over_http(provider.url, timeout_seconds=30)))
        while not provider.requests:
            await asyncio.sleep(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.mark.parametrize("address", ["p" * 70 + " the-secret@" + "q" * 100, "half@example.org,the-secret"])
async def test_an_address_that_is_a_secret_is_not_shown_in_part(address: str) -> None:
    pack = partial(send_actions, NoTransport(), "from@example.org")
    mail = {**MAIL, "to": [{"email": {"$secret": "WHOM"}}]}
    with pytest.raises(StepFailed) as failed:
        await call_action(pack, "email.send", mail, secrets={"WHOM": address})
    assert failed.value.failure.code == "EMAIL_ADDRESS_INVALID"
    said = json.dumps(failed.value.failure.to_json())
    assert not any(part in said for part in ("ppp", "half", "the-secret"))


async def test_no_part_of_a_secret_is_in_what_the_provider_says() -> None:
    secret = "told-to-the-provider"
    accepted = (202, {"content-type": "application/json"}, json.dumps({"id": "x" * 190 + secret}).encode())
    async with chat_server(accepted) as provider:
        transport = mail_transport(over_http(provider.url), MappingSecrets({"EMAIL_KEY": KEY}))
        try:
            pack = partial(send_actions, transport, "from@example.org")
            mail = {**MAIL, "text": {"$secret": "TOLD"}}
            output = await call_action(pack, "email.send", mail, secrets={"TOLD": secret})
        finally:
            await transport.close()
    assert output["providerId"] == "x" * 190 + REDACTED
