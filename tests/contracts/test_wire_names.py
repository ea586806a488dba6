"""The literal names of the wire contract: in code, and on the page for callers in any language."""

from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter

from harness.workspace import ROOT
from workflows_core.errors import ErrorCategory
from workflows_core.wire import names, records
from workflows_core.wire.messages import EventSignal, RunInput

PAGE = (ROOT / "docs/wire-contract.md").read_text(encoding="utf-8")

# Written out again on purpose: callers in other languages have them in their own code.
LITERALS = {
    "AUTHORED_QUEUE": "workflow-runtime-v2",
    "APPLICATION_ACTIONS_QUEUE": "workflow-app-actions",
    "RUN_WORKFLOW": "workflowRuntimeV2RunWorkflow",
    "SCHEDULED_LAUNCH_WORKFLOW": "workflowRuntimeV2ScheduledLaunch",
    "SIGNAL_EVENT": "workflowRuntimeV2Event",
    "SIGNAL_HUMAN_TASK": "workflowRuntimeV2HumanTask",
    "SIGNAL_QUOTA_RESUME": "workflowRuntimeV2QuotaResume",
    "SIGNAL_RUN_ENDED": "workflowRuntimeV2RunEnded",
    "QUERY_CURRENT_STEP": "workflowRuntimeV2CurrentStep",
    "QUERY_CURRENT_WAIT": "workflowRuntimeV2CurrentWait",
    "QUERY_SUMMARY": "workflowRuntimeV2InterpreterSummary",
    "ACTIVITY_LOAD": "workflowRuntimeV2LoadRun",
    "ACTIVITY_FIND_ACTION": "workflowRuntimeV2FindAction",
    "ACTIVITY_ACTION": "workflowRuntimeV2RunAction",
    "ACTIVITY_SHORT_ACTION": "workflowRuntimeV2RunShortAction",
    "ACTIVITY_LAST_ACTION": "workflowRuntimeV2RunLastAction",
    "ACTIVITY_REVOKE_LAST_ACTION": "workflowRuntimeV2RevokeLastAction",
    "ACTIVITY_WRITE": "workflowRuntimeV2WriteRun",
    "ACTIVITY_FINISH": "workflowRuntimeV2FinishRun",
    "SEARCH_TENANT": "WorkflowTenant",
    "SEARCH_WORKFLOW": "WorkflowKey",
    "SEARCH_VERSION": "WorkflowVersion",
    "SEARCH_PARENT": "WorkflowParentRun",
    "ACTIVITY_LAUNCH_CHILD": "workflowRuntimeV2LaunchChildRun",
    "ACTIVITY_CANCEL_CHILD": "workflowRuntimeV2CancelChildRun",
    "ACTIVITY_FIRE_SCHEDULE": "workflowRuntimeV2FireSchedule",
    "ACTIVITY_WATCH_SCHEDULED_RUN": "workflowRuntimeV2WatchScheduledRun",
    "HUMAN_TASK_COMPLETED": "HUMAN_TASK_COMPLETED",
    "HUMAN_TASK_REMINDER": "HUMAN_TASK_REMINDER",
    "RUN_ENDED": "WORKFLOW_RUN_ENDED",
}


def test_names_are_what_callers_know() -> None:
    texts = {
        name: value
        for name, value in vars(names).items()
        if re.fullmatch("[A-Z][A-Z_]*", name) and isinstance(value, str)
    }
    assert texts == {**LITERALS, "FAILURE_TYPE_PREFIX": "WorkflowRuntimeV2."}
    assert names.workflow_id_of("17") == "workflow-runtime-v2:run:17"


@pytest.mark.parametrize(
    "literal", [*LITERALS.values(), "workflow-runtime-v2:run:<run_id>", "WorkflowRuntimeV2.<category>"]
)
def test_the_page_has_every_name(literal: str) -> None:
    assert f"`{literal}`" in PAGE


def test_the_page_has_the_fields_of_every_message() -> None:
    run = RunInput("r", "t", "w", 1).to_wire()
    assert list(run) == ["runId", "tenantId", "workflowId", "workflowVersion", "triggerType", "executionKey"]
    signal = EventSignal("e", "n", None, {}, wait_id="w", delivery_id="d").to_wire()
    assert list(signal) == [
        "eventId",
        "eventName",
        "correlationKey",
        "payload",
        "receivedAt",
        "waitId",
        "deliveryId",
    ]
    for field in (*run, *signal):
        assert f"`{field}`" in PAGE


def test_the_page_has_every_category_and_status() -> None:
    for value in (*ErrorCategory, *TypeAdapter(records.RunStatus).json_schema()["enum"]):
        assert f"`{value}`" in PAGE


def test_the_page_names_tables_that_exist() -> None:
    files = (ROOT / "packages/workflows-cli/src/workflows_cli/migrations/sql").rglob("*.sql")
    sql = "\n".join(path.read_text(encoding="utf-8") for path in files)
    tables = set(re.findall(r"^CREATE TABLE (\w+)", sql, flags=re.MULTILINE))
    named = set(
        re.findall(r"`(workflow_[a-z_]+|event_catalog|tenant_workflow_schedule|business_hours_schedules)`", PAGE)
    ) - {"workflow_runtime"}
    # Heartbeats belong to no tenant and are read by `workflows ownership`; tokens are nobody's business; positions only
    # spare the runtime a walk.
    private = {"workflow_processes", "workflow_api_tokens", "workflow_run_positions", "workflow_claim_positions"}
    assert named == tables - private
