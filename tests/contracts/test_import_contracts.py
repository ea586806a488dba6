"""Each import contract sees a violation of itself; the tree has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from harness.linting import TreeCopy, contracts
from harness.workspace import members


@dataclass(frozen=True)
class Violation:
    """Lines to plant, dependencies to declare so that only the import is at fault, and the ids that must break."""

    lines: Mapping[str, str]
    breaks: frozenset[str]
    declared: Mapping[str, str] = field(default_factory=dict)


def violation(module: str, line: str, *breaks: str, declared: Mapping[str, str] | None = None) -> Violation:
    return Violation({module: line}, frozenset(breaks), declared or {})


LAYERS = {contract["containers"][0]: contract["id"] for contract in contracts() if "containers" in contract}
DETERMINISTIC = next(contract for contract in contracts() if contract["id"] == "deterministic")
WORKER_TO_DOMAIN = {"workflow-worker": "temporal-worker"}

VIOLATIONS = {
    "a worker imports the other": violation(
        "workflow_worker", "import temporal_worker", "wheel-stack", declared=WORKER_TO_DOMAIN
    ),
    "a type-only import counts": violation(
        "workflow_worker",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import temporal_worker",
        "wheel-stack",
        declared=WORKER_TO_DOMAIN,
    ),
    "an import inside a function counts": violation(
        "workflow_worker", "def later():\n    import temporal_worker", "wheel-stack", declared=WORKER_TO_DOMAIN
    ),
    "core imports bootstrap": violation(
        "workflows_core",
        "import workflows_bootstrap",
        "wheel-stack",
        "worker-safe",
        declared={"workflows-core": "workflows-bootstrap"},
    ),
    "the worker imports the server": violation(
        "workflow_worker",
        "import workflow_server",
        "wheel-stack",
        "worker-safe",
        declared={"workflow-worker": "workflow-server"},
    ),
    "service-host imports the command line": violation(
        "service_host",
        "import workflows_cli",
        "wheel-stack",
        "worker-safe",
        declared={"service-host": "workflows-cli"},
    ),
    "the server imports a worker": violation(
        "workflow_server", "import workflow_worker", "server-apart", declared={"workflow-server": "workflow-worker"}
    ),
    "the domain worker imports core": violation(
        "temporal_worker",
        "import workflows_core.errors",
        "domain-worker-apart",
        declared={"temporal-worker": "workflows-core"},
    ),
    "siblings inside core": violation(
        "workflows_core.validation.planted", "import workflows_core.storage.revision", "core-layers"
    ),
    "upwards inside core, from a new module": violation(
        "workflows_core.publishing.planted", "import workflows_core.launching.planted", "core-layers", "acyclic"
    ),
    "siblings inside service-host": violation(
        "service_host.events", "import service_host.leaving", "service-host-layers"
    ),
    "upwards inside the calendar": violation(
        "business_calendar.hours", "import business_calendar.calendar", "calendar-layers", "acyclic"
    ),
    "upwards inside bootstrap": violation(
        "workflows_bootstrap.registrations",
        "import workflows_bootstrap.application",
        "bootstrap-layers",
        "acyclic",
    ),
    "upwards inside the command line": violation(
        "workflows_cli.output", "import workflows_cli.main", "cli-layers", "acyclic"
    ),
    "upwards inside the worker": violation(
        "workflow_worker.settings", "import workflow_worker.main", "workflow-worker-layers", "acyclic"
    ),
    "upwards inside the domain worker": violation(
        "temporal_worker.names",
        "import temporal_worker.main",
        "temporal-worker-layers",
        "acyclic",
        "domain-deterministic",
    ),
    "the clock in the interpreter": violation("workflows_core.interpreter.planted", "import time", "deterministic"),
    "chance in the driver": violation("workflows_core.execution.driver", "from random import random", "deterministic"),
    "the clock behind another module": Violation(
        {
            "workflows_core.definitions.planted": "import workflows_core.errors",
            "workflows_core.errors": "from uuid import uuid4",
        },
        frozenset({"deterministic"}),
    ),
    "the clock in a domain workflow": violation(
        "temporal_worker.workflows.planted", "import time", "domain-deterministic"
    ),
    "a migration tool in core": violation(
        "workflows_core.storage.planted",
        "import alembic",
        "core-without-application",
        declared={"workflows-core": "alembic"},
    ),
    "tables outside storage": violation(
        "workflows_core.launching.planted", "import workflows_core.storage.tables", "tables-private"
    ),
    "registrations outside bootstrap": violation(
        "workflow_server", "import workflows_bootstrap.registrations", "registrations-private"
    ),
    "Temporal in ingress": violation(
        "workflows_core.ingress.planted", "import temporalio.client", "temporal-sdk-placed"
    ),
    "the expression engine outside its adapter": violation(
        "workflows_core.validation.planted", "import jlens", "expression-engine-behind-port"
    ),
    "a second HTTP client": violation("workflows_core.actions.planted", "import httpx", "http-client-placed"),
    "an AI client elsewhere": violation(
        "workflows_bootstrap.inference.planted", "def ask(): import openai", "application-clients-placed"
    ),
    "a circle": Violation(
        {
            "workflows_core.actions.planted": "import workflows_core.actions.ports",
            "workflows_core.actions.ports": "import workflows_core.actions.planted",
        },
        frozenset({"acyclic"}),
    ),
    "an undeclared dependency": violation("business_calendar.hours", "import pydantic", "declared-dependencies"),
    "an undeclared wheel": violation("workflow_server", "import business_calendar", "declared-dependencies"),
    "unplaced modules": Violation({f"{package}.unplaced": "" for package in LAYERS}, frozenset(LAYERS.values())),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> TreeCopy:
    return TreeCopy(tmp_path_factory.mktemp("tree"))


def test_the_tree_keeps_every_contract(copy: TreeCopy) -> None:
    report = copy.lint()
    assert report.exit_code == 0, report.text
    assert report.kept == {contract["id"] for contract in contracts()}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_breaks_its_contract_and_no_other(copy: TreeCopy, name: str) -> None:
    planted = VIOLATIONS[name]
    with copy.planted(planted.lines, planted.declared):
        report = copy.lint()
    assert report.broken == planted.breaks, report.text
    assert report.exit_code == 1
    for contract in contracts():
        guidance = " ".join(contract["broken_contract_guidance"].split())
        assert (guidance in report.text) == (contract["id"] in planted.breaks), contract["id"]


def test_every_contract_has_a_violation() -> None:
    shown = frozenset().union(*(planted.breaks for planted in VIOLATIONS.values()))
    assert shown == {contract["id"] for contract in contracts()}


def test_every_wheel_has_a_contract_for_its_inside() -> None:
    assert LAYERS.keys() == {member.import_name for member in members()}


@pytest.mark.parametrize(
    ("contract", "source"),
    [
        ("deterministic", "workflows_core.interpreter.planted"),
        ("domain-deterministic", "temporal_worker.workflows.planted"),
        ("core-without-application", "workflows_core.actions.planted"),
    ],
)
def test_every_forbidden_name_is_seen(copy: TreeCopy, contract: str, source: str) -> None:
    names = next(each["forbidden_modules"] for each in contracts() if each["id"] == contract)
    with copy.planted({source: "\n".join(f"import {name}" for name in names)}):
        report = copy.lint()
    for name in names:
        assert f"{source} -> {name} (" in report.text


def test_every_deterministic_module_is_watched(copy: TreeCopy) -> None:
    with copy.planted(dict.fromkeys(DETERMINISTIC["source_modules"], "import time")):
        report = copy.lint()
    for source in DETERMINISTIC["source_modules"]:
        assert f"{source} is not allowed to import time" in report.text


def test_what_is_planted_is_taken_out_again(copy: TreeCopy) -> None:
    def files() -> dict[str, str]:
        return {str(path): path.read_text(encoding="utf-8") for path in copy.root.rglob("*.py")}

    before = files()
    with copy.planted({"workflows_core.errors": "import time", "workflows_core.planted": "import time"}):
        assert files() != before
    assert files() == before
