"""Step paths."""

from __future__ import annotations

from typing import Any

from workflows_core.definitions.parse import parse_definition
from workflows_core.definitions.walk import walk_steps, walk_value


def test_every_step_has_its_path_parents_first() -> None:
    def end(name: str) -> dict[str, Any]:
        return {"id": name, "type": "control.return"}

    definition = parse_definition(
        {
            "id": "w",
            "version": 1,
            "name": "n",
            "payloadSchemaRef": "p",
            "steps": [
                {
                    "id": "if",
                    "type": "control.if",
                    "condition": {"$expr": "x"},
                    "then": [
                        end("a"),
                        {
                            "id": "each",
                            "type": "control.forEach",
                            "items": {"$expr": "x"},
                            "itemVar": "i",
                            "body": [end("b")],
                        },
                    ],
                    "else": [{"id": "try", "type": "control.tryCatch", "try": [end("c")], "catch": [end("d")]}],
                },
                end("e"),
            ],
        }
    )
    assert [(path, step.id) for path, step in walk_steps(definition)] == [
        ("root.steps[0]", "if"),
        ("root.steps[0].then.steps[0]", "a"),
        ("root.steps[0].then.steps[1]", "each"),
        ("root.steps[0].then.steps[1].body.steps[0]", "b"),
        ("root.steps[0].else.steps[0]", "try"),
        ("root.steps[0].else.steps[0].try.steps[0]", "c"),
        ("root.steps[0].else.steps[0].catch.steps[0]", "d"),
        ("root.steps[1]", "e"),
    ]


def test_nested_values_have_paths_that_quote_unusual_keys() -> None:
    paths = [path for path, _ in walk_value("config", {"a": [1, {"b.c": 2}], '"': 3})]
    assert paths == ["config", "config.a", "config.a[0]", "config.a[1]", 'config.a[1]["b.c"]', 'config["\\""]']
