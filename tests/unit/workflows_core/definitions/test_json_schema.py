"""The JSON Schema of the document says what the model says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.own_definitions import OWN
from workflows_core.definitions.json_schema import definition_schema
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Refused

SCHEMA = definition_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
FILE = Path(__file__).parents[4] / "contracts" / "definition.schema.json"
BETWEEN_FIELDS = ("belong together", "needs durationMs", "needs until", "operator")


def accepts(document: Any) -> tuple[bool, str]:
    try:
        parse_definition(document)
    except Refused as error:
        return False, error.message
    return True, ""


def test_the_file_is_the_schema_and_a_good_one() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8")) == SCHEMA
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_what_is_right_is_right_for_both_and_every_small_change_is_judged_alike(own: Any) -> None:
    assert VALIDATOR.is_valid(own.document)
    for changed, what in changes(own.document):
        right, said = accepts(changed)
        valid = VALIDATOR.is_valid(changed)
        if right != valid:
            assert valid, f"the schema refuses what the model takes: {what}"
            assert any(rule in said for rule in BETWEEN_FIELDS), f"the schema takes {what}; the model: {said}"


def changes(document: Any) -> Iterator[tuple[Any, str]]:
    """The document with one member left out, null, of another type, or of a name that is not known."""
    for path in list(paths(document)):
        for label, value in (("left out", ...), ("null", None), ("a list", [1]), ("a number", -1)):
            changed = copy.deepcopy(document)
            owner = at(changed, path[:-1])
            if value is ...:
                del owner[path[-1]]
            else:
                owner[path[-1]] = value
            yield changed, f"{path} {label}"
        if isinstance(at(document, path), dict):
            changed = copy.deepcopy(document)
            at(changed, path)["unknownField"] = 1
            yield changed, f"{path} with an unknown field"


def paths(node: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in members:
        yield (*prefix, key)
        yield from paths(value, (*prefix, key))


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node
