"""What running services serve at /metrics is what contracts/metrics.toml lists."""

from __future__ import annotations

import asyncio
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue

from acceptance.conftest import Stack
from harness.interpreted import document
from harness.operator import publish, start, until_status
from harness.service_process import ServiceProcess
from service_host.payload_codec import ENCODING, KEY_ID
from workflows_core.wire.names import AUTHORED_QUEUE, RUN_WORKFLOW

pytestmark = pytest.mark.asyncio(loop_scope="session")
METRICS: dict[str, Any] = tomllib.loads(
    (Path(__file__).parents[2] / "contracts" / "metrics.toml").read_text(encoding="utf-8")
)

ALERTS = Path(__file__).parents[2] / "compose" / "monitoring" / "alerts.yaml"


async def families(service: ServiceProcess) -> dict[str, Metric]:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{service.url}/metrics")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


async def counted(service: ServiceProcess, name: str, label: str, value: str) -> float:
    """The sum of the samples of exactly that name whose label has that value."""
    samples = [sample for family in (await families(service)).values() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and sample.labels.get(label) == value)


async def test_hole_44_the_metrics_of_running_services_are_the_listed_ones(stack: Stack, tmp_path: Path) -> None:
    mapping = {"namespace": "metrics", "key": "k", "by": 1}
    step = {"type": "action.call", "config": {"actionId": "store.increment", "version": 1, "inputMapping": mapping}}
    key = await publish(stack.environment, {**document(step), "id": "measured"}, tmp_path)
    await until_status(stack.environment, await start(stack.environment, key), "SUCCEEDED")
    for service, process in (("workflow-worker", stack.workflow_worker), ("temporal-worker", stack.temporal_worker)):
        found = await families(process)
        listed = {name: metric for name, metric in METRICS.items() if service in metric["services"]}
        ours = {name for name in listed if not name.startswith("temporal_")}
        assert {name for name in found if not name.startswith("temporal_")} == ours
        there = {name for name, metric in listed.items() if "appears" not in metric}
        for name in there if service == "workflow-worker" else ours:
            assert found[name].type == METRICS[name]["type"], name
            labels = METRICS[name].get("labels")
            seen = {frozenset(sample.labels) for sample in found[name].samples}
            assert labels is None or seen <= {frozenset(labels)}, name


async def test_workflow_tasks_that_fail_are_counted_under_the_name_that_the_alert_has(stack: Stack) -> None:
    client = await Client.connect(
        stack.environment["TEMPORAL_ADDRESS"], namespace=stack.environment["TEMPORAL_NAMESPACE"]
    )
    sealed = RawValue(Payload(metadata={"encoding": ENCODING, KEY_ID: b"of-nobody"}))
    run = await client.start_workflow(RUN_WORKFLOW, sealed, id=f"sealed-{uuid.uuid4()}", task_queue=AUTHORED_QUEUE)
    alerts = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    (expression,) = (
        rule["expr"] for group in alerts for rule in group["rules"] if rule["alert"] == "WorkflowTasksFail"
    )
    asked = re.fullmatch(r"sum by \((\w+)\) \(increase\((\w+)\[30m\]\)\) > 2", expression)
    assert asked is not None
    label, name = asked.groups()
    try:
        # Not the first one only, of which an alert would hear nothing more.
        while await counted(stack.workflow_worker, name, label, AUTHORED_QUEUE) < 3:
            await asyncio.sleep(0.2)
    finally:
        await run.terminate()
