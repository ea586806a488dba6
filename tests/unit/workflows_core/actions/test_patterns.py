"""Patterns in schemas: they find what they should, every check ends, and what cannot be checked is said beforehand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.actions.action import Action, ActionContext
from workflows_core.actions.call import validate_input
from workflows_core.actions.json_schemas import compile_schema, schema_problems, value_problems
from workflows_core.actions.keywords import VALIDATOR
from workflows_core.actions.patterns import MAX_PATTERN_LENGTH, Budget, TooLong, allow, matches, pattern_problem
from workflows_core.errors import ActionFailed
from workflows_core.expressions.jlens_engine import JlensExpression
from workflows_core.publishing.contracts import payload_problems

TOO_LARGE = "the whole value is too large for its schema: it would take too long to be checked"
EXPONENTIAL = ["^(\\w+\\s?)*$", "^(a|a)*$", "(a+)+$"]
BAD_TEXT = "a" * 60 + "!"
"""The standard library's patterns take twice as long for each further character: no test here would end."""


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    return [str(problem) for problem in value_problems(compile_schema(schema), value)]


@pytest.mark.parametrize("pattern", EXPONENTIAL)
@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        ({"properties": {"x": {"pattern": "PATTERN"}}}, {"x": BAD_TEXT}, "/x must match the pattern PATTERN"),
        ({"patternProperties": {"PATTERN": {"type": "string"}}}, {BAD_TEXT: 1}, None),
        (
            {"properties": {"x": {}}, "patternProperties": {"PATTERN": {}}, "additionalProperties": False},
            {"x": 1, BAD_TEXT: 1},
            f"/{BAD_TEXT} is not a known field; known are x",
        ),
        (
            {"properties": {"x": {}}, "patternProperties": {"PATTERN": {}}, "additionalProperties": {"type": "string"}},
            {"x": 1, BAD_TEXT: 1},
            f"/{BAD_TEXT} must be a text, found a number",
        ),
        ({"propertyNames": {"pattern": "PATTERN"}}, {BAD_TEXT: 1}, "the whole value must match the pattern PATTERN"),
        (  # Of before: it is refused now.
            {"allOf": [{"patternProperties": {"PATTERN": {}}}], "unevaluatedProperties": False},
            {BAD_TEXT: 1},
            None,
        ),
        (
            {"$ref": "#/default", "default": {"patternProperties": {"PATTERN": {}}}, "unevaluatedProperties": False},
            {BAD_TEXT: 1},
            None,
        ),
    ],
)
def test_every_keyword_ends(schema: Any, value: Any, found: str | None, pattern: str) -> None:
    assert problems(_with(schema, pattern), value) == ([] if found is None else [found.replace("PATTERN", pattern)])


def _with(schema: Any, pattern: str) -> Any:
    if isinstance(schema, dict):
        return {key.replace("PATTERN", pattern): _with(item, pattern) for key, item in schema.items()}
    if isinstance(schema, list):
        return [_with(item, pattern) for item in schema]
    return schema.replace("PATTERN", pattern) if isinstance(schema, str) else schema


def test_inputs_of_actions_and_payloads_end() -> None:
    async def handler(value: Any, _context: ActionContext) -> Any:
        return value

    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": EXPONENTIAL[0]}}}
    action = Action(id="test.echo", version=1, handler=handler, input_schema=schema, output_schema={})
    with pytest.raises(ActionFailed, match="x must match the pattern"):
        validate_input(action, {"x": BAD_TEXT})
    validate_input(action, {"x": "some words"})
    assert [str(one.path) for one in payload_problems(schema, {"x": BAD_TEXT}, "PAYLOAD_INVALID", "payload")] == [
        "payload/x"
    ]


@pytest.mark.parametrize("schema", [{"items": {"pattern": EXPONENTIAL[0]}}, {"items": {"not": {"pattern": "(a+)+$"}}}])
def test_many_texts_end_the_check(schema: dict[str, Any]) -> None:
    assert problems(schema, [BAD_TEXT] * 200) == [TOO_LARGE]
    # It begins anew with each value.
    assert problems(schema, ["b"]) == []


def test_many_names_end_the_check_and_its_sentences() -> None:
    named = {"patternProperties": {"(a+)+$": {}}, "additionalProperties": False}
    assert problems(named, {f"{BAD_TEXT}{number}": 1 for number in range(200)}) == [TOO_LARGE]
    # Each is tried for the one keyword, the first for the other, and each once more for its sentence: 19 dear tries.
    assert len(problems(named, {f"{BAD_TEXT}{number}": 1 for number in range(9)})) == 9
    assert problems(named, {f"{BAD_TEXT}{number}": 1 for number in range(10)}) == [TOO_LARGE]


