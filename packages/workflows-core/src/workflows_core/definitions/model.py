"""The definition document. Parse documents with `parse.parse_definition`, which explains what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from workflows_core.definitions.steps import (
    ActionCallConfig,
    ActionCallStep,
    AssignConfig,
    AssignStep,
    Branch,
    CallWorkflowStep,
    EventWaitConfig,
    EventWaitStep,
    Filter,
    ForEachStep,
    HumanTaskConfig,
    HumanTaskStep,
    IfStep,
    OnErrorPolicy,
    ParallelStep,
    ParseBodyConfig,
    ParseBodyStep,
    PositiveInt,
    RenderCommentBlocksConfig,
    RenderCommentBlocksStep,
    RetryPolicy,
    ReturnStep,
    StateSetConfig,
    StateSetStep,
    Step,
    SwitchCase,
    SwitchStep,
    Text,
    TimeWaitConfig,
    TimeWaitStep,
    TryCatchStep,
    WhileStep,
)
from workflows_core.definitions.values import Expr, ExprMap, InputMapping, MayBeAbsent, Model, SecretRef, Value

__all__ = [
    "STEP_MODELS",
    "TRIGGER_MODELS",
    "ActionCallConfig",
    "ActionCallStep",
    "AssignConfig",
    "AssignStep",
    "Branch",
    "CallWorkflowStep",
    "Definition",
    "EventTrigger",
    "EventWaitConfig",
    "EventWaitStep",
    "Expr",
    "ExprMap",
    "Filter",
    "ForEachStep",
    "HumanTaskConfig",
    "HumanTaskStep",
    "IfStep",
    "InputMapping",
    "Model",
    "OnErrorPolicy",
    "ParallelStep",
    "ParseBodyConfig",
    "ParseBodyStep",
    "RecurringTrigger",
    "RenderCommentBlocksConfig",
    "RenderCommentBlocksStep",
    "RetryPolicy",
    "ReturnStep",
    "ScheduleTrigger",
    "SecretRef",
    "StateSetConfig",
    "StateSetStep",
    "Step",
    "SwitchCase",
    "SwitchStep",
    "TimeWaitConfig",
    "TimeWaitStep",
    "Trigger",
    "TryCatchStep",
    "Value",
    "WhileStep",
]

STEP_MODELS: Mapping[str, type[Model]] = {
    "control.if": IfStep,
    "control.switch": SwitchStep,
    "control.forEach": ForEachStep,
    "control.while": WhileStep,
    "control.parallel": ParallelStep,
    "control.tryCatch": TryCatchStep,
    "control.callWorkflow": CallWorkflowStep,
    "control.return": ReturnStep,
    "event.wait": EventWaitStep,
    "time.wait": TimeWaitStep,
    "human.task": HumanTaskStep,
    "state.set": StateSetStep,
    "transform.assign": AssignStep,
    "action.call": ActionCallStep,
    "email.parseBody": ParseBodyStep,
    "email.renderCommentBlocks": RenderCommentBlocksStep,
}
"""Model of each step type."""


class EventTrigger(Model):
    """Starts a run for each event of a name; the mapping sees only `event`."""

    type: Literal["event"]
    event_name: Text
    source_payload_schema_ref: MayBeAbsent[Text] = None
    payload_mapping: MayBeAbsent[InputMapping] = None


class ScheduleTrigger(Model):
    """Starts one run at an ISO 8601 time."""

    type: Literal["schedule"]
    run_at: Text


class RecurringTrigger(Model):
    """Starts runs by a five-field cron expression in an IANA zone."""

    type: Literal["recurring"]
    cron: Text
    timezone: Text


Trigger = Annotated[EventTrigger | ScheduleTrigger | RecurringTrigger, Field(discriminator="type")]
"""What starts runs by itself, told apart by `type`."""

TRIGGER_MODELS: Mapping[str, type[Model]] = {
    "event": EventTrigger,
    "schedule": ScheduleTrigger,
    "recurring": RecurringTrigger,
}
"""Model of each trigger type."""


class Definition(Model):
    """A whole workflow. `trigger` is absent (never null) when runs are started by callers or schedules only.

    `compensate_on` says for which ends the `onCompensate` steps of what has succeeded run, last first;
    `on_concurrency_limit` what becomes of a start while as many runs as may be are open.
    """

    id: Text
    version: PositiveInt
    name: Text
    description: MayBeAbsent[str] = None
    payload_schema_ref: Text
    trigger: MayBeAbsent[Trigger] = None
    compensate_on: MayBeAbsent[list[Literal["failure", "cancel"]]] = None
    on_concurrency_limit: MayBeAbsent[Literal["refuse", "wait"]] = None
    steps: list[Step]

    def to_document(self) -> dict[str, Any]:
        """The document it was parsed from: only what was given, under the document's names."""
        return self.model_dump(by_alias=True, exclude_unset=True)
