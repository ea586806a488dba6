"""The one place that says what a workflow may load: worker, tests and replay use the same runner."""

from __future__ import annotations

from typing import Any

from temporalio.converter import StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
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


class _ContextFree(WorkflowInstance):
    """A sandboxed workflow whose payloads are converted without a context.

    The SDK asks for the context of every payload, several times, and each time enters the sandbox for it: a fifth of
    what a worker computes. Our converter and codec take no context, and nothing is stored outside.
    """

    def __init__(self, sandboxed: WorkflowInstance) -> None:
        self._sandboxed = sandboxed
        self._store: StorageDriverStoreContext | None = None

    def activate(self, act: Any) -> Any:
        """In the sandbox."""
        return self._sandboxed.activate(act)

    def get_serialization_context(self, command_info: Any) -> None:
        """None."""

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        """The run's own."""
        if self._store is None:
            self._store = self._sandboxed.get_external_store_context(None)
        return self._store

    def get_info(self) -> Any:
        """Of the sandboxed one."""
        return self._sandboxed.get_info()

    def get_thread_id(self) -> int | None:
        """Of the sandboxed one."""
        return self._sandboxed.get_thread_id()


class _Runner(SandboxedWorkflowRunner):
    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _ContextFree(super().create_instance(det))


def workflow_runner() -> SandboxedWorkflowRunner:
    """The runner: restricted calls (time, random, files, network) stay caught inside workflow code."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return _Runner(restrictions=restrictions.with_import_notification_policy(_POLICY))
