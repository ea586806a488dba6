"""The one place that says what a workflow may load: worker, tests and replay use the same runner."""

from __future__ import annotations

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

PASSED_THROUGH = (
    "annotated_types",
    "attr",
    "attrs",
    "business_calendar",
    "idna",
    "jlens",
    "jsonschema",
    "jsonschema_specifications",
    "pydantic",
    "pydantic_core",
    "referencing",
    "rpds",
    "typing_inspection",
    "workflows_core",
)
"""Loaded once per process instead of once per run. A workflow that loads anything else does not start.

Whole packages, since the SDK asks for parents as well; contracts/workflow_modules.toml has the very modules, and a test
compares.
"""

_POLICY = (
    SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
    | SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
)


def workflow_runner() -> SandboxedWorkflowRunner:
    """The runner: restricted calls (time, random, files, network) stay caught inside workflow code."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return SandboxedWorkflowRunner(restrictions=restrictions.with_import_notification_policy(_POLICY))
