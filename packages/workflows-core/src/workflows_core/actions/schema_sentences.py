"""What a schema error means, in words made of the schema and never of the value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from jsonschema.exceptions import ValidationError

from workflows_core.actions.patterns import matches, price_of_look, spend
from workflows_core.definitions.spelling import nearest

Path = tuple[str | int, ...]

_WORDS = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
}

_HINTS = 5
"""Unknown fields of an object that are told which name was likely meant: to find it takes long."""

_HINTED_NAMES = 100
_HINTED_LENGTH = 64

_BOUNDS: Mapping[str, str] = {
    "minimum": "must be at least {0}",
    "maximum": "must be at most {0}",
    "exclusiveMinimum": "must be more than {0}",
    "exclusiveMaximum": "must be less than {0}",
    "multipleOf": "must be a multiple of {0}",
    "minLength": "must have at least {0} characters",
    "maxLength": "must have at most {0} characters",
    "minItems": "must have at least {0} items",
    "maxItems": "must have at most {0} items",
    "minProperties": "must have at least {0} fields",
    "maxProperties": "must have at most {0} fields",
    "pattern": "must match the pattern {0}",
    "format": "must be a {0}",
}


def sentences_of(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Place and sentence of everything an error says."""
    path: Path = tuple(error.absolute_path)
    keyword, wanted = str(error.validator), error.validator_value
    if keyword in _BOUNDS:
        yield path, _BOUNDS[keyword].format(wanted)
    elif keyword in _SPECIAL:
        yield from _SPECIAL[keyword](path, error)
    elif error.validator is None:
        yield path, "is not allowed here"
    else:
        yield path, f"does not fit the schema's {keyword!r}"


def type_word(value: object) -> str:
    """What kind of JSON value something is, in words."""
    if value is None:
        return "null"
    # A truth value is an int in Python, so it is asked for first.
    for kind, word in ((bool, "true or false"), ((int, float), "a number"), (str, "a text"), (list, "a list")):
        if isinstance(value, kind):
            return word
    return "an object" if isinstance(value, dict) else f"a Python {type(value).__name__}"


def _type(path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    wanted: Any = error.validator_value
    names = [wanted] if isinstance(wanted, str) else wanted
    found = type_word(error.instance)
    if found == "a number" and "integer" in names and "number" not in names:
        found = "a number with a fraction"
    yield path, f"must be {_either([_WORDS.get(name, name) for name in names])}, found {found}"


def _required(path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    wanted: Any = error.validator_value
    found: Any = error.instance
    for name in wanted:
        if name not in found:
            yield (*path, name), "is required"


def _unknown(path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    schema: Any = error.schema if isinstance(error.schema, Mapping) else {}
    found: Any = error.instance
    known: Mapping[str, Any] = schema.get("properties", {})
    patterns = list(schema.get("patternProperties", {}))
    hints = _HINTS
    for name in found:
        spend(1)
        if name not in known and not any(matches(pattern, name) for pattern in patterns):
            hint = _hint(name, list(islice(known, _HINTED_NAMES + 1))) if hints and known else ""
            hints -= 1 if hints else 0
            yield (*path, name), f"is not a known field{hint}"


def _hint(name: str, known: Sequence[str]) -> str:
    shown = [one if len(one) <= _HINTED_LENGTH else f"{one[: _HINTED_LENGTH - 3]}..." for one in known[:_HINTED_NAMES]]
    likely = nearest(name, shown) if len(name) <= _HINTED_LENGTH else None
    more = " and more" if len(known) > _HINTED_NAMES else ""
    return f"; did you mean {likely!r}?" if likely else f"; known are {', '.join(shown)}{more}"


def _enum(path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    wanted: Any = error.validator_value
    shown = ", ".join(map(_as_json, wanted[:20]))
    more = len(wanted) - 20
    yield path, f"must be one of {shown}" + (f" and {more} more" if more > 0 else "")


def _const(path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    yield path, f"must be {_as_json(error.validator_value)}"


def _as_json(wanted: Any) -> str:
    text = json.dumps(wanted, ensure_ascii=False)
    spend(price_of_look(len(text)))  # A long one may be wanted of every item of a list.
    return text


def _unique(path: Path, _error: ValidationError) -> Iterator[tuple[Path, str]]:
    yield path, "must not hold the same item twice"


def _excluded(path: Path, _error: ValidationError) -> Iterator[tuple[Path, str]]:
    yield path, "must not be what the schema's 'not' describes"


def _branches(path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    """The problems of the branch that was most likely meant: right kind and constants, then fewest problems."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    if not branches:
        yield path, "fits more than one of the allowed forms; it must fit exactly one"
        return

    def distance(errors: Sequence[ValidationError]) -> tuple[bool, int, int]:
        return bool(_kinds_refused(errors)), sum(e.validator in ("const", "enum") for e in errors), len(errors)

    kinds = [_kinds_refused(errors) for errors in branches.values()]
    if all(kinds):
        words = dict.fromkeys(_WORDS.get(kind, kind) for names in kinds for kind in names)
        yield path, f"must be {_either(list(words))}, found {type_word(error.instance)}"
        return
    for inner in min(branches.values(), key=distance):
        yield from sentences_of(inner)


def _kinds_refused(errors: Sequence[ValidationError]) -> Sequence[str]:
    """The types that a branch wanted, when the value's own type was wrong for it."""
    wanted: Any = next((e.validator_value for e in errors if e.validator == "type" and not e.path), ())
    return (wanted,) if isinstance(wanted, str) else wanted


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


_SPECIAL: Mapping[str, Callable[[Path, ValidationError], Iterator[tuple[Path, str]]]] = {
    "type": _type,
    "required": _required,
    "additionalProperties": _unknown,
    "unevaluatedProperties": _unknown,
    "enum": _enum,
    "const": _const,
    "uniqueItems": _unique,
    "not": _excluded,
    "anyOf": _branches,
    "oneOf": _branches,
}
