"""Transforms of texts, against plain Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.actions import Core
from workflows_core.actions.text_transforms import MAX_RESULT_LENGTH
from workflows_core.errors import ActionFailed, ErrorCategory

CORE = Core()
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)
SMALL = st.text("ab ", max_size=12)


@given(st.lists(TEXT), TEXT)
def test_concat_and_join_are_pythons_join(values: list[str], separator: str) -> None:
    joined = {"text": separator.join(values)}
    assert CORE.run("transform.concat_text", {"values": values, "separator": separator}) == joined
    assert CORE.run("transform.join_text", {"items": values, "delimiter": separator}) == joined


@given(SMALL, SMALL, TEXT, st.booleans())
def test_replace_is_pythons_replace(text: str, search: str, replacement: str, every: bool) -> None:
    value = {"text": text, "search": search, "replacement": replacement, "replaceAll": every}
    expected = text if not search else text.replace(search, replacement, -1 if every else 1)
    assert CORE.run("transform.replace_text", value) == {"text": expected}


@given(SMALL, SMALL, st.booleans())
def test_split_is_pythons_split(text: str, delimiter: str, remove_empty: bool) -> None:
    pieces = text.split(delimiter) if delimiter else list(text)
    expected = [piece for piece in pieces if piece or not remove_empty]
    value = {"text": text, "delimiter": delimiter, "removeEmpty": remove_empty}
    assert CORE.run("transform.split_text", value) == {"items": expected}


@given(st.lists(st.text("abc", max_size=3), min_size=1))
def test_join_undoes_split(pieces: list[str]) -> None:
    text = CORE.run("transform.join_text", {"items": pieces, "delimiter": ";"})["text"]
    assert CORE.run("transform.split_text", {"text": text, "delimiter": ";"}) == {"items": pieces}


@given(TEXT, st.integers(0, 40), st.sampled_from(["end", "start", "middle"]), st.text("…-", max_size=4))
def test_a_truncated_text_has_the_length_and_keeps_the_ends(text: str, limit: int, strategy: str, mark: str) -> None:
    value = {"text": text, "maxLength": limit, "strategy": strategy, "ellipsis": mark}
    result = CORE.run("transform.truncate_text", value)["text"]
    kept = limit - len(mark)
    if len(text) <= limit:
        assert result == text
    elif kept <= 0:
        assert result == mark[:limit]
    else:
        head = {"end": kept, "start": 0, "middle": kept - kept // 2}[strategy]
        assert result == text[:head] + mark + text[len(text) - (kept - head) :]
        assert len(result) == limit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"text": "abcdefgh", "maxLength": 5}, "ab..."),
        ({"text": "abcdefgh", "maxLength": 5, "strategy": "start"}, "...gh"),
        ({"text": "abcdefgh", "maxLength": 6, "strategy": "middle"}, "ab...h"),
        ({"text": "abcdefgh", "maxLength": 3}, "..."),
        ({"text": "abcdefgh", "maxLength": 2}, ".."),
        ({"text": "abcdefgh", "maxLength": 0}, ""),
        ({"text": "abcdefgh", "maxLength": 4, "ellipsis": ""}, "abcd"),
        ({"text": "abcdefgh", "maxLength": 4, "ellipsis": "", "strategy": "start"}, "efgh"),
        ({"text": "😀😀😀😀😀", "maxLength": 4}, "😀..."),
        ({"maxLength": 4}, ""),
    ],
)
def test_truncation_by_example(value: dict[str, Any], text: str) -> None:
    assert CORE.run("transform.truncate_text", value) == {"text": text}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (1.0, "1"), (2.5, "2.5"), ({"a": [1, None]}, '{"a":[1,null]}'), ("x", "x")],
)
def test_values_become_their_text_form(value: Any, text: str) -> None:
    assert CORE.run("transform.concat_text", {"values": [value, "."]}) == {"text": f"{text}."}
    assert CORE.run("transform.split_text", {"text": value, "delimiter": "\n"}) == {"items": [text]}


@pytest.mark.parametrize(
    ("action_id", "value"),
    [
        ("transform.replace_text", {"text": "a" * 60_000, "search": "a", "replacement": "b" * 60_000}),
        ("transform.concat_text", {"values": [""] * 60_000, "separator": "b" * 60_000}),
        ("transform.join_text", {"items": [""] * 60_000, "delimiter": "b" * 60_000}),
    ],
)
def test_a_result_that_would_be_huge_is_never_made(action_id: str, value: dict[str, Any]) -> None:
    with pytest.raises(ActionFailed, match=f"at most {MAX_RESULT_LENGTH} are allowed") as failed:
        CORE.run(action_id, value)
    assert failed.value.failure.code == "TRANSFORM_TOO_LARGE"
    assert failed.value.failure.category == ErrorCategory.PAYLOAD_TOO_LARGE
