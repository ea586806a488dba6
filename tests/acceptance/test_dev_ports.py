"""A development stack beside another program that takes one of its ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workflows_cli.dev.processes import fetch
from workflows_cli.dev.stack import API_PORT, DevStack

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_port_taken_after_it_was_looked_at_is_replaced(tmp_path: Path) -> None:
    told: list[str] = []
    stack = DevStack(tmp_path, told.append, without=("workflow-worker", "temporal-worker"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        # As it looked free when the stack was made; the usual port is one that another test's stack may take.
        stack.api_port = taken = other.getsockname()[1]
        async with stack:
            assert stack.state.api_port != taken
            status, _ = fetch(f"http://127.0.0.1:{stack.state.api_port}/openapi.json")
            assert status == 200
    assert "workflow-worker  left out" in told
    (line,) = [line for line in told if line.startswith("postgresql")]
    assert line.endswith(f"  data {stack.postgres.data}") == (tmp_path not in stack.postgres.data.parents)
    (line,) = [line for line in told if line.startswith("HTTP API")]
    assert f":{stack.state.api_port}/v1  (port {API_PORT} is taken)" in line
    assert all(" ready " in line or line.endswith("left out") for line in told), told
