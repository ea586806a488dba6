"""The check of an answer to a human task: one, for the run, for the inbox and for the simulation.

It runs inside workflow code too, on what anybody who may signal sends. So it is bounded, by counts: an answer that is
too large, or that the schema would take too long to look through, does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from workflows_core.actions.json_schemas import MAX_PROBLEMS, VALIDATOR, ValueProblem, value_problems
from workflows_core.expressions.engine import Expression, ExpressionFailed, ExpressionInvalid, Limits
from workflows_core.expressions.jlens_engine import JlensEngine

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Of JSON."""

MAX_CHECKS: Final = 10_000
"""Keywords that a check may look at; one over a long text or list counts as several."""

_ITEMS_PER_CHECK = 64
_BY_NAME = ("patternProperties", "additionalProperties", "unevaluatedProperties")
_OF_NAMES = ("properties", "$defs", "definitions", "dependentSchemas")
"""Their fields are names, with a schema each."""

_ENGINE = JlensEngine()
_TRIES = ((Limits(max_pattern_work=512 * 1024), 10), (Limits(), 2_000))
"""Limits for a pattern, and how many keywords it counts as: few steps are enough for most."""

_left: ContextVar[int] = ContextVar("checks_left")

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class _TooLong(Exception):
    pass


def answer_check(schema: Mapping[str, Any]) -> Callable[[Any], Sequence[str]]:
    """A function that says what is wrong with an answer, in sentences; nothing when it fits the JSON Schema."""
    validator = _Bounded(schema)
    return lambda answer: [str(problem) for problem in _problems(validator, answer)]


def pattern_problems(schema: Any) -> Iterator[tuple[str, str]]:
    """What of a schema cannot be checked within bounds: JSON pointer and sentence."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        pointer, node = waiting.pop()
        if isinstance(node, list):
            waiting.extend((f"{pointer}/{index}", item) for index, item in enumerate(node))
        if not isinstance(node, Mapping):
            continue
        if isinstance(node.get("patternProperties"), Mapping):
            yield f"{pointer}/patternProperties", "is not possible in answers: name each field under properties"
        if isinstance(node.get("pattern"), str) and _expression_of(node["pattern"]) is None:
            yield f"{pointer}/pattern", f"is no pattern that expressions know: {node['pattern']!r:.80}"
        for name, item in node.items():
            if name in _OF_NAMES and isinstance(item, Mapping):
                waiting.extend((f"{pointer}/{name}/{field}", nested) for field, nested in item.items())
            elif name not in ("const", "enum"):
                waiting.append((f"{pointer}/{name}", item))


def _problems(validator: _Bounded, answer: Any) -> Sequence[ValueProblem]:
    try:
        size = len(json.dumps(answer))
        if size > MAX_ANSWER_BYTES:
            return [ValueProblem("", f"has {size} bytes of JSON, at most {MAX_ANSWER_BYTES} are allowed")]
        return value_problems(cast(Draft202012Validator, validator), answer)
    except RecursionError:
        return [ValueProblem("", "is nested too deeply to be checked")]
    except _TooLong:
        return [ValueProblem("", "is too large for its schema: it would take too long to be checked")]


class _Bounded:
    """A validator that stops after so many keywords, and after so many errors."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.validator = _Validator(_without_names(schema), registry=Registry())

    def iter_errors(self, answer: Any) -> Iterator[ValidationError]:
        _left.set(MAX_CHECKS)
        return islice(self.validator.iter_errors(answer), 2 * MAX_PROBLEMS)


def _spend(checks: int) -> None:
    left = _left.get() - checks
    _left.set(left)
    if left < 0:
        raise _TooLong


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
        length = sum(len(one) for one in (value, wanted) if isinstance(one, (str, list, dict)))
        _spend(1 + length // _ITEMS_PER_CHECK)
        return keyword(validator, wanted, value, schema)

    return check


def _pattern(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    expression = _expression_of(wanted) if validator.is_type(value, "string") else None
    if expression is None:
        return
    fits = None
    for limits, checks in _TRIES:
        _spend(checks)
        with suppress(ExpressionFailed):  # A pattern that tries too much: the steps of an expression end it.
            fits = expression.evaluate({"text": value}, now_ms=0, seed=0, limits=limits)
            break
    if not fits:
        yield ValidationError("does not match")


@lru_cache(maxsize=256)
def _expression_of(pattern: str) -> Expression | None:
    """Searches a text for a pattern; None for one that the engine does not know."""
    try:
        found = _ENGINE.compile(f"$contains(text, /{_as_literal(pattern)}/)" if pattern else "true")
        found.evaluate({"text": "x"}, now_ms=0, seed=0)  # Some are found to be wrong only when they are used.
    except (ExpressionInvalid, ExpressionFailed):
        return None
    return found


def _as_literal(pattern: str) -> str:
    """The pattern as it may stand between slashes: the brackets of a class would be counted as the expression's."""
    written, in_class, escaped = [], False, False
    for character in pattern:
        special = "/()[{}" if in_class else "/"
        written.append(f"\\{character}" if character in special and not escaped else character)
        if not escaped:
            in_class = character == "[" or (in_class and character != "]")
        escaped = character == "\\" and not escaped
    return "".join(written) if not in_class else "("  # Unclosed: refused, not something that closes it.


def _without_names(schema: Any) -> Any:
    """Without what searches names of fields for patterns: publishing refuses it, a definition of before may have it."""
    if isinstance(schema, list):
        return [_without_names(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    left_out = _BY_NAME if isinstance(schema.get("patternProperties"), Mapping) else ()
    kept: dict[str, Any] = {}
    for name, item in schema.items():
        if name in _OF_NAMES and isinstance(item, Mapping):
            kept[name] = {field: _without_names(nested) for field, nested in item.items()}
        elif name not in left_out:
            kept[name] = item if name in ("const", "enum") else _without_names(item)
    return kept


_Validator = extend(  # type: ignore[no-untyped-call]
    VALIDATOR, {name: _counted(keyword) for name, keyword in {**VALIDATOR.VALIDATORS, "pattern": _pattern}.items()}
)
