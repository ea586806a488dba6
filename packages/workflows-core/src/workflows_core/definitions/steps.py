"""Step types of a definition: every field, default and rule of the document, nothing of execution."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from workflows_core.definitions.templates import COMPOSE_TEXT, TextOutput, repeated
from workflows_core.definitions.values import Expr, ExprMap, InputMapping, MayBeAbsent, Model, Scalar, Value

Text = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(gt=0, le=2**53 - 1)]
"""Above zero and exact in JavaScript too."""

MOST_AT_ONCE = 100
"""Items of one loop side by side: each write of a run names all its open waits, and each task makes all their calls."""

FilterOperator = Literal[
    "=", "!=", "in", "not_in", "exists", "not_exists", ">", ">=", "<", "<=", "contains", "starts_with", "ends_with"
]


class RetryPolicy(Model):
    """Attempts and delays of a failing step. Times are milliseconds; no `retry_on` means every category."""

    max_attempts: PositiveInt
    backoff_ms: Annotated[int, Field(ge=0, le=2**53 - 1)]
    backoff_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2
    jitter: bool = True
    max_delay_ms: MayBeAbsent[PositiveInt] = None
    retry_on: MayBeAbsent[list[Text]] = None


class OnErrorPolicy(Model):
    """What a failing step does to its run."""

    policy: Literal["fail", "continue"]


class Filter(Model):
    """A condition on an event's payload. `value` is absent for `exists` and `not_exists` only.

    An expression as value is evaluated when the wait opens.
    """

    path: Text
    op: FilterOperator
    value: Value = None

    @model_validator(mode="after")
    def _value_fits_operator(self) -> Filter:
        given = "value" in self.model_fields_set
        if self.op in ("exists", "not_exists"):
            wrong = "takes no value" if given else None
        elif isinstance(self.value, Expr):
            wrong = None
        elif self.op in ("in", "not_in"):
            wrong = None if isinstance(self.value, list) else "needs a list as value"
        elif self.op in ("contains", "starts_with", "ends_with"):
            wrong = None if isinstance(self.value, str) else "needs a string as value"
        else:
            scalar = given and (self.value is None or isinstance(self.value, (str, int, float)))
            wrong = None if scalar else "needs a string, number, boolean or null as value"
        if wrong:
            raise PydanticCustomError("filter_value", "operator {op} {wrong}", {"op": repr(self.op), "wrong": wrong})
        return self


class _Step(Model):
    id: Text


class _Node(_Step):
    name: MayBeAbsent[str] = None
    retry: MayBeAbsent[RetryPolicy] = None
    on_error: MayBeAbsent[OnErrorPolicy] = None
    on_compensate: MayBeAbsent[list[Step]] = None


class IfStep(_Step):
    """Runs `then` when the condition is true, else `else`."""

    type: Literal["control.if"]
    condition: Expr
    then: list[Step]
    else_: MayBeAbsent[list[Step]] = Field(default=None, alias="else")


class SwitchCase(Model):
    """The steps for one value. `equals` is compared as JSON: true is not 1, and 1 is 1.0."""

    equals: Scalar
    steps: list[Step]


class SwitchStep(_Step):
    """Runs the first case whose value it is, else `default`."""

    type: Literal["control.switch"]
    value: Expr
    cases: Annotated[list[SwitchCase], Field(min_length=1)]
    default: MayBeAbsent[list[Step]] = None


class ForEachStep(_Step):
    """Runs the body once for each item, up to `concurrency` items at a time.

    `collect` is evaluated at the end of each item; `save_as` takes the list of its values, in the order of the items.
    `errors_as` takes what failed: `[{index, error}]`.
    """

    type: Literal["control.forEach"]
    items: Expr
    item_var: Text
    concurrency: MayBeAbsent[Annotated[int, Field(gt=0, le=MOST_AT_ONCE)]] = None
    body: list[Step]
    on_item_error: Literal["continue", "fail"] = "fail"
    collect: MayBeAbsent[Expr] = None
    save_as: MayBeAbsent[Text] = None
    errors_as: MayBeAbsent[Text] = None

    @model_validator(mode="after")
    def _collects_what_it_saves(self) -> ForEachStep:
        if (self.collect is None) != (self.save_as is None):
            raise PydanticCustomError("collect", "collect and saveAs belong together: give both, or neither")
        return self


class WhileStep(_Step):
    """Runs the body while the condition is true, at most `max_iterations` times; more fails the step."""

    type: Literal["control.while"]
    condition: Expr
    max_iterations: PositiveInt
    body: list[Step]


class Branch(Model):
    """One of the lists of steps that run side by side."""

    name: MayBeAbsent[Text] = None
    steps: list[Step]


class ParallelStep(_Step):
    """Runs its branches side by side: until all have ended, or until the first has, which cancels the others."""

    type: Literal["control.parallel"]
    branches: Annotated[list[Branch], Field(min_length=1)]
    wait: Literal["all", "any"] = "all"


class TryCatchStep(_Step):
    """Runs `catch` when a step of `try` fails."""

    type: Literal["control.tryCatch"]
    try_: list[Step] = Field(alias="try")
    catch: list[Step]
    capture_error_as: MayBeAbsent[Text] = None


class CallWorkflowStep(_Step):
    """Runs a pinned version of another workflow and waits for its end."""

    type: Literal["control.callWorkflow"]
    workflow_id: Text
    workflow_version: PositiveInt
    input_mapping: MayBeAbsent[ExprMap] = None
    output_mapping: MayBeAbsent[ExprMap] = None
    retry: MayBeAbsent[RetryPolicy] = None
    on_error: MayBeAbsent[OnErrorPolicy] = None
    on_compensate: MayBeAbsent[list[Step]] = None


class ReturnStep(_Step):
    """Ends the run as succeeded, from any depth; `value` is then the run's result."""

    type: Literal["control.return"]
    value: MayBeAbsent[Expr] = None


