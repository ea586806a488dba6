"""Tokens of a JSONata source, enough to tell code from literals and to find every function by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_BLANKS = " \t\n\r\v"
_OPERATORS = frozenset(".[]{}(),@#;:?+-*/%|=<>^&!~")
OPENING = frozenset("([{")
CLOSING = frozenset(")]}")
DEFINING = frozenset({"function", "λ"})
"""Before the parameters of a function."""

Kind = Literal["string", "regex", "name", "quoted_name", "variable", "operator"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the source that is no blank and no comment.

    Attributes:
        kind: `name` includes numbers and the words and, or, in, function, λ, true, false, null.
        text: As written, quotes and the `$` of a variable included.
        start: Offset of the first character.
        is_operand: Whether a value ends here, so that `/` after it divides and does not begin a regex.
    """

    kind: Kind
    text: str
    start: int
    is_operand: bool

    @property
    def end(self) -> int:
        """Offset after the last character."""
        return self.start + len(self.text)


def tokenise(source: str) -> list[Token]:
    """Splits a source as JSONata does. An unterminated literal runs to the end; the compiler reports it."""
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        character = source[position]
        after_operand = bool(tokens) and tokens[-1].is_operand
        if character in _BLANKS:
            position += 1
            continue
        if source.startswith("/*", position):
            end = source.find("*/", position + 2)
            position = len(source) if end < 0 else end + 2
            continue
        if character in "\"'":
            token = Token("string", source[position : _string_end(source, position)], position, True)
        elif character == "`":
            end = source.find("`", position + 1)
            token = Token("quoted_name", source[position : len(source) if end < 0 else end + 1], position, True)
        elif character == "/" and not after_operand:
            token = Token("regex", source[position : _regex_end(source, position)], position, True)
        elif character in _OPERATORS:
            # `*` and `%` are values (all fields, the parent) where a value is expected.
            is_value = character in CLOSING or (character in "*%" and not after_operand)
            length = 2 if source.startswith((":=", "**", ".."), position) else 1
            token = Token("operator", source[position : position + length], position, is_value)
        else:
            end = position + 1
            while end < len(source) and source[end] not in _BLANKS and source[end] not in _OPERATORS:
                end += 1
            text = source[position:end]
            is_word_operator = text in ("and", "or", "in") and after_operand
            token = Token("variable" if character == "$" else "name", text, position, not is_word_operator)
        tokens.append(token)
        position = token.end
    return tokens


def _string_end(source: str, start: int) -> int:
    position = start + 1
    while position < len(source):
        if source[position] == source[start]:
            return position + 1
        position += 2 if source[position] == "\\" else 1
    return len(source)


def _regex_end(source: str, start: int) -> int:
    position, depth = start + 1, 0
    while position < len(source):
        character = source[position]
        if character == "\\":
            position += 2
            continue
        if character == "/" and depth == 0:
            position += 1
            while position < len(source) and source[position] in "im":
                position += 1
            return position
        depth += (character in "([{") - (character in ")]}")
        position += 1
    return len(source)
