"""The pack: a function without arguments that returns actions. Nothing happens when this module is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.building import object_schema, output_schema, short_action
from workflows_core.errors import ActionFailed, ErrorCategory, Json


def actions() -> Sequence[Action]:
    """What the pack has; `acme` is its name in `WORKFLOW_ACTION_PACKS`."""
    return (
        short_action(
            "acme.greet",
            1,
            _greet,
            description="Greets somebody.",
            category="acme",
            input_schema=object_schema({"name": {"type": "string", "minLength": 1}}, ["name"]),
            output_schema=output_schema({"text": {"type": "string"}}),
        ),
        Action(
            id="acme.reserve_stock",
            version=1,
            handler=_reserve,
            input_schema=object_schema(
                {"item": {"type": "string"}, "quantity": {"type": "integer", "minimum": 1}}, ["item", "quantity"]
            ),
            output_schema=output_schema({"left": {"type": "number"}}),
            description="Takes a quantity of an item from the stock, once for each step, whatever happens.",
            category="acme",
            effect=Effect.TRANSACTIONAL,
        ),
        Action(
            id="acme.sign",
            version=1,
            handler=_sign,
            input_schema=object_schema({"text": {"type": "string"}, "key": {"type": "string"}}, ["text", "key"]),
            output_schema=output_schema({"length": {"type": "integer"}}),
            description='Shows how a secret comes in: map `key` to {"$secret": "ACME_KEY"}.',
            category="acme",
            effect=Effect.IDEMPOTENT,
            timeout_ms=10_000,
        ),
    )


def _greet(value: dict[str, Any]) -> Json:
    return {"text": f"Good day, {value['name']}"}


async def _reserve(value: Any, context: ActionContext) -> Json:
    assert context.store is not None  # a transactional action has it
    stock = await context.store.increment("acme-stock", value["item"], -value["quantity"])
    if stock.value < 0:
        # The transaction is rolled back with this failure, so nothing was taken.
        raise ActionFailed(
            f"not enough of {value['item']}",
            category=ErrorCategory.ACTION,
            code="ACME_OUT_OF_STOCK",
            details={"item": value["item"], "missing": -stock.value},
        )
    return {"left": stock.value}


async def _sign(value: Any, context: ActionContext) -> Json:
    context.logger.info("signing for %s", context.tenant_id)
    return {"length": len(value["text"]) + len(value["key"])}
