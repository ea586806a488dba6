"""From a document to a `Definition`, or to a list of everything that is wrong with it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from workflows_core.definitions.locate import Place, locate
from workflows_core.definitions.model import STEP_MODELS, TRIGGER_MODELS, Definition
from workflows_core.definitions.spelling import nearest
from workflows_core.errors import Problem, Refused
from workflows_core.wire.text import UNSTORABLE

_UNSTORABLE_TEXT = "has U+0000 or half of a surrogate pair, which cannot be stored; remove it"

MAX_NESTING = 100
"""Deepest nesting of objects and lists in a document."""

MAX_BYTES = 1024 * 1024
"""Of a new document, about as JSON: a run takes its definition from one message of at most 2 MB, beside its payload."""

MAX_VALUES = 20_000
"""Texts, numbers, objects and lists in a new document: a workflow task that compiles for two seconds is given up."""

_SCALARS = ("str", "int", "float", "bool")
"""What pydantic calls the kinds of a scalar."""

_EXPRESSION = 'must be an expression, an object such as {"$expr": "payload.id"}'


def size_problems(document: Any) -> list[Problem]:
    """`DEFINITION_TOO_LARGE` of a document that no run could load; a version that is published already is not asked.

    Looks no further than to the place where it is too large.
    """
    size, values = 0, 0
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while pending:
        location, value = pending.pop()
        values += 1
        size += len(value) if isinstance(value, str) else 4
        nested: list[tuple[tuple[str | int, ...], Any]] = []
        if isinstance(value, dict) and values + len(value) <= MAX_VALUES:
            nested = [((*location[:MAX_NESTING], key), member) for key, member in value.items()]
            size += sum(len(key) for key in value if isinstance(key, str))
        elif isinstance(value, list) and values + len(value) <= MAX_VALUES:
            nested = [((*location[:MAX_NESTING], index), member) for index, member in enumerate(value)]
        elif isinstance(value, (dict, list)):
            values += len(value)
        pending += reversed(nested)
        if values > MAX_VALUES or size > MAX_BYTES:
            most = f"{MAX_BYTES // 1024**2} MiB of JSON and {MAX_VALUES} values"
            message = (
                f"the document is too large from here on: a definition has at most {most}; divide it into workflows "
                "that call one another, and keep data out of it"
            )
            place = locate(document, [key for key in location[:10] if isinstance(key, (str, int))])
            return [Problem("DEFINITION_TOO_LARGE", message, place.path, step_id=place.step_id)]
    return []


def parse_definition(document: Any) -> Definition:
    """Reads a definition document.

    Raises:
        Refused: Every problem at once: `NON_SERIALIZABLE` for what is not JSON or cannot be stored,
            `UNKNOWN_NODE_TYPE`, `INVALID_CONFIG` and `INVALID_ACTION_CONFIG` in the configuration of steps,
            `INVALID_EXPR`, `PAYLOAD_SCHEMA_REF_MISSING`, else `INVALID_WORKFLOW_DEFINITION`.
    """
    problems = _json_problems(document)
    if problems:
        raise Refused(problems)
    try:
        return Definition.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
    raise Refused([_problem(document, detail) for detail in details if not _repeats(document, detail)])


def readable_part(document: Any) -> Definition | None:
    """The definition with a step that does nothing in the place of each that cannot be read, for the later checks.

    None for what is not JSON, or where more than steps is wrong. What a step in its place would have set is not set.
    """
    if _json_problems(document):
        return None
    try:
        return Definition.model_validate(document)
    except ValidationError as error:
        found = [_STEP.match(locate(document, detail["loc"]).path) for detail in error.errors(include_url=False)]
    if None in found:
        return None
    whole = json.loads(json.dumps(document))
    # Inner steps first: they are gone once the step around them is replaced.
    for number, place in enumerate(sorted({step.group() for step in found if step}, key=len, reverse=True)):
        *way, last = _keys(place)
        holder = whole
        for key in way:
            holder = holder[key]
        given = holder[last].get("id") if isinstance(holder[last], dict) else None
        identity = given if isinstance(given, str) and given.strip() else f"unreadable-{number}"
        holder[last] = {"id": identity, "type": "transform.assign", "config": {"assign": {}}}
    try:
        return Definition.model_validate(whole)
    except ValidationError:
        return None


_BRANCH = r"(?:then|else|default|body|try|catch|onCompensate|cases\[\d+\]|branches\[\d+\])"
_STEP = re.compile(rf"root\.steps\[\d+\](?:\.{_BRANCH}\.steps\[\d+\])*")
"""The innermost step of a path."""


def _keys(path: str) -> list[str | int]:
    """The keys that lead to the step at a path: a branch that is a list itself has no `steps` in the document."""
    keys: list[str | int] = []
    for name, index in re.findall(r"\.(\w+)(?:\[(\d+)\])?", path):
        if name != "steps" or not keys or isinstance(keys[-1], int):
            keys.append(name)
        if index:
            keys.append(int(index))
    return keys


def _json_problems(document: Any) -> list[Problem]:
    # Without recursion, so that a document nested a million deep is one sentence and not a crash.
    problems: list[Problem] = []
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while pending:
        location, value = pending.pop()
        if isinstance(value, (dict, list)) and len(location) >= MAX_NESTING:
            path = locate(document, location[:10]).path
            problems.append(Problem("INVALID_WORKFLOW_DEFINITION", f"is nested deeper than {MAX_NESTING} levels", path))
            continue
        if isinstance(value, dict):
            pending.extend(((*location, key), nested) for key, nested in value.items() if isinstance(key, str))
        elif isinstance(value, list):
            pending.extend(((*location, index), nested) for index, nested in enumerate(value))
        wrong = _not_json(value)
        if wrong:
            place = locate(document, location)
            problems.append(Problem("NON_SERIALIZABLE", wrong, place.path, step_id=place.step_id))
    return problems[::-1]


def _not_json(value: Any) -> str | None:
    """What is wrong with this value by itself; None if it can be stored as JSON."""
    if value is None or isinstance(value, (bool, int, list)):
        return None
    if isinstance(value, str):
        return f"this text {_UNSTORABLE_TEXT}" if UNSTORABLE.search(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a JSON number"
    if not isinstance(value, dict):
        return f"{type(value).__name__} is not a JSON value"
    for key in value:
        if not isinstance(key, str):
            return f"an object's key must be a string, not {key!r}"
        if UNSTORABLE.search(key):
            return f"an object's key {_UNSTORABLE_TEXT}"
    return None


def _is_of_scalar(document: Any, detail: ErrorDetails) -> bool:
    """Whether one of the kinds that a scalar may be is missed: pydantic tells of each, as of a key of its name."""
    location = detail["loc"]
    return bool(location) and location[-1] in _SCALARS and locate(document, location[:-1]).value is detail["input"]


def _repeats(document: Any, detail: ErrorDetails) -> bool:
    """Whether another kind that was missed says the same."""
    return detail["loc"][-1:] != _SCALARS[:1] and _is_of_scalar(document, detail)


def _problem(document: Any, detail: ErrorDetails) -> Problem:
    if _is_of_scalar(document, detail):
        place = locate(document, detail["loc"][:-1])
        return _at(place, f"must be a string, a number, true, false or null, this is {_shown(place.value)}")
    place = locate(document, detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = place.known_fields()
        if "<secret>" in detail["loc"][-2:]:
            return _at(place, "a secret reference holds $secret and nothing else")
        message = f"unknown field {place.key!r}; known here: {', '.join(known)}"
        return _at(place, message, nearest(str(place.key), known))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _type_problem(place)
    if kind == "literal_error":
        # pydantic's own text of what was expected is "'a', 'b' or 'c'".
        choices = context["expected"].split("'")[1::2]
        suggestion = nearest(place.value, choices) if isinstance(place.value, str) else None
        return _at(place, f"must be {context['expected']}, this is {_shown(place.value)}", suggestion)
    is_expression = place.key == "$expr" or context.get("class_name") == "Expr"
    if is_expression and kind in ("missing", "model_type"):
        given = locate(document, detail["loc"][:-1]).value if place.key == "$expr" else place.value
        place.path = place.path.removesuffix(".$expr")
        return _no_expression(place, given)
    if place.path == "payloadSchemaRef" and place.value is None:
        message = "is required: the name of the schema that payloads of the workflow keep to"
        return _at(place, message, code="PAYLOAD_SCHEMA_REF_MISSING")
    return _at(place, _sentence(kind, detail, place))


def _no_expression(place: Place, given: Any) -> Problem:
    """What stands where only an expression may."""
    keys = list(given)[:5] if isinstance(given, dict) else []
    found = f"{_shown(given)} with {', '.join(map(_shown, keys))}" if keys else _shown(given)
    if "$secret" in keys:
        found = "a secret, which may stand in inputMapping of action.call and in payloadMapping only"
    meant = any(nearest(key, ["$expr"]) for key in keys)
    return _at(place, f"{_EXPRESSION}; this is {found}", "$expr" if meant else None, code="INVALID_EXPR")


def _at(place: Place, message: str, suggestion: str | None = None, *, code: str | None = None) -> Problem:
    if code is None and place.in_config:
        code = "INVALID_ACTION_CONFIG" if place.step_type == "action.call" else "INVALID_CONFIG"
    code = code or "INVALID_WORKFLOW_DEFINITION"
    return Problem(code, message, place.path, step_id=place.step_id, suggestion=suggestion)


def _type_problem(place: Place) -> Problem:
    models = TRIGGER_MODELS if place.path == "trigger" else STEP_MODELS
    what = "trigger" if place.path == "trigger" else "step"
    kind = place.value.get("type") if isinstance(place.value, dict) else None
    known = ", ".join(models)
    code = None if what == "trigger" else "UNKNOWN_NODE_TYPE"
    if kind is None:
        return _at(place, f"a {what} needs a type, one of {known}", code=code)
    suggestion = nearest(kind, models) if isinstance(kind, str) else None
    return _at(place, f"unknown {what} type {_shown(kind)}; known are {known}", suggestion, code=code)


def _sentence(kind: str, detail: ErrorDetails, place: Place) -> str:
    wanted = _WANTED.get(kind)
    context = detail.get("ctx", {})
    if kind == "missing":
        return f"{place.key!r} is required"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "too_short":
        return f"must have at least {context['min_length']} item(s), this has {context['actual_length']}"
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind].format(**context)}, this is {_shown(place.value)}"
    if wanted is None:
        return detail["msg"]
    return f"must be {wanted}, this is {_shown(place.value)}"


_BOUNDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
}

_WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _shown(value: Any) -> str:
    if value is None:
        return "null or absent"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
