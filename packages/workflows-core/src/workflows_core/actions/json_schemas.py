"""JSON Schemas: whether they are good ones, and what is wrong with a value in plain sentences.

The library's own messages show the offending value. These never do: it may be a resolved secret. Its own patterns may
never end: here they are those of expressions, within bounds (`patterns`), since values are checked in event loops.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry

from workflows_core.actions.keywords import VALIDATOR, WITHOUT_UNEVALUATED
from workflows_core.actions.patterns import Budget, TooLong, allow, pattern_problem
from workflows_core.actions.schema_parts import Path, schema_parts
from workflows_core.actions.schema_sentences import sentences_of, type_word
from workflows_core.errors import Json

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12) as plain JSON."""

MAX_PROBLEMS: Final = 20
"""A value's problems beyond this number are counted, not listed."""

_DIALECTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"})
_BUDGET = Budget(300_000, reading=150, tries=(15, 150, 15_000), reference=20)
"""Of one check: seconds at most. A keyword takes some 10 µs, a quick try 100, a dear one up to 50 ms."""

_FORMATS = FormatChecker(one for one in Draft202012Validator.FORMAT_CHECKER.checkers if one != "regex")
"""Formats of a schema's own texts; its patterns are those of expressions, not the standard library's."""


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One thing wrong with a value; `pointer` is a JSON pointer, empty for the whole value."""

    pointer: str
    message: str

    def to_json(self) -> dict[str, Json]:
        """As shown in a failure's details."""
        return {"pointer": self.pointer, "message": self.message}

    def __str__(self) -> str:
        return f"{self.pointer or 'the whole value'} {self.message}"


def compile_schema(schema: Schema) -> Draft202012Validator:
    """A validator to keep: compiling is dear. It never loads anything from the network.

    A schema of before that `schema_problems` would refuse can be checked, too. A pattern that expressions do not know
    does not match; `unevaluatedProperties` beside `patternProperties` is not looked at.
    """
    kind = WITHOUT_UNEVALUATED if any(True for _ in _unbounded(schema)) else VALIDATOR
    # An explicit registry turns off the library's own retrieval of remote references.
    return cast(Draft202012Validator, kind(schema, registry=Registry()))


def value_problems(validator: Draft202012Validator, value: Json, budget: Budget = _BUDGET) -> list[ValueProblem]:
    """All problems of a value, in document order, each once.

    Args:
        validator: Of `compile_schema`.
        value: The value.
        budget: What the check may spend; a value that takes more has that as its one problem.
    """
    try:
        with allow(budget):
            errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
            found = dict.fromkeys(
                ValueProblem(pointer_of(path), message) for error in errors for path, message in sentences_of(error)
            )
    except RecursionError:
        return [ValueProblem("", "is nested too deeply to be checked")]
    except TooLong:
        return [ValueProblem("", "is too large for its schema: it would take too long to be checked")]
    return list(found)


def schema_problems(schema: object) -> Iterator[tuple[str, str]]:
    """What is wrong with a schema: JSON pointer and sentence."""
    if not isinstance(schema, Mapping):
        yield "", f"must be a JSON Schema object, found {type_word(schema)}"
        return
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        yield "", f"must be plain JSON: {error}"
        return
    try:
        yield from _problems_of(text)
    except RecursionError:
        yield "", "is nested too deeply to be checked"


@lru_cache(maxsize=256)
def _problems_of(text: str) -> tuple[tuple[str, str], ...]:
    """Kept: a service looks at the same schemas when it is checked, announced and built; each takes milliseconds."""
    plain = json.loads(text)
    problems = []
    dialect = plain.get("$schema")
    if dialect is not None and dialect not in _DIALECTS:
        problems.append(("/$schema", "must be the 2020-12 dialect, or be left out"))
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=_FORMATS)
    wrong = [(pointer_of(found.absolute_path), _brief(found)) for found in meta.iter_errors(plain)]
    return (*problems, *(wrong or (*_reference_problems(plain), *_pattern_problems(plain))))


def pointer_of(path: Iterable[str | int]) -> str:
    """JSON pointer of a path; a very long one is cut."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return pointer if len(pointer) <= 200 else f"{pointer[:197]}..."


def _brief(error: ValidationError) -> str:
    return error.message if len(error.message) <= 300 else f"{error.message[:297]}..."


def _reference_problems(root: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, part in schema_parts(root):
        for keyword in ("$ref", "$dynamicRef"):
            reference = part.get(keyword)
            if isinstance(reference, str) and not _resolves(root, reference):
                message = f"{reference!r} does not lead anywhere; refer to a part of this schema, such as #/$defs/x"
                yield pointer_of((*path, keyword)), message


def _pattern_problems(root: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, part in schema_parts(root):
        written: list[tuple[Path, str]] = []
        if isinstance(part.get("pattern"), str):
            written.append(((*path, "pattern"), part["pattern"]))
        if isinstance(part.get("patternProperties"), Mapping):
            written.extend(((*path, "patternProperties", name), name) for name in part["patternProperties"])
        for place, pattern in written:
            problem = pattern_problem(pattern)
            if problem is not None:
                yield pointer_of(place), problem
    for place in _unbounded(root):
        message = "cannot be checked beside patternProperties: use additionalProperties, or name each field"
        yield pointer_of(place), message


def _unbounded(root: Any) -> Iterator[Path]:
    """Each `unevaluatedProperties` that would have the library search for patterns.

    They are in its own schema, or behind a reference, wherever that leads to: so all of the schema is looked at.
    """
    parts = list(schema_parts(root, data=True))
    if any(isinstance(part.get("patternProperties"), Mapping) for _, part in parts):
        yield from ((*path, "unevaluatedProperties") for path, part in parts if "unevaluatedProperties" in part)


def _resolves(root: Any, reference: str) -> bool:
    if reference == "#":
        return True
    if not reference.startswith("#/"):
        return False
    found = root
    for part in _parts(reference[2:]):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and len(part) < 10 and int(part) < len(found):
            found = found[int(part)]
        else:
            return False
    return isinstance(found, (dict, bool))


def _parts(pointer: str) -> Sequence[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
