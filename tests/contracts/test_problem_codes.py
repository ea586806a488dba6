"""docs/problem-codes.md explains every problem code that the code raises, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "problem-codes.md"
CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def sources() -> list[Path]:
    return sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])


def codes_in(source: str) -> Iterator[str]:
    """Codes of problems and refusals (first argument or `code=`) and of failures (`code=` of any call)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            yield from _codes_of(
                value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value == "code"
            )
        if not isinstance(node, ast.Call):
            continue
        argument = next((k.value for k in node.keywords if k.arg == "code"), None)
        match node.func:
            case ast.Name(id="Problem" | "StartProblem" | "refusal") | ast.Attribute(attr="Problem"):
                argument = node.args[0] if node.args else argument
            case ast.Attribute(value=ast.Name(id=owner), attr="one") if owner.endswith("Refused"):
                argument = node.args[0] if node.args else argument
        if argument is not None:
            yield from _codes_of([argument])


def _codes_of(values: Iterable[ast.expr]) -> Iterator[str]:
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
            yield value.value


def headings(page: str) -> list[str]:
    return re.findall(r"^### (\S+)$", page, flags=re.MULTILINE)


def raised() -> set[str]:
    return {code for path in sources() for code in codes_in(path.read_text(encoding="utf-8"))}


def test_every_raised_code_is_explained_and_every_explained_one_is_raised() -> None:
    explained = set(headings(PAGE.read_text(encoding="utf-8")))
    assert raised() - explained == set(), "add a `### CODE` heading with cause and remedy"
    sources_text = "".join(path.read_text(encoding="utf-8") for path in sources())
    assert {code for code in explained if f'"{code}"' not in sources_text} == set(), (
        "remove the heading, or raise the code"
    )


def test_codes_are_upper_snake_and_explained_once_with_cause_and_remedy() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = headings(page)
    assert sorted(set(found)) == sorted(found)
    for code, body in re.findall(r"^### (\S+)$(.*?)(?=^#|\Z)", page, flags=re.MULTILINE | re.DOTALL):
        assert CODE.fullmatch(code)
        assert "Cause" in body, code
        assert "Remedy" in body, code


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("Problem('A_B', 'm')", ["A_B"]),
        ("errors.Problem(code='A_B', message='m')", ["A_B"]),
        ("Refused.one('A_B', 'm')", ["A_B"]),
        ("StartRefused.one('A_B', 'm')", ["A_B"]),
        ("StartProblem('A_B', 'where', 'm')", ["A_B"]),
        ("Failure(category, 'm', code='A_B')", ["A_B"]),
        ("ActionFailed('m', code='A_B')", ["A_B"]),
        ("refusal('A_B', 'm')", ["A_B"]),
        ("{'code': 'A_B', 'message': 'm'}", ["A_B"]),
        ("Problem(code, 'm')", []),
        ("Other('A_B')", []),
    ],
)
def test_the_search_sees_codes(source: str, codes: list[str]) -> None:
    assert list(codes_in(source)) == codes
