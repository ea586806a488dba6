"""workflow-server says what it owns, and that this build cannot serve yet."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

SERVER = str(Path(sysconfig.get_path("scripts"), "workflow-server"))


def server(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SERVER, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_it_owns_the_queue_of_application_actions_and_no_other() -> None:
    run = server("describe")
    said = json.loads(run.stdout)
    assert run.returncode == 0
    assert said["service"] == "workflow-server"
    assert said["queuesOwned"] == ["workflow-app-actions"]
    assert "workflow-runtime-v2" in said["queuesRefused"]
    assert (said["workflows"], said["activities"], said["actions"]) == ([], [], [])


@pytest.mark.parametrize("command", [["run"], ["check"], ["check", "--offline"]])
def test_what_is_not_built_is_refused(command: list[str]) -> None:
    run = server(*command, TEMPORAL_ADDRESS="nonsense")
    assert run.returncode == 2
    assert "SERVICE_NOT_BUILT workflow-server:" in run.stderr
    assert "workflow-worker alone" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
