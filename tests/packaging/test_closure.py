"""Each program installed alone from wheels: what is there, what is not, what works (FR-4, FR-5, AC-4, AC-5)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.installed import CLOSURE, FIRST_PARTY, PROGRAMS, Installed, modules_of
from harness.workspace import ROOT

Environments = Callable[[str], Installed]

FIND = """
import importlib.util, json, sys
print(json.dumps([name for name in json.loads(sys.argv[1]) if importlib.util.find_spec(name) is not None]))
"""

GUIDANCE = (
    "This program is installed without it on purpose. A pure action goes into workflows_core.actions; one that needs "
    "the application stays in workflows_bootstrap with place `app`; see docs/adr/0002-core-and-bootstrap.md. What a "
    "later release really needs goes into contracts/wheel_closure.toml with the reason."
)

# Which wheel's modules are tried in which environment: the smallest one that has it.
SMALLEST = {
    "business_calendar": "temporal-worker",
    "service_host": "temporal-worker",
    "temporal_worker": "temporal-worker",
    "workflows_core": "workflow-worker",
    "workflow_worker": "workflow-worker",
    "workflows_bootstrap": "workflow-server",
    "workflow_server": "workflow-server",
    "workflows_cli": "workflows-cli",
}

SETTINGS = {
    "TEMPORAL_ADDRESS": "localhost:7233",
    "DB_HOST": "localhost",
    "DB_NAME_SERVER": "workflows",
    "DB_USER_SERVER": "runtime",
    "DB_PASSWORD_SERVER": "secret",
}

each_program = pytest.mark.parametrize("program", PROGRAMS)


def forbidden(program: str) -> list[str]:
    return sorted({*CLOSURE[program]["forbidden"], *CLOSURE["everywhere"]["forbidden"]})


def found_of(installed: Installed, distributions: list[str]) -> list[str]:
    found: list[str] = installed.tell(FIND, json.dumps([name.replace("-", "_") for name in distributions]))
    return found


@each_program
def test_it_has_exactly_the_wheels_of_ours_that_it_needs(installed: Environments, program: str) -> None:
    there = installed(program).distributions()
    assert sorted(there.keys() & FIRST_PARTY) == CLOSURE[program]["first_party"], GUIDANCE


@each_program
def test_what_it_must_not_have_is_not_there(installed: Environments, program: str) -> None:
    environment = installed(program)
    assert sorted(environment.distributions().keys() & set(forbidden(program))) == [], GUIDANCE
    assert found_of(environment, forbidden(program)) == [], GUIDANCE


def test_a_forbidden_package_would_be_found(installed: Environments) -> None:
    environment = installed("workflow-worker")
    assert found_of(environment, ["workflows-core", "workflows-bootstrap"]) == ["workflows_core"]
    with environment.planted({"workflows_bootstrap/__init__.py": ""}):
        assert found_of(environment, forbidden("workflow-worker")) == ["workflows_bootstrap"]


@pytest.mark.parametrize("package", SMALLEST)
def test_every_module_imports_by_itself_from_this_environment(installed: Environments, package: str) -> None:
    environment = installed(SMALLEST[package])
    modules = modules_of(environment, [package])
    assert len(modules) >= 3
    assert environment.wrong_imports(modules) == {}


def test_a_module_that_needs_what_is_not_installed_is_found(installed: Environments, tmp_path: Path) -> None:
    environment = installed("workflow-worker")
    lazy = "def ask():\n    import workflows_bootstrap\n"
    by_string = "__import__('workflows_' + 'bootstrap')\n"
    plants = {
        "workflow_worker/planted_direct.py": "import workflows_bootstrap.application\n",
        "workflow_worker/planted_indirect.py": "import workflow_worker.planted_direct\n",
        "workflow_worker/planted_string.py": by_string,
        "workflow_worker/planted_lazy.py": lazy,
    }
    with environment.planted(plants):
        wrong = environment.wrong_imports([f"workflow_worker.{Path(name).stem}" for name in plants])
    # One that is imported when it is used only is the import linter's to find: tests/contracts.
    assert sorted(wrong) == [f"workflow_worker.planted_{way}" for way in ("direct", "indirect", "string")]
    assert all("No module named 'workflows_bootstrap'" in message for message in wrong.values())


def test_a_file_from_outside_is_found(installed: Environments) -> None:
    environment = installed("temporal-worker")
    source = str(ROOT / "packages/business-calendar/src")
    wrong = environment.wrong_imports(["business_calendar.hours"], first_on_path=[source])
    assert "from outside" in wrong["business_calendar.hours"]


@each_program
def test_help_and_describe_run(installed: Environments, program: str) -> None:
    environment = installed(program)
    script = "workflows" if program == "workflows-cli" else program
    shown = environment.run(script, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    if program == "workflows-cli":
        return
    described = environment.run(script, "describe")
    assert (described.returncode, described.stderr) == (0, "")
    body: dict[str, Any] = json.loads(described.stdout)
    assert body["service"] == program
    assert body["queuesOwned"]


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program != "workflows-cli"])
def test_check_says_what_is_wrong_without_any_server(installed: Environments, program: str) -> None:
    environment = installed(program)
    good = environment.run(program, "check", "--offline", environment=SETTINGS)
    assert (good.returncode, good.stderr) == (0, "")
    bad = environment.run(program, "check", "--offline", environment={})
    assert bad.returncode == 2
    assert "TEMPORAL_ADDRESS" in bad.stderr
    assert "Traceback" not in bad.stderr


@each_program
def test_it_weighs_no_more_than_its_ceiling(installed: Environments, program: str) -> None:
    environment = installed(program)
    ceiling = tomllib.loads((ROOT / "contracts" / "footprint.toml").read_text(encoding="utf-8"))[program]
    files = [p for p in environment.site_packages.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert len(environment.distributions()) <= ceiling["distributions"], "raise it with the reason, or drop what came"
    assert sum(path.stat().st_size for path in files) <= ceiling["installed_mb"] * 1_000_000
