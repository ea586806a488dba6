"""`workflows` as an operator uses it: a process, its answer, its exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.service_process import ended


async def workflows(environment: Mapping[str, str], *arguments: str) -> Any:
    """The JSON answer of a command that must succeed."""
    code, output, error = await ended("workflows", *arguments, "--format", "json", environment=environment)
    assert code == 0, f"workflows {' '.join(arguments)}: exit code {code}\n{output}{error}"
    return json.loads(output)


async def publish(environment: Mapping[str, str], document: Mapping[str, Any], directory: Path, *options: str) -> str:
    """Imports and publishes a definition; its key."""
    key = str(document["id"])
    path = directory / f"{key}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    await workflows(environment, "definitions", "import", str(path))
    await workflows(environment, "definitions", "publish", key, *options)
    return key


async def start(environment: Mapping[str, str], key: str, payload: Any = None) -> str:
    """Starts a run; its id."""
    answer = await workflows(environment, "runs", "start", key, "--payload", json.dumps(payload))
    return str(answer["runId"])


async def until_status(environment: Mapping[str, str], run_id: str, status: str) -> dict[str, Any]:
    """Waits until `workflows runs show` says so; the test's time-out bounds it."""
    while True:
        shown: dict[str, Any] = await workflows(environment, "runs", "show", run_id)
        if shown["run"]["status"] == status:
            return shown
        assert shown["run"]["status"] not in ("SUCCEEDED", "FAILED", "CANCELED"), shown
        await asyncio.sleep(0.2)


async def refused(environment: Mapping[str, str], *arguments: str, code: int = 1) -> str:
    """The message of a command that must be refused."""
    found, output, error = await ended("workflows", *arguments, environment=environment)
    assert found == code, f"exit code {found}\n{output}{error}"
    assert "Traceback" not in output + error
    return error
