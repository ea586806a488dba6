"""What is sent and what came back: built, checked and decoded without touching the network."""

from __future__ import annotations

import base64
import codecs
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.message import Message
from typing import Any

import httpx

from workflows_core.actions.json_text import parse_json
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.expressions.functions import to_string

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_NOT_THE_AUTHORS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
)
# To another origin no header goes that could hold a credential.
_SAFE_ELSEWHERE = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})
_TEXT_CODECS = frozenset(
    {
        "ascii", "utf-8", "utf-16", "iso8859-1", "iso8859-15", "cp1250", "cp1251", "cp1252",
        "koi8-r", "shift_jis", "euc_jp", "euc_kr", "gb18030", "gbk", "big5",
    }
)  # fmt: skip

_BYTE_ORDER_MARK = "\ufeff"
_LAST_PORT = 65_535
_CONTENT_TYPE_LENGTH = 1_000
"""Characters of a content type that are read: for each `;` inside quotes the library begins anew."""
# Packing makes small or random data larger: heads of the parts, and what a sender flushes between them.
_PACKING_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request; header names are lower-case. `private` are texts made of credentials, to be kept out of answers."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    body: bytes
    private: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Scheme, host and port: all of the URL that may be shown, since the rest may hold a secret."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii', 'replace')}"


def outgoing(value: dict[str, Any], idempotency_key: str, max_body_bytes: int) -> Outgoing:
    """Builds the request of an action's input.

    Raises:
        ActionFailed: `HTTP_REQUEST_INVALID` with all problems, none showing a value;
            `HTTP_REQUEST_TOO_LARGE`.
    """
    problems: list[str] = []
    url = _url(value, problems)
    headers = {"user-agent": "authored-workflows", "accept": "*/*", "accept-encoding": "gzip"}
    headers["idempotency-key"] = _visible(idempotency_key)
    body = _body(value, headers, problems)
    private = _authorization(value.get("auth"), headers, problems)
    for name, text in value.get("headers", {}).items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name):
            problems.append(f"/headers: {name!r:.80} is no header name")
        elif lower in _NOT_THE_AUTHORS or lower.startswith("proxy-"):
            problems.append(f"/headers/{name}: is set by the connection and cannot be given")
        elif lower == "authorization" and private:
            problems.append("/headers/Authorization: is set by auth; give one of the two")
        elif not _HEADER_VALUE.fullmatch(text):
            problems.append(f"/headers/{name}: must be visible ASCII characters and blanks, without line breaks")
        else:
            headers[lower] = text.strip()
    if problems:
        message = f"the request is wrong: {'; '.join(problems)}"
        details: dict[str, Json] = {"problems": list(problems)}
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="HTTP_REQUEST_INVALID", details=details)
    if len(body) > max_body_bytes:
        message = f"the body has {len(body)} bytes, at most {max_body_bytes} may be sent"
        raise ActionFailed(message, category=ErrorCategory.PAYLOAD_TOO_LARGE, code="HTTP_REQUEST_TOO_LARGE")
    return Outgoing(value.get("method", "GET"), url, headers, body, private)


def redirected(request: Outgoing, status: int, location: str) -> Outgoing:
    """The request that a redirect asks for.

    Raises:
        ActionFailed: `HTTP_REDIRECT_REFUSED`: no usable address, from https to http, or a body that
            would go to another origin.
    """
    try:
        url = request.url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise _redirect_refused(request, "its target is no URL") from None
    if url_problem(url):
        raise _redirect_refused(request, f"its target {url_problem(url)}")
    if request.url.scheme == "https" and url.scheme != "https":
        raise _redirect_refused(request, "it leads from https to http")
    following = replace(request, url=url)
    if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
        headers = {name: text for name, text in request.headers.items() if not name.startswith("content-")}
        following = replace(following, method="GET", headers=headers, body=b"")
    if _origin(url) != _origin(request.url):
        if following.body:
            raise _redirect_refused(request, f"it would send the body to another origin, {following.origin}")
        headers = {name: text for name, text in following.headers.items() if name in _SAFE_ELSEWHERE}
        following = replace(following, headers=headers)
    return following


def url_problem(url: httpx.URL) -> str | None:
    """Why a URL cannot be requested, or None."""
    if url.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    try:
        # As it is shown and as it is looked up: each trips over other names.
        host, _ = url.host, url.raw_host.decode("ascii").encode("idna")
    except UnicodeError:
        return "names a host that is no host name"
    if not host:
        return "names no host"
    if url.userinfo:
        return "must not hold a user name or password; use auth"
    if url.port is not None and not 1 <= url.port <= _LAST_PORT:
        return f"must have a port from 1 to {_LAST_PORT}"
    return None