class EventWaitConfig(Model):
    """Which event to wait for, and how long (milliseconds; absent means without limit)."""

    event_name: Text
    correlation_key: Expr
    filters: MayBeAbsent[list[Filter]] = None
    timeout_ms: MayBeAbsent[PositiveInt] = None
    lookback_ms: MayBeAbsent[PositiveInt] = None
    match: Literal["one", "all"] = "all"
    assign: MayBeAbsent[ExprMap] = None


class EventWaitStep(_Node):
    """Waits for an event."""

    type: Literal["event.wait"]
    config: EventWaitConfig


class TimeWaitConfig(Model):
    """How long to wait: `duration_ms` milliseconds, or until a time."""

    mode: Literal["duration", "until"]
    duration_ms: MayBeAbsent[PositiveInt] = None
    until: MayBeAbsent[Expr] = None
    assign: MayBeAbsent[ExprMap] = None

    @model_validator(mode="after")
    def _mode_has_its_field(self) -> TimeWaitConfig:
        if self.mode == "duration" and self.duration_ms is None:
            raise PydanticCustomError("wait_mode", "mode 'duration' needs durationMs (milliseconds)")
        if self.mode == "until" and self.until is None:
            raise PydanticCustomError("wait_mode", "mode 'until' needs until (an expression giving a time)")
        return self


class TimeWaitStep(_Node):
    """Waits for a time."""

    type: Literal["time.wait"]
    config: TimeWaitConfig


class HumanTaskConfig(Model):
    """What a person is asked to do.

    Assignees are lists of texts. `due_in_ms` is shown to people; after `timeout_ms` the step fails. An answer that does
    not fit `response_schema` (JSON Schema) is refused, and the task stays open.
    """

    task_type: Text
    title: Expr
    description: MayBeAbsent[Expr] = None
    context_data: MayBeAbsent[ExprMap] = None
    assigned_users: MayBeAbsent[Expr] = None
    assigned_roles: MayBeAbsent[Expr] = None
    due_in_ms: MayBeAbsent[PositiveInt] = None
    timeout_ms: MayBeAbsent[PositiveInt] = None
    response_schema: MayBeAbsent[dict[str, Any]] = None
    assign: MayBeAbsent[ExprMap] = None


