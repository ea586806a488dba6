"""What import contracts cannot see, the linter's banned names do: the environment, dynamic imports, log sinks."""

from __future__ import annotations

import ast
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.workspace import ROOT, sources

RUFF = str(Path(sysconfig.get_path("scripts"), "ruff"))
LINT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]


_COMPUTING = frozenset({"__import__", "exec", "eval"})


def computed_names(source: str) -> Iterator[int]:
    """Lines that execute text or import what a string names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _COMPUTING:
            yield node.lineno


def findings(source: str, path: str) -> str:
    command = [
        RUFF,
        "check",
        "--no-cache",
        "--select",
        "TID251",
        "--output-format",
        "concise",
        "--stdin-filename",
        path,
        "-",
    ]
    return subprocess.run(
        command, cwd=ROOT, input=source, capture_output=True, text=True, check=False, timeout=30
    ).stdout


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A']\n",
        "from os import environ\nenviron.get('A')\n",
        "import os\nos.getenv('A')\n",
        "import importlib\nimportlib.import_module('json')\n",
        "from loguru import logger\nlogger.add('file')\n",
        "import logging\nlogging.basicConfig()\n",
        "from temporalio import workflow\nwith workflow.unsafe.imports_passed_through():\n    pass\n",
        "import sqlalchemy.orm\n",
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "packages/workflows-core/src/workflows_core/execution/driver.py",
        "packages/service-host/src/service_host/settings.py",
        "services/workflow-worker/src/workflow_worker/main.py",
    ],
)
def test_a_banned_name_is_found(source: str, path: str) -> None:
    assert "TID251" in findings(source, path)


def test_a_settings_module_reads_the_environment() -> None:
    assert "TID251" not in findings(
        "import os\nos.environ\n", "services/workflow-worker/src/workflow_worker/settings.py"
    )


def test_the_bans_hold_everywhere_else() -> None:
    assert {pattern for pattern, rules in LINT["per-file-ignores"].items() if "TID251" in rules} == {
        "services/*/src/*/settings.py",
        "packages/workflows-cli/src/workflows_cli/**",
        "packages/service-host/src/service_host/logs.py",
        "tests/**",
        "benchmarks/**",
        "{scripts,compose}/**",
        "tests/harness/started.py",
    }
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert "noqa: TID251" not in text, path
        assert "ruff: noqa" not in text, path


def test_nothing_is_imported_by_a_computed_name() -> None:
    for path in sources():
        assert list(computed_names(path.read_text(encoding="utf-8"))) == [], path


@pytest.mark.parametrize("source", ["__import__('json')", "exec('import json')", "eval('1')"])
def test_a_computed_name_is_found(source: str) -> None:
    assert list(computed_names(source)) == [1]
