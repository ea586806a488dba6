"""Definition documents: what is read, and what is said about what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from workflows_core.definitions import model
from workflows_core.definitions.parse import (
    MAX_BYTES,
    MAX_NESTING,
    MAX_VALUES,
    parse_definition,
    size_problems,
)
from workflows_core.errors import Problem, Refused

EXPR = {"$expr": "payload.id"}

EVERY_STEP: list[dict[str, Any]] = [
    {
        "id": "if",
        "type": "control.if",
        "condition": EXPR,
        "then": [{"id": "end", "type": "control.return"}],
        "else": [],
    },
    {
        "id": "each",
        "type": "control.forEach",
        "items": EXPR,
        "itemVar": "item",
        "concurrency": 1,
        "body": [{"id": "inner", "type": "state.set", "config": {"state": "IN"}}],
        "onItemError": "continue",
        "collect": EXPR,
        "saveAs": "all",
        "errorsAs": "bad",
    },
    {
        "id": "switch",
        "type": "control.switch",
        "value": EXPR,
        "cases": [{"equals": 1, "steps": [{"id": "one", "type": "control.return", "value": EXPR}]}],
        "default": [],
    },
    {"id": "while", "type": "control.while", "condition": EXPR, "maxIterations": 3, "body": []},
    {"id": "both", "type": "control.parallel", "branches": [{"name": "a", "steps": []}], "wait": "any"},
    {"id": "try", "type": "control.tryCatch", "try": [], "catch": [], "captureErrorAs": "caught"},
    {
        "id": "child",
        "type": "control.callWorkflow",
        "workflowId": "w",
        "workflowVersion": 3,
        "inputMapping": {"a": EXPR},
        "outputMapping": {"vars.b": EXPR},
        "retry": {"maxAttempts": 2, "backoffMs": 0},
        "onError": {"policy": "continue"},
    },
    {
        "id": "event",
        "type": "event.wait",
        "name": "Wait for a reply",
        "config": {
            "eventName": "REPLY",
            "correlationKey": EXPR,
            "filters": [
                {"path": "$.kind", "op": "in", "value": ["a", "b"]},
                {"path": "kind", "op": "exists"},
                {"path": "kind", "op": "=", "value": None},
                {"path": "kind", "op": "contains", "value": EXPR},
            ],
            "timeoutMs": 1000,
            "assign": {"vars.reply": EXPR},
        },
    },
    {"id": "sleep", "type": "time.wait", "config": {"mode": "duration", "durationMs": 10}},
    {"id": "until", "type": "time.wait", "config": {"mode": "until", "until": EXPR, "assign": {"x": EXPR}}},
    {
        "id": "task",
        "type": "human.task",
        "config": {"taskType": "approve", "title": EXPR, "description": EXPR, "contextData": {"a": EXPR}},
    },
    {"id": "state", "type": "state.set", "config": {"state": "S"}},
    {"id": "assign", "type": "transform.assign", "config": {"assign": {"vars.b": EXPR, "vars.a": EXPR}}},
    {
        "id": "call",
        "type": "action.call",
        "retry": {
            "maxAttempts": 3,
            "backoffMs": 100,
            "backoffMultiplier": 1.5,
            "jitter": False,
            "maxDelayMs": 1000,
            "retryOn": ["TransientError"],
        },
        "config": {
            "actionId": "transform.pick_fields",
            "version": 1,
            "inputMapping": {
                "deep": [{"here": EXPR}, {"$secret": "API_KEY"}, None, 1.5, True],
                "$foo": {"plain": "text"},
            },
            "outputs": [
                {
                    "id": "o",
                    "label": "Text",
                    "stableKey": "text",
                    "document": {
                        "version": 1,
                        "blocks": [
                            {
                                "type": "paragraph",
                                "children": [{"type": "reference", "path": "$index", "label": "A"}],
                            },
                            {
                                "type": "heading",
                                "level": 1,
                                "children": [{"type": "text", "text": "x", "marks": ["link"], "href": "https://x.y"}],
                            },
                            {"type": "code_block", "text": "x"},
                        ],
                    },
                }
            ],
            "saveAs": "result",
            "idempotencyKey": EXPR,
            "onError": {"policy": "continue"},
            "designerGroupKey": "g",
            "designerTileKind": "core-object",
            "designerAppKey": "k",
            "aiOutputSchemaMode": "simple",
            "aiOutputSchema": {"$ref": "#/x"},
            "aiOutputSchemaText": "{}",
        },
    },
    {"id": "parse", "type": "email.parseBody", "config": {"text": EXPR, "html": EXPR, "saveAs": "payload.p"}},
    {"id": "render", "type": "email.renderCommentBlocks"},
]


def document(*steps: Any, **fields: Any) -> dict[str, Any]:
    base = {"id": "w", "version": 1, "name": "Workflow", "payloadSchemaRef": "payload.Empty.v1", "steps": list(steps)}
    return {**base, **fields}


def call(**config: Any) -> dict[str, Any]:
    return {"id": "s", "type": "action.call", "config": {"actionId": "a", "version": 1, **config}}


def problems(value: Any) -> list[Problem]:
    with pytest.raises(Refused) as refused:
        parse_definition(value)
    return list(refused.value.problems)


def only(value: Any) -> Problem:
    found = problems(value)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: f"{step['type']}-{step['id']}")
def test_every_step_type_comes_back_as_it_was_written(step: dict[str, Any]) -> None:
    written = document(step)
    assert parse_definition(written).to_document() == written


def test_the_list_above_holds_every_step_type() -> None:
    assert {step["type"] for step in EVERY_STEP} | {"control.return"} == set(model.STEP_MODELS)


@pytest.mark.parametrize(
    "trigger",
    [
        {"type": "event", "eventName": "E", "sourcePayloadSchemaRef": "p", "payloadMapping": {"a": EXPR, "b": 1}},
        {"type": "schedule", "runAt": "2030-01-01T00:00:00Z"},
        {"type": "recurring", "cron": "0 9 * * *", "timezone": "Europe/Berlin"},
    ],
    ids=lambda trigger: trigger["type"],
)
def test_triggers_come_back_as_they_were_written(trigger: dict[str, Any]) -> None:
    written = document(trigger=trigger, description="d")
    assert parse_definition(written).to_document() == written


def test_defaults_of_the_original() -> None:
    steps = parse_definition(
        document(
            {**call(), "retry": {"maxAttempts": 2, "backoffMs": 5}},
            {"id": "each", "type": "control.forEach", "items": EXPR, "itemVar": "i", "body": []},
            {"id": "parse", "type": "email.parseBody", "config": {}},
            {"id": "render", "type": "email.renderCommentBlocks"},
        )
    ).steps
    action, each, parse, render = steps
    assert isinstance(action, model.ActionCallStep)
    assert action.retry is not None
    assert (action.retry.backoff_multiplier, action.retry.jitter, action.retry.retry_on) == (2, True, None)
    assert action.config.input_mapping == {}
    assert isinstance(each, model.ForEachStep)
    assert each.on_item_error == "fail"
    assert isinstance(parse, model.ParseBodyStep)
    assert parse.config.save_as == "payload.parsedEmail"
    assert isinstance(render, model.RenderCommentBlocksStep)
    assert render.config.save_as == "payload.commentBlocks"


def test_keys_beside_an_expression_are_discarded() -> None:
    step = {"id": "if", "type": "control.if", "condition": {"$expr": "x", "$secret": "Y", "label": 1}, "then": []}
    parsed = parse_definition(document(step))
    assert parsed.to_document()["steps"][0]["condition"] == {"$expr": "x"}


def test_a_draft_may_hold_an_empty_expression_and_any_secret_name() -> None:
    parsed = parse_definition(document(call(inputMapping={"a": {"$expr": ""}, "b": {"$secret": "not a name"}})))
    step = parsed.steps[0]
    assert isinstance(step, model.ActionCallStep)
    assert step.config.input_mapping == {
        "a": model.Expr.model_validate({"$expr": ""}),
        "b": model.SecretRef.model_validate({"$secret": "not a name"}),
    }


def test_assignments_keep_their_order() -> None:
    parsed = parse_definition(document(*(step for step in EVERY_STEP if step["type"] == "transform.assign")))
    step = parsed.steps[0]
    assert isinstance(step, model.AssignStep)
    assert list(step.config.assign) == ["vars.b", "vars.a"]


def test_a_trigger_must_be_absent_not_null() -> None:
    problem = only(document(trigger=None))
    assert (problem.code, problem.path) == ("INVALID_WORKFLOW_DEFINITION", "trigger")
    assert "absent, not null" in problem.message


def test_all_problems_come_at_once_with_step_paths() -> None:
    found = problems(
        document(
            {
                "id": "outer",
                "type": "control.if",
                "condition": "payload.x",
                "then": [
                    {"id": "r", "type": "control.return", "name": "n"},
                    call(version="1", inputMapping={"x": {"$expr": 5}, "a key": [{"$secret": "S", "more": 1}]}),
                ],
                "else": [{"type": "state.set", "config": {}}],
            },
            version=0,
        )
    )
    assert [(problem.code, problem.path, problem.step_id) for problem in found] == [
        ("INVALID_WORKFLOW_DEFINITION", "version", None),
        ("INVALID_EXPR", "root.steps[0].condition", "outer"),
        ("INVALID_WORKFLOW_DEFINITION", "root.steps[0].then.steps[0].name", "r"),
        ("INVALID_ACTION_CONFIG", "root.steps[0].then.steps[1].config.version", "s"),
        ("INVALID_ACTION_CONFIG", "root.steps[0].then.steps[1].config.inputMapping.x.$expr", "s"),
        ("INVALID_ACTION_CONFIG", 'root.steps[0].then.steps[1].config.inputMapping["a key"][0].more', "s"),
        ("INVALID_WORKFLOW_DEFINITION", "root.steps[0].else.steps[0].id", None),
        ("INVALID_CONFIG", "root.steps[0].else.steps[0].config.state", None),
    ]


@pytest.mark.parametrize(
    ("given", "said", "suggestion"),
    [
        ({"$secret": "K"}, "this is a secret, which may stand in inputMapping", None),
        ({"$exp": "x"}, "this is an object with '$exp'", "$expr"),
        ({"a": 1, "b": {}}, "this is an object with 'a', 'b'", None),
        ({}, "this is an object", None),
        ([], "this is a list", None),
        (5, "this is 5", None),
        (None, "this is null or absent", None),
    ],
)
def test_what_stands_where_an_expression_should_is_named(given: Any, said: str, suggestion: str | None) -> None:
    config = {"assign": {"vars.x": given}}
    problem = only(document({"id": "a", "type": "transform.assign", "config": config}))
    where = ("INVALID_EXPR", 'root.steps[0].config.assign["vars.x"]', suggestion)
    assert (problem.code, problem.path, problem.suggestion) == where
    assert problem.message.partition("; ")[2].startswith(said)


@pytest.mark.parametrize(("given", "shown"), [([1], "a list"), ({"a": 1}, "an object"), ({"str": 1}, "an object")])
def test_what_is_no_scalar_is_said_once_and_as_what_it_is(given: Any, shown: str) -> None:
    cases = [{"equals": given, "steps": []}, {"equals": None, "steps": []}]
    step = {"id": "s", "type": "control.switch", "value": {"$expr": "1"}, "cases": cases}
    problem = only(document(step))
    assert problem.path == "root.steps[0].cases[0].equals"
    assert problem.message == f"must be a string, a number, true, false or null, this is {shown}"


def test_nothing_stands_beside_a_secret() -> None:
    secret = {"$secret": "NAME", "prefix": "Bearer"}
    config = {"actionId": "a", "version": 1, "inputMapping": {"token": secret, "list": [secret]}}
    found = problems(document({"id": "s", "type": "action.call", "config": config}))
    places = [problem.path.removeprefix("root.steps[0].config.inputMapping.") for problem in found]
    assert places == ["token.prefix", "list[0].prefix"]
    assert {problem.message for problem in found} == {"a secret reference holds $secret and nothing else"}


def test_a_definition_without_a_schema_of_its_payload_says_so() -> None:
    whole = document()
    del whole["payloadSchemaRef"]
    problem = only(whole)
    assert (problem.code, problem.path) == ("PAYLOAD_SCHEMA_REF_MISSING", "payloadSchemaRef")


def test_an_unknown_step_type_names_the_known_ones_and_the_nearest() -> None:
    problem = only(document({"id": "s", "type": "control.foreach", "body": []}))
    assert (problem.code, problem.path) == ("UNKNOWN_NODE_TYPE", "root.steps[0]")
    assert problem.suggestion == "control.forEach"
    for name in model.STEP_MODELS:
        assert name in problem.message


def test_an_unknown_field_names_the_known_ones_and_the_nearest() -> None:
    problem = only(document(call(inputMaping={})))
    assert problem.path == "root.steps[0].config.inputMaping"
    assert problem.suggestion == "inputMapping"
    assert "saveAs" in problem.message


def test_python_names_are_no_field_names() -> None:
    assert [problem.path for problem in problems(document(call(save_as="x")))] == ["root.steps[0].config.save_as"]


@pytest.mark.parametrize(
    ("step", "path", "says"),
    [
        ({"id": "", "type": "control.return"}, "root.steps[0].id", "must not be empty"),
        ({"id": "s"}, "root.steps[0]", "needs a type"),
        ("text", "root.steps[0]", "must be an object"),
        (call(saveAs=None), "root.steps[0].config.saveAs", "absent, not null"),
        (call(version=True), "root.steps[0].config.version", "whole number"),
        (call(version=2**60), "root.steps[0].config.version", "at most"),
        (call(designerTileKind="apps"), "root.steps[0].config.designerTileKind", "'app'"),
        ({**call(), "retry": {"maxAttempts": 1, "backoffMs": -1}}, "root.steps[0].retry.backoffMs", "at least 0"),
        (
            {**call(), "retry": {"maxAttempts": 1, "backoffMs": 1, "backoffMultiplier": 0}},
            "root.steps[0].retry.backoffMultiplier",
            "above 0",
        ),
        ({"id": "s", "type": "time.wait", "config": {"mode": "duration"}}, "root.steps[0].config", "needs durationMs"),
        ({"id": "s", "type": "time.wait", "config": {"mode": "until"}}, "root.steps[0].config", "needs until"),
        (
            {"id": "s", "type": "control.forEach", "items": EXPR, "itemVar": "i", "body": [], "collect": EXPR},
            "root.steps[0]",
            "collect and saveAs belong together",
        ),
        (
            {"id": "s", "type": "control.switch", "value": EXPR, "cases": [{"equals": 1, "steps": [{"id": "x"}]}]},
            "root.steps[0].cases[0].steps[0]",
            "type",
        ),
        (
            {"id": "s", "type": "control.parallel", "branches": []},
            "root.steps[0].branches",
            "must have at least 1 item(s), this has 0",
        ),
        (
            call(outputs=[{"id": "o", "label": "L", "stableKey": "1st", "document": {"version": 1, "blocks": []}}]),
            "root.steps[0].config.outputs[0].stableKey",
            "must match the pattern ^[a-z_][a-z0-9_]*$, this is '1st'",
        ),
        (
            {"id": "s", "type": "transform.assign", "config": {"assign": {"vars.x": 1}}},
            'root.steps[0].config.assign["vars.x"]',
            "must be an expression",
        ),
        (
            {"id": "s", "type": "human.task", "config": {"taskType": "t", "title": {"$secret": "S"}}},
            "root.steps[0].config.title",
            "must be an expression",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_is(step: Any, path: str, says: str) -> None:
    problem = only(document(step))
    assert problem.path == path
    assert says in problem.message


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"path": "a", "op": "in", "value": "x"}, "needs a list"),
        ({"path": "a", "op": "not_in"}, "needs a list"),
        ({"path": "a", "op": "exists", "value": None}, "takes no value"),
        ({"path": "a", "op": "starts_with", "value": 1}, "needs a string"),
        ({"path": "a", "op": ">", "value": [1]}, "needs a string, number"),
        ({"path": "a", "op": "="}, "needs a string, number"),
        ({"path": "a", "op": "==", "value": 1}, "did you mean '='"),
    ],
)
def test_filters_need_the_value_of_their_operator(item: dict[str, Any], says: str) -> None:
    config = {"eventName": "E", "correlationKey": EXPR, "filters": [item]}
    problem = only(document({"id": "s", "type": "event.wait", "config": config}))
    assert problem.path.startswith("root.steps[0].config.filters[0]")
    assert says in str(problem)


@pytest.mark.parametrize("value", [None, 5, "text", [], True])
def test_a_document_must_be_an_object(value: Any) -> None:
    assert only(value).message.startswith("must be an object")


def test_what_is_not_json_is_refused() -> None:
    found = problems(document(call(inputMapping={"a": float("nan"), "b": {1: 2}, "c": {1}})))
    assert [(problem.code, problem.path) for problem in found] == [
        ("NON_SERIALIZABLE", f"root.steps[0].config.inputMapping.{name}") for name in "abc"
    ]


def test_a_text_that_the_database_does_not_keep_is_refused_where_it_stands() -> None:
    mapping = {"a": "x\x00", "b": {"\ud83d": 1}, "c": ["\udc00"], "d": "\U0001f642"}
    found = problems(document(call(inputMapping=mapping)))
    assert [(problem.code, problem.path) for problem in found] == [
        ("NON_SERIALIZABLE", f"root.steps[0].config.inputMapping.{place}") for place in ("a", "b", "c[0]")
    ]


def test_a_document_nested_without_end_is_one_sentence() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    problem = only(document(call(inputMapping={"a": nested})))
    assert f"deeper than {MAX_NESTING}" in problem.message


def test_the_deepest_allowed_nesting_is_read() -> None:
    step: dict[str, Any] = {"id": "end", "type": "control.return"}
    for depth in range(MAX_NESTING // 2 - 2):
        step = {"id": f"s{depth}", "type": "control.if", "condition": {"$expr": "x"}, "then": [step]}
    written = document(step)
    assert parse_definition(written).to_document() == written


def test_a_parsed_definition_does_not_change() -> None:
    parsed = parse_definition(document())
    with pytest.raises(ValueError, match="frozen"):
        parsed.name = "other"


def _calling(given: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "action.call", "config": {"actionId": "a", "version": 1, "inputMapping": {"x": given}}}
    return document({"id": "s", "type": "state.set", "config": {"state": "S"}}, call)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("x" * 100 * MAX_BYTES, "x"),
        ([0] * 1_000_000, "x"),
        ({str(number): number for number in range(MAX_VALUES)}, "x"),
        ([{"a" * (MAX_BYTES // 2): 1}, [{"b" * MAX_BYTES: 1}]], "x[1][0]"),
        ([["x" * 60] * 60] * 400, "x[2"),
    ],
    ids=["text", "list", "object", "names", "nested"],
)
def test_a_document_that_no_run_could_load_is_too_large_at_a_place(given: Any, where: str) -> None:
    (problem,) = size_problems(_calling(given))
    assert (problem.code, problem.step_id) == ("DEFINITION_TOO_LARGE", "c")
    assert problem.path.startswith(f"root.steps[1].config.inputMapping.{where}")


def test_a_document_of_thousands_of_steps_is_none_too_large() -> None:
    steps = [{"id": f"s{n}", "type": "state.set", "config": {"state": "x" * 250}} for n in range(3_000)]
    assert size_problems(document(*steps)) == []
    assert size_problems(document(*steps, *steps))[0].path.startswith("root.steps[3")
    assert size_problems(None) == []
