"""A third party's action pack in an installed worker; and packs that are wrong, as an operator sees them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from harness.installed import Installed, uv
from harness.installed_service import authored_run, started
from harness.workspace import ROOT
from workflows_core.storage.database import Database

Environments = Callable[[str], Installed]

SETTINGS = {
    "TEMPORAL_ADDRESS": "localhost:7233",
    "DB_HOST": "localhost",
    "DB_NAME_SERVER": "workflows",
    "DB_USER_SERVER": "runtime",
    "DB_PASSWORD_SERVER": "secret",
}


def call(action: str, mapping: dict[str, Any], save_as: str) -> dict[str, Any]:
    config = {"actionId": action, "version": 1, "inputMapping": mapping, "saveAs": save_as}
    return {"type": "action.call", "config": config}


@pytest.fixture(scope="module")
def with_pack(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A worker with the example pack, and pytest for the pack's own tests."""
    return Installed.make("workflow-worker", wheels, tmp_path_factory.mktemp("acme") / "worker", "acme-actions")


@pytest.mark.asyncio(loop_scope="session")
async def test_an_installed_worker_runs_the_actions_of_the_pack(
    with_pack: Installed, environment: dict[str, str], db: Database, client: Client, tmp_path: Path
) -> None:
    steps = (
        call("acme.greet", {"name": "Ada"}, "vars.greeting"),
        call("store.set", {"namespace": "acme-stock", "key": "bolt", "value": 5}, "vars.stock"),
        call("acme.reserve_stock", {"item": "bolt", "quantity": 2}, "vars.reserved"),
    )
    async with started(with_pack, environment, tmp_path, WORKFLOW_ACTION_PACKS="acme"):
        result = await (await authored_run(db, client, *steps)).result()
    assert result["scopes"]["vars"]["greeting"] == {"text": "Good day, Ada"}
    assert result["scopes"]["vars"]["reserved"] == {"left": 3}


def test_describe_lists_what_the_setting_names_and_nothing_else(with_pack: Installed) -> None:
    without = json.loads(with_pack.run("workflow-worker", "describe").stdout)["actions"]
    chosen = json.loads(
        with_pack.run("workflow-worker", "describe", environment={"WORKFLOW_ACTION_PACKS": " acme "}).stdout
    )["actions"]
    assert sorted(set(chosen) - set(without)) == ["acme.greet@1", "acme.reserve_stock@1", "acme.sign@1"]


def test_the_pack_s_own_tests_need_core_and_pytest_only(wheels: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    uv("venv", "-q", str(environment))
    python = str(environment / "bin" / "python")
    # Third parties from the service's hashed list; pytest as the tree has it.
    uv("pip", "install", "-q", "--python", python, "-r", str(ROOT / "requirements" / "workflow-worker.txt"))
    uv("pip", "install", "-q", "--python", python, "pytest>=9.2,<10", cwd=ROOT)
    uv("pip", "install", "-q", "--python", python, "--no-index", "--find-links", str(wheels), "acme-actions")
    shutil.copytree(ROOT / "examples" / "acme-actions" / "tests", tmp_path / "tests")
    pytest_of_its_own = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    run = Installed("workflow-worker", environment).run(*pytest_of_its_own, cwd=tmp_path)
    assert (run.returncode, "5 passed" in run.stdout) == (0, True), run.stdout + run.stderr


def pack(name: str, module: str, *, target: str | None = None, distribution: str | None = None) -> dict[str, str]:
    """Files of an installed wheel that announces one pack."""
    wheel = distribution or f"{name}-pack"
    folder = f"{wheel.replace('-', '_')}-1.0.dist-info"
    return {
        f"{name}_module.py": module,
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {wheel}\nVersion: 1.0\n",
        f"{folder}/entry_points.txt": f"[workflows.action_packs]\n{name} = {target or f'{name}_module:actions'}\n",
    }


ACTION = """
from workflows_core.actions.action import Action
async def handler(value, context):
    return {}
def action(id, schema={"type": "object"}):
    return Action(id, 1, handler, schema, {"type": "object"}, "An action.")
"""

WRONG = {
    "not installed": ({}, "acne", ["ACTION_PACK_MISSING acne", "no installed wheel announces", "acme"]),
    "broken on import": (
        pack("bad", "import nowhere_to_be_found\n"),
        "bad",
        ["ACTION_PACK_BROKEN bad", "bad-pack 1.0", "ModuleNotFoundError", "nowhere_to_be_found"],
    ),
    "a syntax error": (pack("bad", "def (:\n"), "bad", ["ACTION_PACK_BROKEN bad", "SyntaxError"]),
    "exits on import": (pack("bad", "raise SystemExit(3)\n"), "bad", ["ACTION_PACK_BROKEN bad", "SystemExit"]),
    "no such function": (pack("bad", "x = 1\n"), "bad", ["ACTION_PACK_BROKEN bad", "AttributeError", "actions"]),
    "not a function": (pack("bad", "actions = 7\n"), "bad", ["ACTION_PACK_INVALID bad", "must be a function", "int"]),
    "fails when asked": (
        pack("bad", "def actions():\n    return 1 / 0\n"),
        "bad",
        ["ACTION_PACK_INVALID bad", "ZeroDivisionError"],
    ),
    "duplicates an action of core": (
        pack("bad", ACTION + "def actions():\n    return [action('log.write')]\n"),
        "bad",
        ["ACTION_DUPLICATE bad: log.write@1", "pack 'core'", "pack 'bad'"],
    ),
    "announces an invalid schema": (
        pack("bad", ACTION + "def actions():\n    return [action('bad.act', {'type': 'objekt'})]\n"),
        "bad",
        ["ACTION_SCHEMA_INVALID bad: bad.act@1 input_schema", "objekt"],
    ),
    "announced twice": (
        {**pack("bad", ACTION), **pack("bad", ACTION, distribution="other-pack")},
        "bad",
        ["ACTION_PACK_INVALID bad", "bad-pack 1.0 and other-pack 1.0"],
    ),
    "two at once": (
        pack("bad", "raise ValueError('no')\n"),
        "bad,acne,core",
        ["ACTION_PACK_BROKEN bad", "ACTION_PACK_MISSING acne", "ACTION_PACK_INVALID core"],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_pack_is_refused_at_start_by_name_and_reason(with_pack: Installed, wrong: str) -> None:
    files, names, expected = WRONG[wrong]
    with with_pack.planted(files):
        for arguments in (["run"], ["check", "--offline"], ["describe"]):
            environment = {**SETTINGS, "WORKFLOW_ACTION_PACKS": names}
            run = with_pack.run("workflow-worker", *arguments, environment=environment)
            assert (run.returncode, run.stdout) == (2, ""), arguments
            for text in expected:
                assert text in run.stderr, (arguments, run.stderr)
            assert "Traceback" not in run.stderr


def test_what_is_not_named_is_not_loaded(with_pack: Installed) -> None:
    with with_pack.planted(pack("bad", "raise SystemExit(3)\n")):
        assert with_pack.run("workflow-worker", "describe").returncode == 0
