"""Around a handler's call: secrets in just before it, checks on both sides, no secret out of it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, quote_plus

from jsonschema import Draft202012Validator

from workflows_core.actions.action import Action
from workflows_core.actions.json_schemas import (
    MAX_PROBLEMS,
    Schema,
    ValueProblem,
    compile_schema,
    pointer_of,
    value_problems,
)
from workflows_core.actions.plain_values import fits_plainly
from workflows_core.actions.ports import SecretProvider
from workflows_core.actions.registry import RegisteredAction
from workflows_core.actions.secrets import SECRET_NAME, service_secret_problem
from workflows_core.errors import ActionFailed, ErrorCategory, Json
from workflows_core.redaction import REDACTED
from workflows_core.wire.text import UNSTORABLE

MAX_DEPTH: Final = 200
"""Levels of lists and objects in an action's input."""

_MAX_NUMBER_BITS: Final = 14_000
"""Of some 4,200 digits; the interpreter writes no number of more than 4,300."""

_REFERENCE = "$secret"
_Path = tuple[str | int, ...]


class TrackedSecrets:
    """What an action's call may look up: everything but the keys of the installation's own services.

    It remembers what it gave, so that a handler's own look-ups can be scrubbed too.
    """

    def __init__(self, provider: SecretProvider) -> None:
        self._provider = provider
        self._values: dict[str, None] = {}

    @property
    def values(self) -> tuple[str, ...]:
        """Every value given so far, each once."""
        return tuple(self._values)

    async def get(self, tenant_id: str, name: str) -> str | None:
        """As the provider's, remembered.

        Raises:
            ActionFailed: `ValidationError` `SECRET_RESERVED`; what the provider raises.
        """
        problem = service_secret_problem(name)
        if problem is not None:
            details: dict[str, Json] = {"secret": name}
            raise ActionFailed(problem, category=ErrorCategory.VALIDATION, code="SECRET_RESERVED", details=details)
        value = await self._provider.get(tenant_id, name)
        if value:
            self._values[value] = None
        return value


async def resolve_secrets(
    value: Json,
    tenant_id: str,
    provider: SecretProvider,
    *,
    action: Action | None = None,
    paths: Sequence[Sequence[str | int]] | None = None,
) -> tuple[Json, tuple[str, ...]]:
    """Puts values in the place of references `{"$secret": NAME}`; the given value stays as it is.

    Args:
        value: An action's input as it is stored.
        tenant_id: Whose secrets.
        provider: Asked once per name.
        action: When given, one that can only put a secret into storage (`pure` and `transactional`)
            is refused any.
        paths: Places of the references that are meant, as fields and positions; what looks like one elsewhere is data.
            None for all of them, at any depth.

    Returns:
        The input for the handler, and the values that are in it, for `scrub`.

    Raises:
        ActionFailed: `ValidationError` with every problem in `details` (`SECRET_NOT_FOUND`, `SECRET_RESERVED`,
            `INVALID_SECRET_NAME`, `SECRET_NOT_ALLOWED`, `ACTION_INPUT_INVALID` for too deep an input);
            what the provider raises.
    """
    meant = None if paths is None else {tuple(path) for path in paths}
    places = [found for found in _references(value) if meant is None or found[0] in meant]
    if not places:
        return value, ()
    problems: list[tuple[str, ValueProblem]] = []
    values: dict[str, str] = {}
    for path, name in places:
        found = None
        if action is not None and not action.takes_secrets:
            message = (
                f"holds a secret, but {action.key} only gives back or stores what it gets; use it where it is sent"
            )
            problems.append(("SECRET_NOT_ALLOWED", ValueProblem(pointer_of(path), message)))
        elif not SECRET_NAME.fullmatch(name):
            message = f"{name[:80]!r} is no secret's name: capital letters, digits and _, a letter first"
            problems.append(("INVALID_SECRET_NAME", ValueProblem(pointer_of(path), message)))
        elif (reserved := service_secret_problem(name)) is not None:
            problems.append(("SECRET_RESERVED", ValueProblem(pointer_of(path), reserved)))
        else:
            found = values[name] if name in values else await provider.get(tenant_id, name)
            if found is None:
                message = f"no secret is called {name}; create it for this tenant, or correct the name"
                problems.append(("SECRET_NOT_FOUND", ValueProblem(pointer_of(path), message)))
            else:
                values[name] = found
    if problems:
        raise _refusal("the secrets of the input cannot be used", problems[0][0], [found for _, found in problems])
    resolved = _with_values(value, {path: values[name] for path, name in places}, ())
    return resolved, tuple(dict.fromkeys(values.values()))


def validate_input(action: Action, value: Json) -> None:
    """Checks an input, secrets resolved.

    Raises:
        ActionFailed: `ValidationError`, `ACTION_INPUT_INVALID`, all problems in `details`, no value shown.
    """
    validator = action.input_validator if isinstance(action, RegisteredAction) else compile_schema(action.input_schema)
    problems = _problems(action.input_schema, validator, value)
    if problems:
        raise _refusal(f"the input of {action.key} is wrong", "ACTION_INPUT_INVALID", problems)


def validate_output(action: Action, value: Json) -> None:
    """Checks an output: JSON that can be stored, and fits the schema.

    Raises:
        ActionFailed: `ValidationError`, `ACTION_OUTPUT_INVALID`, all problems in `details`, no value shown.
    """
    validator: Draft202012Validator
    validator = (
        action.output_validator if isinstance(action, RegisteredAction) else compile_schema(action.output_schema)
    )
    problems = _problems(action.output_schema, validator, value)
    if problems:
        raise _refusal(f"the output of {action.key} is not as declared", "ACTION_OUTPUT_INVALID", problems)


