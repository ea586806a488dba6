"""JSON Schemas of actions: whether they are good ones, and what is wrong with a value in plain sentences.

The library's own messages show the offending value. These never do: it may be a resolved secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from workflows_core.actions.schema_sentences import sentences_of
from workflows_core.errors import Json
from workflows_core.expressions.identity import identity

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12) as plain JSON."""

MAX_PROBLEMS: Final = 20
"""A value's problems beyond this number are counted, not listed."""

_DIALECTS = frozenset({"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"})
_DATA_KEYWORDS = frozenset({"const", "default", "enum", "examples"})


def _unique_items(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    """Each item looked at once; the library's own compares every pair: seconds for two thousand objects."""
    if wanted and validator.is_type(value, "array") and len({identity(item) for item in value}) < len(value):
        yield ValidationError("has items that are the same")


VALIDATOR: Any = extend(Draft202012Validator, {"uniqueItems": _unique_items})  # type: ignore[no-untyped-call]
"""The library's validator, with what it is too slow at done otherwise."""


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
    """A validator to keep: compiling is dear. It never loads anything from the network."""
    # An explicit registry turns off the library's own retrieval of remote references.
    return cast(Draft202012Validator, VALIDATOR(schema, registry=Registry()))


def value_problems(validator: Draft202012Validator, value: Json) -> list[ValueProblem]:
    """All problems of a value, in document order, each once."""
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
        found = dict.fromkeys(
            ValueProblem(pointer_of(path), message) for error in errors for path, message in sentences_of(error)
        )
    except RecursionError:
        return [ValueProblem("", "is nested too deeply to be checked")]
    return list(found)


def schema_problems(schema: object) -> Iterator[tuple[str, str]]:
    """What is wrong with a schema: JSON pointer and sentence."""
    if not isinstance(schema, Mapping):
        yield "", f"must be a JSON Schema object, found {type(schema).__name__}"
        return
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        yield "", f"must be plain JSON: {error}"
        return
    yield from _problems_of(text)


@lru_cache(maxsize=256)
def _problems_of(text: str) -> tuple[tuple[str, str], ...]:
    """Kept: a service looks at the same schemas when it is checked, announced and built; each takes milliseconds."""
    plain = json.loads(text)
    problems = []
    dialect = plain.get("$schema")
    if dialect is not None and dialect not in _DIALECTS:
        problems.append(("/$schema", "must be the 2020-12 dialect, or be left out"))
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    wrong = [(pointer_of(found.absolute_path), _brief(found)) for found in meta.iter_errors(plain)]
    return (*problems, *(wrong or _reference_problems(plain)))


def pointer_of(path: Iterable[str | int]) -> str:
    """JSON pointer of a path; a very long one is cut."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return pointer if len(pointer) <= 200 else f"{pointer[:197]}..."


def _brief(error: ValidationError) -> str:
    return error.message if len(error.message) <= 300 else f"{error.message[:297]}..."


def _reference_problems(root: dict[str, Any]) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(((*path, index), item) for index, item in enumerate(node))
        elif isinstance(node, dict):
            for keyword in ("$ref", "$dynamicRef"):
                reference = node.get(keyword)
                if isinstance(reference, str) and not _resolves(root, reference):
                    message = f"{reference!r} does not lead anywhere; refer to a part of this schema, such as #/$defs/x"
                    yield pointer_of((*path, keyword)), message
            waiting.extend(((*path, key), item) for key, item in node.items() if key not in _DATA_KEYWORDS)


def _resolves(root: Any, reference: str) -> bool:
    if reference == "#":
        return True
    if not reference.startswith("#/"):
        return False
    found = root
    for part in _parts(reference[2:]):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return False
    return isinstance(found, (dict, bool))


def _parts(pointer: str) -> Sequence[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
