"""What must be right before a definition is published, beyond its shape. Codes: docs/problem-codes.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from workflows_core.actions.secrets import SECRET_NAME, SERVICE_SECRETS, service_secret_problem
from workflows_core.definitions.model import (
    ActionCallStep,
    Definition,
    EventTrigger,
    EventWaitStep,
    Expr,
    HumanTaskStep,
    Model,
    Step,
)
from workflows_core.definitions.paths import parse_assign_path
from workflows_core.definitions.spelling import nearest
from workflows_core.definitions.walk import walk_steps
from workflows_core.errors import UNCATCHABLE, ErrorCategory, Problem
from workflows_core.expressions.engine import (
    NO_VALUE,
    Expression,
    ExpressionEngine,
    ExpressionFailed,
    ExpressionInvalid,
    Limits,
)
from workflows_core.expressions.reading import EVERYTHING
from workflows_core.expressions.tokens import tokenise
from workflows_core.interpreter.correlation import DEFAULT_PATHS, key_text
from workflows_core.interpreter.matching import ORDERING
from workflows_core.validation.flow import (
    VARYING,
    compensation_problems,
    loop_variable_problems,
    unreachable_problems,
    variable_problems,
)
from workflows_core.validation.mappings import KnownActions, action_problems, special_key_problems
from workflows_core.validation.output_schemas import response_schema_problems
from workflows_core.validation.payload_reads import payload_problems_of
from workflows_core.validation.targets import assign_targets
from workflows_core.validation.values import references_of

_MOST_ITEMS = Limits().max_array_length
"""Of a list that an expression makes."""

_WHOLE = re.compile("[0-9]{1,18}")

STALE_AFTER = timedelta(days=90)
"""A secret that was not changed for so long should be."""


def publish_problems(
    definition: Definition,
    registry: KnownActions,
    engine: ExpressionEngine,
    *,
    correlation_paths: Mapping[str, Sequence[str]] = DEFAULT_PATHS,
    secrets: Mapping[str, timedelta] | None = None,
    payload_schema: Mapping[str, Any] | None = None,
) -> list[Problem]:
    """Everything that blocks publishing (severity `error`) or should be looked at (`warning`), in document order.

    Args:
        definition: A parsed document.
        registry: The actions that are loaded.
        engine: Compiles the expressions.
        correlation_paths: Payload paths that keys of events are derived from, by event name, `*` for all.
        secrets: How long ago each secret that there is was last changed; None where nobody knows.
        payload_schema: Of the payload; None where it is not known.
    """
    checks = _Checks(registry, engine, correlation_paths, secrets)
    return [
        *checks.trigger(definition),
        *checks.steps(definition),
        *loop_variable_problems(definition),
        *compensation_problems(definition),
        *unreachable_problems(definition),
        *variable_problems(definition, engine),
        *(() if payload_schema is None else payload_problems_of(definition, registry, payload_schema)),
    ]


class _Checks:
    def __init__(
        self,
        registry: KnownActions,
        engine: ExpressionEngine,
        correlation_paths: Mapping[str, Sequence[str]],
        secrets: Mapping[str, timedelta] | None,
    ) -> None:
        self.registry = registry
        self.engine = engine
        self.correlation_paths = correlation_paths
        self.secrets = secrets

    def trigger(self, definition: Definition) -> Iterator[Problem]:
        trigger = definition.trigger
        if not isinstance(trigger, EventTrigger):
            return
        yield from self.references("trigger", trigger, None)
        for path, value in references_of("trigger", trigger):
            expression = self.compiled(value) if isinstance(value, Expr) else None
            roots = {read.split(".")[0] for read in expression.reads} if expression else set()
            for root in sorted(roots - {"event", EVERYTHING}):
                message = f"reads {root!r}; a trigger's mapping sees only event (name, correlationKey, payload)"
                hint = "event.payload" if root == "payload" else None
                yield Problem("TRIGGER_MAPPING_INVALID_ROOT", message, path, suggestion=hint)
        yield from special_key_problems("trigger.payloadMapping", trigger.payload_mapping or {}, None)

    def steps(self, definition: Definition) -> Iterator[Problem]:
        first: dict[str, str] = {}
        for path, step in walk_steps(definition):
            if step.id in first:
                message = f"step id {step.id!r} is taken by {first[step.id]}; every step needs an id of its own"
                yield Problem("DUPLICATE_STEP_ID", message, f"{path}.id", step_id=step.id)
            first.setdefault(step.id, path)
            yield from self.references(path, step, step.id)
            yield from _path_problems(path, step)
            yield from _retry_problems(path, step)
            if isinstance(step, ActionCallStep):
                yield from action_problems(path, step, self.registry)
                yield from special_key_problems(f"{path}.config.inputMapping", step.config.input_mapping, step.id)
            elif isinstance(step, EventWaitStep):
                yield from self.wait(path, step)
            elif isinstance(step, HumanTaskStep):
                yield from response_schema_problems(path, step)

    def references(self, path: str, owner: Model, step_id: str | None) -> Iterator[Problem]:
        for where, value in references_of(path, owner):
            if not isinstance(value, Expr):
                yield from self.secret_problems(where, value.name, step_id)
            elif not value.source.strip():
                message = "the expression is empty; write one, or remove the field"
                yield Problem("EMPTY_EXPRESSION", message, where, step_id=step_id)
            else:
                yield from self.source_problems(where, value.source, step_id)

    def secret_problems(self, path: str, name: str, step_id: str | None) -> Iterator[Problem]:
        if not SECRET_NAME.fullmatch(name):
            message = (
                f"{name!r} is no secret's name: capital letters, digits and _, a letter first, at most 255 characters"
            )
            yield Problem("INVALID_SECRET_NAME", message, path, step_id=step_id)
        elif (reserved := service_secret_problem(name)) is not None:
            yield Problem("SECRET_RESERVED", reserved, path, step_id=step_id)
        elif self.secrets is None:
            message = f"nobody can say here whether there is a secret {name}: WORKFLOW_SECRETS_DIR is not set"
            yield Problem("UNKNOWN_SECRET", message, path, severity="warning", step_id=step_id)
        elif name not in self.secrets:
            message = f"there is no secret {name}; put its value into a file of that name in WORKFLOW_SECRETS_DIR"
            suggestion = nearest(name, [known for known in self.secrets if known not in SERVICE_SECRETS])
            yield Problem("SECRET_NOT_FOUND", message, path, step_id=step_id, suggestion=suggestion)
        elif self.secrets[name] > STALE_AFTER:
            age, most = self.secrets[name].days, STALE_AFTER.days
            message = f"secret {name} was last changed {age} days ago, and should be every {most}: change it"
            yield Problem("SECRET_STALE", message, path, severity="warning", step_id=step_id)

    def source_problems(self, path: str, source: str, step_id: str | None) -> Iterator[Problem]:
        try:
            self.engine.compile(source)
            _refuse_long_ranges(source)
        except ExpressionInvalid as error:
            where = "" if error.position is None else f" (at character {error.position + 1} of {_excerpt(source)})"
            yield Problem("INVALID_EXPRESSION", f"{error.message}{where}", path, step_id=step_id)

    def compiled(self, expr: Expr) -> Expression | None:
        try:
            return self.engine.compile(expr.source)
        except ExpressionInvalid:
            return None

    def wait(self, path: str, step: EventWaitStep) -> Iterator[Problem]:
        config = step.config
        if config.event_name not in self.correlation_paths and "*" not in self.correlation_paths:
            message = (
                f"no key can be derived from events {config.event_name!r}: neither they nor '*' have payload paths "
                "in the correlation settings, so only an event published with an explicit key could match"
            )
            yield Problem("EVENT_WAIT_UNCORRELATABLE", message, f"{path}.config.eventName", step_id=step.id)
        for number, item in enumerate(config.filters or ()):
            if item.op in ORDERING and (item.value is None or isinstance(item.value, bool)):
                value = json.dumps(item.value)
                message = f"operator {item.op!r} needs a number or a text as value: with {value} no event matches"
                yield Problem("INVALID_CONFIG", message, f"{path}.config.filters[{number}].value", step_id=step.id)
        expression = self.compiled(config.correlation_key)
        yield from self.contract_of_wait(path, step)
        # Decided only for an expression that gives the same key in every run.
        if expression is None or expression.reads or VARYING.search(expression.source):
            return
        try:
            key = expression.evaluate({}, now_ms=0, seed=0)
        except ExpressionFailed as error:
            key, why = NO_VALUE, error.message
        else:
            why = "it is always " + ("without a value" if key is NO_VALUE else json.dumps(key, ensure_ascii=False))
        if key is NO_VALUE or key_text(key) is None:
            message = f"no event can have this key: {why}; give a text or a number"
            where = f"{path}.config.correlationKey"
            yield Problem("EVENT_WAIT_UNCORRELATABLE", message, where, step_id=step.id)

    def contract_of_wait(self, path: str, step: EventWaitStep) -> Iterator[Problem]:
        """Says from which payload paths keys come, where the wait's key has the name of none of them."""
        config = step.config
        derived = [*self.correlation_paths.get(config.event_name, ()), *self.correlation_paths.get("*", ())]
        named = re.fullmatch(r"\s*\w+(?:\.\w+)*\.(\w+)\s*", config.correlation_key.source)
        if not derived or named is None or named[1] in {path.split(".")[-1] for path in derived}:
            return
        message = (
            f"events {config.event_name!r} that are published without a key get theirs from {', '.join(derived)}, "
            f"and this key is a {named[1]!r}: publish them with a key"
        )
        where = f"{path}.config.correlationKey"
        yield Problem("EVENT_WAIT_CORRELATION_CONTRACT", message, where, severity="warning", step_id=step.id)


