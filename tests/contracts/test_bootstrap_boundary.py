"""However workflow-worker's code reaches for workflows-bootstrap, a net reports it (FR-4, NFR-2, R-3)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.linting import TreeCopy
from harness.workspace import ROOT, members, sources

WORKER_SAFE = ("workflow_worker", "workflows_core", "service_host", "business_calendar")
APPLICATION = ("workflows_bootstrap", "workflow_server", "workflows_cli")
GUIDANCE = (
    "workflow-worker is installed without it: a pure action goes into workflows_core.actions; one that needs the "
    "application stays in workflows_bootstrap with place `app`. See docs/adr/0002-core-and-bootstrap.md."
)

WAYS = {
    "direct": {"workflow_worker.main": "import workflows_bootstrap.application"},
    "from": {"workflow_worker.composition": "from workflows_bootstrap import registrations"},
    "indirect": {
        "workflow_worker.main": "import workflows_core.actions.planted",
        "workflows_core.actions.planted": "import workflows_bootstrap.services",
    },
    "lazy": {"workflow_worker.main": "def later():\n    import workflows_bootstrap.application\n"},
    "type-checking only": {
        "workflow_worker.main": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import workflows_bootstrap\n"
    },
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> TreeCopy:
    return TreeCopy(tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("way", WAYS)
def test_hole_39_an_import_is_reported_with_where_the_code_should_go(tree: TreeCopy, way: str) -> None:
    with tree.planted(WAYS[way], declared={"workflow-worker": "workflows-bootstrap"}):
        report = tree.lint()
    assert report.exit_code != 0
    assert "worker-safe" in report.broken
    assert "stays in workflows_bootstrap" in report.text
    assert "docs/adr/0002-core-and-bootstrap.md" in report.text


def named_by_string(source: str) -> Iterator[str]:
    """Texts that are a module's name of the application: what a loader by name would be given."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.split(":")[0]
            if name in APPLICATION or name.startswith(tuple(f"{package}." for package in APPLICATION)):
                yield node.value


@pytest.mark.parametrize(
    "source",
    [
        "importlib.import_module('workflows_bootstrap.application')",
        "__import__('workflows_bootstrap')",
        "load('workflows_bootstrap.application:build_application_runtime')",
        "EntryPoint(name='x', value='workflows_bootstrap.registrations:application_packs', group='g').load()",
    ],
)
def test_a_name_in_a_string_is_found(source: str) -> None:
    assert len(list(named_by_string(source))) == 1


def test_worker_safe_code_names_no_application_module_in_a_string() -> None:
    for member in members():
        if member.import_name in WORKER_SAFE:
            for path in sorted(member.source.rglob("*.py")):
                assert list(named_by_string(path.read_text(encoding="utf-8"))) == [], f"{path}: {GUIDANCE}"
    assert Path(ROOT) in next(iter(sources())).parents


@pytest.mark.parametrize("name", ["workflow-worker", "workflows-core", "service-host", "temporal-worker"])
def test_no_project_of_the_workers_requires_an_application_wheel(name: str) -> None:
    (member,) = (member for member in members() if member.name == name)
    required = {
        requirement.split("[")[0].split("=")[0].split("<")[0].split(">")[0] for requirement in member.requirements
    }
    assert required & {package.replace("_", "-") for package in APPLICATION} == set(), GUIDANCE
