"""What the command line takes as JSON."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from workflows_cli.session import MAX_FILE_BYTES, parse_json, read_document
from workflows_core.errors import Refused
from workflows_core.wire.text import NameTwice, each_name_once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is twice"),
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": ' * 10_000 + "1" + "}" * 10_000, "nested too deeply"),
        ("{", "line 1"),
        (f'{{"a": {"9" * 5_000}}}', "a number has 5000 digits, at most 1000"),
    ],
)
def test_what_is_no_json_for_us_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_json(text, "file.json")
    assert (refused.value.code, refused.value.problems[0].path) == ("NOT_JSON", "file.json")
    assert said in refused.value.message


def test_a_mark_of_the_encoding_is_no_part_of_the_json(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_text('{"a": 12345678901234567890}', encoding="utf-8-sig")
    assert read_document(str(path)) == {"a": 12345678901234567890}


def test_a_name_that_comes_again_behind_many_is_found_by_looking_at_each_a_few_times() -> None:
    looks = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal looks
            looks += 1
            return str.__eq__(self, other)

    many = 2_000
    with pytest.raises(NameTwice, match="'n1999' is twice"):
        each_name_once([*((Name(f"n{number}"), 1) for number in range(many)), (Name("n1999"), 2)])
    assert looks < 20 * many


def test_a_file_without_end_is_refused_and_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.truncate(100 * 1024**2)
    begun = time.monotonic()
    with pytest.raises(Refused, match="FILE_TOO_LARGE"):
        read_document(str(path))
    assert time.monotonic() - begun < 5
    small = tmp_path / "small.json"
    small.write_text('{"a": "' + "x" * 1000 + '"}', encoding="utf-8")
    assert len(read_document(str(small))["a"]) == 1000 < MAX_FILE_BYTES
