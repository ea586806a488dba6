"""What workflow code loads is a list that people have read: contracts/workflow_modules.toml.

The sandbox passes our package through whole, so it does not see what a module of it imports in turn; this does, because
it looks at what a bare interpreter has loaded after the workflow's own module.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest
from temporalio import workflow
from temporalio.worker.workflow_sandbox._restrictions import UnintentionalPassthroughError

from harness.loads_too_much import LoadsTooMuch
from harness.workspace import ROOT
from workflows_core.execution.sandbox import workflow_runner

LISTED: dict[str, dict[str, list[str]]] = tomllib.loads(
    (ROOT / "contracts" / "workflow_modules.toml").read_text(encoding="utf-8")
)
LOADED = """
import json, sys
import temporalio.worker
before = set(sys.modules)
for module in json.loads(sys.argv[1]):
    __import__(module)
new = set(sys.modules) - before
tops = {name.partition(".")[0] for name in new} - set(sys.stdlib_module_names)
print(json.dumps(sorted(name for name in new if name.partition(".")[0] in tops and not name.startswith("_"))))
"""
GUIDANCE = (
    "a workflow loads another module than contracts/workflow_modules.toml lists. What touches a clock, the network or "
    "the database is an activity (workflows_core.execution.activities) or an action; a pure module is added to the list"
)


def loaded(*modules: str) -> list[str]:
    """First-party modules one by one, and third parties by their top-level name."""
    run = subprocess.run(
        [sys.executable, "-I", "-c", LOADED, json.dumps(modules)], capture_output=True, text=True, check=True
    )
    names: list[str] = json.loads(run.stdout)
    ours = {name for name in names if name.partition(".")[0] in ("workflows_core", "temporal_worker", "service_host")}
    return sorted(ours | {name.partition(".")[0] for name in names if name not in ours})


@pytest.mark.parametrize("group", LISTED)
def test_workflows_load_what_is_listed_and_nothing_else(group: str) -> None:
    assert loaded(*LISTED[group]["workflows"]) == sorted(LISTED[group]["loads"]), GUIDANCE


@pytest.mark.parametrize("extra", ["workflows_core.storage.database", "httpx"])
def test_another_module_is_noticed(extra: str) -> None:
    group = LISTED["workflow-runtime-v2"]
    assert set(loaded(*group["workflows"], extra)) - set(group["loads"])


def test_the_sandbox_refuses_a_third_party_that_is_not_listed() -> None:
    definition = workflow._Definition.must_from_class(LoadsTooMuch)
    with pytest.raises(UnintentionalPassthroughError, match="click"):
        workflow_runner().prepare_workflow(definition)