class HumanTaskStep(_Node):
    """Waits for a person's answer."""

    type: Literal["human.task"]
    config: HumanTaskConfig


class StateSetConfig(Model):
    """The new value of `meta.state`."""

    state: Text


class StateSetStep(_Node):
    """Names the state the run is in."""

    type: Literal["state.set"]
    config: StateSetConfig


class AssignConfig(Model):
    """Assignment path to expression; evaluated in order, each sees the results of those before."""

    assign: ExprMap


class AssignStep(_Node):
    """Computes values."""

    type: Literal["transform.assign"]
    config: AssignConfig


class ActionCallConfig(Model):
    """Which action to call with what.

    The `designer…` fields are carried, not interpreted; the `ai…` fields give the action its `outputSchema`, and
    `outputs` are the texts of `transform.compose_text`.
    """

    action_id: Text
    version: PositiveInt
    input_mapping: InputMapping = Field(default_factory=dict)
    outputs: MayBeAbsent[list[TextOutput]] = None
    save_as: MayBeAbsent[Text] = None
    idempotency_key: MayBeAbsent[Expr] = None
    on_error: MayBeAbsent[OnErrorPolicy] = None
    designer_group_key: MayBeAbsent[str] = None
    designer_tile_kind: MayBeAbsent[Literal["core-object", "transform", "app", "ai"]] = None
    designer_app_key: MayBeAbsent[str] = None
    ai_output_schema_mode: MayBeAbsent[Literal["simple", "advanced"]] = None
    ai_output_schema: MayBeAbsent[dict[str, Any]] = None
    ai_output_schema_text: MayBeAbsent[str] = None

    @model_validator(mode="after")
    def _texts_are_there(self) -> ActionCallConfig:
        if self.action_id == COMPOSE_TEXT:
            wrong = repeated(self.outputs) if self.outputs else f"{COMPOSE_TEXT} needs at least one text in outputs"
            if wrong is not None:
                raise PydanticCustomError("outputs", "{wrong}", {"wrong": wrong})
        return self

    def output_schema(self) -> Any:
        """The output schema that an AI action is asked to keep: of the mode, None where the step has none.

        Raises:
            ValueError: `aiOutputSchemaText` is not JSON.
        """
        if self.ai_output_schema_mode == "advanced":
            return None if self.ai_output_schema_text is None else json.loads(self.ai_output_schema_text)
        return self.ai_output_schema


class ActionCallStep(_Node):
    """Calls an action."""

    type: Literal["action.call"]
    config: ActionCallConfig


class ParseBodyConfig(Model):
    """The body of an e-mail, and where the parsed one goes."""

    text: MayBeAbsent[Expr] = None
    html: MayBeAbsent[Expr] = None
    save_as: Text = "payload.parsedEmail"


class ParseBodyStep(_Node):
    """Splits an e-mail's body into new text and quoted text."""

    type: Literal["email.parseBody"]
    config: ParseBodyConfig = Field(default_factory=ParseBodyConfig)


class RenderCommentBlocksConfig(Model):
    """The body of an e-mail, and where the rendered blocks go."""

    html: MayBeAbsent[Expr] = None
    text: MayBeAbsent[Expr] = None
    save_as: Text = "payload.commentBlocks"


class RenderCommentBlocksStep(_Node):
    """Renders an e-mail's body as comment blocks."""

    type: Literal["email.renderCommentBlocks"]
    config: RenderCommentBlocksConfig = Field(default_factory=RenderCommentBlocksConfig)


Step = Annotated[
    IfStep
    | SwitchStep
    | ForEachStep
    | WhileStep
    | ParallelStep
    | TryCatchStep
    | CallWorkflowStep
    | ReturnStep
    | EventWaitStep
    | TimeWaitStep
    | HumanTaskStep
    | StateSetStep
    | AssignStep
    | ActionCallStep
    | ParseBodyStep
    | RenderCommentBlocksStep,
    Field(discriminator="type"),
]
"""Any step, told apart by `type`."""
