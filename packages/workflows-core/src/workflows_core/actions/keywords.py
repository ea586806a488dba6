"""The library's keywords of JSON Schema, each counted, and those done otherwise that it is too slow at.

References make a schema of a few lines as long as one likes: two that lead to the same place double what comes behind
them. So a check counts every keyword that it looks at (`patterns.allow`), and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from workflows_core.actions.patterns import matches, price_of_look, spend, spend_on_reference
from workflows_core.expressions.identity import identity

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]
"""Takes the validator, what the schema says under the keyword, the value, and the schema."""

_REFERENCES: Final = ("$ref", "$dynamicRef")
_SIZED: Final = (str, list, dict)


def counted(name: str, keyword: Keyword) -> Keyword:
    """The keyword, which is counted before it looks at a value."""
    follows, looks_behind = name in _REFERENCES, name in ("unevaluatedProperties", "unevaluatedItems")

    def check(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError] | None:
        length = len(value) if isinstance(value, _SIZED) else 0
        length += len(wanted) if isinstance(wanted, _SIZED) else 0
        spend(1 + price_of_look(length))
        if follows:
            spend_on_reference()
        elif looks_behind:
            _count_unfolded(validator, schema, value)
        return keyword(validator, wanted, value, schema)

    return check


def _count_unfolded(validator: Any, schema: Any, value: Any) -> None:
    """Counts the schemas in which the library looks, without a keyword, for what another has evaluated already."""
    if not isinstance(schema, Mapping):
        return
    spend(1)
    for name in _REFERENCES:
        if name in schema:
            spend_on_reference()
            found = validator._resolver.lookup(schema[name])  # noqa: SLF001 - as the library itself follows it here
            _count_unfolded(validator.evolve(schema=found.contents, _resolver=found.resolver), found.contents, value)
    for field, nested in schema.get("dependentSchemas", {}).items():
        if isinstance(value, dict) and field in value:
            _count_unfolded(validator, nested, value)
    for name in ("allOf", "oneOf", "anyOf"):
        for nested in schema.get(name, ()):
            _count_unfolded(validator, nested, value)
    for name in ("if", "then", "else"):
        _count_unfolded(validator, schema.get(name), value)


def _unique_items(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    """Each item looked at once; the library's own compares every pair: seconds for two thousand objects."""
    if wanted and validator.is_type(value, "array") and len({identity(item) for item in value}) < len(value):
        yield ValidationError("has items that are the same")


def pattern(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    """The keyword of that name, searched for by the expression engine."""
    if validator.is_type(value, "string") and not matches(wanted, value):
        yield ValidationError("does not match")


def _pattern_properties(validator: Any, wanted: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, schema in wanted.items():
            for name, item in value.items():
                if matches(pattern, name):
                    yield from validator.descend(item, schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = (name for name in value if name not in known and not any(matches(pattern, name) for pattern in patterns))
    if validator.is_type(wanted, "object"):
        for name in others:
            yield from validator.descend(value[name], wanted, path=name)
    elif not wanted and any(True for _ in others):
        yield ValidationError("has fields that are not known")


_OURS: Final[Mapping[str, Keyword]] = {
    "uniqueItems": _unique_items,
    "pattern": pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}

VALIDATOR: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {name: counted(name, keyword) for name, keyword in {**Draft202012Validator.VALIDATORS, **_OURS}.items()},
)
"""The library's validator with these keywords."""

WITHOUT_UNEVALUATED: Any = extend(VALIDATOR, {"unevaluatedProperties": lambda *_: None})  # type: ignore[no-untyped-call]
"""The same for a schema whose `unevaluatedProperties` would have the library search for patterns."""
