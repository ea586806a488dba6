"""Keeps values small that an expression makes by naming one value several times.

`{'a': $x, 'b': $x}`, 34 times over, is a value of 2^34 parts in a few steps: the engine shares the parts, and whatever
goes through the value (`=`, a condition, the text of an error) goes through all of them. So in a source that repeats
and makes lists or objects, each value is measured where it gets a name (`:=`, the parameters of a function) or a place
in another value: the engine refuses arguments of a function of ours that are longer than a value may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from workflows_core.expressions.edits import Edit
from workflows_core.expressions.functions import ALLOWED_FUNCTIONS, MEASURING_FUNCTION, RANGE_FUNCTION
from workflows_core.expressions.tokens import CLOSING, DEFINING, OPENING, Token

_BEFORE = "($_m := "
_AFTER = f"; ${MEASURING_FUNCTION}($_m); $_m)"
_NESTING = frozenset({"$zip", "$map", "$each"})

_Kind = Literal["list", "object", "other"]


def measuring_edits(tokens: Sequence[Token]) -> list[Edit]:
    """What measures the values that get a name or a place, for a source that compiles; nothing where none can grow."""
    source = _Source(tokens)
    edits = [edit for function in source.functions.values() for edit in source.parameters(function)]
    heads = {index for function in source.functions.values() for index in range(function.start, function.body)}
    stack = [_Bracket(source, "other")]
    for index, token in enumerate(tokens):
        if token.kind != "operator" or index in heads:
            continue
        bracket = stack[-1]
        if token.text in OPENING:
            kind = source.kind(index)
            stack.append(_Bracket(source, kind, index + 1 if kind == "list" else None))
        elif token.text in CLOSING:
            edits += stack.pop().ended(index)
        elif token.text in (",", ";"):
            edits += bracket.ended(index)
            bracket.begin = index + 1 if bracket.kind == "list" else None
        else:
            bracket.continued(index, token)
    edits += stack[0].ended(len(tokens))
    places = source.places + sum(token.text in _NESTING for token in tokens)
    return edits if places > 1 or (places and source.repeats()) else []


def range_edits(tokens: Sequence[Token]) -> list[Edit]:
    """What makes each range a call of a function of ours, so that it is counted before it is made.

    Not one of two numbers, which publishing counts, nor one in a condition, or beside a name that it gets.
    """
    edits: list[Edit] = []
    stack: list[list[int]] = [[]]
    for index, token in enumerate(tokens):
        if token.kind != "operator":
            continue
        places = stack[-1]  # Of the item: where it begins, where its `..` is, and behind them what rules it out.
        if token.text in OPENING:
            stack.append([index + 1])
        elif token.text in CLOSING or token.text == ",":
            begin, dots = places if len(places) == 2 else (0, 0)
            of_numbers = index - begin == 3 and all(tokens[at].text.isdecimal() for at in (begin, index - 1))
            if begin < dots < index - 1 and not of_numbers:
                edits += (
                    Edit(tokens[begin].start, tokens[begin].start, f"${RANGE_FUNCTION}("),
                    Edit(tokens[dots].start, tokens[dots].end, ","),
                    Edit(tokens[index - 1].end, tokens[index - 1].end, ")"),
                )
            if token.text == ",":
                stack[-1] = [index + 1]
            else:
                stack.pop()
        elif token.text == ".." or (token.text in ("?", ":", ":=", ";") and len(places) > 1):
            places.append(index)
        elif token.text in ("?", ":", ":=", ";"):
            places += [index, index]
    return edits


@dataclass(frozen=True, slots=True)
class _Function:
    """Indexes of tokens: the word, and the brackets of the body."""

    start: int
    body: int
    end: int


class _Source:
    """The brackets and functions of a source, by the index of the token that opens them."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.closing: Mapping[int, int] = _closing(tokens)
        found = (self._function(index) for index in range(len(tokens)))
        self.functions = {function.start: function for function in found if function is not None}
        self._bodies = {function.body for function in self.functions.values()}
        self.places = 0
        """How many places in a list or an object have been met."""

    def kind(self, index: int) -> _Kind:
        text = self.tokens[index].text
        if text == "[":
            # After a value it is a filter.
            return "other" if index and self.tokens[index - 1].is_operand else "list"
        return "object" if text == "{" and index not in self._bodies else "other"

    def repeats(self) -> bool:
        """Whether what has a name may be named again: by `$reduce`, `:=` or a function of the source's own."""
        called = (self.tokens[index - 1] for index, token in enumerate(self.tokens) if token.text == "(" and index)
        return any(token.text in ("$reduce", ":=") for token in self.tokens) or any(
            token.text == ")" or (token.kind == "variable" and token.text[1:] not in ALLOWED_FUNCTIONS)
            for token in called
        )

    def parameters(self, function: _Function) -> Iterator[Edit]:
        """Measures each parameter before the body, which so stays the last thing that the function does."""
        head = self.tokens[function.start : function.body]
        names = dict.fromkeys(token.text for token in head if token.kind == "variable")
        if names:
            measured = "".join(f"${MEASURING_FUNCTION}({name}); " for name in names)
            opening, closing = self.tokens[function.body], self.tokens[function.end]
            yield Edit(opening.end, opening.end, f"({measured}")
            yield Edit(closing.start, closing.start, ")")

    def value(self, begin: int, end: int) -> Iterator[Edit]:
        """Measures a value, if it is neither a list in brackets, whose items are measured, nor a function."""
        function = self.functions.get(begin)
        last = self.closing.get(begin) if self.tokens[begin].text == "[" else function and function.end
        if last != end - 1:
            yield Edit(self.tokens[begin].start, self.tokens[begin].start, _BEFORE)
            yield Edit(self.tokens[end - 1].end, self.tokens[end - 1].end, _AFTER)

    def _function(self, index: int) -> _Function | None:
        opening = index + 1
        if self.tokens[index].text not in DEFINING or opening not in self.closing:
            return None
        # Between the parameters and the body there may be a signature: `<n-n:n>`.
        body = next(at for at in range(self.closing[opening], len(self.tokens)) if self.tokens[at].text == "{")
        return _Function(index, body, self.closing[body])


