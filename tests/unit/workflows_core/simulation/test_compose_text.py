"""`transform.compose_text`: what authors compose, as people read it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.interpreted import document
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import Problem, Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.simulation.report import Report
from workflows_core.simulation.simulate import simulate
from workflows_core.validation.publish import publish_problems

CORE = ActionRegistry.of({"core": core_pack(HttpPolicy())})


def text(value: str, *marks: str, **more: str) -> dict[str, Any]:
    return {"type": "text", "text": value, **({"marks": list(marks)} if marks else {}), **more}


def reference(path: str) -> dict[str, Any]:
    return {"type": "reference", "path": path, "label": path}


def block(kind: str, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "children": list(children), **more}


def output(*blocks: dict[str, Any], key: str = "mail", label: str = "Mail") -> dict[str, Any]:
    return {"id": key, "label": label, "stableKey": key, "document": {"version": 1, "blocks": list(blocks)}}


def composing(*outputs: dict[str, Any], step_id: str = "compose", **config: Any) -> dict[str, Any]:
    given = {"actionId": "transform.compose_text", "version": 1, "outputs": list(outputs), "saveAs": "texts", **config}
    return {"id": step_id, "type": "action.call", "config": given}


async def composed(*blocks: dict[str, Any], payload: Any = None) -> Any:
    report = await run(composing(output(*blocks)), payload=payload)
    assert report.status == "completed", report.errors
    return report.final_vars["texts"]["mail"]


async def run(*steps: dict[str, Any], payload: Any = None) -> Report:
    return await simulate(parse_definition(document(*steps)), CORE, payload=payload or {})


def problems(*steps: dict[str, Any]) -> list[Problem]:
    try:
        return publish_problems(parse_definition(document(*steps)), CORE, JlensEngine())
    except Refused as refused:
        return list(refused.problems)


@pytest.mark.asyncio
async def test_every_block_and_mark_is_markdown() -> None:
    found = await composed(
        block("heading", text("Title"), level=3),
        block("paragraph", text("one\ntwo"), text("both", "italic", "bold"), text("x", "code")),
        block("paragraph", text("here", "link", "bold", href="https://example.com/a")),
        block("bullet_list_item", text("a")),
        block("bullet_list_item", text("b")),
        block("ordered_list_item", text("c")),
        block("ordered_list_item", text("d")),
        block("blockquote", text("said\nso")),
        {"type": "code_block", "text": "a = 1"},
        {"type": "code_block", "text": "```"},
    )
    assert found.split("\n\n") == [
        "### Title",
        "one  \ntwo_**both**_`x`",
        "[**here**](https://example.com/a)",
        "- a\n- b",
        "1. c\n2. d",
        "> said  \n> so",
        "```\na = 1\n```",
        "````\n```\n````",
    ]


@pytest.mark.asyncio
async def test_references_are_the_texts_of_their_values() -> None:
    payload = {"text": "*as it is*", "whole": 3.0, "no": False, "nothing": None, "list": [{"n": 1}, "ä"]}
    paths = ["payload.text", "payload.whole", "payload.no", "payload.nothing", "payload.list", "payload.list[0].n"]
    found = await composed(*(block("bullet_list_item", reference(path)) for path in paths), payload=payload)
    assert found == '- *as it is*\n- 3\n- false\n- null\n- [{"n":1},"ä"]\n- 1'


@pytest.mark.asyncio
async def test_a_loop_is_seen_by_the_original_s_name_of_its_counter_too() -> None:
    step = composing(output(block("paragraph", reference("$index"), text(" of "), reference("item.name"))))
    loop = {
        "id": "each",
        "type": "control.forEach",
        "items": {"$expr": "payload.items"},
        "itemVar": "item",
        "collect": {"$expr": "vars.texts.mail"},
        "saveAs": "all",
        "body": [step],
    }
    report = await run(loop, payload={"items": [{"name": "a"}, {"name": "b"}]})
    assert report.final_vars["all"] == ["0 of a", "1 of b"]


@pytest.mark.asyncio
async def test_a_reference_without_a_value_fails_the_step_and_says_which() -> None:
    report = await run(composing(output(block("paragraph", reference("payload.customer.name")))), payload={})
    (error,) = report.errors
    assert (report.status, error["code"]) == ("failed", "MISSING_REFERENCE")
    assert "payload.customer.name" in error["message"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00\n"), min_size=1), max_size=5))
@pytest.mark.asyncio
async def test_paragraphs_are_their_texts_with_an_empty_line_between(lines: list[str]) -> None:
    assert await composed(*(block("paragraph", text(line)) for line in lines)) == "\n\n".join(lines)


@pytest.mark.parametrize(
    ("outputs", "path", "says"),
    [
        ([], "", "needs at least one text"),
        ([output(), output(key="other")], "", "label 'Mail'"),
        ([output(), output(label="Other")], "", "stableKey 'mail'"),
        ([output(key="Mail")], ".outputs[0].stableKey", "match"),
        ([output(block("paragraf"))], ".outputs[0].document.blocks[0].type", "paragraph"),
        ([output(block("heading"))], ".outputs[0].document.blocks[0]", "a heading needs level"),
        ([output(block("paragraph", level=1))], ".outputs[0].document.blocks[0]", "a paragraph has no level"),
        ([output({"type": "code_block"})], ".outputs[0].document.blocks[0]", "a code_block needs text"),
        ([output(block("paragraph", {"type": "text"}))], ".outputs[0].document.blocks[0].children[0]", "needs text"),
        (
            [output(block("paragraph", text("x", "link")))],
            ".outputs[0].document.blocks[0].children[0]",
            "the mark link and href",
        ),
        (
            [output(block("paragraph", reference("payload.a + 1")))],
            ".outputs[0].document.blocks[0].children[0].path",
            "a path and nothing else",
        ),
        (
            [output(block("paragraph", text("x", colour="red")))],
            ".outputs[0].document.blocks[0].children[0].colour",
            "known here: type, text, marks, href, path, label",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_said_where_it_is(outputs: list[Any], path: str, says: str) -> None:
    (problem,) = problems(composing(*outputs))
    assert (problem.code, problem.path) == ("INVALID_ACTION_CONFIG", f"root.steps[0].config{path}")
    assert says in problem.message


def test_references_are_checked_like_expressions() -> None:
    found = problems(composing(output(block("paragraph", reference("vars.nobody.set")))))
    assert [(problem.code, problem.path) for problem in found] == [
        ("VARIABLE_NOT_DEFINED", "root.steps[0].config.outputs[0].document.blocks[0].children[0].path")
    ]


def test_texts_of_another_action_are_told_to_be_read_by_nobody() -> None:
    step = composing(output(), actionId="transform.uppercase_text", inputMapping={"text": "a"})
    found = [(problem.code, problem.severity, problem.path) for problem in problems(step)]
    assert found == [("INVALID_ACTION_CONFIG", "warning", "root.steps[0].config.outputs")]
