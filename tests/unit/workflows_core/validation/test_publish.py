"""What publishing says of a definition that parses."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from harness.published import (
    ACTIONS,
    EXPR,
    KEYS_BY_ID,
    KNOWN_SECRETS,
    Actions,
    assign,
    call,
    found,
    seen,
    wait,
)
from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import UNCATCHABLE, ErrorCategory, Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.validation.publish import publish_problems


def test_a_definition_without_problems_has_none_and_can_be_planned() -> None:
    document = {
        "id": "w",
        "version": 1,
        "name": "n",
        "payloadSchemaRef": "p",
        "trigger": {"type": "event", "eventName": "E", "payloadMapping": {"id": {"$expr": "event.payload.id"}}},
        "steps": [
            assign(**{"vars.a": "payload.a", "/b": "vars.a == 1"}),
            {
                "id": "if",
                "type": "control.if",
                "condition": {"$expr": "vars.a == 'x'"},
                "then": [call(inputMapping={"text": ["a", EXPR], "key": {"$secret": "API_KEY"}}, saveAs="joined")],
                "else": [{"id": "end", "type": "control.return"}],
            },
            wait(filters=[{"path": "kind", "op": "=", "value": EXPR}], assign={"reply": {"$expr": "event.payload"}}),
            {"id": "sleep", "type": "time.wait", "config": {"mode": "duration", "durationMs": 1}},
            {"id": "state", "type": "state.set", "config": {"state": "DONE"}},
        ],
    }
    definition = parse_definition(document)
    problems = publish_problems(definition, ACTIONS, JlensEngine(), correlation_paths=KEYS_BY_ID, secrets=KNOWN_SECRETS)
    assert problems == []
    assert compile_plan(definition, JlensEngine())


def test_a_step_id_used_twice_names_the_first_place() -> None:
    end = {"id": "end", "type": "control.return"}
    problems = found({"id": "if", "type": "control.if", "condition": EXPR, "then": [end]}, end)
    assert seen(problems) == [("DUPLICATE_STEP_ID", "root.steps[1].id")]
    assert "root.steps[0].then.steps[0]" in problems[0].message
    assert problems[0].step_id == "end"


def test_the_schema_of_an_answer_must_be_a_good_one() -> None:
    config = {"taskType": "t", "title": {"$expr": "'T'"}, "responseSchema": {"type": "objekt"}}
    problems = found({"id": "s", "type": "human.task", "config": config})
    assert seen(problems) == [("INVALID_RESPONSE_SCHEMA", "root.steps[0].config.responseSchema/type")]


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ({"id": "s", "type": "control.if", "condition": {"$expr": "BAD"}, "then": []}, "condition"),
        (call(inputMapping={"a": [{"b c": {"$expr": "BAD"}}]}), 'config.inputMapping.a[0]["b c"]'),
        (call(idempotencyKey={"$expr": "BAD"}), "config.idempotencyKey"),
        (assign(**{"vars.x": "BAD"}), 'config.assign["vars.x"]'),
        (wait("BAD"), "config.correlationKey"),
        (wait(assign={"x": {"$expr": "BAD"}}), "config.assign.x"),
        (wait(filters=[{"path": "a", "op": "=", "value": {"$expr": "BAD"}}]), "config.filters[0].value"),
        ({"id": "s", "type": "time.wait", "config": {"mode": "until", "until": {"$expr": "BAD"}}}, "config.until"),
    ],
)
@pytest.mark.parametrize(("source", "code"), [("$eval('1')", "INVALID_EXPRESSION"), (" ", "EMPTY_EXPRESSION")])
def test_expressions_are_checked_wherever_they_are(step: Any, path: str, source: str, code: str) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(nested) for key, nested in value.items()}
        return [filled(item) for item in value] if isinstance(value, list) else source if value == "BAD" else value

    problems = found(filled(step))
    assert seen(problems) == [(code, f"root.steps[0].{path}")]
    assert problems[0].step_id == step["id"]


@pytest.mark.parametrize("source", ["[1..10000]", "[5, -3..4, 1..2]", "'[1..99999]'", "[1..n]", "[1..99999 - n]"])
@pytest.mark.parametrize("items", [0, 10_001])
def test_a_range_that_no_run_could_make_is_refused_with_its_place(source: str, items: int) -> None:
    step = assign(**{"vars.a": f"[{source}, [7..{6 + items}]]" if items else source})
    problems = found(step)
    assert seen(problems) == ([("INVALID_EXPRESSION", 'root.steps[0].config.assign["vars.a"]')] if items else [])
    assert all(f"(at character {len(source) + 5} of" in problem.message for problem in problems)


def test_a_step_in_a_branch_is_reported_once_under_its_own_path() -> None:
    inner = call(inputMapping={"a": {"$expr": "("}, "b": {"$secret": "bad"}})
    outer = {"id": "if", "type": "control.if", "condition": EXPR, "then": [], "else": [inner]}
    assert seen(found(outer)) == [
        ("INVALID_EXPRESSION", "root.steps[0].else.steps[0].config.inputMapping.a"),
        ("INVALID_SECRET_NAME", "root.steps[0].else.steps[0].config.inputMapping.b"),
    ]


def test_an_invalid_expression_says_where_in_its_source() -> None:
    (problem,) = found(assign(**{"vars.x": "1 + $upercase('a')"}))
    assert "did you mean $uppercase?" in problem.message
    assert "at character 5 of" in problem.message


@pytest.mark.parametrize("name", ["", "lower", "1X", "A-B", "A B", "A" * 256])
def test_a_secret_needs_a_good_name(name: str) -> None:
    problems = found(call(inputMapping={"headers": {"key": {"$secret": name}}}))
    assert seen(problems) == [("INVALID_SECRET_NAME", "root.steps[0].config.inputMapping.headers.key")]
    assert found(call(inputMapping={"key": {"$secret": "A" * 255}})) == []


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (assign(x="1"), "config.assign.x"),
        (assign(**{"vars.__proto__": "1"}), 'config.assign["vars.__proto__"]'),
        (call(saveAs="local.x"), "config.saveAs"),
        (wait(assign={"vars": EXPR}), "config.assign.vars"),
        ({"id": "s", "type": "control.tryCatch", "try": [], "catch": [], "captureErrorAs": "a..b"}, "captureErrorAs"),
        ({"id": "s", "type": "email.parseBody", "config": {"saveAs": "/constructor"}}, "config.saveAs"),
        (
            {
                "id": "s",
                "type": "control.callWorkflow",
                "workflowId": "w",
                "workflowVersion": 1,
                "outputMapping": {"system.x": EXPR},
            },
            'outputMapping["system.x"]',
        ),
    ],
)
def test_assignment_paths_are_checked(step: Any, path: str) -> None:
    assert ("INVALID_ASSIGN_PATH", f"root.steps[0].{path}") in seen(found(step))


def test_an_unknown_action_is_refused_with_the_nearest_name() -> None:
    (problem,) = found(call("text.joins"))
    assert seen([problem]) == [("UNKNOWN_ACTION", "root.steps[0].config.actionId")]
    assert problem.suggestion == "text.join"
    # It said that no process had announced it, of which nobody had asked.
    assert (
        "what processes announce was not looked at: correct the name, or look with `validate --announced`"
        in problem.message
    )


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    (problem,) = found(call("text.join", 2))
    assert seen([problem]) == [("UNKNOWN_ACTION", "root.steps[0].config.actionId")]
    assert "it has 1, 3" in problem.message
    assert problem.suggestion == "text.join@3"


@pytest.mark.parametrize("key", ["null", "''", "true", "[1]", "{'a': 1}", "$lookup({}, 'a')", "1 / 0"])
def test_a_wait_whose_key_can_never_match_is_refused(key: str) -> None:
    (problem,) = found(wait(key))
    assert seen([problem]) == [("EVENT_WAIT_UNCORRELATABLE", "root.steps[0].config.correlationKey")]
    assert "None" not in problem.message


@pytest.mark.parametrize("key", ["'fixed'", "17", "payload.id", "vars.missing", "$keys($)[0]", "$random() > 2 ? 'x'"])
def test_a_wait_whose_key_may_match_is_not(key: str) -> None:
    assert [problem for problem in found(wait(key)) if problem.severity == "error"] == []


@pytest.mark.parametrize("op", [">", ">=", "<", "<="])
def test_a_filter_that_orders_by_what_has_no_order_is_refused(op: str) -> None:
    """No event matched it."""
    filters = [{"path": "n", "op": op, "value": value} for value in (1, "a", True, None, {"$expr": "payload.n"})]
    problems = [one for one in found(wait(filters=filters)) if one.severity == "error"]
    places = [f"root.steps[0].config.filters[{number}].value" for number in (2, 3)]
    assert seen(problems) == [("INVALID_CONFIG", place) for place in places]


def test_a_wait_for_an_event_that_no_key_is_derived_from_is_refused() -> None:
    paths = {"OTHER": ("ticketId",)}
    problems = found(wait(), correlation_paths=paths)
    assert seen(problems) == [("EVENT_WAIT_UNCORRELATABLE", "root.steps[0].config.eventName")]
    assert found(wait(name="OTHER"), correlation_paths={"OTHER": ("ticket.id",)}) == []
    assert found(wait(), correlation_paths={"*": ("id",)}) == []


def test_a_wait_for_a_key_that_no_payload_path_gives_is_told_which_there_are() -> None:
    (problem,) = found(wait("payload.orderNumber"), correlation_paths={"REPLY": ("ticketId",), "*": ("id",)})
    assert (problem.code, problem.severity) == ("EVENT_WAIT_CORRELATION_CONTRACT", "warning")
    assert "ticketId, id" in problem.message
    assert found(wait("$lowercase(payload.any)"), correlation_paths={"*": ("id",)}) == []


def secret(name: str) -> dict[str, Any]:
    return call(inputMapping={"key": {"$secret": name}})


def test_secrets_are_looked_up_where_somebody_knows_them() -> None:
    known = {"API_KEY": timedelta(days=1), "OLD_KEY": timedelta(days=91)}
    assert found(secret("API_KEY"), secrets=known) == []
    (missing,) = found(secret("API_KEI"), secrets=known)
    assert (missing.code, missing.severity, missing.suggestion) == ("SECRET_NOT_FOUND", "error", "API_KEY")
    (stale,) = found(secret("OLD_KEY"), secrets=known)
    assert (stale.code, stale.severity) == ("SECRET_STALE", "warning")
    assert "91 days" in stale.message
    (unknown,) = found(secret("API_KEY"), secrets=None)
    assert (unknown.code, unknown.severity) == ("UNKNOWN_SECRET", "warning")


@pytest.mark.parametrize("secrets", [None, {"AI_API_KEY": timedelta(days=1)}])
def test_the_keys_of_the_installations_services_cannot_be_named(secrets: dict[str, timedelta] | None) -> None:
    (reserved,) = found(secret("AI_API_KEY"), secrets=secrets)
    assert (reserved.code, reserved.severity) == ("SECRET_RESERVED", "error")
    assert all(problem.suggestion is None for problem in found(secret("AI_API_KEI"), secrets=secrets))


PAYLOAD = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "customer": {"$ref": "#/$defs/Customer"},
        "free": {"type": "object"},
        "either": {"type": ["string", "null"]},
    },
    "$defs": {"Customer": {"type": "object", "properties": {"name": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("payload.count", []),
        ("payload.customer.name", [("MAPPING_TYPE_INCOMPATIBLE", "error", None)]),
        ("payload.customer", [("MAPPING_TYPE_INCOMPATIBLE", "error", None)]),
        ("payload.either", [("MAPPING_TYPE_INCOMPATIBLE", "error", None)]),
        ("payload.coumt", [("MAPPING_TYPE_UNKNOWN", "warning", "count")]),
        ("payload.customer.nam", [("MAPPING_TYPE_UNKNOWN", "warning", "name")]),
        ("payload.free.anything", []),
        ("$number(payload.customer.name)", []),
        ("vars.count", []),
    ],
)
def test_what_is_read_from_the_payload_is_held_against_its_schema(source: str, expected: list[Any]) -> None:
    step = call("typed", inputMapping={"count": {"$expr": source}})
    problems = found(step, payload_schema=PAYLOAD)
    assert [(p.code, p.severity, p.suggestion) for p in problems if p.code != "VARIABLE_NOT_DEFINED"] == expected


def test_a_payload_schema_without_fields_is_said_to_have_none() -> None:
    step = call("typed", inputMapping={"count": {"$expr": "payload.count"}})
    (problem,) = found(step, payload_schema={"type": "object", "properties": {}, "additionalProperties": False})
    assert problem.message == "nothing is known of payload.count: the payload's schema has no field there"
    (problem,) = found(step, payload_schema=PAYLOAD | {"properties": {"other": {}}})
    assert problem.message == "nothing is known of payload.count: the payload's schema has only other there"


@pytest.mark.parametrize("keyword", ["additionalProperties", "anyOf", "patternProperties"])
def test_a_payload_schema_that_allows_other_names_leaves_them_alone(keyword: str) -> None:
    step = call("typed", inputMapping={"count": {"$expr": "payload.other"}})
    assert found(step, payload_schema={**PAYLOAD, keyword: [True] if keyword == "anyOf" else {"x": True}}) == []


def test_an_assignment_to_what_the_payload_does_not_have_is_a_warning() -> None:
    problems = found(assign(**{"payload.coumt": "1", "payload.count": "1", "vars.any": "1"}), payload_schema=PAYLOAD)
    assert [(p.code, p.severity, p.path, p.suggestion) for p in problems] == [
        ("ASSIGN_PATH_UNKNOWN", "warning", 'root.steps[0].config.assign["payload.coumt"]', "count")
    ]


def test_a_return_among_steps_that_undo_is_refused() -> None:
    undone = {**call(), "onCompensate": [{"id": "r", "type": "control.return"}]}
    refused, never_run = found(undone)
    assert seen([refused]) == [("RETURN_IN_COMPENSATION", "root.steps[0].onCompensate.steps[0]")]
    assert (never_run.code, never_run.severity) == ("UNREACHABLE_STEP", "warning")


def test_retry_categories_are_checked() -> None:
    retry = {"maxAttempts": 2, "backoffMs": 1, "retryOn": ["TransientError", "TransientErorr", "Cancellation"]}
    problems = found({**call(), "retry": retry})
    assert [(p.code, p.path, p.severity, p.suggestion) for p in problems] == [
        ("UNKNOWN_ERROR_CATEGORY", "root.steps[0].retry.retryOn[1]", "error", "TransientError"),
        ("UNCATCHABLE_ERROR_CATEGORY", "root.steps[0].retry.retryOn[2]", "warning", None),
    ]


@pytest.mark.parametrize("category", sorted(set(ErrorCategory) - UNCATCHABLE))
def test_every_category_an_author_may_handle_is_accepted(category: str) -> None:
    assert found({**call(), "retry": {"maxAttempts": 2, "backoffMs": 1, "retryOn": [category]}}) == []


def test_a_triggers_mapping_sees_only_the_event() -> None:
    mapping = {
        "a": {"$expr": "event.payload.id"},
        "b": {"$expr": "payload.id & vars.x"},
        "c": {"$expr": "("},
        "d": {"$foo": {"$secret": "bad"}},
        "e": {"$expr": "$"},
    }
    problems = found(trigger={"type": "event", "eventName": "E", "payloadMapping": mapping})
    assert seen(problems) == [
        ("INVALID_EXPRESSION", "trigger.payloadMapping.c"),
        ("INVALID_SECRET_NAME", "trigger.payloadMapping.d.$foo"),
        ("TRIGGER_MAPPING_INVALID_ROOT", "trigger.payloadMapping.b"),
        ("TRIGGER_MAPPING_INVALID_ROOT", "trigger.payloadMapping.b"),
        ("UNKNOWN_SPECIAL_KEY", "trigger.payloadMapping.d.$foo"),
    ]
    assert problems[2].suggestion == "event.payload"


def test_all_problems_of_all_steps_come_at_once() -> None:
    problems = found(call("no.such"), assign(x="("), wait("null"), trigger={"type": "event", "eventName": "E"})
    assert [problem.code for problem in problems] == [
        "UNKNOWN_ACTION",
        "INVALID_EXPRESSION",
        "INVALID_ASSIGN_PATH",
        "EVENT_WAIT_UNCORRELATABLE",
    ]


OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    "config",
    [
        {"aiOutputSchemaMode": "simple", "aiOutputSchema": OBJECT},
        {"aiOutputSchemaMode": "advanced", "aiOutputSchemaText": json.dumps(OBJECT)},
        {"inputMapping": {"outputSchema": OBJECT}},
    ],
)
def test_the_schema_of_what_a_model_answers_is_given_in_one_of_three_ways(config: dict[str, Any]) -> None:
    assert found(call("infer", **config)) == []


@pytest.mark.parametrize(
    ("config", "field", "said"),
    [
        ({}, "aiOutputSchema", "needs a schema of its output"),
        ({"aiOutputSchemaMode": "advanced"}, "aiOutputSchemaText", "needs a schema of its output"),
        ({"aiOutputSchemaMode": "advanced", "aiOutputSchemaText": "{"}, "aiOutputSchemaText", "is not JSON"),
        ({"aiOutputSchema": OBJECT}, "aiOutputSchemaMode", "set aiOutputSchemaMode to simple or advanced"),
        ({"aiOutputSchemaMode": "simple", "aiOutputSchema": {"type": "string"}}, "aiOutputSchema", '"type": "object"'),
        (
            {"aiOutputSchemaMode": "simple", "aiOutputSchema": {"type": "object", "required": "a"}},
            "aiOutputSchema/required",
            "'a' is not of type 'array'",
        ),
    ],
)
def test_the_schema_of_what_a_model_answers_is_a_good_one(config: dict[str, Any], field: str, said: str) -> None:
    (problem,) = found(call("infer", **config))
    assert (problem.code, problem.path) == ("INVALID_AI_OUTPUT_SCHEMA", f"root.steps[0].config.{field}")
    assert said in problem.message


def test_what_was_never_checked_is_refused_when_it_is_planned() -> None:
    steps = [
        assign(**{"vars.a": "payload.", "system.b": "1"}),
        {**call("infer", aiOutputSchemaMode="advanced", aiOutputSchemaText="{", saveAs="local.x"), "id": "second"},
    ]
    document = {"id": "w", "version": 1, "name": "n", "payloadSchemaRef": "p", "steps": steps}
    with pytest.raises(Refused) as caught:
        compile_plan(parse_definition(document), JlensEngine())
    assert [(problem.code, problem.path) for problem in caught.value.problems] == [
        ("INVALID_EXPRESSION", 'root.steps[0].config.assign["vars.a"]'),
        ("INVALID_ASSIGN_PATH", 'root.steps[0].config.assign["system.b"]'),
        ("INVALID_AI_OUTPUT_SCHEMA", "root.steps[1].config.aiOutputSchemaText"),
        ("INVALID_ASSIGN_PATH", "root.steps[1].config.saveAs"),
    ]


def test_an_action_that_no_process_serves_is_a_warning_that_says_what_happens() -> None:
    class Unserved(Actions):
        def lacking(self, action_id: str, version: int) -> str | None:
            return "no process has it"

    definition = parse_definition({"id": "w", "version": 1, "name": "n", "payloadSchemaRef": "p", "steps": [call()]})
    known = Unserved({("text.join", 1): {"type": "object"}})
    (problem,) = publish_problems(definition, known, JlensEngine(), secrets=KNOWN_SECRETS)
    assert (problem.code, problem.severity) == ("ACTION_NOT_ANNOUNCED", "warning")
    assert "no process has it" in problem.message
