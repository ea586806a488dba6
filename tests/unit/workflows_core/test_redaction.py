"""What is shown of values, and which rules a tenant may set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.errors import Refused
from workflows_core.redaction import REDACTED, SECRET_REDACTED, Redaction, run_without_contents, without_contents

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=10,
)


def rules(*key_patterns: str, pointers: tuple[str, ...] = ()) -> Redaction:
    return Redaction.parse({"keyPatterns": list(key_patterns), "pointers": list(pointers)})


@pytest.mark.parametrize(
    "name", ["password", "dbPassword", "ACCESS_TOKEN", "api_key", "apiKey", "api-key", "Authorization", "clientSecret"]
)
def test_names_that_nobody_is_shown(name: str) -> None:
    assert Redaction().value([{name: {"deep": 1}, "name": "A"}]) == [{name: REDACTED, "name": "A"}]


def test_a_reference_to_a_secret_is_not_its_name() -> None:
    assert Redaction().value({"auth": {"$secret": "API_KEY"}}) == {"auth": SECRET_REDACTED}


def test_a_tenant_names_fields_and_places() -> None:
    found = rules("^email$", pointers=("/customer/name", "/lines/1", "/a~1b", "/not/there"))
    value = {"Email": "x", "emails": 1, "customer": {"name": "A", "id": 7}, "lines": [1, 2, 3], "a/b": 1}
    assert found.value(value) == {
        "Email": REDACTED,
        "emails": 1,
        "customer": {"name": REDACTED, "id": 7},
        "lines": [1, REDACTED, 3],
        "a/b": REDACTED,
    }


def test_only_values_are_redacted_not_what_the_runtime_writes() -> None:
    row = {"runId": "r", "tokenName": "t", "inputJson": {"token": 1}, "waits": [{"payload": {"token": 1}, "key": "k"}]}
    hidden = {"token": REDACTED}
    assert Redaction().shown([row]) == [
        {"runId": "r", "tokenName": "t", "inputJson": hidden, "waits": [{"payload": hidden, "key": "k"}]}
    ]


@given(JSON)
def test_without_rules_that_match_a_value_stays_as_it_is(value: Any) -> None:
    assert Redaction().value(value) == value


@given(JSON, st.sampled_from(["/a", "/a/b", "/0", "/a/0/c", "/b/1"]))
def test_a_pointer_changes_what_stands_there_and_nothing_else(value: Any, pointer: str) -> None:
    def at(found: Any) -> Any:
        for part in pointer.split("/")[1:]:
            found = found[int(part)] if isinstance(found, list) else found[part]
        return found

    before = json.dumps(value)
    shown = rules(pointers=(pointer,)).value(value)
    try:
        place = at(value)
    except (KeyError, IndexError, TypeError, ValueError):
        assert shown == value
    else:
        assert at(shown) == REDACTED
        assert json.dumps(shown).replace(json.dumps(REDACTED), json.dumps(place), 1) == before
    assert json.dumps(value) == before, "what is stored was changed"


def test_contents_are_left_out_for_those_who_may_not_see_them() -> None:
    error = {"category": "ActionError", "code": "X", "message": "of customer A", "details": {}}
    step = {"stepPath": "root.steps[0]", "outputJson": 1, "errorJson": error}
    call = {"actionId": "a.b", "inputJson": {"a": 1}, "outputJson": None, "errorJson": None}
    run = {"runId": "r", "parentRunId": None, "inputJson": 1, "resultJson": {"of": "A"}, "errorJson": error}
    task = {"key": "k", "payload": {"taskId": "t", "title": "Ask A", "contextData": {"of": "A"}}}
    timer = {"key": None, "payload": {"mode": "until", "dueAt": 1}}
    lines: list[dict[str, Any]] = [
        {"level": "WARN", "source": None, "message": "failed: of customer A", "contextJson": {"of": "A"}},
        {"level": "INFO", "source": None, "message": "FAILED: undoing 1 step(s)", "contextJson": None},
        {"level": "ERROR", "source": "operator", "message": "noted", "contextJson": None},
    ]
    timeline = {"run": run, "steps": [step], "invocations": [call], "waits": [task, timer], "logs": lines}
    shown = without_contents(timeline)
    assert "of customer A" not in str(shown)
    assert "'of': 'A'" not in str(shown)
    bare = {"category": "ActionError", "code": "X", "redacted": True}
    assert shown["run"] == {**run, "resultJson": {"redacted": True}, "errorJson": bare}
    of_a_child = {**run, "parentRunId": "p", "errorJson": None, "resultJson": None}
    assert run_without_contents(of_a_child) == {**of_a_child, "inputJson": {"redacted": True}}
    assert shown["waits"] == [{"key": "k", "payload": {"taskId": "t", "redacted": True}}, timer]
    assert shown["logs"] == [{**lines[0], "message": REDACTED, "contextJson": {"redacted": True}}, *lines[1:]]
    assert shown["steps"] == [
        {
            "stepPath": "root.steps[0]",
            "outputJson": {"redacted": True},
            "errorJson": {"category": "ActionError", "code": "X", "redacted": True},
        }
    ]
    assert shown["invocations"] == [{**call, "inputJson": {"redacted": True}}]


def test_what_is_wrong_with_a_pattern_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused, match="is no regular expression of RE2"):
        rules("(")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], [""]),
        ({"patterns": []}, ["patterns"]),
        ({"keyPatterns": "email", "pointers": {}}, ["keyPatterns", "pointers"]),
        ({"keyPatterns": ["(", 1, ""], "pointers": ["customer", "/a~2", ""]}, [
            "keyPatterns[0]", "keyPatterns[1]", "keyPatterns[2]", "pointers[0]", "pointers[1]", "pointers[2]",
        ]),
        ({"pointers": ["/a"] * 101}, ["pointers"]),
    ],
)  # fmt: skip
def test_wrong_rules_are_refused_with_everything_that_is_wrong(document: Any, where: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        Redaction.parse(document)
    assert [problem.path for problem in caught.value.problems] == where
    assert {problem.code for problem in caught.value.problems} == {"REDACTION_INVALID"}


@given(st.text("/~01a\n", min_size=1, max_size=30))
def test_a_pointer_is_a_slash_and_then_anything_in_which_each_tilde_is_escaped(text: str) -> None:
    if text.startswith("/") and all(rest[:1] in ("0", "1") for rest in text.split("~")[1:]):
        assert rules(pointers=(text,)).pointers == (text,)
    else:
        with pytest.raises(Refused):
            rules(pointers=(text,))


def test_a_long_pointer_that_is_none_is_refused() -> None:
    """Each slash doubled the time that it took to see that."""
    with pytest.raises(Refused):
        rules(pointers=("/" * 400 + "~",))
