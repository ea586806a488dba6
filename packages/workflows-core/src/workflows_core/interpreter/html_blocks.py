"""HTML as blocks of text, as the body of an e-mail has them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, ClassVar

from workflows_core.interpreter.html_pieces import html_pieces

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CELLS = frozenset({"td", "th"})
_SILENT = frozenset({"head", "script", "style", "title"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "header", "hr", "legend", "li", "main", "nav", "ol", "p", "pre"}
    | {"section", "summary", "table", "tr", "ul"}
    | _HEADINGS.keys()
)
_ENDS_HEAD = _BLOCKS | _CELLS | {"body", "br"}
_BLANKS = re.compile(r"\s+")


class BlockReader:
    """Gathers blocks while tags open and close; what is open is also counted, so that nothing searches through it.

    A row of a table is a block, with a tab between two cells.
    """

    elements: ClassVar[frozenset[str]] = _BLOCKS | _SILENT

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.count: Counter[str] = Counter()
        self.silent = 0
        self.text: list[str] = []

    def read(self, html: str) -> list[dict[str, Any]]:
        """The blocks of a whole document or of a part of one."""
        receive = {"text": self.data, "start": self.start, "end": self.end}
        for kind, found in html_pieces(html):
            receive[kind](found)
        self.end_block()
        return self.blocks

    def start(self, tag: str) -> None:
        """A tag opens."""
        if tag in _ENDS_HEAD and self.open and self.open[-1] == "head":
            self.end("head")  # Nobody has to write its end.
        if tag in _CELLS:
            if self.text:
                self.text.append("\t")
        else:
            self.enter(tag)

    def enter(self, tag: str) -> None:
        """What begins with this tag is a block of its own, or a line, or is not shown."""
        if tag == "br":
            self.text.append("\n")
        elif tag in self.elements:
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
            content = "\n".join(_line(line) for line in content.split("\n")).strip()
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


def _line(line: str) -> str:
    # A tab is only between cells: others were blanks.
    return "\t".join(cell.strip(" ") for cell in line.split("\t"))
