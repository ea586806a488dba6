"""What the body of an e-mail says: the new text, and what it quotes.

Good for the usual clients; a body that quotes in its own way is taken as new text as a whole. Only the standard
library, no state, no clock: it runs inside workflow code. A body comes from a stranger, so all of it takes time that
grows with the body's length and not faster.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from workflows_core.interpreter.html_pieces import html_pieces

_BLOCKS = frozenset(
    {"address", "article", "blockquote", "div", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li"}
    | {"ol", "p", "pre", "section", "table", "tr", "ul"}
)
_SILENT = frozenset({"head", "script", "style", "title"})
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_QUOTES = re.compile(
    r"^(?:On .{4,200} wrote:|Am .{4,200} schrieb .{1,200}:|Le .{4,200} a écrit\s?:|-{2,} ?Original Message ?-{2,}"
    r"|-{2,} ?Forwarded message ?-{2,}|_{10,}|From: .{1,200})$",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"\s+")
_SIGNATURE = re.compile(r"^-- ?$")


def parsed_body(text: str, html: str) -> dict[str, Any]:
    """The new text and the quoted text of a body.

    Args:
        text: The plain body; it is preferred.
        html: The HTML body, read when there is no plain one.

    Returns:
        `text` (without quotes and signature), `quoted`, `signature` (texts, empty when there is none) and `source`
        (`text`, `html` or `none`).
    """
    source = "text" if text.strip() else "html" if html.strip() else "none"
    lines = (text if source == "text" else _text_of(html)).replace("\r\n", "\n").split("\n")
    start = _start_of_quote(lines)
    fresh = lines[:start]
    sign = next((index for index, line in enumerate(fresh) if _SIGNATURE.match(line)), len(fresh))
    return {
        "text": "\n".join(fresh[:sign]).strip(),
        "quoted": "\n".join(lines[start:]).strip(),
        "signature": "\n".join(fresh[sign + 1 :]).strip(),
        "source": source,
    }


def comment_blocks(text: str, html: str) -> list[dict[str, Any]]:
    """A body as blocks for a comment: `{"type": "paragraph" | "heading" | "listItem" | "quote" | "code", "text", ...}`.

    Args:
        text: The plain body, read when there is no HTML one.
        html: The HTML body; it is preferred, since it has the structure.

    Returns:
        The blocks in order, without empty ones; a heading has its `level`.
    """
    if html.strip():
        reader = _BlockReader()
        receive = {"text": reader.data, "start": reader.start, "end": reader.end}
        for kind, found in html_pieces(html):
            receive[kind](found)
        reader.end_block()
        return reader.blocks
    blocks = []
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = [line.strip() for line in part.strip().split("\n")]
        quoted = all(line.startswith(">") for line in lines)
        content = "\n".join(line.lstrip("> ") if quoted else line for line in lines).strip()
        if content:
            blocks.append({"type": "quote" if quoted else "paragraph", "text": content})
    return blocks


def _start_of_quote(lines: Sequence[str]) -> int:
    # Quoted lines to the end, not one that somebody answers below.
    tail = len(lines)
    while tail and (lines[tail - 1].startswith(">") or not lines[tail - 1].strip()):
        tail -= 1
    for index, line in enumerate(lines):
        if (index >= tail and line.startswith(">")) or _QUOTES.match(line.strip()):
            return index
    return len(lines)


def _text_of(html: str) -> str:
    blocks = comment_blocks("", html)
    return "\n\n".join(f"> {block['text']}" if block["type"] == "quote" else str(block["text"]) for block in blocks)


class _BlockReader:
    """Gathers blocks while tags open and close; what is open is also counted, so that nothing searches through it."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.count: Counter[str] = Counter()
        self.silent = 0
        self.text: list[str] = []

    def start(self, tag: str) -> None:
        """A tag opens."""
        if tag == "br":
            self.text.append("\n")
        elif tag in _BLOCKS or tag in _SILENT:
            self.end_block()
            if tag != "hr":
                self.open.append(tag)
                self.count[tag] += 1
                self.silent += tag in _SILENT
                if tag in _HEADINGS:
                    self.headings.append(tag)

    def end(self, tag: str) -> None:
        """A tag closes, and with it those inside it that nobody closed."""
        if not self.count[tag]:
            return
        self.end_block()
        closed = None
        while closed != tag:
            closed = self.open.pop()
            self.count[closed] -= 1
            self.silent -= closed in _SILENT
            if closed in _HEADINGS:
                self.headings.pop()

    def data(self, data: str) -> None:
        """A text between tags."""
        if not self.silent:
            self.text.append(data if self.count["pre"] else _BLANKS.sub(" ", data))

    def end_block(self) -> None:
        """What was gathered is a block, if it says anything."""
        if not self.text:
            return
        content = "".join(self.text)
        self.text.clear()
        if self.count["pre"]:
            content = content.strip("\n")
        else:
            content = "\n".join(line.strip(" ") for line in content.split("\n")).strip()
        if not content.strip():
            return
        if self.count["blockquote"]:
            self.blocks.append({"type": "quote", "text": content})
        elif self.count["pre"]:
            self.blocks.append({"type": "code", "text": content})
        elif self.headings:
            self.blocks.append({"type": "heading", "level": _HEADINGS[self.headings[-1]], "text": content})
        else:
            self.blocks.append({"type": "listItem" if self.count["li"] else "paragraph", "text": content})
