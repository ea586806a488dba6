"""The bodies of e-mails as runs of meaning 1 read them, so that they replay; it goes when that meaning goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from workflows_core.interpreter.email_bodies import SIGNATURE, blocks_of_text, lines_of, source_of
from workflows_core.interpreter.html_blocks import BlockReader

_QUOTES = re.compile(
    r"^(?:On .{4,200} wrote:|Am .{4,200} schrieb .{1,200}:|Le .{4,200} a écrit\s?:|-{2,} ?Original Message ?-{2,}"
    r"|-{2,} ?Forwarded message ?-{2,}|_{10,}|From: .{1,200})$",
    re.IGNORECASE,
)


def former_parsed_body(text: str, html: str) -> dict[str, Any]:
    """As `parsed_body`: all below the first line that looks like one of a quote is quoted."""
    source = source_of(text, html)
    lines = lines_of(text if source == "text" else _text_of(html))
    start = _start_of_quote(lines)
    fresh = lines[:start]
    sign = next((index for index, line in enumerate(fresh) if SIGNATURE.match(line)), len(fresh))
    return {
        "text": "\n".join(fresh[:sign]).strip(),
        "quoted": "\n".join(lines[start:]).strip(),
        "signature": "\n".join(fresh[sign + 1 :]).strip(),
        "source": source,
    }


def former_comment_blocks(text: str, html: str) -> list[dict[str, Any]]:
    """As `comment_blocks`: without cells of tables and a few other elements, and a head needs its end."""
    return FormerReader().read(html) if html.strip() else blocks_of_text(text)


class FormerReader(BlockReader):
    """Reads HTML as it was read."""

    elements: ClassVar[frozenset[str]] = frozenset(
        {"address", "article", "blockquote", "div", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header"}
        | {"hr", "li", "ol", "p", "pre", "script", "section", "style", "table", "title", "tr", "ul"}
    )

    def start(self, tag: str) -> None:
        """A tag opens."""
        self.enter(tag)


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
    blocks = former_comment_blocks("", html)
    return "\n\n".join(f"> {block['text']}" if block["type"] == "quote" else str(block["text"]) for block in blocks)
