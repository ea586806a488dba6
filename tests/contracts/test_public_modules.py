"""The public modules of the libraries export exactly the names that contracts/public_modules.toml lists."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator

import grimp
import pytest

from harness.workspace import ROOT, members, module_name, sources

PUBLIC: dict[str, list[str]] = tomllib.loads((ROOT / "contracts/public_modules.toml").read_text(encoding="utf-8"))
FILES = {module_name(path): path for path in sources()}
LIBRARIES = {"business_calendar", "workflows_bootstrap", "workflows_core"}


def exported(source: str) -> Iterator[str]:
    """Public names that a module itself defines; what it imports is another module's."""
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found = [name]
            case ast.Assign(targets=targets):
                found = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case _:
                continue
        yield from (name for name in found if not name.startswith("_"))


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_exports_what_is_listed(module: str) -> None:
    assert module in FILES, (
        "the module is gone: take it out of contracts/public_modules.toml, and say so in CHANGELOG.md"
    )
    names = sorted(exported(FILES[module].read_text(encoding="utf-8")))
    assert names == PUBLIC[module], "a changed public surface: edit contracts/public_modules.toml and CHANGELOG.md"


def test_other_wheels_use_public_modules_only() -> None:
    graph = grimp.build_graph(*(member.import_name for member in members()), cache_dir=None)
    for library in sorted(LIBRARIES):
        used = {
            imported
            for importer in graph.modules
            for imported in graph.find_modules_directly_imported_by(importer)
            if imported.startswith(f"{library}.") and importer.partition(".")[0] != library
        }
        hidden = {module for module in used - PUBLIC.keys() if FILES[module].name != "__init__.py"}
        assert hidden == set(), "make them public on purpose (contracts/public_modules.toml), or use a public module"


def test_the_page_for_maintainers_names_every_public_module() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert [module for module in PUBLIC if f"`{module.partition('.')[2]}`" not in page] == []


def test_the_search_sees_what_a_module_defines() -> None:
    source = "import os\nfrom a import b\nC = 1\nD: int = 2\n_e = 3\ndef f(): ...\nasync def g(): ...\nclass H: ...\n"
    assert list(exported(source)) == ["C", "D", "f", "g", "H"]