def scrub(value: Any, secrets: Collection[str]) -> Any:
    """The JSON value with `REDACTED` wherever a secret stands in a text or a field name.

    Also as JSON, URL, base64 and Python would write it. A part of a secret is not recognised.
    """
    forms = sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)
    if not forms:
        return value
    try:
        return _scrubbed(value, forms)
    except RecursionError:
        return REDACTED


def _forms(secret: str) -> set[str]:
    encoded = secret.encode("utf-8", "surrogatepass")
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(encoded, safe=""),
        quote(encoded),
        quote_plus(encoded),
        base64.b64encode(encoded).decode(),
        base64.urlsafe_b64encode(encoded).decode(),
    }


def _scrubbed(value: Any, forms: Sequence[str]) -> Any:
    if isinstance(value, str):
        for form in forms:
            value = value.replace(form, REDACTED)
        return value
    if isinstance(value, dict):
        return {_scrubbed(key, forms): _scrubbed(item, forms) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item, forms) for item in value]
    return value


def _references(value: Json) -> Sequence[tuple[_Path, str]]:
    found: list[tuple[_Path, str]] = []
    waiting: list[tuple[_Path, Any]] = [((), value)]
    while waiting:
        path, node = waiting.pop()
        if len(path) > MAX_DEPTH:
            problem = ValueProblem(pointer_of(path), f"is nested deeper than {MAX_DEPTH} levels")
            raise _refusal("the input is wrong", "ACTION_INPUT_INVALID", [problem])
        if isinstance(node, dict):
            # Only the exact form is a reference; publishing refuses every other object that has the key.
            if len(node) == 1 and isinstance(node.get(_REFERENCE), str):
                found.append((path, node[_REFERENCE]))
            else:
                waiting.extend(((*path, key), item) for key, item in reversed(node.items()))
        elif isinstance(node, list):
            waiting.extend(((*path, index), node[index]) for index in reversed(range(len(node))))
    return found


def _with_values(value: Json, values: Mapping[_Path, str], here: _Path) -> Json:
    if here in values:
        return values[here]
    if isinstance(value, dict):
        return {key: _with_values(item, values, (*here, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_values(item, values, (*here, index)) for index, item in enumerate(value)]
    return value


def _problems(schema: Schema, validator: Draft202012Validator, value: Json) -> list[ValueProblem]:
    return _json_problems(value) or ([] if fits_plainly(schema, value) else value_problems(validator, value))


def _json_problems(value: Json) -> list[ValueProblem]:
    """Why a value cannot be stored as JSON; usually nothing, and then found at the encoder's speed."""
    try:
        text = json.dumps(value, allow_nan=False)
    except RecursionError:
        return [ValueProblem("", f"is nested deeper than {MAX_DEPTH} levels")]
    except (TypeError, ValueError):
        return list(_not_json(value))[:MAX_PROBLEMS] or [ValueProblem("", "is not JSON: it holds itself")]
    # Escapes of U+0000 and of surrogates; most that are found are harmless pairs, so look closer.
    if "\\u0000" in text or "\\ud" in text:
        return list(_not_json(value))[:MAX_PROBLEMS]
    return []


def _not_json(root: Json) -> Sequence[ValueProblem]:
    found: list[ValueProblem] = []
    waiting: list[tuple[_Path, Any]] = [((), root)]
    seen: set[int] = set()  # Each list and object once: one may hold itself.
    while waiting and len(found) <= MAX_PROBLEMS:
        path, node = waiting.pop()
        if isinstance(node, (dict, list, tuple)):
            if id(node) in seen:
                continue
            seen.add(id(node))
        if isinstance(node, dict):
            wrong = [key for key in node if not isinstance(key, str) or UNSTORABLE.search(key)]
            found.extend(ValueProblem(pointer_of(path), _wrong_name(key)) for key in wrong)
            waiting.extend(((*path, key), item) for key, item in node.items() if key not in wrong)
        elif isinstance(node, (list, tuple)):
            waiting.extend(((*path, index), item) for index, item in enumerate(node))
        else:
            reason = _wrong_scalar(node)
            if reason is not None:
                found.append(ValueProblem(pointer_of(path), reason))
    return found


def _wrong_name(key: object) -> str:
    if isinstance(key, str):
        return "has a field name with U+0000 or half a character"
    return f"has a field name that is no text: {key!r:.40}"


def _wrong_scalar(node: object) -> str | None:
    if isinstance(node, str):
        storable = UNSTORABLE.search(node) is None
        return None if storable else "holds U+0000 or half of a surrogate pair, which cannot be stored; remove it"
    if isinstance(node, float):
        return None if math.isfinite(node) else "must be a finite number"
    if isinstance(node, int) and node.bit_length() > _MAX_NUMBER_BITS:
        return "is a whole number of thousands of digits; give it as a text"
    if node is None or isinstance(node, int):
        return None
    return f"must be JSON, found a Python {type(node).__name__}"


def _refusal(what: str, code: str, problems: Sequence[ValueProblem]) -> ActionFailed:
    listed = list(problems[:MAX_PROBLEMS])
    more = len(problems) - len(listed)
    sentence = "; ".join(str(problem) for problem in listed[:3])
    rest = len(problems) - min(3, len(listed))
    message = f"{what}: {sentence}" + (f"; and {rest} more" if rest else "")
    details: dict[str, Json] = {"problems": [problem.to_json() for problem in listed]}
    if more:
        details["more"] = more
    return ActionFailed(message, category=ErrorCategory.VALIDATION, code=code, details=details)