def _path_problems(path: str, step: Step) -> Iterator[Problem]:
    for where, text, default_scope in assign_targets(path, step):
        try:
            parse_assign_path(text, default_scope)
        except ValueError as error:
            yield Problem("INVALID_ASSIGN_PATH", str(error), where, step_id=step.id)


def _retry_problems(path: str, step: Step) -> Iterator[Problem]:
    policy = getattr(step, "retry", None)
    for index, name in enumerate((policy.retry_on if policy is not None else None) or ()):
        where = f"{path}.retry.retryOn[{index}]"
        known = [category.value for category in ErrorCategory if category not in UNCATCHABLE]
        if name in UNCATCHABLE:
            message = f"{name} is never retried; remove it, or use some of {', '.join(known)}"
            yield Problem("UNCATCHABLE_ERROR_CATEGORY", message, where, severity="warning", step_id=step.id)
        elif name not in known:
            message = f"unknown error category {name!r}; known are {', '.join(known)}"
            yield Problem("UNKNOWN_ERROR_CATEGORY", message, where, step_id=step.id, suggestion=nearest(name, known))


def _refuse_long_ranges(source: str) -> None:
    """Refuses a range of two numbers that no run could make: the engine makes it before it counts its items."""
    tokens = tokenise(source)
    for before, first, dots, last, after in zip(*(tokens[index:] for index in range(5)), strict=False):
        whole = dots.text == ".." and before.text in ("[", ",") and after.text in ("]", ",")
        if whole and all(one.kind == "name" and _WHOLE.fullmatch(one.text) for one in (first, last)):
            items = int(last.text) - int(first.text) + 1
            if items > _MOST_ITEMS:
                message = f"the range has {items} items, a list has at most {_MOST_ITEMS}"
                raise ExpressionInvalid(message, first.start)


def _excerpt(source: str) -> str:
    return repr(source if len(source) <= 120 else f"{source[:117]}...")
