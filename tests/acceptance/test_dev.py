"""`workflows dev` on a laptop (NFR-5)."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.interpreted import document, wait
from harness.operator import command
from harness.service_process import child_environment, ended
from harness.workspace import ROOT
from workflows_cli.dev.state import StackState

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@asynccontextmanager
async def development(directory: Path) -> AsyncIterator[list[str]]:
    """`workflows dev` until Ctrl-C; its lines."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "workflows"), "dev", "--state", str(directory)),
        env=child_environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []
    assert process.stdout is not None
    try:
        while not any("Ctrl-C stops all" in line for line in lines):
            line = (await process.stdout.readline()).decode()
            assert line, f"it ended: {lines}"
            lines.append(line)
        yield lines
        process.send_signal(signal.SIGINT)
        rest = (await process.stdout.read()).decode()
        assert (await process.wait(), "Traceback" in rest) == (0, False), rest
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


async def say(directory: Path, *arguments: str) -> str:
    code, output, error = await command({}, *arguments, "--dev", "--state", str(directory))
    assert code == 0, output + error
    return output


async def test_a_stack_starts_stops_and_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "state"
    definition = tmp_path / "w.json"
    definition.write_text(str({**document(wait()), "id": "later"}).replace("'", '"'), encoding="utf-8")
    async with development(state) as lines:
        text = "".join(lines)
        assert state.stat().st_mode & 0o777 == 0o700  # Its logs and histories have what runs are about.
        for name in ("postgresql", "temporal", "workflow-worker", "temporal-worker"):
            assert any(line.startswith(name) and " ready " in line for line in lines), text
        assert "http://127.0.0.1:" in text
        await say(state, "definitions", "import", str(definition))
        await say(state, "definitions", "publish", "later")
        await say(state, "runs", "start", "later", "--run-id", "run-1", "--payload", '{"id": "k1"}')
        while "WAITING" not in await say(state, "runs", "show", "run-1"):
            await asyncio.sleep(0.2)
        pids = [StackState.read(state).pid, *children_of(StackState.read(state).pid)]
    assert len(pids) > 4 or not Path("/proc/self").exists()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not (state / "stack.json").exists()
    async with development(state):
        assert "WAITING" in await say(state, "runs", "show", "run-1")
        await say(state, "events", "publish", "PAID", "--key", "k1")
        while "SUCCEEDED" not in (await say(state, "runs", "show", "run-1")).splitlines()[0]:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("seen", ["", "temporal "])
async def test_a_stack_that_is_told_to_stop_while_it_starts_does_not_start_on(tmp_path: Path, seen: str) -> None:
    """It started on, or waited a minute for a service that never became ready, and only then stopped."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "workflows"), "dev", "--state", str(tmp_path / "state")),
        env=child_environment({}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = ""
    while not (seen or (tmp_path / "state" / "postgres" / "server.json").exists()):
        await asyncio.sleep(0.01)
    while seen not in output:
        output += (await process.stdout.readline()).decode()
    below = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    output += (await process.stdout.read()).decode()
    assert (await process.wait(), output.splitlines()[-1]) == (0, "stopping")
    assert "Ctrl-C stops all" not in output
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []
    assert not (tmp_path / "state" / "stack.json").exists()


async def test_a_second_stack_leaves_the_first_one_alone_and_the_page_s_example_works(tmp_path: Path) -> None:
    state = tmp_path / ".workflows-dev"
    async with development(state) as lines:
        api = f"http://127.0.0.1:{StackState.read(state).api_port}/v1"
        assert any(line.startswith("HTTP API") and api in line for line in lines), lines
        assert lines[-1].endswith(f"workflows runs list --dev --state {state}\n")
        code, _, error = await ended("workflows", "dev", "--state", str(state), environment={})
        assert (code, "EMBEDDED_START_FAILED" in error) == (1, True)
        assert await say(state, "runs", "list") == "(none)\n"

        page = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
        (example,) = re.findall(r"^```bash\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
        assert "http://127.0.0.1:8090/v1/" in example
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        environment = child_environment({})
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", example.replace("http://127.0.0.1:8090/v1", api)),
            env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}", "NO_PROXY": "*"},
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        started = json.loads(output.decode().splitlines()[-1])
        assert (process.returncode, started["created"], started["polled"]) == (0, True, True)
        while "WAITING" not in await say(state, "runs", "show", started["runId"]):
            await asyncio.sleep(0.2)


async def test_a_stack_loads_the_packs_that_the_setting_names(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    code, _, error = await ended("workflows", "dev", "--state", state, environment={"WORKFLOW_ACTION_PACKS": "acne"})
    assert code == 1
    assert "ACTION_PACK_MISSING acne" in error


async def test_a_stack_takes_networks_and_paths_of_keys_from_its_environment(tmp_path: Path) -> None:
    """`workflows --dev` checks and explains with these paths, and the worker routed by others."""
    paths = "WORKFLOW_RUNTIME_V2_EVENT_CORRELATION_PATHS_JSON"
    environment = {"WORKFLOW_HTTP_ALLOWED_NETWORKS": "localhost", paths: "orderId"}
    arguments = ("workflows", "dev", "--state", str(tmp_path / "state"), "--without", "workflow-server")
    code, _, error = await ended(*arguments, environment=environment)
    assert code == 1
    for setting in environment:
        assert setting in error


async def test_a_stack_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    """Its services went on, and came back to life with the next stack of the directory, on the same ports."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "workflows"), "dev", "--state", str(tmp_path / "state")),
        *("--without", "temporal-worker", "--without", "workflow-server"),
        env=child_environment({}),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"Ctrl-C stops all" not in (line := await process.stdout.readline()):
        assert line, "it ended"
    pids = children_of(process.pid)
    assert len(pids) > 4 or not Path("/proc/self").exists()
    process.kill()
    await process.wait()
    while [pid for pid in pids if runs(pid)]:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(("inside", "why"), [("", "File exists"), ("inside", "Not a directory")])
async def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path, inside: str, why: str) -> None:
    (tmp_path / "file").touch()
    state = str(tmp_path / "file" / inside)
    code, _, error = await ended("workflows", "dev", "--state", state, environment={})
    assert (code, "Traceback" in error) == (1, False)
    assert f"error EMBEDDED_START_FAILED: {Path(state)} cannot be made: {why}; name another --state" in error


def runs(pid: int) -> bool:
    """Whether the process is there, and has not just been left for somebody to wait for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(parent: int) -> list[int]:
    """Process ids below a process, by the system's own table (empty where there is no /proc)."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat") if Path("/proc/self").is_dir() else ():
        try:
            fields = entry.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            pid = int(entry.parent.name)
            found += [pid, *children_of(pid)]
    return found
