"""Definition -> plan. Publishing has validated the document; what a build cannot run is refused here too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows_core.definitions import model
from workflows_core.definitions.paths import AssignPath, parse_assign_path
from workflows_core.definitions.templates import COMPOSE_TEXT
from workflows_core.definitions.walk import branches_of, field_path
from workflows_core.errors import Problem, Refused
from workflows_core.expressions.engine import Expression, ExpressionEngine, ExpressionInvalid
from workflows_core.interpreter.plan import (
    ROOT_BLOCK,
    ActionStep,
    AnswerCheck,
    Assignments,
    AssignStep,
    CallWorkflowStep,
    Computed,
    Constant,
    EmailStep,
    EventWaitStep,
    ForEachStep,
    HumanTaskStep,
    IfStep,
    ListOf,
    ObjectOf,
    ParallelStep,
    Plan,
    PlanFilter,
    PlanStep,
    ReturnStep,
    SecretPlace,
    StateStep,
    SwitchStep,
    TimeWaitStep,
    TryStep,
    Value,
    WhileStep,
)
from workflows_core.interpreter.retry import RetryRule
from workflows_core.interpreter.secret_places import secrets_in, secrets_of_payload

ControlStep = (
    model.IfStep
    | model.SwitchStep
    | model.ForEachStep
    | model.WhileStep
    | model.ParallelStep
    | model.TryCatchStep
    | model.ReturnStep
)

NodeStep = (
    model.ActionCallStep
    | model.AssignStep
    | model.StateSetStep
    | model.EventWaitStep
    | model.TimeWaitStep
    | model.HumanTaskStep
    | model.CallWorkflowStep
    | model.ParseBodyStep
    | model.RenderCommentBlocksStep
)

_ASKING = (
    model.ActionCallStep,
    model.EventWaitStep,
    model.TimeWaitStep,
    model.HumanTaskStep,
    model.CallWorkflowStep,
)

LONGEST_MS = 1_000 * 365 * 86_400_000
"""A thousand years: a longer time in a document is as good as this one, and has a date in every calendar still."""

AnswerSchemas = Callable[[Mapping[str, Any]], AnswerCheck]
"""Makes the check of a JSON Schema; the caller brings the library."""


def _any_answer(_: Mapping[str, Any]) -> AnswerCheck:
    return lambda _: ()


def compile_plan(definition: model.Definition, engine: ExpressionEngine, schemas: AnswerSchemas = _any_answer) -> Plan:
    """Makes a definition ready to run.

    Args:
        definition: A parsed document.
        engine: Compiles the expressions.
        schemas: Makes the checks of answers to human tasks.

    Raises:
        Refused: With every expression and path that is wrong.
    """
    compiler = _Compiler(engine, schemas, secrets_of_payload(definition))
    compiler.block(ROOT_BLOCK, definition.steps)
    if compiler.problems:
        raise Refused(compiler.problems)
    return Plan(
        compiler.blocks,
        engine.version,
        tuple(sorted(compiler.action_keys)),
        frozenset(definition.compensate_on or ()),
        compiler.last_asking,
    )


class _Compiler:
    def __init__(
        self, engine: ExpressionEngine, schemas: AnswerSchemas, payload_secrets: tuple[SecretPlace, ...]
    ) -> None:
        self.engine = engine
        self.schemas = schemas
        self.payload_secrets = payload_secrets
        self.blocks: dict[str, tuple[PlanStep, ...]] = {}
        self.last_asking: dict[str, int] = {}
        self.action_keys: set[str] = set()
        self.problems: list[Problem] = []

    def block(self, path: str, steps: Sequence[model.Step]) -> None:
        # Registered first, so that blocks are listed parents first.
        self.blocks[path] = ()
        self.blocks[path] = tuple(self.step(f"{path}[{index}]", step) for index, step in enumerate(steps))
        self.last_asking[path] = max((i for i, step in enumerate(steps) if self.asks(f"{path}[{i}]", step)), default=-1)

    def asks(self, path: str, step: model.Step) -> bool:
        """Whether the step, or one inside it, may need an answer from outside; what would undo it does not count."""
        if isinstance(step, _ASKING):
            return True
        inside = (name for name, steps in branches_of(step) if steps and name != "onCompensate")
        return any(self.last_asking[f"{path}.{name}.steps"] >= 0 for name in inside)

    def step(self, path: str, step: model.Step) -> PlanStep:
        blocks: dict[str, str | None] = {}
        for name, steps in branches_of(step):
            blocks[name] = f"{path}.{name}.steps" if steps else None
            if steps:
                self.block(f"{path}.{name}.steps", steps)
        common = _common(step)
        common["compensate"] = blocks.get("onCompensate")
        if isinstance(step, ControlStep):
            return self.control(path, step, common, blocks)
        return self.node(path, step, common)

    def node(self, path: str, step: NodeStep, common: dict[str, Any]) -> PlanStep:
        match step:
            case model.ActionCallStep():
                return self.action(path, step, common)
            case model.AssignStep():
                return AssignStep(
                    **common, assignments=self.assignments(f"{path}.config.assign", step.config.assign, None)
                )
            case model.StateSetStep():
                return StateStep(**common, state=step.config.state)
            case model.EventWaitStep():
                return self.event_wait(path, step, common)
            case model.TimeWaitStep():
                return self.time_wait(path, step, common)
            case model.HumanTaskStep():
                return self.human_task(path, step, common)
            case model.CallWorkflowStep():
                return self.call_workflow(path, step, common)
            case model.ParseBodyStep() | model.RenderCommentBlocksStep():
                return EmailStep(
                    **common,
                    text=self.optional(f"{path}.config.text", step.config.text),
                    html=self.optional(f"{path}.config.html", step.config.html),
                    save_as=self.place(f"{path}.config.saveAs", step.config.save_as),
                )

    def control(
        self, path: str, step: ControlStep, common: dict[str, Any], blocks: Mapping[str, str | None]
    ) -> PlanStep:
        match step:
            case model.IfStep():
                condition = self.expression(f"{path}.condition", step.condition)
                return IfStep(**common, condition=condition, then=blocks["then"], otherwise=blocks.get("else"))
            case model.SwitchStep():
                cases = tuple((case.equals, blocks[f"cases[{index}]"]) for index, case in enumerate(step.cases))
                value = self.expression(f"{path}.value", step.value)
                return SwitchStep(**common, value=value, cases=cases, default=blocks.get("default"))
            case model.ForEachStep():
                return ForEachStep(
                    **common,
                    items=self.expression(f"{path}.items", step.items),
                    item_var=step.item_var,
                    body=blocks["body"],
                    concurrency=step.concurrency or 1,
                    continue_on_item_error=step.on_item_error == "continue",
                    collect=self.optional(f"{path}.collect", step.collect),
                    save_as=self.target(f"{path}.saveAs", step.save_as),
                    errors_as=self.target(f"{path}.errorsAs", step.errors_as),
                )
            case model.WhileStep():
                condition = self.expression(f"{path}.condition", step.condition)
                return WhileStep(**common, condition=condition, body=blocks["body"], max_iterations=step.max_iterations)
            case model.ParallelStep():
                return ParallelStep(**common, branches=tuple(blocks.values()), any=step.wait == "any")
            case model.TryCatchStep():
                capture = self.target(f"{path}.captureErrorAs", step.capture_error_as)
                return TryStep(**common, attempt=blocks["try"], catch=blocks["catch"], capture_as=capture)
            case model.ReturnStep():
                return ReturnStep(**common, value=self.optional(f"{path}.value", step.value))

    def target(self, path: str, text: str | None) -> AssignPath | None:
        return None if text is None else self.place(path, text)

    def place(self, path: str, text: str) -> AssignPath:
        try:
            return parse_assign_path(text, "vars")
        except ValueError as error:
            self.problems.append(Problem("INVALID_ASSIGN_PATH", str(error), path))
            return AssignPath("vars", ())  # Of no plan: the problem refuses the definition.

    def action(self, path: str, step: model.ActionCallStep, common: dict[str, Any]) -> ActionStep:
        config = step.config
        self.action_keys.add(f"{config.action_id}@{config.version}")
        on_error = step.on_error or config.on_error
        common["continue_on_error"] = on_error is not None and on_error.policy == "continue"
        mapping = self.input_of(path, config)
        return ActionStep(
            **common,
            action_id=config.action_id,
            version=config.version,
            input=self.value(f"{path}.config.inputMapping", mapping),
            secrets=tuple(secrets_in(mapping, self.payload_secrets)),
            save_as=self.target(f"{path}.config.saveAs", config.save_as),
            idempotency_key=self.optional(f"{path}.config.idempotencyKey", config.idempotency_key),
        )

    def input_of(self, path: str, config: model.ActionCallConfig) -> dict[str, Any]:
        try:
            schema = config.output_schema()
        except (ValueError, RecursionError) as error:
            where = f"{path}.config.aiOutputSchemaText"
            self.problems.append(Problem("INVALID_AI_OUTPUT_SCHEMA", f"is not JSON: {error}", where))
            schema = None
        given = dict(config.input_mapping) if schema is None else {**config.input_mapping, "outputSchema": schema}
        if config.action_id == COMPOSE_TEXT:
            given["outputs"] = [output.as_input() for output in config.outputs or ()]
        return given

    def event_wait(self, path: str, step: model.EventWaitStep, common: dict[str, Any]) -> EventWaitStep:
        config = step.config
        return EventWaitStep(
            **common,
            event_name=config.event_name,
            key=self.expression(f"{path}.config.correlationKey", config.correlation_key),
            filters=tuple(
                PlanFilter(item.path, item.op, self.value(f"{path}.config.filters[{index}].value", item.value))
                for index, item in enumerate(config.filters or ())
            ),
            timeout_ms=_bounded(config.timeout_ms),
            lookback_ms=_bounded(config.lookback_ms),
            exclusive=config.match == "one",
            assignments=self.assignments(f"{path}.config.assign", config.assign, "vars"),
        )

    def time_wait(self, path: str, step: model.TimeWaitStep, common: dict[str, Any]) -> TimeWaitStep:
        config = step.config
        until = config.until if config.mode == "until" else None
        return TimeWaitStep(
            **common,
            duration_ms=_bounded(config.duration_ms) or 0,
            until=self.optional(f"{path}.config.until", until),
            assignments=self.assignments(f"{path}.config.assign", config.assign, "vars"),
        )

    def human_task(self, path: str, step: model.HumanTaskStep, common: dict[str, Any]) -> HumanTaskStep:
        config, where = step.config, f"{path}.config"
        check = None
        if config.response_schema is not None:
            check = self.schemas(config.response_schema)
        return HumanTaskStep(
            **common,
            task_type=config.task_type,
            title=self.expression(f"{where}.title", config.title),
            description=self.optional(f"{where}.description", config.description),
            context=self.value(f"{where}.contextData", config.context_data or {}),
            assigned_users=self.optional(f"{where}.assignedUsers", config.assigned_users),
            assigned_roles=self.optional(f"{where}.assignedRoles", config.assigned_roles),
            due_in_ms=_bounded(config.due_in_ms),
            timeout_ms=_bounded(config.timeout_ms),
            response_schema=config.response_schema,
            check=check,
            assignments=self.assignments(f"{where}.assign", config.assign, "vars"),
        )

    def call_workflow(self, path: str, step: model.CallWorkflowStep, common: dict[str, Any]) -> CallWorkflowStep:
        return CallWorkflowStep(
            **common,
            workflow_id=step.workflow_id,
            workflow_version=step.workflow_version,
            input=self.value(f"{path}.inputMapping", step.input_mapping or {}),
            assignments=self.assignments(f"{path}.outputMapping", step.output_mapping, "vars"),
        )

    def optional(self, path: str, expr: model.Expr | None) -> Expression | None:
        return None if expr is None else self.expression(path, expr)

    def assignments(
        self, path: str, authored: Mapping[str, model.Expr] | None, default_scope: str | None
    ) -> Assignments:
        out = []
        for target, expr in (authored or {}).items():
            where = field_path(path, target)
            expression = self.expression(where, expr)
            try:
                parsed = parse_assign_path(target, default_scope)
            except ValueError as error:
                self.problems.append(Problem("INVALID_ASSIGN_PATH", str(error), where))
                continue
            out.append((parsed, expression))
        return tuple(out)

    def expression(self, path: str, expr: model.Expr) -> Expression:
        try:
            return self.engine.compile(expr.source)
        except ExpressionInvalid as error:
            self.problems.append(Problem("INVALID_EXPRESSION", error.message, path))
            return self.engine.compile("null")  # Of no plan: the problem refuses the definition.

    def value(self, path: str, value: Any) -> Value:
        match value:
            case model.Expr():
                return Computed(self.expression(path, value))
            case model.SecretRef():
                return Constant({"$secret": value.name})
            case dict():
                members = {name: self.value(field_path(path, name), member) for name, member in value.items()}
                if all(isinstance(member, Constant) for member in members.values()):
                    return Constant({n: m.value for n, m in members.items() if isinstance(m, Constant)})
                return ObjectOf(members)
            case list():
                items = tuple(self.value(f"{path}[{index}]", item) for index, item in enumerate(value))
                if all(isinstance(item, Constant) for item in items):
                    return Constant([item.value for item in items if isinstance(item, Constant)])
                return ListOf(items)
        return Constant(value)


def _bounded(duration_ms: int | None) -> int | None:
    return None if duration_ms is None else min(duration_ms, LONGEST_MS)


def _common(step: model.Step) -> dict[str, Any]:
    on_error: model.OnErrorPolicy | None = getattr(step, "on_error", None)
    return {
        "id": step.id,
        "type": step.type,
        "name": getattr(step, "name", None),
        "retry": _rule(getattr(step, "retry", None)),
        "continue_on_error": on_error is not None and on_error.policy == "continue",
    }


def _rule(policy: model.RetryPolicy | None) -> RetryRule | None:
    if policy is None:
        return None
    return RetryRule(
        max_attempts=policy.max_attempts,
        backoff_ms=policy.backoff_ms,
        multiplier=policy.backoff_multiplier,
        jitter=policy.jitter,
        max_delay_ms=policy.max_delay_ms,
        retry_on=frozenset(policy.retry_on or ()),
    )
