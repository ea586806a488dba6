"""`workflows` as an operator uses it: a process, its answer, its exit code."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.service_process import SCRIPTS, WAIT_SECONDS, child_environment

_LOADED = Path(__file__).with_name("loaded_command_line.py")


@cache
def _listening() -> tuple[Path, subprocess.Popen[str]]:
    """Where the loaded command line listens; it ends with this process, which holds its standard input."""
    address = Path(tempfile.mkdtemp(prefix="workflows-"), "socket")
    process = subprocess.Popen(
        [sys.executable, "-P", str(_LOADED), str(address)],
        env=child_environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return address, process


async def command(environment: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, which is a process of its own."""
    address, _ = _listening()
    with tempfile.TemporaryDirectory() as directory:
        output, error = Path(directory, "output"), Path(directory, "error")
        asked = {
            "command": [str(SCRIPTS / "workflows"), *arguments],
            "environment": child_environment(environment),
            "output": str(output),
            "error": str(error),
        }
        reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(json.dumps(asked).encode() + b"\n")
            async with asyncio.timeout(WAIT_SECONDS):
                code = int(await reader.readline())
        finally:
            writer.close()
        return code, output.read_text(encoding="utf-8"), error.read_text(encoding="utf-8")


async def workflows(environment: Mapping[str, str], *arguments: str) -> Any:
    """The JSON answer of a command that must succeed."""
    code, output, error = await command(environment, *arguments, "--format", "json")
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
    found, output, error = await command(environment, *arguments)
    assert found == code, f"exit code {found}\n{output}{error}"
    assert "Traceback" not in output + error
    return error
