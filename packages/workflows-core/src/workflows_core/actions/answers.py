"""The check of an answer to a human task: one, for the run, for the inbox and for the simulation.

It runs inside workflow code too, on what anybody who may signal sends. So it is bounded, by counts: an answer that is
too large, or that the schema would take too long to look through, does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from workflows_core.actions.json_schemas import (
    MAX_PROBLEMS,
    ValueProblem,
    pointer_of,
    schema_problems,
    value_problems,
)
from workflows_core.actions.keywords import VALIDATOR, counted, pattern
from workflows_core.actions.patterns import Budget, pattern_problem, spend
from workflows_core.actions.schema_parts import NAMED_KEYWORDS, schema_parts

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Of JSON."""

MAX_CHECKS: Final = 10_000
"""Keywords that a check may look at; one over a long text or list counts as several."""

_BY_NAME = ("patternProperties", "additionalProperties", "unevaluatedProperties")
_BUDGET = Budget(MAX_CHECKS, reading=0, tries=(10, 0, 2_000))


def answer_check(schema: Mapping[str, Any]) -> Callable[[Any], Sequence[str]]:
    """A function that says what is wrong with an answer, in sentences; nothing when it fits the JSON Schema."""
    validator = _Bounded(schema)
    return lambda answer: [str(problem) for problem in _problems(validator, answer)]


def answer_schema_problems(schema: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a schema of answers: JSON pointer and sentence."""
    refused = [
        pointer_of((*path, "patternProperties"))
        for path, part in schema_parts(schema)
        if isinstance(part.get("patternProperties"), Mapping)
    ]
    for pointer in refused:
        yield pointer, "is not possible in answers: name each field under properties"
    under = tuple(f"{pointer}/" for pointer in refused)
    for pointer, message in schema_problems(schema):
        # What comes of a refused one goes with it.
        if not refused or not (pointer.startswith(under) or pointer.endswith("/unevaluatedProperties")):
            yield pointer, message


def _problems(validator: _Bounded, answer: Any) -> Sequence[ValueProblem]:
    try:
        size = len(json.dumps(answer))
    except RecursionError:
        return [ValueProblem("", "is nested too deeply to be checked")]
    if size > MAX_ANSWER_BYTES:
        return [ValueProblem("", f"has {size} bytes of JSON, at most {MAX_ANSWER_BYTES} are allowed")]
    return value_problems(cast(Draft202012Validator, validator), answer, _BUDGET)


class _Bounded:
    """A validator that stops after so many keywords, and after so many errors."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.validator = _Validator(_without_names(schema), registry=Registry())

    def iter_errors(self, answer: Any) -> Iterator[ValidationError]:
        return islice(self.validator.iter_errors(answer), 2 * MAX_PROBLEMS)


def _pattern(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "string") and pattern_problem(wanted) is not None:
        # Of a definition of before: whatever is written fits, else nobody could answer its task.
        spend(_BUDGET.tries[0])
        return
    yield from pattern(validator, wanted, value, schema)


def _without_names(schema: Any) -> Any:
    """Without what searches names of fields for patterns: publishing refuses it, a definition of before may have it."""
    if isinstance(schema, list):
        return [_without_names(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    left_out = _BY_NAME if isinstance(schema.get("patternProperties"), Mapping) else ()
    kept: dict[str, Any] = {}
    for name, item in schema.items():
        if name in NAMED_KEYWORDS and name not in left_out and isinstance(item, Mapping):
            kept[name] = {field: _without_names(nested) for field, nested in item.items()}
        elif name not in left_out:
            kept[name] = item if name in ("const", "enum") else _without_names(item)
    return kept


_Validator = extend(VALIDATOR, {"pattern": counted("pattern", _pattern)})  # type: ignore[no-untyped-call]
