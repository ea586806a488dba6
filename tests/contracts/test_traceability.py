"""docs/traceability.md has every requirement, and everything it names exists."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sysconfig
from collections.abc import Iterator
from functools import cache

import click
import pytest

from harness.workspace import ROOT
from workflows_cli.main import cli

PAGE = ROOT / "docs/traceability.md"
COUNTS = {"G": 6, "F": 3, "FR": 9, "NFR": 5, "AC": 7, "R": 5, "OQ": 3}
IDS = [f"{kind}-{number}" for kind, count in COUNTS.items() for number in range(1, count + 1)]
SERVICES = {"workflow-worker", "temporal-worker", "workflow-server"}
SCRIPTS = sysconfig.get_path("scripts")


def rows(page: str) -> dict[str, str]:
    """Last cell of each row by id; a row that appears twice is a mistake."""
    found: dict[str, str] = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if re.fullmatch(r"[A-Z]+-\d+", cells[0]):
            assert cells[0] not in found, f"{cells[0]} has two rows"
            assert len(cells) == 3, line
            found[cells[0]] = cells[2]
    return found


SHOWN = rows(PAGE.read_text(encoding="utf-8"))


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def names_of_tests(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def problems(reference: str) -> Iterator[str]:
    """Why a test or command that the page names does not exist."""
    if "::" in reference:
        path, _, name = reference.partition("::")
        if not (ROOT / path).is_file():
            yield f"there is no file {path}"
        elif name not in names_of_tests(path):
            yield f"{path} has no test {name}"
        return
    program, *arguments = shlex.split(reference)
    if program == "workflows":
        yield from problems_of_command(cli, arguments)
    elif program in SERVICES:
        if arguments[:1] not in (["run"], ["check"], ["describe"]):
            yield f"{program} has no command {arguments}"
    elif not (ROOT / program).is_file() and shutil.which(program, path=SCRIPTS) is None:
        yield f"there is no program {program}"


def problems_of_command(command: click.Command, arguments: list[str]) -> Iterator[str]:
    while arguments and isinstance(command, click.Group):
        name, *arguments = arguments
        found = command.get_command(click.Context(command), name)
        if found is None:
            yield f"{command.name} has no command {name}"
            return
        command = found
    options = {option for parameter in command.params for option in parameter.opts}
    yield from (
        f"{command.name} has no option {each}" for each in arguments if each[:2] == "--" and each not in options
    )


def test_every_requirement_has_a_row() -> None:
    assert len(IDS) == 38
    assert sorted(SHOWN) == sorted(IDS)


@pytest.mark.parametrize("requirement", SHOWN)
def test_what_shows_a_requirement_exists(requirement: str) -> None:
    cell = SHOWN[requirement]
    assert named(cell), "name a test or a command"
    assert [problem for reference in named(cell) for problem in problems(reference)] == []


@pytest.mark.parametrize(
    "reference",
    [
        "tests/contracts/test_nothing.py::test_nothing",
        "tests/contracts/test_traceability.py::test_nothing",
        "workflows dance",
        "workflows runs dance",
        "workflows demo --dance",
        "workflow-worker dance",
        "dance",
    ],
)
def test_what_does_not_exist_is_noticed(reference: str) -> None:
    assert list(problems(reference)) != []
