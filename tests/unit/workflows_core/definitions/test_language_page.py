"""docs/language.md lists what the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from workflows_core.definitions.model import STEP_MODELS, TRIGGER_MODELS, Definition, Model, RetryPolicy
from workflows_core.definitions.parse import parse_definition
from workflows_core.expressions.functions import BUILT_IN_FUNCTIONS, CUSTOM_FUNCTIONS
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan

PAGE = (Path(__file__).parents[4] / "docs" / "language.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,3}} |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[2]


def field_names(model: type[Model]) -> set[str]:
    return set(model.document_fields())


def test_the_allowed_functions_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (.*?) \|$", section("Functions"), flags=re.MULTILINE)
    listed = {topic: tuple(re.findall(r"`\$(\w+)`", names)) for topic, names in rows if names.startswith("`$")}
    assert listed == dict(BUILT_IN_FUNCTIONS)
    assert tuple(topic.strip("`$") for topic, _ in rows if topic.startswith("`$")) == CUSTOM_FUNCTIONS


def test_every_step_type_has_a_section_with_its_fields() -> None:
    for step_type, model in STEP_MODELS.items():
        text = section(step_type)
        config = model.document_fields().get("config")
        inner = field_names(config.annotation) if config and isinstance(config.annotation, type) else set()
        common = {"id", "type", "name", "retry", "onError", "onCompensate", "config"}
        missing = {name for name in (field_names(model) - common) | inner if name not in text}
        assert missing == set(), step_type


def test_the_other_objects_are_listed_with_their_fields() -> None:
    objects: dict[str, type[Model]] = {"The definition document": Definition, "Retry and onError": RetryPolicy}
    for title, described in objects.items():
        for name in field_names(described):
            assert f"`{name}`" in section(title), name
    triggers = section("Triggers")
    for name, model in TRIGGER_MODELS.items():
        assert f"`{name}`" in triggers
        for field in field_names(model) - {"type"}:
            assert f"`{field}`" in triggers, field


def test_the_example_of_the_page_can_be_planned() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert compile_plan(parse_definition(json.loads(example)), JlensEngine())
