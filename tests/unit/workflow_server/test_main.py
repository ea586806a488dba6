"""workflow-server says what it owns, and refuses to start with wrong settings."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from workflows_bootstrap.application import application_registry

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
    assert (said["workflows"], said["activities"]) == ([], ["workflowRuntimeV2RunAction"])
    assert said["actions"] == sorted(action.key for action in application_registry())


@pytest.mark.parametrize("command", [["run"], ["check"], ["check", "--offline"]])
def test_wrong_settings_are_all_named_and_nothing_starts(command: list[str]) -> None:
    run = server(
        *command,
        TEMPORAL_ADDRESS="nonsense",
        WORKFLOW_SERVER_HOST="0.0..0",
        WORKFLOW_MAIL_SMTP_HOST="mail..example",
        WORKFLOW_MAIL_SMTP_CA=__file__,
        WORKFLOW_MAIL_FROM="The shop <shop@example.com>",
        WORKFLOW_SERVER_PORT="99999",
        TEMPORAL_TASK_QUEUE="workflow-runtime-v2",
        WORKFLOW_SECRETS_DIR="/nowhere",
    )
    assert run.returncode == 2
    hosts = ("SETTING_INVALID WORKFLOW_SERVER_HOST", "SETTING_INVALID WORKFLOW_MAIL_SMTP_HOST")
    for named in ("TEMPORAL_ADDRESS", "WORKFLOW_SERVER_PORT", "DB_HOST", "SETTING_RETIRED TEMPORAL_TASK_QUEUE", *hosts):
        assert named in run.stderr
    assert "WORKFLOW_SECRETS_DIR" in run.stderr
    assert "holds no certificate in PEM form" in run.stderr
    # Each message that is sent without a sender of its own would fail by it.
    assert "SETTING_INVALID WORKFLOW_MAIL_FROM: ***: is no address of ASCII such as shop@example.com; " in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
