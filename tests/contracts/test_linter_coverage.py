"""Nothing escapes the import linter: no package, no folder, no name that does not exist, no exception."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.util import find_spec
from typing import Any

import grimp
import pytest

from harness.linting import CONFIGURATION, contracts
from harness.workspace import ROOT, members, module_name, sources

ABSENT_BY_DESIGN = frozenset({"anthropic", "fastapi", "openai", "requests", "starlette"})
"""Forbidden distributions that no wheel depends on and the environment need not have."""

REVISIONS = ROOT / "packages/workflows-cli/src/workflows_cli/migrations/versions"
"""Alembic loads these by path: no package, no graph, so a check of their own."""


def session() -> dict[str, Any]:
    options: dict[str, Any] = tomllib.loads((ROOT / CONFIGURATION).read_text(encoding="utf-8"))["tool"]["importlinter"]
    return options


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*session()["root_packages"], cache_dir=None)


def test_the_linter_starts_from_every_member() -> None:
    packages = sorted(member.import_name for member in members())
    assert sorted(session()["root_packages"]) == packages
    acyclic = next(contract for contract in contracts() if contract["type"] == "acyclic_siblings")
    assert sorted(acyclic["ancestors"]) == packages


def test_every_project_is_a_member_and_ships_one_package() -> None:
    # The example pack is a third party's: it is built and used by tests/packaging, and no member on purpose.
    projects = {path.parent for path in ROOT.glob("*/*/pyproject.toml")} - {ROOT / "examples" / "acme-actions"}
    assert projects == {ROOT / member.directory for member in members()}
    for member in members():
        assert [path.name for path in member.source.iterdir() if path.name != "__pycache__"] == [member.import_name]


def test_python_of_a_wheel_lies_in_its_source_folder() -> None:
    for member in members():
        inside = set(member.source.rglob("*.py"))
        assert set((ROOT / member.directory).rglob("*.py")) == inside


def test_every_folder_with_python_is_a_package() -> None:
    folders = {path.parent for path in sources()} - {REVISIONS} | {ROOT / "contracts"}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_file_is_in_the_graph(graph: grimp.ImportGraph) -> None:
    assert {module_name(path) for path in sources() if path.parent != REVISIONS} == graph.modules


def test_revisions_import_only_what_runs_them() -> None:
    revisions = sorted(REVISIONS.glob("*.py"))
    assert revisions
    for revision in revisions:
        for node in ast.walk(ast.parse(revision.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                allowed = name.partition(".")[0] in {"__future__", "alembic", "sqlalchemy"}
                assert allowed or name.startswith("workflows_cli.migrations."), f"{revision.name} imports {name}"


def test_every_layer_and_source_exists(graph: grimp.ImportGraph) -> None:
    for contract in contracts():
        for source in (*contract.get("source_modules", ()), *contract.get("allowed_importers", ())):
            assert source in graph.modules, contract["id"]


def test_names_from_outside_are_spelt_right() -> None:
    roots = {member.import_name for member in members()}
    outside = {
        name
        for contract in contracts()
        for name in (*contract.get("forbidden_modules", ()), *contract.get("protected_modules", ()))
        if name.partition(".")[0] not in roots
    }
    assert outside
    unknown = {name for name in outside if name not in sys.stdlib_module_names and find_spec(name) is None}
    assert unknown <= ABSENT_BY_DESIGN
    assert outside >= ABSENT_BY_DESIGN


def test_no_contract_makes_exceptions() -> None:
    weakening = {"ignore_imports", "exhaustive_ignores", "skip_descendants", "allow_indirect_imports"}
    for contract in contracts():
        assert not weakening & contract.keys(), contract["id"]
        assert not any("(" in layer for layer in contract.get("layers", ())), contract["id"]
        assert contract.get("exhaustive", "containers" not in contract), contract["id"]


def test_every_contract_says_what_it_is_and_what_to_do() -> None:
    ids = [contract["id"] for contract in contracts()]
    assert len(set(ids)) == len(ids)
    for contract in contracts():
        assert " " in contract["name"], contract["id"]
        assert len(contract["broken_contract_guidance"].split()) > 10, contract["id"]
        if contract["type"] != "declared_dependencies":
            assert contract["unmatched_ignore_imports_alerting"] == "error", contract["id"]


def test_the_linter_sees_everything() -> None:
    options = session()
    assert options["include_external_packages"] is True
    assert options["exclude_type_checking_imports"] is False


def test_no_other_configuration_can_win() -> None:
    assert not (ROOT / "setup.cfg").exists()
    assert not (ROOT / ".importlinter").exists()
    for pyproject in (ROOT / "pyproject.toml", *(ROOT / member.directory / "pyproject.toml" for member in members())):
        assert "importlinter" not in tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