class Unpacker:
    """Unpacks an answer's body piece by piece, never holding more than the limit, in bytes.

    What is received is bounded as well: packed data may go on for ever without holding anything.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._inflater = _inflater() if encoding in ("gzip", "x-gzip") else None
        self._limit = limit
        self._pieces: list[bytes] = []
        self._room = limit
        self._received = 0

    def feed(self, data: bytes) -> None:
        """Takes a piece.

        Raises:
            ActionFailed: `HTTP_RESPONSE_TOO_LARGE`.
            zlib.error: The packed data are broken.
        """
        self._received += len(data)
        if self._received > 2 * self._limit + _PACKING_BYTES:
            raise too_large(self._limit)
        if self._inflater is None:
            self._take(data)
        while self._inflater is not None and data:
            if self._inflater.eof:
                # Packed data may be several parts, one after the other.
                self._inflater = _inflater()
            self._take(self._inflater.decompress(data, self._room + 1))
            data = self._inflater.unused_data

    def end(self) -> bytes:
        """The whole body.

        Raises:
            zlib.error: The packed data end too early.
        """
        if self._inflater is not None and self._received and not self._inflater.eof:
            raise zlib.error("the packed data end too early")
        return b"".join(self._pieces)

    def _take(self, data: bytes) -> None:
        if len(data) > self._room:
            raise too_large(self._limit)
        if data:
            self._room -= len(data)
            self._pieces.append(data)


def too_large(limit: int) -> ActionFailed:
    """The failure of an answer over the limit, in bytes."""
    return ActionFailed(
        f"the answer's body is larger than {limit} bytes; ask for less, or store it elsewhere and fetch a reference",
        category=ErrorCategory.PAYLOAD_TOO_LARGE,
        code="HTTP_RESPONSE_TOO_LARGE",
        details={"limit": limit},
    )


def decoded(content_type: str, encoding: str, body: bytes) -> dict[str, Json]:
    """`body`, `bodyEncoding` and `json` of an answer.

    JSON comes as a value in `json`; other text in `body`; what is no text in `body` as base64.
    """
    kind, charset = _content_type(content_type)
    text = None if encoding not in ("", "identity", "gzip", "x-gzip") else _text(body, charset)
    if text is None:
        return {"body": base64.b64encode(body).decode(), "bodyEncoding": "base64", "json": None}
    if text and (kind == "application/json" or kind.endswith("+json")):
        try:
            return {"body": None, "bodyEncoding": None, "json": parse_json(text.removeprefix(_BYTE_ORDER_MARK))}
        except ValueError:
            pass
    return {"body": text, "bodyEncoding": "text", "json": None}


def _url(value: dict[str, Any], problems: list[str]) -> httpx.URL:
    try:
        url = httpx.URL(value["url"])
        # Merging writes `?wsdl` as `?wsdl=`, so where there is nothing to merge the URL stays as it is.
        if query := _query(value.get("query", {})):
            url = url.copy_merge_params(query)
        url.netloc.decode("ascii")
    except (httpx.InvalidURL, ValueError, TypeError):
        problems.append("/url: is no valid URL")
        return httpx.URL("http://invalid")
    problem = url_problem(url)
    if problem:
        problems.append(f"/url: {problem}")
    return url


def _query(query: dict[str, Any]) -> dict[str, Sequence[str]]:
    out: dict[str, Sequence[str]] = {}
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        texts = [to_string(item) for item in values if item is not None]
        if texts:
            out[name] = texts
    return out


def _body(value: dict[str, Any], headers: dict[str, str], problems: list[str]) -> bytes:
    if "json" in value and "text" in value:
        problems.append("/text: give text or json, not both")
    if "json" in value:
        headers["content-type"] = "application/json"
        return json.dumps(value["json"], ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if "text" in value:
        headers["content-type"] = "text/plain; charset=utf-8"
        return str(value["text"]).encode()
    return b""


def _authorization(auth: dict[str, str] | None, headers: dict[str, str], problems: list[str]) -> tuple[str, ...]:
    if auth is None:
        return ()
    if auth["type"] == "basic":
        if ":" in auth["username"]:
            problems.append("/auth/username: must hold no colon: what is behind it would be read as the password")
        credential = base64.b64encode(f"{auth['username']}:{auth['password']}".encode()).decode()
        headers["authorization"] = f"Basic {credential}"
        return (credential,)
    token = auth["token"]
    if not token or not _HEADER_VALUE.fullmatch(token):
        problems.append("/auth/token: must be visible ASCII characters")
        return ()
    headers["authorization"] = f"Bearer {token}"
    return (token,)


def _visible(key: str) -> str:
    """An authored key may hold anything; a header may not."""
    return "".join(
        character if "!" <= character <= "~" and character != "%" else "".join(f"%{byte:02X}" for byte in data)
        for character, data in ((character, character.encode("utf-8", "replace")) for character in key)
    )


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _inflater() -> zlib._Decompress:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _redirect_refused(request: Outgoing, reason: str) -> ActionFailed:
    message = f"a redirect from {request.origin} is not followed: {reason}"
    return ActionFailed(message, code="HTTP_REDIRECT_REFUSED")


def _content_type(text: str) -> tuple[str, str]:
    message = Message()
    message["content-type"] = text[:_CONTENT_TYPE_LENGTH] or "application/octet-stream"
    return message.get_content_type(), message.get_content_charset() or "utf-8"


def _text(body: bytes, charset: str) -> str | None:
    try:
        name = codecs.lookup(charset).name
        text = body.decode(name if name in _TEXT_CODECS else "utf-8")
    except (LookupError, UnicodeError, ValueError):
        return None
    return None if "\x00" in text else text