@dataclass(slots=True)
class _Bracket:
    """What is between two brackets, from separator to separator."""

    source: _Source
    kind: _Kind
    begin: int | None = None
    """Index of the token with which a value begins that gets a name or a place."""
    is_range: bool = False
    conditions: int = 0
    """How many `?` wait for their `:`."""

    def continued(self, index: int, token: Token) -> None:
        if token.text == ":=":
            # It begins what it stands in, and `$a := $b := 1` is measured once.
            self.begin = index + 1
        elif token.text == "..":
            self.is_range = True
        elif token.text == "?":
            self.conditions += self._is_condition(index)
        elif token.text == ":" and self.conditions:
            self.conditions -= 1
        elif token.text == ":" and self.kind == "object":
            self.begin = index + 1

    def ended(self, index: int) -> Iterator[Edit]:
        begin, is_range = self.begin, self.is_range
        self.begin, self.is_range, self.conditions = None, False, 0
        if begin is not None and begin < index and not is_range:
            self.source.places += self.kind != "other"
            yield from self.source.value(begin, index)

    def _is_condition(self, index: int) -> bool:
        """Whether a `:` is to come: the `?` is no placeholder of an argument and no part of `??`."""
        tokens = self.source.tokens
        return tokens[index - 1].text not in ("(", ",", "?") and tokens[index + 1].text != "?"


def _closing(tokens: Sequence[Token]) -> dict[int, int]:
    closing: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind == "operator" and token.text in OPENING:
            opened.append(index)
        elif token.kind == "operator" and token.text in CLOSING:
            closing[opened.pop()] = index
    return closing
