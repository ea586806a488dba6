"""Which lines of an e-mail its sender has quoted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

_ATTRIBUTION = re.compile(
    r"^(?:On .{4,200} wrote:|Am .{4,200} schrieb .{1,200}:|Le .{4,200} a écrit\s?:)$", re.IGNORECASE
)
_BEGINS_ATTRIBUTION = re.compile(r"^(?:On|Am|Le) ", re.IGNORECASE)
_DATE = re.compile(r"[0-9]")
_SEPARATOR = re.compile(r"^(?:-{2,} ?Original Message ?-{2,}|-{2,} ?Forwarded message ?-{2,})$", re.IGNORECASE)
_RULE = re.compile(r"^_{10,}$")
_HEADER = re.compile(r"^\*?[^\W\d_][\w -]{0,24}\s?:\*?\s?\S")
_FROM = re.compile(r"^\*?(?:From|Von|De)\s?:\*?\s?\S", re.IGNORECASE)
_BESIDE_FROM = re.compile(
    r"^\*?(?:Sent|To|Cc|Subject|Date|Gesendet|An|Betreff|Datum|Envoyé(?: le)?|À|Objet)\s?:", re.IGNORECASE
)

_FROM_LINES = 4
"""A header block has one of its other names within so many lines, that of the sender included."""

_ATTRIBUTION_LINES = 3
_FOLDED_FROM = 66
"""Clients fold a line that would be longer than this, or than more."""

_LONGEST_FOLDED = 200


def quoted_lines(lines: Sequence[str]) -> list[bool]:
    """For each line whether it is quoted; a blank one between quoted lines may be said not to be.

    Lines with `>` are, below one that says who wrote them and at the end: further up, the sender may have written them.
    Where a header of an older message, or one that says who wrote it, is not followed by such lines, all below it is.
    """
    quoted: list[bool] = []
    marked_from = len(lines)
    while marked_from and (_is_marked(lines[marked_from - 1]) or not lines[marked_from - 1].strip()):
        marked_from -= 1
    while len(quoted) < len(lines):
        index = len(quoted)
        attribution = _attribution_lines(lines, index)
        if attribution and _is_marked(_next_line(lines, index + attribution)):
            marked_from = min(marked_from, index)
            quoted += [True] * attribution
        elif (attribution == 1 and _stands_alone(lines[index])) or _is_header(lines, index):
            quoted += [True] * (len(lines) - index)
        else:
            quoted.append(index >= marked_from and _is_marked(lines[index]))
    return quoted


def _is_marked(line: str) -> bool:
    return line.startswith(">")


def _next_line(lines: Sequence[str], index: int) -> str:
    return next((lines[at] for at in range(index, len(lines)) if lines[at].strip()), "")


def _stands_alone(attribution: str) -> bool:
    # Without a date it may as well be what the sender says about somebody.
    return _DATE.search(attribution) is not None and not _is_marked(attribution)


def _attribution_lines(lines: Sequence[str], index: int) -> int:
    """How many lines, from this one on, say who wrote what follows; mostly none."""
    marked = _is_marked(lines[index])
    joined = last = lines[index].lstrip("> ").strip()
    if not _BEGINS_ATTRIBUTION.match(joined):
        return 0
    if _ATTRIBUTION.match(joined):
        return 1
    for length in range(2, min(_ATTRIBUTION_LINES, len(lines) - index) + 1):
        following = lines[index + length - 1]
        line = following.lstrip("> ").strip()
        if _is_marked(following) != marked or not _is_folded(last, line) or _BEGINS_ATTRIBUTION.match(line):
            return 0
        joined, last = f"{joined} {line}", line
        if _ATTRIBUTION.match(joined):
            return length if _DATE.search(joined) else 0
    return 0


def _is_folded(line: str, following: str) -> bool:
    """Whether a client may have broken the line here: what follows did not fit."""
    if not following or max(len(line), len(following)) > _LONGEST_FOLDED:
        return False
    return len(line) + 1 + len(following.split(maxsplit=1)[0]) >= _FOLDED_FROM


def _is_header(lines: Sequence[str], index: int) -> bool:
    line = lines[index].strip()
    if _RULE.match(line):
        below = next((at for at in range(index + 1, len(lines)) if lines[at].strip()), len(lines))
        return len(lines) > below + 1 and all(_HEADER.match(lines[at].strip()) for at in (below, below + 1))
    if _FROM.match(line):
        block = (one.strip() for one in lines[index + 1 : index + _FROM_LINES])
        return any(_BESIDE_FROM.match(one) for one in takewhile(bool, block))
    return _SEPARATOR.match(line) is not None
