"""What a source may cost, told from its tokens before it meets any data.

A step of the engine may cost as much as the data it touches: `$string(payload.lines)` is one step. Where such steps
repeat over the same data, steps times bytes is the price, and `jlens_engine` bounds it. Where each repetition has an
item of its own (`lines.(sku & name)`), all of them together touch the data once, and nothing needs to be bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from workflows_core.expressions.functions import ALLOWED_FUNCTIONS
from workflows_core.expressions.tokens import CLOSING, DEFINING, OPENING, Token

LIGHT: Final = 1 / 32
"""Price of a step for a byte it touches, against `$string`: reading, counting, arithmetic."""

_FAIR: Final = 1 / 8
FULL: Final = 1.0
"""The same for `$string` and its like."""

_DEAR: Final = 4.0

_PRICES: Mapping[float, frozenset[str]] = {
    LIGHT: frozenset(
        [
            "$length",
            "$contains",
            "$number",
            "$abs",
            "$floor",
            "$ceil",
            "$round",
            "$power",
            "$sqrt",
            "$sum",
            "$max",
            "$min",
            "$average",
            "$count",
            "$reverse",
            "$keys",
            "$lookup",
            "$each",
            "$sift",
            "$map",
            "$filter",
            "$single",
            "$reduce",
            "$boolean",
            "$not",
            "$exists",
            "$type",
            "$error",
            "$assert",
            "$now",
            "$millis",
            "$nowIso",
            "$random",
            "$formatBase",
        ]
    ),
    _FAIR: frozenset(
        [
            "$uppercase",
            "$lowercase",
            "$trim",
            "$substringBefore",
            "$substringAfter",
            "$join",
            "$split",
            "$merge",
            "$spread",
            "$fromMillis",
            "$toMillis",
            "$parseInteger",
            "$formatInteger",
            "$formatNumber",
        ]
    ),
    _DEAR: frozenset(["$sort", "$distinct", "$replace", "$match", "$toString", "$append", "$len", "$coalesce"]),
}
_PRICE_OF = {name: price for price, names in _PRICES.items() for name in names}
_OPERATORS = {"&": FULL, "=": _FAIR, "<": _FAIR, ">": _FAIR, "..": _FAIR}
_OVER_ITEMS = frozenset({"$map", "$filter", "$single", "$sift", "$each"})
_GROWING = frozenset({"$pad", "$reduce", "$formatNumber", "$formatInteger"})
"""What may make more of an item than the item is, or go through what it has made again and again."""
_WITH_TEXTS = frozenset({"$join", "$replace"})
"""Grow by their last argument, unless that is written in the source."""
_FEW = 8
_LITERALS = frozenset({"true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Price:
    """What a source may cost.

    Attributes:
        factor: The price of its dearest step for a byte.
        repeats: Whether a step may touch the same data again and again.
        operations: How many calls and operators it has whose price is the data's; for one that does not repeat.
    """

    factor: float
    repeats: bool
    operations: int


def price_of(tokens: Sequence[Token]) -> Price:
    """The price of a source."""
    reader = _Reader(tokens)
    repeats = reader.repeats()
    prices = [
        found
        for index, token in enumerate(tokens)
        if (found := _price(token, called=_follows(tokens, index, "("))) is not None
    ]
    operations = sum(1 for price in prices if price > LIGHT) * (1 + reader.entries)
    # A value that grows with each of many variables, or is long from the start, is not bounded by what is read.
    grows = operations > _FEW and any(token.text == ":=" for token in tokens)
    grows = grows or any(token.text in ("$pad", "..") for token in tokens)
    return Price(max(prices, default=LIGHT), repeats or grows, operations)


def _price(token: Token, *, called: bool) -> float | None:
    if token.kind == "operator":
        return _OPERATORS.get(token.text)
    if token.kind == "regex":
        return FULL
    if token.kind == "variable" and token.text not in ("$", "$$"):
        return _PRICE_OF.get(token.text, FULL if token.text[1:] in ALLOWED_FUNCTIONS else LIGHT)
    return _PRICE_OF.get(f"${token.text}") if token.kind == "name" and called else None


def _follows(tokens: Sequence[Token], index: int, text: str) -> bool:
    following = tokens[index + 1] if index + 1 < len(tokens) else None
    return following is not None and following.kind == "operator" and following.text == text


@dataclass(slots=True)
class _Bracket:
    call: str | None
    own: bool
    """Whether what is inside is evaluated for each item of what stands before, and a name is a field of the item."""
    parameters: frozenset[str] | None
    """Of the innermost function around it."""
    makes: bool = False


@dataclass(slots=True)
class _Reader:
    tokens: Sequence[Token]
    entries: int = 0
    stack: list[_Bracket] = field(default_factory=list)
    made: int = 0

    def repeats(self) -> bool:
        """Whether anything hints at a step that touches the same data again; in doubt it does."""
        index = 0
        while index < len(self.tokens):
            token = self.tokens[index]
            if token.kind in ("variable", "name") and self._is_function(index):
                inside = self._function(index)
                if inside is None:
                    return True
                index = inside
                continue
            if self._is_suspicious(index, token):
                return True
            index += 1
        return False

    def _before(self, index: int) -> Token | None:
        return self.tokens[index - 1] if index else None

    def _is_function(self, index: int) -> bool:
        return self.tokens[index].text in DEFINING and _follows(self.tokens, index, "(")

    def _function(self, index: int) -> int | None:
        """Goes into a function that is written as the argument of `$map` and the like; None for any other."""
        before, around = self._before(index), self.stack[-1] if self.stack else None
        if before is None or before.text != "," or around is None or around.call not in _OVER_ITEMS:
            return None
        position, parameters = index + 2, list[str]()
        while position < len(self.tokens) and self.tokens[position].text != ")":
            if self.tokens[position].kind == "variable":
                parameters.append(self.tokens[position].text)
            position += 1
        # The third parameter is the whole list.
        if len(parameters) > 2 or not _follows(self.tokens, position, "{"):
            return None
        self.stack.append(_Bracket(None, False, frozenset(parameters)))
        return position + 2

    def _is_suspicious(self, index: int, token: Token) -> bool:
        if token.kind == "operator":
            return self._operator(index, token)
        around = self.stack[-1] if self.stack else None
        if token.kind == "variable" and token.text != "$":
            return self._variable(index, token, around)
        if token.kind in ("name", "quoted_name"):
            if _follows(self.tokens, index, "(") and token.is_operand:
                return self._call(index, f"${token.text}")
            if around is None or around.parameters is None or around.own:
                return False
            before = self._before(index)
            # In a function a bare name is read from what is around the function, each time.
            is_field = before is not None and before.text == "."
            return not (is_field or not token.is_operand or token.text in _LITERALS or token.text[0].isdigit())
        return token.text == "$" and around is not None and around.parameters is not None and not around.own

    def _variable(self, index: int, token: Token, around: _Bracket | None) -> bool:
        if _follows(self.tokens, index, "("):
            return self._call(index, token.text)
        if token.text == "$$":
            return True
        if around is not None and around.parameters is not None and token.text in around.parameters:
            return False
        if token.text[1:] in ALLOWED_FUNCTIONS:
            return True  # Handed to another function: `$map(lines, $string)`.
        # A variable of the expression itself: good where it is read once.
        return around is not None and (around.own or around.parameters is not None)

    def _call(self, index: int, name: str) -> bool:
        if name[1:] not in ALLOWED_FUNCTIONS:
            return True  # One that the expression defines: it may call itself.
        return (name in _GROWING and self._is_inside()) or (name in _WITH_TEXTS and not self._ends_with_text(index + 1))

    def _ends_with_text(self, opening: int) -> bool:
        depth = 0
        for position in range(opening, len(self.tokens)):
            token = self.tokens[position]
            if token.kind == "operator":
                depth += (token.text in OPENING) - (token.text in CLOSING)
                if depth == 0:
                    return self.tokens[position - 1].kind == "string" and len(self.tokens[position - 1].text) <= 100
        return False

    def _operator(self, index: int, token: Token) -> bool:
        before = self._before(index)
        after_operand = before is not None and before.is_operand
        if token.text in OPENING:
            self._open(token.text, before, after_operand=after_operand)
            return self.made > 1
        if token.text in CLOSING:
            closed = self.stack.pop() if self.stack else None
            following = self.tokens[index + 1].text if index + 1 < len(self.tokens) else ""
            # What was made from an item is gone through again.
            return closed is not None and closed.makes and following in (".", "[", "{", "^")
        if token.text == "?" and before is not None and before.text in ("(", ","):
            return True
        if token.text == ",":
            self.entries += any(bracket.makes for bracket in self.stack)
        if token.text in (":=", ".."):
            return self._is_inside()
        return token.text in ("**", "@", "#", "~", "|") or (token.text in "*%" and not after_operand)

    def _is_inside(self) -> bool:
        return any(bracket.own or bracket.parameters is not None for bracket in self.stack)

    def _open(self, opened: str, before: Token | None, *, after_operand: bool) -> None:
        around = self.stack[-1] if self.stack else None
        own = around is not None and around.own
        parameters = None if around is None else around.parameters
        call = None
        makes = opened in "[{" and not (opened == "[" and after_operand)
        if opened == "(" and before is not None and after_operand and before.kind in ("name", "variable"):
            call = before.text if before.text.startswith("$") else f"${before.text}"
        elif (before is not None and before.text in (".", "^")) or (opened in "[{" and after_operand):
            own = True
        if makes and not any(bracket.makes for bracket in self.stack):
            self.made += 1
        self.stack.append(_Bracket(call, own, parameters, makes))
