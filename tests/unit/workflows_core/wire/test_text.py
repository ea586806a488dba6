"""A name that is twice in one object is found, and found in one pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.wire.text import NameTwice, each_name_once


class Counted(str):
    """A name that counts how often one is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@given(st.lists(st.tuples(st.text(max_size=2), st.integers()), max_size=8))
def test_an_object_is_what_it_says_or_the_first_name_that_comes_again_is_told(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if not twice:
        assert each_name_once(pairs) == dict(pairs)
    else:
        with pytest.raises(NameTwice) as refused:
            each_name_once(pairs)
        assert str(refused.value).startswith(f"the name {twice[0]!r} is twice in one object")


def test_many_names_of_which_the_last_comes_again_are_not_each_compared_with_all() -> None:
    pairs: list[tuple[str, Any]] = [(Counted(number), 1) for number in range(2_000)]
    Counted.compared = 0
    with pytest.raises(NameTwice, match="'1999'"):
        each_name_once([*pairs, (Counted(1999), 2)])
    assert Counted.compared < 20 * len(pairs)


def test_it_reads_with_the_parser() -> None:
    assert json.loads('{"a": {"b": 1}, "b": 2}', object_pairs_hook=each_name_once) == {"a": {"b": 1}, "b": 2}
