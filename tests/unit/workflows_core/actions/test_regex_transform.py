"""Regular expressions: like Python's where both know the syntax, and never for long."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.actions import Core
from workflows_core.actions.regex_transforms import MAX_TEXT_LENGTH, MAX_WORK
from workflows_core.errors import ActionFailed, ErrorCategory

CORE = Core()
NOTHING: dict[str, Any] = {"matched": False, "match": None, "index": None, "groups": [], "namedGroups": {}}

ATOMS = st.sampled_from(["a", "b", "é", ".", "[ab]", "[^a]", "^", "$", r"\d", r"\b"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        inner.map("({})".format),
        st.tuples(st.sampled_from(["a", "b", "(a)", "[ab]"]), st.sampled_from(["?", "+", "{1,3}", "+?"])).map("".join),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("abé1\n", max_size=12), st.sets(st.sampled_from("im")))
def test_it_finds_what_python_finds(pattern: str, text: str, flags: set[str]) -> None:
    # Without the `m` flag Python's $ also matches before a line break at the end, RE2's only at the end.
    python = pattern if "m" in flags else pattern.replace("$", r"\Z")
    expected = re.search(
        python, text, re.ASCII | sum(re.RegexFlag({"i": re.IGNORECASE, "m": re.MULTILINE}[flag]) for flag in flags)
    )
    found = CORE.run("transform.regex_match", {"text": text, "pattern": pattern, "flags": "".join(flags)})
    if expected is None:
        assert found == NOTHING
    else:
        assert (found["match"], found["index"]) == (expected.group(), expected.start())
        assert found["groups"] == list(expected.groups())


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (
            {"text": "on 2026-03-01", "pattern": r"(?<y>\d{4})-(?<m>\d\d)"},
            ("2026-03", 3, ["2026", "03"], {"y": "2026", "m": "03"}),
        ),
        ({"text": "😀 x", "pattern": "x"}, ("x", 2, [], {})),
        ({"text": "ABC", "pattern": "b", "flags": "gi"}, ("B", 1, [], {})),
        ({"text": "a\nb", "pattern": "a.b", "flags": "su"}, ("a\nb", 0, [], {})),
        ({"text": "ac", "pattern": "a(?P<b>b)?c"}, ("ac", 0, [None], {"b": None})),
        ({"text": 1234, "pattern": "23"}, ("23", 1, [], {})),
        ({"text": "x", "pattern": "y*"}, ("", 0, [], {})),
    ],
)
def test_by_example(value: dict[str, Any], found: tuple[Any, ...]) -> None:
    match, index, groups, named = found
    assert CORE.run("transform.regex_match", value) == {
        "matched": True,
        "match": match,
        "index": index,
        "groups": groups,
        "namedGroups": named,
    }


def failure(value: dict[str, Any]) -> tuple[str, str | None, str]:
    with pytest.raises(ActionFailed) as failed:
        CORE.run("transform.regex_match", value)
    return failed.value.failure.category, failed.value.failure.code, failed.value.failure.message


@pytest.mark.parametrize("pattern", ["(", "a**", r"(?=a)b", r"(a)\1", "[z-a]", "a{1001}"])
def test_a_pattern_outside_the_syntax_is_refused(pattern: str) -> None:
    category, code, message = failure({"text": "a", "pattern": pattern})
    assert (category, code) == (ErrorCategory.VALIDATION, "TRANSFORM_REGEX_INVALID")
    assert message.startswith("the pattern is not valid in RE2 syntax: ")


def test_no_match_fails_only_when_one_is_required() -> None:
    value = {"text": "a", "pattern": "b"}
    assert CORE.run("transform.regex_match", value) == NOTHING
    assert failure({**value, "requireMatch": True})[1] == "TRANSFORM_NO_MATCH"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 50_000 + "b"),
        (r"^(a|a)*$", "a" * 50_000 + "b"),
        (r"(.*)*x", "y" * 50_000),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 50_000),
        (r"(x+x+)+y", "x" * MAX_TEXT_LENGTH),
    ],
)
def test_patterns_that_keep_a_backtracking_engine_busy_for_years_just_end(pattern: str, text: str) -> None:
    assert CORE.run("transform.regex_match", {"text": text, "pattern": pattern})["matched"] is False


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?:a?){900}a{900}b", "a" * 50_000),
        (r"[01]*1[01]{900}[01]{900}2", "01" * 40_000),
        (r"(\pL{1,50}|\pN{1,50})*x", "é" * 90_000),
        ("a", "a" * (MAX_TEXT_LENGTH + 1)),
        (r"(\pL{1,500}?)+x", "a"),
        (r"((a{100}){100}){100}", "a"),
    ],
)
def test_what_would_take_long_is_refused_by_a_count(pattern: str, text: str) -> None:
    category, code, _ = failure({"text": text, "pattern": pattern})
    assert category == ErrorCategory.VALIDATION
    assert code in ("TRANSFORM_REGEX_TOO_COSTLY", "TRANSFORM_REGEX_INVALID")
    assert MAX_WORK == 25_000_000


MANY_MATCHES = ["transform.regex_replace", "transform.regex_extract"]


@pytest.mark.parametrize("action", MANY_MATCHES)
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a*b|a", "a" * MAX_TEXT_LENGTH),
        ("(?:a*b)?", "a" * MAX_TEXT_LENGTH),
        ("[01]*1[01]{40}2|1", f"{3**31_000:b}"),
    ],
)
def test_matches_behind_each_of_which_all_the_text_is_searched_are_given_up(
    action: str, pattern: str, text: str
) -> None:
    with pytest.raises(ActionFailed, match=r"took over 1000 ms, which is the limit") as failed:
        CORE.run(action, {"text": text, "pattern": pattern})
    assert failed.value.failure.code == "TRANSFORM_REGEX_TOO_COSTLY"
    assert failed.value.failure.category == ErrorCategory.VALIDATION


@pytest.mark.parametrize("action", MANY_MATCHES)
def test_time_counts_only_for_what_could_take_long(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr("time.thread_time", lambda: 10.0 * next(ticks))
    assert CORE.run(action, {"text": "a" * 2_000, "pattern": "a*b|a"})["count"] == 2_000
    with pytest.raises(ActionFailed, match="up to character"):
        CORE.run(action, {"text": "a" * 4_000, "pattern": "a*b|a"})


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("a" * 20_000, "a", 20_000),
        ("ab " * 5_000, r"\w+|\s+", 10_000),
        ('"a, ""b""",12,word,' * 2_000, r'"(?:[^"]|"")*"|[^,"]+', 6_000),
        ("  x  \n" * 5_000, r"(?m)^ +| +$", 10_000),
    ],
)
def test_many_matches_of_a_long_text_are_found(text: str, pattern: str, matches: int) -> None:
    replaced = CORE.run("transform.regex_replace", {"text": text, "pattern": pattern})
    assert replaced == {"text": re.sub(pattern, "", text), "count": matches}


@pytest.mark.parametrize("change", [{"flags": "x"}, {"pattern": ""}, {"pattern": "a" * 2001}, {"text": ["a"]}])
def test_an_input_of_another_form_is_refused(change: dict[str, Any]) -> None:
    assert failure({"text": "a", "pattern": "a", **change})[1] == "ACTION_INPUT_INVALID"