def test_usual_texts_are_many() -> None:
    listed = {"items": {"pattern": "^[A-Z]{2}-[0-9]{1,6}( [a-z]+)*$"}}
    assert problems(listed, ["AB-123456 some words"] * 5_000) == []
    password = {"items": {"pattern": "^(?=.*[a-z])(?=.*[0-9]).{8,}$"}}
    assert problems(password, ["correct horse 1"] * 1_000) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000}b",
        "(?=(a+))\\1b",
        "(?<=c.*)b",
        "(?:a{100000}|a{100001}|a{100002})",
        "(?:a|a{99999})*b",
    ],
)
def test_what_the_engine_does_not_count_is_counted(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A look may go over all of a text here: steps times characters is what a try takes.
    work = 0
    evaluate = JlensExpression.evaluate

    def measured(self: Any, document: Any, *, limits: Any, **rest: Any) -> Any:
        nonlocal work
        work += limits.max_steps * len(document["text"])
        return evaluate(self, document, limits=limits, **rest)

    monkeypatch.setattr(JlensExpression, "evaluate", measured)
    assert problems({"items": {"pattern": pattern}}, ["a" * 4_000] * 500) == [TOO_LARGE]
    assert work < 2_000_000


def ends(budget: Budget, pairs: list[tuple[str, str]]) -> bool:
    """Whether the budget is enough for these patterns and texts."""
    with allow(budget):
        try:
            for pattern, text in pairs:
                matches(pattern, text)
        except TooLong:
            return False
    return True


def test_long_texts_and_patterns_cost_more() -> None:
    tries = Budget(100, reading=0, tries=(1, 1, 1))
    assert ends(tries, [("^a", "a")] * 100)
    assert not ends(tries, [("^a", "a")] * 101)
    assert not ends(tries, [("^a", "a" * 100_000)] * 20)
    assert not ends(tries, [("^a" + "b?" * 100, "a")] * 20)
    assert not ends(tries, [("^a" + "b" * 900 + "|a", "a")] * 20)


def test_the_dear_try_is_shorter_where_looks_take_longer_and_not_made_twice() -> None:
    # Eight times as long a look, so an eighth of the steps for the same price.
    behind = "(?=a)(a+)+$"
    assert problems({"items": {"pattern": behind}}, [BAD_TEXT] * 9) == [
        f"/{number} must match the pattern {behind}" for number in range(9)
    ]
    # As few steps as in the first try, so only that: three steps of a look of 16,000 characters.
    assert ends(Budget(2_100, reading=0, tries=(1, 10, 1_000)), [(behind, "a" * 16_000 + "!")])
    assert not ends(Budget(1_900, reading=0, tries=(1, 10, 1_000)), [(behind, "a" * 16_000 + "!")])


def test_a_pattern_is_paid_for_when_it_is_met_first() -> None:
    read = Budget(100, reading=10, tries=(0, 0, 0))
    assert ends(read, [(f"^{number}", f"{number}") for number in range(10)] * 20)
    assert not ends(read, [(f"^{number}", f"{number}") for number in range(11)])
    assert not ends(read, [("a{1}" * 200, "a" * 200), *((f"^{number}", f"{number}") for number in range(9))])


def test_a_validator_by_itself_counts_nothing() -> None:
    assert VALIDATOR({"pattern": "^a"}).is_valid("a")
    assert not VALIDATOR({"pattern": "^(a+)+$"}).is_valid(BAD_TEXT)
    # What a check has spent is its own.
    assert not ends(Budget(0, reading=1, tries=(1, 1, 1)), [("a", "a")])
    assert matches("a", "a")


ATOMS = [
    "a",
    "b",
    "é",
    ".",
    "\\d",
    "\\w",
    "\\s",
    "[ab]",
    "[^a]",
    "[a-c1]",
    "(a|b)",
    "(?:ab)",
    "(é|a1)",
    "\\.",
    "\\/",
    "/",
]
PIECES = st.one_of(
    st.tuples(st.sampled_from(ATOMS), st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,2}", "{0,}", "*?"])).map(
        "".join
    ),
    st.sampled_from(["^", "$", "\\b", "(?=a)", "(?!b)", "|"]),
)
PATTERNS = st.lists(PIECES, min_size=1, max_size=5).map("".join)
TEXTS = st.text("abcé1 ./", max_size=8)


