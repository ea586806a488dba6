"""Traces lead from the launch through workflow and activity to the action; without a setting there are none."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from temporalio.client import Client, WorkflowFailureError

from harness.authored import authored_runtime
from harness.interpreted import act, document
from harness.run_records import TENANT
from service_host.errors import StartRefused
from service_host.tracing import Tracing, interceptors_of, observer_of, tracing_to
from workflows_core.actions.action import Action, ActionContext
from workflows_core.launching.launcher import Launcher, LaunchRequest
from workflows_core.storage.database import Database

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_trace_leads_from_the_launch_to_the_action(db: Database, client: Client) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("workflow-worker", "workflow-worker@h:1", exporter)
    traced = Client(client.service_client, namespace=client.namespace, interceptors=[tracing.interceptor()])
    async with authored_runtime(db, traced, observe=tracing.observe) as authored:
        workflow_id, version, _ = await authored.publish(document(act("done", {"name": "x"})), key="traced")
        request = LaunchRequest(tenant=TENANT, workflow="traced", version=version, run_id="traced-run")
        launched = await Launcher(db, traced).launch(request)
        await client.get_workflow_handle(launched.temporal_workflow_id).result()
    tracing.provider.force_flush()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert workflow_id
    action = spans["Action:test.act@1"]
    assert action.attributes is not None
    assert (action.attributes["workflow.tenant"], action.attributes["workflow.run"]) == (TENANT, "traced-run")
    chain = [action.name]
    by_id = {span.context.span_id: span for span in exporter.get_finished_spans() if span.context is not None}
    parent = action.parent
    while parent is not None and parent.span_id in by_id:
        chain.append(by_id[parent.span_id].name)
        parent = by_id[parent.span_id].parent
    assert chain[1] == "RunActivity:workflowRuntimeV2RunLastAction"
    assert chain[-1] == "StartWorkflow:workflowRuntimeV2RunWorkflow"
    assert any(name.startswith("RunWorkflow:") for name in spans)
    tracing.provider.shutdown()


async def test_a_secret_in_what_an_action_says_is_in_no_span(db: Database, client: Client) -> None:
    async def leak(value: Any, context: ActionContext) -> Any:
        raise RuntimeError(f"the other side refuses {value['key']}")

    config = {"actionId": "test.leak", "version": 1, "inputMapping": {"key": {"$secret": "KEY"}}}
    step = {"type": "action.call", "config": config}
    pack = [Action("test.leak", 1, leak, {"type": "object"}, {"type": "object"})]
    exporter = InMemorySpanExporter()
    tracing = Tracing("workflow-worker", "workflow-worker@h:1", exporter)
    traced = Client(client.service_client, namespace=client.namespace, interceptors=[tracing.interceptor()])
    observed = authored_runtime(
        db, traced, observe=tracing.observe, more={"leaks": lambda: pack}, secrets={"KEY": "swordfish-17"}
    )
    async with observed as authored:
        await authored.publish(document(step), key="leaking")
        request = LaunchRequest(tenant=TENANT, workflow="leaking", run_id="leaking-run")
        launched = await Launcher(db, traced).launch(request)
        with pytest.raises(WorkflowFailureError):
            await client.get_workflow_handle(launched.temporal_workflow_id).result()
    tracing.provider.force_flush()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    status = spans["Action:test.leak@1"].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "RuntimeError")
    assert "swordfish-17" not in "".join(span.to_json() for span in spans.values())
    tracing.provider.shutdown()


async def test_without_an_endpoint_there_are_no_traces() -> None:
    assert tracing_to(None, "s", "i") is None
    assert interceptors_of(None) == []
    assert observer_of(None) is None


async def test_an_endpoint_without_the_libraries_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(
        StartRefused, match=r"TRACING_NOT_INSTALLED OTEL_EXPORTER_OTLP_ENDPOINT.*service-host\[tracing\]"
    ):
        tracing_to("http://localhost:4318", "other", "i")
