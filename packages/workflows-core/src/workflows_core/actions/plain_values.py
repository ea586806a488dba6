"""Values that plainly fit their schema, as most do: the library takes a tenth of a millisecond for three fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

_MOST_LOOKS: Final = 300
_TYPES: Final[Mapping[str, Collection[type]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),  # A float without a fraction is one as well, and the library's to tell.
    "number": (int, float),
}
_SAYS_NOTHING: Final = frozenset({"title", "description", "default", "examples", "$schema", "$comment", "$defs"})


def fits_plainly(schema: Any, value: Any) -> bool:
    """Whether it is plain that a value fits; False where it does not, and where only the library can tell."""
    return _looks_left(schema, value, _MOST_LOOKS) > 0


def _looks_left(schema: Any, value: Any, looks: int) -> int:
    """How many looks are left when the value has been found to fit; 0 where that is not plain."""
    looks -= 1
    if schema is True or looks <= 0:
        return looks
    if not isinstance(schema, Mapping):
        return 0
    for keyword, wanted in schema.items():
        looks -= 1
        if keyword in _NESTED:
            for nested, member in _NESTED[keyword](schema, value):
                looks = _looks_left(nested, member, looks)
                if looks <= 0:
                    return 0
        elif looks <= 0 or not (keyword in _SAYS_NOTHING or (keyword in _LOOKS and _LOOKS[keyword](wanted, value))):
            return 0
    return looks


def _properties(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) is dict:
        for name, nested in schema["properties"].items():
            if name in value:
                yield nested, value[name]


def _additional(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) is dict:
        for name in value.keys() - schema.get("properties", {}).keys():
            yield schema["additionalProperties"], value[name]


def _items(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) is list:
        for item in value:
            yield schema["items"], item


def _has_type(wanted: Any, value: Any) -> bool:
    names = (wanted,) if isinstance(wanted, str) else wanted
    return any(type(value) in _TYPES.get(name, ()) for name in names)


_NESTED: Final = {"properties": _properties, "additionalProperties": _additional, "items": _items}
_LOOKS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "type": _has_type,
    "required": lambda wanted, value: type(value) is not dict or all(name in value for name in wanted),
    "minLength": lambda wanted, value: type(value) is not str or len(value) >= wanted,
    "maxLength": lambda wanted, value: type(value) is not str or len(value) <= wanted,
    "minimum": lambda wanted, value: type(value) not in (int, float) or value >= wanted,
    "maximum": lambda wanted, value: type(value) not in (int, float) or value <= wanted,
}
