"""A small chat completions server on loopback, scripted by a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


class NoAnswer(Enum):
    """What a server does that does not answer."""

    SILENCE = auto()
    HANG_UP = auto()


@dataclass
class ChatServer:
    """What was asked, and what is answered: the scripted answers in order, the last one again and again."""

    answers: list[Answer | NoAnswer] = field(default_factory=list)
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while await self._request(reader, writer):
                pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return False
        lines = head.split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((headers, json.loads(body)))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, NoAnswer):
            if answer is NoAnswer.SILENCE:
                await reader.read()
            return False
        status, more, content = answer
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(content)}", *(f"{k}: {v}" for k, v in more.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()
        return True


def completion(content: str | None, *, finish: str = "stop", refusal: str | None = None) -> Answer:
    """A good answer of the API."""
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def status(code: int, **headers: str) -> Answer:
    """A refusal that repeats the key it was given, as some providers do."""
    content = json.dumps({"error": {"message": "wrong key sk-very-secret", "type": "x"}}).encode()
    return code, {"content-type": "application/json", **headers}, content


@asynccontextmanager
async def chat_server(*answers: Answer | NoAnswer) -> AsyncIterator[ChatServer]:
    """Serves until the block ends."""
    chat = ChatServer(list(answers))
    server = await asyncio.start_server(chat.serve, "127.0.0.1", 0)
    chat.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield chat
