"""What running services serve at /metrics is what contracts/metrics.toml lists."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from acceptance.conftest import Stack
from harness.interpreted import document
from harness.operator import publish, start, until_status
from harness.service_process import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")
METRICS: dict[str, Any] = tomllib.loads(
    (Path(__file__).parents[2] / "contracts" / "metrics.toml").read_text(encoding="utf-8")
)


async def families(service: ServiceProcess) -> dict[str, Metric]:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{service.url}/metrics")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


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
        for name in listed if service == "workflow-worker" else ours:
            assert found[name].type == METRICS[name]["type"], name
            labels = METRICS[name].get("labels")
            seen = {frozenset(sample.labels) for sample in found[name].samples}
            assert labels is None or seen <= {frozenset(labels)}, name
