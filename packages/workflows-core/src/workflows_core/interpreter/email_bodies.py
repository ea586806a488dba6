"""What the body of an e-mail says: the new text, and what it quotes.

Good for the usual clients; a body that quotes in its own way is taken as new text as a whole. Only the standard
library, no state, no clock: it runs inside workflow code.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

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
    start = next((index for index, line in enumerate(lines) if _begins_quote(lines, index, line)), len(lines))
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
        reader.feed(html)
        reader.close()
        return reader.finished()
    blocks = []
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = [line.strip() for line in part.strip().split("\n")]
        quoted = all(line.startswith(">") for line in lines)
        content = "\n".join(line.lstrip("> ") if quoted else line for line in lines).strip()
        if content:
            blocks.append({"type": "quote" if quoted else "paragraph", "text": content})
    return blocks


def _begins_quote(lines: list[str], index: int, line: str) -> bool:
    if _QUOTES.match(line.strip()):
        return True
    # Three quoted lines to the end, not one that somebody answers below.
    rest = [one for one in lines[index:] if one.strip()]
    return line.startswith(">") and all(one.startswith(">") for one in rest)


def _text_of(html: str) -> str:
    blocks = comment_blocks("", html)
    return "\n\n".join(f"> {block['text']}" if block["type"] == "quote" else str(block["text"]) for block in blocks)


class _BlockReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[dict[str, Any]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.text.append("\n")
        elif tag in _BLOCKS or tag in _SILENT:
            self._end_block()
            if tag != "hr":
                self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self._end_block()
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if _SILENT.isdisjoint(self.open):
            self.text.append(data if "pre" in self.open else re.sub(r"\s+", " ", data))

    def finished(self) -> list[dict[str, Any]]:
        self._end_block()
        return self.blocks

    def _end_block(self) -> None:
        content = "".join(self.text)
        content = content.strip("\n") if "pre" in self.open else re.sub(r" *\n *", "\n", content).strip()
        self.text.clear()
        if not content.strip():
            return
        heading = next((tag for tag in reversed(self.open) if tag in _HEADINGS), None)
        if "blockquote" in self.open:
            self.blocks.append({"type": "quote", "text": content})
        elif "pre" in self.open:
            self.blocks.append({"type": "code", "text": content})
        elif heading is not None:
            self.blocks.append({"type": "heading", "level": _HEADINGS[heading], "text": content})
        else:
            self.blocks.append({"type": "listItem" if "li" in self.open else "paragraph", "text": content})
