"""What publishing says of a definition that parses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from workflows_core.definitions.parse import parse_definition
from workflows_core.errors import UNCATCHABLE, ErrorCategory, Problem, Refused
from workflows_core.expressions.jlens_engine import JlensEngine
from workflows_core.interpreter.compile import compile_plan
from workflows_core.validation.publish import publish_problems

EXPR = {"$expr": "payload.id"}


@dataclass(frozen=True)
class KnownAction:
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    takes_secrets: bool = True


class Actions:
    def __init__(self, known: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
        self._known = known

    def ids(self) -> Sequence[str]:
        return sorted({name for name, _ in self._known})

    def versions(self, action_id: str) -> Sequence[int]:
        return sorted(version for name, version in self._known if name == action_id)

    def get(self, action_id: str, version: int) -> KnownAction | None:
        schema = self._known.get((action_id, version))
        return None if schema is None else KnownAction(schema)

    def lacking(self, action_id: str, version: int) -> str | None:
        return None


ADDRESS = {"type": "object", "required": ["city"], "properties": {"city": {}, "street": {}}}
ACTIONS = Actions(
    {
        ("text.join", 1): {"type": "object"},
        ("text.join", 3): {"type": "object"},
        ("contact.create", 1): {
            "type": "object",
            "required": ["name", "address", "second"],
            "properties": {
                "name": {"type": "string"},
                "address": ADDRESS,
                "second": {"$ref": "#/$defs/Address"},
                "third": ADDRESS,
            },
            "$defs": {"Address": ADDRESS},
        },
        ("infer", 1): {"type": "object", "required": ["outputSchema"], "properties": {"outputSchema": {}}},
        ("typed", 1): {
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "inner": {"type": "object", "properties": {"on": {"type": "boolean"}}},
                "kind": {"enum": ["a", "b"]},
                "free": {},
                "texts": {"type": "object", "additionalProperties": {"type": "string"}},
                "closed": {"type": "object", "properties": {"on": {}}, "additionalProperties": False},
                "either": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            },
        },
    }
)


KEYS_BY_ID = {"*": ("id",)}
KNOWN_SECRETS = {name: timedelta(days=1) for name in ("A", "S", "API_KEY", "A" * 255)}


def found(*steps: Any, trigger: Any = None, actions: Actions = ACTIONS, **options: Any) -> list[Problem]:
    options = {"correlation_paths": KEYS_BY_ID, "secrets": KNOWN_SECRETS, **options}
    document = {"id": "w", "version": 1, "name": "n", "payloadSchemaRef": "p", "steps": list(steps)}
    if trigger is not None:
        document["trigger"] = trigger
    return publish_problems(parse_definition(document), actions, JlensEngine(), **options)


def seen(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in problems]


def call(action_id: str = "text.join", version: int = 1, **config: Any) -> dict[str, Any]:
    return {"id": "call", "type": "action.call", "config": {"actionId": action_id, "version": version, **config}}


def assign(**assignments: str) -> dict[str, Any]:
    values = {path: {"$expr": source} for path, source in assignments.items()}
    return {"id": "assign", "type": "transform.assign", "config": {"assign": values}}


def wait(key: str = "payload.id", name: str = "REPLY", **config: Any) -> dict[str, Any]:
    config = {"eventName": name, "correlationKey": {"$expr": key}, **config}
    return {"id": "wait", "type": "event.wait", "config": config}


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


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    (problem,) = found(call("text.join", 2))
    assert seen([problem]) == [("UNKNOWN_ACTION", "root.steps[0].config.actionId")]
    assert "it has 1, 3" in problem.message
    assert problem.suggestion == "text.join@3"


def test_required_fields_must_be_mapped_also_in_nested_object_literals() -> None:
    problems = found(
        call(
            "contact.create",
            inputMapping={"nane": "Ann", "address": {"street": EXPR}, "second": {}, "third": EXPR},
        )
    )
    assert seen(problems) == [
        ("MISSING_REQUIRED_MAPPING", "root.steps[0].config.inputMapping.name"),
        ("MISSING_REQUIRED_MAPPING", "root.steps[0].config.inputMapping.address.city"),
        ("MISSING_REQUIRED_MAPPING", "root.steps[0].config.inputMapping.second.city"),
    ]
    assert problems[0].suggestion == "nane"


@pytest.mark.parametrize(
    ("mapping", "where", "said"),
    [
        ({"count": "many"}, "count", "a whole number, found a text"),
        ({"count": {"$secret": "A"}}, "count", "a secret is a text"),
        ({"count": {"a": 1}}, "count", "a whole number, found an object"),
        ({"tags": ["a", 1]}, "tags[1]", "a text, found a number"),
        ({"inner": {"on": "yes"}}, "inner.on", "true or false, found a text"),
        ({"kind": "c"}, "kind", "one of"),
        ({"texts": {"a": EXPR, "b": 1}}, "texts.b", "a text, found a number"),
        ({"either": {"c": 1}}, "either.a", "required"),
    ],
)
def test_a_literal_that_the_action_refuses_is_an_error(mapping: Any, where: str, said: str) -> None:
    (problem,) = found(call("typed", inputMapping=mapping))
    assert seen([problem]) == [("MAPPING_TYPE_INCOMPATIBLE", f"root.steps[0].config.inputMapping.{where}")]
    assert said in problem.message


def test_what_an_expression_or_an_allowed_literal_gives_is_no_error() -> None:
    mapping = {"count": EXPR, "tags": [EXPR, 1], "inner": {"on": EXPR}, "kind": "a", "free": {"x": [1]}}
    assert found(call("typed", inputMapping=mapping)) == []
    assert found(call("typed", inputMapping={"count": 3, "tags": ["a"], "inner": {"on": True}})) == []


TREE: Mapping[str, Any] = {
    "$id": "urn:tree",
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "child": {"$ref": "#"},
        "children": {"type": "array", "items": {"$ref": "#"}},
        "others": {"type": "array", "items": {"$ref": "#/properties/name"}},
        "more": {"type": "array", "items": {"$ref": "urn:tree#/properties/name"}},
    },
}


@pytest.mark.parametrize(
    ("mapping", "where", "code"),
    [
        ({"others": ["a", 1]}, "others[1]", "MAPPING_TYPE_INCOMPATIBLE"),
        ({"more": [1]}, "more[0]", "MAPPING_TYPE_INCOMPATIBLE"),
        ({"children": [{"name": "a", "children": [{"name": 1}]}]}, "children[0].children[0].name", None),
        ({"child": {"name": "a", "child": {"name": 1}}}, "child.child.name", None),
        ({"child": {}}, "child.name", "MISSING_REQUIRED_MAPPING"),
        ({"child": {"name": "a", "others": ["b"]}, "children": [{"name": "c"}], "more": ["d"]}, None, None),
    ],
)
def test_references_of_an_actions_schema_lead_where_they_do_in_a_call(
    mapping: Any, where: str | None, code: str | None
) -> None:
    actions = Actions({("tree", 1): TREE})
    problems = found(call("tree", inputMapping={"name": "root", **mapping}), actions=actions)
    expected = [(code or "MAPPING_TYPE_INCOMPATIBLE", f"root.steps[0].config.inputMapping.{where}")]
    assert seen(problems) == ([] if where is None else expected)


@pytest.mark.parametrize("value", [1, EXPR, {"$secret": "A"}])
def test_a_field_that_the_action_does_not_have_is_a_warning(value: Any) -> None:
    (problem,) = found(call("typed", inputMapping={"closed": {"onn": value}, "others": value}))
    assert seen([problem]) == [("MAPPING_TYPE_UNKNOWN", "root.steps[0].config.inputMapping.closed.onn")]
    assert (problem.severity, problem.suggestion) == ("warning", "on")


@pytest.mark.parametrize("key", ["$expr", "$secret"])
def test_an_expression_in_the_place_of_a_whole_mapping_is_told_as_that(key: str) -> None:
    (problem,) = found(call(inputMapping={key: "payload"}))
    assert seen([problem]) == [("UNKNOWN_SPECIAL_KEY", f"root.steps[0].config.inputMapping.{key}")]
    assert "each field a value of its own" in problem.message
    assert problem.suggestion is None


def test_a_key_that_looks_special_is_a_warning() -> None:
    problems = found(call(inputMapping={"a": [{"$exp": "x"}]}))
    assert seen(problems) == [("UNKNOWN_SPECIAL_KEY", "root.steps[0].config.inputMapping.a[0].$exp")]
    assert (problems[0].severity, problems[0].suggestion) == ("warning", "$expr")


@pytest.mark.parametrize("key", ["null", "''", "true", "[1]", "{'a': 1}", "$lookup({}, 'a')", "1 / 0"])
def test_a_wait_whose_key_can_never_match_is_refused(key: str) -> None:
    (problem,) = found(wait(key))
    assert seen([problem]) == [("EVENT_WAIT_UNCORRELATABLE", "root.steps[0].config.correlationKey")]
    assert "None" not in problem.message


@pytest.mark.parametrize("key", ["'fixed'", "17", "payload.id", "vars.missing", "$keys($)[0]", "$random() > 2 ? 'x'"])
def test_a_wait_whose_key_may_match_is_not(key: str) -> None:
    assert [problem for problem in found(wait(key)) if problem.severity == "error"] == []


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
    assert seen(found(undone)) == [("RETURN_IN_COMPENSATION", "root.steps[0].onCompensate.steps[0]")]


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


def test_what_a_mapping_reads_below_a_field_that_the_schema_leaves_open_is_let_alone() -> None:
    schema = {"type": "object", "properties": {"any": True, "deep": {"type": "object", "properties": {"n": {}}}}}
    mapping = {"inner": {"on": {"$expr": "payload.any.on"}}, "free": {"$expr": "payload.deep.n.more"}}
    steps = [call("typed", inputMapping=mapping, saveAs="system.x"), assign(**{"payload.deep.n.more": "1"})]
    codes = [problem.code for problem in found(*steps, payload_schema=schema)]
    assert codes == ["INVALID_ASSIGN_PATH"]
