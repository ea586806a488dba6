"""What a run with one resumed wait leaves in the database equals contracts/projection.json (T011, FR-8).

The contract has every column of every table of a run, with values where they are stable and placeholders
where they are not. When a change is meant, the failing test names the new file to copy over the old one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from acceptance.conftest import Stack
from harness.interpreted import wait
from harness.operator import publish, start, until_status, workflows

pytestmark = pytest.mark.asyncio(loop_scope="session")
CONTRACT = Path(__file__).parents[2] / "contracts" / "projection.json"
QUERIES = {
    "workflow_runs": "SELECT * FROM workflow_runs WHERE run_id = %(run)s",
    "workflow_run_steps": "SELECT * FROM workflow_run_steps WHERE run_id = %(run)s ORDER BY step_path",
    "workflow_run_waits": "SELECT * FROM workflow_run_waits WHERE run_id = %(run)s",
    "workflow_action_invocations": "SELECT * FROM workflow_action_invocations WHERE run_id = %(run)s",
    "workflow_runtime_events": "SELECT * FROM workflow_runtime_events WHERE event_id = 'projection-event'",
    "workflow_event_deliveries": "SELECT * FROM workflow_event_deliveries WHERE run_id = %(run)s",
    "workflow_run_logs": "SELECT * FROM workflow_run_logs WHERE run_id = %(run)s",
}
DEFINITION = {
    "id": "projection",
    "version": 1,
    "name": "Projection",
    "payloadSchemaRef": "payload.Order.v1",
    "steps": [
        {"id": "compute", "type": "transform.assign", "config": {"assign": {"vars.n": {"$expr": "payload.n * 2"}}}},
        {
            "id": "keep",
            "type": "action.call",
            "name": "Keep it",
            "config": {
                "actionId": "store.set",
                "version": 1,
                "inputMapping": {"namespace": "projection", "key": "n", "value": {"$expr": "vars.n"}},
                "saveAs": "kept",
            },
        },
        {"id": "wait", **wait("PAID", "payload.id", timeoutMs=3_600_000)},
        {
            "id": "short",
            "type": "action.call",
            "config": {
                "actionId": "transform.concat_text",
                "version": 1,
                "inputMapping": {"values": ["a", "b"]},
                "saveAs": "text",
            },
        },
    ],
}


async def test_the_rows_of_a_run_with_one_resumed_wait_are_the_contract(stack: Stack, tmp_path: Path) -> None:
    key = await publish(stack.environment, DEFINITION, tmp_path)
    run_id = await start(stack.environment, key, {"id": "projection-key", "n": 4})
    await until_status(stack.environment, run_id, "WAITING")
    await workflows(
        stack.environment,
        *("events", "publish", "PAID", "--key", "projection-key", "--event-id", "projection-event"),
        *("--payload", '{"amount": 5}'),
    )
    await until_status(stack.environment, run_id, "SUCCEEDED")
    found = projection(stack.database.admin_url, run_id)
    made = tmp_path / "projection.json"
    made.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    expected = CONTRACT.read_text(encoding="utf-8") if CONTRACT.exists() else "{}"
    assert found == json.loads(expected), (
        f"if this is meant, copy {made} to {CONTRACT.name}, and say so in CHANGELOG.md"
    )


def projection(url: str, run_id: str) -> dict[str, Any]:
    """Tables, columns with their types, and rows with placeholders."""
    tables: dict[str, Any] = {}
    with psycopg.connect(url, row_factory=dict_row) as connection:
        workflow_id = connection.execute("SELECT workflow_id FROM workflow_runs WHERE run_id = %s", [run_id]).fetchone()
        assert workflow_id is not None
        names = {run_id: "<run>", workflow_id["workflow_id"]: "<workflow>"}
        for table, query in QUERIES.items():
            columns = connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", [table]
            ).fetchall()
            rows = connection.execute(query.encode(), {"run": run_id}).fetchall()
            tables[table] = {
                "columns": {column["column_name"]: column["data_type"] for column in columns},
                "rows": [{name: stable(name, value, names) for name, value in row.items()} for row in rows],
            }
    return tables


VOLATILE = {
    "definition_hash": "<hash>",
    "temporal_run_id": "<execution>",
    "invocation_id": "<id>",
    "owner_token": "<token>",
    "delivery_id": "<id>",
    "ordinal": "<number>",
    "log_id": "<number>",
    "duration_ms": "<milliseconds>",
}
_HASH = re.compile(r"\b[0-9a-f]{64}\b")


def stable(name: str, value: Any, names: dict[str, str]) -> Any:
    """A value, or the placeholder of one that differs from run to run."""
    if value is None:
        return None
    if name in VOLATILE:
        return VOLATILE[name]
    if name.endswith("_at") or name == "look_back_from":
        return "<time>"
    text = json.dumps(value, default=str)
    for found, placeholder in names.items():
        text = text.replace(found, placeholder)
    return json.loads(_HASH.sub("<hash>", text))
