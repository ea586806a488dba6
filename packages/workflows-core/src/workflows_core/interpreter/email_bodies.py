"""What the body of an e-mail says: the new text, and what it quotes.

Good for the usual clients; a body that quotes in its own way is taken as new text as a whole. Only the standard
library, no state, no clock: it runs inside workflow code. A body comes from a stranger, so all of it takes time that
grows with the body's length and not faster.

Another reading is another meaning of the language: runs replay with what they have read (`former_bodies`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from workflows_core.interpreter.email_quotes import quoted_lines
from workflows_core.interpreter.html_blocks import BlockReader

SIGNATURE = re.compile(r"^-- ?$")


def parsed_body(text: str, html: str) -> dict[str, Any]:
    """The new text and the quoted text of a body.

    Args:
        text: The plain body; it is preferred.
        html: The HTML body, read when there is no plain one.

    Returns:
        `text` (without quotes and signature), `quoted`, `signature` (texts, empty when there is none) and `source`
        (`text`, `html` or `none`).
    """
    source = source_of(text, html)
    return {**_parts(lines_of(text if source == "text" else _text_of(html))), "source": source}


def source_of(text: str, html: str) -> str:
    """Which body is read."""
    return "text" if text.strip() else "html" if html.strip() else "none"


def lines_of(text: str) -> list[str]:
    """The lines of a text."""
    return text.replace("\r\n", "\n").split("\n")


def comment_blocks(text: str, html: str) -> list[dict[str, Any]]:
    """A body as blocks for a comment: `{"type": "paragraph" | "heading" | "listItem" | "quote" | "code", "text", ...}`.

    Args:
        text: The plain body, read when there is no HTML one.
        html: The HTML body; it is preferred, since it has the structure.

    Returns:
        The blocks in order, without empty ones; a heading has its `level`.
    """
    return BlockReader().read(html) if html.strip() else blocks_of_text(text)


def blocks_of_text(text: str) -> list[dict[str, Any]]:
    """The paragraphs of a plain body."""
    blocks = []
    for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        lines = [line.strip() for line in part.strip().split("\n")]
        quoted = all(line.startswith(">") for line in lines)
        content = "\n".join(line.lstrip("> ") if quoted else line for line in lines).strip()
        if content:
            blocks.append({"type": "quote" if quoted else "paragraph", "text": content})
    return blocks


def _parts(lines: Sequence[str]) -> dict[str, str]:
    """What the lines say and quote; pieces of the same kind that others stood between are paragraphs."""
    pieces: dict[str, list[list[str]]] = {"text": [], "quoted": [], "signature": []}
    kind, piece = "", [""]
    for line, quoted in zip(lines, quoted_lines(lines), strict=True):
        signs = not quoted and kind != "signature" and SIGNATURE.match(line) is not None
        now = kind
        if quoted:
            now = "quoted"
        elif signs:
            now = "signature"
        elif line.strip() and kind != "signature":
            now = "text"  # An answer below a quote, and below its sender's signature too.
        if now != kind:
            kind, piece = now, []
            pieces[kind].append(piece)
        if not signs:
            piece.append(line)
    joined = {kind: ("\n".join(piece).strip() for piece in found) for kind, found in pieces.items()}
    return {kind: "\n\n".join(filter(None, found)) for kind, found in joined.items()}


def _text_of(html: str) -> str:
    return "\n\n".join(
        "\n".join(f"> {line}".rstrip() for line in block["text"].split("\n"))
        if block["type"] == "quote"
        else str(block["text"])
        for block in comment_blocks("", html)
    )
