"""HTML as texts and tags, in time that grows with its length alone.

The standard library's parser looks for the end of some tags again from each `<`, so a page of thousands of unclosed
ones takes it seconds; it also raises on some, and reads others differently from one release to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Literal

Piece = tuple[Literal["text", "start", "end"], str]
"""A text without its character references, or the name of a tag in lower case."""

_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_NAME = re.compile(r"[a-zA-Z][^\t\n\r\f />\x00]*")
_QUOTE_OR_END = re.compile(r"=\s*[\"']|>")
_UNQUOTED = re.compile(r"=[^\s\"'>/=]*/")
"""A `/` in a value without quotes. Looked for up to the next `=` only: else each would look through all others."""
_RAW = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}
"""Elements whose content is no HTML, each with its end."""


_LEADING_ZEROS = re.compile(r"&#0+(?=[0-9])")
_TOO_LARGE = re.compile(r"&#[0-9]{8,};?")
"""A decimal reference above all characters. Python reads no number of more than some thousand digits."""


def unescaped(text: str) -> str:
    """The text without its character references; one above all characters is U+FFFD, however long it is."""
    if "&#" in text:
        text = _TOO_LARGE.sub("\ufffd", _LEADING_ZEROS.sub("&#", text))
    return unescape(text)


def html_pieces(html: str) -> Iterator[Piece]:
    """Texts and tags in order; comments, declarations and attributes are left out. What is no tag is text."""
    reader = _Reader(html)
    position = 0
    while position < len(html):
        tag = _TAG.search(html, position)
        # Behind the last `>` nothing is a tag any more.
        start = len(html) if tag is None or tag.start() > reader.last_end else tag.start()
        if start > position:
            yield "text", unescaped(html[position:start])
        if start < len(html):
            pieces, position = reader.tag(start)
            yield from pieces
        else:
            position = start


class _Reader:
    """Finds ends; each search either moves on or is known to be in vain, so that none is made twice."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.last_end = html.rfind(">")
        self.last_comment_end = html.rfind("-->")
        self.quotes_close = True

    def tag(self, start: int) -> tuple[tuple[Piece, ...], int]:
        """What begins at this `<`, which is before the last `>`, and where it ends."""
        html = self.html
        name = _NAME.match(html, start + 1)
        if name is not None:
            return self._start_tag(name.group().lower(), name.end())
        if html.startswith("<!--", start):
            if start + 4 <= self.last_comment_end:
                return (), html.index("-->", start + 4) + 3
            end = self._end_after(start)
            return (("text", unescaped(html[start:end])),), end
        end = self._end_after(start)
        name = _NAME.match(html, start + 2) if html[start + 1] == "/" else None
        return (() if name is None else (("end", name.group().lower()),)), end

    def _start_tag(self, name: str, after: int) -> tuple[tuple[Piece, ...], int]:
        html, end = self.html, self._tag_end(after)
        last = max(html.rfind(blank, after, end) for blank in (" ", "\t", "\n", '"', "'"))
        closes_itself = html[end - 2] == "/" and _UNQUOTED.search(html, max(last, after), end) is None
        if closes_itself:
            return (("start", name), ("end", name)), end
        if name in _RAW:
            closing = _RAW[name].search(html, end)
            # Its content is not shown; without an end, nothing is behind it.
            return (("start", name),), len(html) if closing is None else closing.start()
        return (("start", name),), end

    def _tag_end(self, after: int) -> int:
        """Behind the `>` that ends a tag and is in no quoted value."""
        position = after
        while self.quotes_close:
            found = _QUOTE_OR_END.search(self.html, position)
            if found is not None and found.group() == ">":
                return found.end()
            closing = -1 if found is None else self.html.find(found.group()[-1], found.end())
            if closing < 0 or closing > self.last_end:
                # From here on a quote is a character like others: else each tag would look for its end in vain.
                self.quotes_close = False
            position = closing + 1
        return self._end_after(after)

    def _end_after(self, position: int) -> int:
        return self.html.index(">", position) + 1
