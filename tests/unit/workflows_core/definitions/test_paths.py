"""Assignment paths."""

from __future__ import annotations

import pytest

from workflows_core.definitions.paths import AssignPath, parse_assign_path


@pytest.mark.parametrize(
    ("text", "scope", "segments"),
    [
        ("payload.x.y", "payload", ("x", "y")),
        ("vars.x", "vars", ("x",)),
        ("meta.x", "meta", ("x",)),
        ("error.x", "error", ("x",)),
        (" vars.x ", "vars", ("x",)),
        ("/a/b", "payload", ("a", "b")),
        ("/vars/b", "payload", ("vars", "b")),
        ("/a~1b/c~0d/e.f", "payload", ("a/b", "c~d", "e.f")),
    ],
)
def test_paths_with_a_scope(text: str, scope: str, segments: tuple[str, ...]) -> None:
    assert parse_assign_path(text) == AssignPath(scope, segments)


def test_a_path_without_a_scope_takes_the_default_or_is_refused() -> None:
    assert parse_assign_path("result.id", "vars") == AssignPath("vars", ("result", "id"))
    with pytest.raises(ValueError, match=r"names no scope.*vars\.result"):
        parse_assign_path("result.id")


@pytest.mark.parametrize("segment", ["__proto__", "prototype", "constructor"])
@pytest.mark.parametrize("form", ["vars.{}", "vars.a.{}.b", "/{}", "/a/{}"])
def test_segments_of_the_prototype_are_refused(form: str, segment: str) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        parse_assign_path(form.format(segment))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("vars", "whole scope"),
        ("vars.", "empty segment"),
        ("vars..x", "empty segment"),
        ("/", "empty segment"),
        ("local.x", "cannot be written"),
        ("system", "cannot be written"),
        ("vars.items[0]", "list items"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_assign_path(text, "vars")


@pytest.mark.parametrize("scope", ["vars", None])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vars.items[0]", "list items"),
        ("vars[0]", "list items"),
        ('vars["total"]', "a field has no brackets"),
        ("vars['a.b'].c", "a field has no brackets"),
    ],
)
def test_brackets_are_told_as_such_whether_or_not_a_scope_is_needed(text: str, says: str, scope: str | None) -> None:
    with pytest.raises(ValueError, match=says):
        parse_assign_path(text, scope)


def test_a_path_is_shown_with_its_scope() -> None:
    assert str(parse_assign_path("x.y", "vars")) == "vars.x.y"
