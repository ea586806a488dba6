"""The one place that says what a workflow may load: worker, tests and replay use the same runner."""

from __future__ import annotations

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

PASSED_THROUGH = (
    "annotated_types",
    "business_calendar",
    "jlens",
    "pydantic",
    "pydantic_core",
    "typing_inspection",
    "workflows_core",
)
"""Loaded once per process instead of once per run; everything else is loaded anew or refused."""


def workflow_runner() -> SandboxedWorkflowRunner:
    """The runner: restricted calls (time, random, files, network) stay caught inside workflow code."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