@given(PATTERNS, TEXTS)
def test_what_is_found_is_what_the_standard_library_finds(pattern: str, text: str) -> None:
    wanted = re.search(pattern, text, re.ASCII) is not None
    assert pattern_problem(pattern) is None
    assert (problems({"pattern": pattern}, text) == []) == wanted
    assert (problems({"propertyNames": {"pattern": pattern}}, {text: 1}) == []) == wanted
    named = {"patternProperties": {pattern: {"type": "string"}}}
    assert (problems(named, {text: 1}) == []) == (not wanted)
    others = {"patternProperties": {"^zz": {}, pattern: {}}, "additionalProperties": False}
    assert (problems(others, {text: 1}) == []) == wanted
    assert (problems({**others, "additionalProperties": {"type": "string"}}, {text: 1}) == []) == wanted


def test_values_that_are_no_text_or_object_have_no_pattern() -> None:
    schema = {"pattern": "a", "patternProperties": {"a": False}, "additionalProperties": False, "propertyNames": False}
    assert problems(schema, 1) == problems(schema, ["a"]) == []


@pytest.mark.parametrize(
    "pattern", ["(", "[", "a**", "(?i)a", "a++", "(?P<n>a)", "\\p{L}", "^\\A", "a\\Z", "\\u12", "a{,3}", "\ud800"]
)
def test_a_pattern_that_expressions_do_not_know_is_a_problem_and_does_not_match(pattern: str) -> None:
    message = f"is no pattern that expressions know: {pattern!r}"
    written = {"$defs": {"a/b": {"items": {"pattern": pattern}}}, "not": {"patternProperties": {pattern: {}}}}
    assert sorted(schema_problems(written)) == [
        ("/$defs/a~1b/items/pattern", message),
        (f"/not/patternProperties/{pattern}", message),
    ]
    assert problems({"pattern": pattern}, "a") == [f"the whole value must match the pattern {pattern}"]
    assert problems({"patternProperties": {pattern: False}}, {"a": 1, pattern: 1}) == []
    assert len(problems({"patternProperties": {pattern: {}}, "additionalProperties": False}, {"a": 1})) == 1


def test_escapes_that_mean_the_same_everywhere_are_fine() -> None:
    for pattern in [
        "\\\\A",
        "\\-",
        "[\\]]",
        "\\u00e9",
        "\\x41",
        "\\d\\D\\w\\W\\s\\S\\b\\B\\n\\r\\t\\f\\v\\0",
        "(?<n>a)\\k<n>",
        "[(]",
        "[[{]",
    ]:
        assert pattern_problem(pattern) is None
    assert pattern_problem("a" * MAX_PATTERN_LENGTH) is None
    assert pattern_problem("a" * 1_001) == "has 1001 characters, a pattern may have 1000"
    assert problems({"pattern": "a" * 1_001}, "a" * 1_001) != []


def test_names_of_fields_and_data_are_no_patterns() -> None:
    fields = {
        "properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "object"}, "const": {"$ref": "#"}},
        "dependentSchemas": {"pattern": {}},
        "unevaluatedProperties": False,
    }
    assert list(schema_problems(fields)) == []
    assert problems(fields, {"pattern": "a", "other": 1}) == [
        "/other is not a known field; known are pattern, patternProperties, const"
    ]
    data = {keyword: {"pattern": "("} for keyword in ("const", "default")}
    assert list(schema_problems({**data, "enum": [{"pattern": "("}], "examples": [{"pattern": "("}]})) == []
    assert [one for one, _ in schema_problems({"properties": {"default": {"pattern": "("}}})] == [
        "/properties/default/pattern"
    ]


def test_unevaluated_fields_beside_patterns_of_names_cannot_be_checked() -> None:
    message = "cannot be checked beside patternProperties: use additionalProperties, or name each field"
    behind = {
        "properties": {"x": {"$ref": "#/$defs/x", "unevaluatedProperties": False}},
        "$defs": {"x": {"patternProperties": {"^a": {}}}},
    }
    assert list(schema_problems(behind)) == [("/properties/x/unevaluatedProperties", message)]
    assert list(schema_problems({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False})) == []
    assert list(schema_problems({"patternProperties": {"^a": {}}, "additionalProperties": False})) == []


def test_a_schema_that_is_nested_too_deeply_is_a_problem() -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"not": schema}
    assert list(schema_problems(schema)) == [("", "is nested too deeply to be checked")]
    assert [one for one, _ in schema_problems({"pattern": "(" * 400 + ")" * 400})] == ["/pattern"]
