"""`ai.infer`: asks an AI provider, and checks that the answer fits the step's schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from workflows_bootstrap.inference.accounting import TokenAccount
from workflows_bootstrap.inference.provider import MAX_ANSWER_BYTES, InferenceProvider, InferenceRequest
from workflows_core.actions.action import Action, ActionContext, Effect, Place
from workflows_core.actions.building import object_schema
from workflows_core.actions.json_schemas import MAX_PROBLEMS, compile_schema, schema_problems, value_problems
from workflows_core.errors import ActionFailed, ErrorCategory, Json

TIMEOUT_MS: Final = 300_000
"""Limit of one call, with the provider's own retries and the wait for its turn."""

_INPUT = object_schema(
    {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 400_000, "description": "What is asked."},
        "system": {"type": "string", "maxLength": 100_000, "description": "Instructions above the prompt."},
        "model": {"type": "string", "minLength": 1, "maxLength": 200, "description": "Default: the installation's."},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "description": "Default: the provider's."},
        "maxTokens": {"type": "integer", "minimum": 1, "description": "Most tokens of the answer."},
        "outputSchema": {
            "type": "object",
            "description": "JSON Schema of the answer; the step's `aiOutputSchema` comes here.",
        },
    },
    ["prompt", "outputSchema"],
)


def infer_actions(provider: InferenceProvider, account: TokenAccount) -> Sequence[Action]:
    """ai.infer over a provider."""

    async def infer(value: Any, context: ActionContext) -> Json:
        schema = value["outputSchema"]
        _check_schema(schema)
        answer = await provider.infer(
            InferenceRequest(
                prompt=value["prompt"],
                output_schema=schema,
                tenant_id=context.tenant_id,
                system=value.get("system"),
                model=value.get("model"),
                temperature=value.get("temperature"),
                max_tokens=value.get("maxTokens"),
            )
        )
        # It was paid for, whatever it is worth.
        account.record(answer.usage, context)
        if answer.unusable is not None:
            raise answer.unusable
        return _checked(answer.text, schema)

    return (
        Action(
            id="ai.infer",
            version=1,
            handler=infer,
            input_schema=_INPUT,
            output_schema={"type": "object"},
            description="Asks an AI model; the output is an object that fits the step's schema.",
            category="ai",
            effect=Effect.IDEMPOTENT,
            timeout_ms=TIMEOUT_MS,
            place=Place.APP,
        ),
    )


def _check_schema(schema: Json) -> None:
    problems = [
        {"pointer": f"/outputSchema{pointer}", "message": message} for pointer, message in schema_problems(schema)
    ]
    if not problems and schema.get("type") != "object":
        problems = [{"pointer": "/outputSchema/type", "message": 'must be "object": the output is one'}]
    if problems:
        message = f"the output schema is wrong: {problems[0]['pointer']} {problems[0]['message']}"
        details = {"problems": problems[:MAX_PROBLEMS]}
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="AI_OUTPUT_SCHEMA_INVALID", details=details)


def _checked(text: str, schema: Json) -> Json:
    # A model may stop in the middle of a character.
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_ANSWER_BYTES:
        message = f"the AI model's answer has {size} bytes, at most {MAX_ANSWER_BYTES} are taken; ask for less"
        raise ActionFailed(message, category=ErrorCategory.PAYLOAD_TOO_LARGE, code="AI_OUTPUT_TOO_LARGE")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        message = "the AI model's answer is not JSON"
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="AI_OUTPUT_INVALID") from None
    problems = value_problems(compile_schema(schema), value)
    if problems:
        message = f"the AI model's answer does not fit the output schema: {problems[0]}"
        details = {"problems": [problem.to_json() for problem in problems[:MAX_PROBLEMS]]}
        raise ActionFailed(message, category=ErrorCategory.VALIDATION, code="AI_OUTPUT_INVALID", details=details)
    return value
