"""`links.*`: edges between the application's entities, in the transaction that records the step: exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workflows_core.actions.action import Action, ActionContext, Handler
from workflows_core.actions.building import LIST_LIMIT, object_schema, output_schema, transactional_action
from workflows_core.actions.ports import Edge, EntityLink, EntityLinks
from workflows_core.errors import ActionFailed, Json

_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_NAMESPACE = {**_NAME, "description": "Groups links, such as `crm`."}
_EDGE: Mapping[str, Any] = {
    "namespace": _NAMESPACE,
    "left_type": {**_NAME, "description": "Kind of the entity on the left, such as `ticket`."},
    "left_id": {**_NAME, "description": "Its id."},
    "relation": {**_NAME, "description": "What the left is to the right, such as `caused_by`."},
    "right_type": {**_NAME, "description": "Kind of the entity on the right."},
    "right_id": {**_NAME, "description": "Its id."},
}
_LINK = output_schema(
    {
        "link_id": {"type": "string"},
        **{name: {"type": "string"} for name in _EDGE},
        "attributes": {"type": "object"},
    }
)
_LINKS = {"type": "array", "items": _LINK, "description": "Each with `link_id`, both sides, `relation`, `attributes`."}


def link_actions() -> Sequence[Action]:
    """upsert, lookup, list, delete, list_namespaces."""
    attributes = {"type": "object", "description": "Anything about the link; replaces what it had."}
    return (
        _action(
            "links.upsert",
            _upsert,
            "Makes a link, or changes the attributes of the one that is there.",
            object_schema({**_EDGE, "attributes": attributes}, list(_EDGE)),
            {
                "link_id": {"type": "string", "description": "Of the link, for as long as it exists."},
                "created": {"type": "boolean", "description": "Whether it is new."},
            },
        ),
        _action(
            "links.lookup",
            _lookup,
            "Finds one link.",
            object_schema(_EDGE, list(_EDGE)),
            {
                "found": {"type": "boolean", "description": "Whether it is there."},
                "link": {"description": "The link, or null."},
            },
        ),
        _action(
            "links.list",
            _list,
            "Lists the links of a namespace for which everything given agrees, oldest first.",
            object_schema({**_EDGE, "limit": LIST_LIMIT}, ["namespace"]),
            {"items": _LINKS},
        ),
        _action(
            "links.delete",
            _delete,
            "Deletes a link.",
            object_schema(_EDGE, list(_EDGE)),
            {"deleted": {"type": "boolean", "description": "Whether it was there."}},
        ),
        _action(
            "links.list_namespaces",
            _list_namespaces,
            "Lists the namespaces that have links.",
            object_schema({"limit": LIST_LIMIT}, []),
            {"namespaces": {"type": "array", "items": {"type": "string"}, "description": "By name, ascending."}},
        ),
    )


def _action(
    action_id: str, handler: Handler, description: str, input_schema: Mapping[str, Any], output: Mapping[str, Any]
) -> Action:
    return transactional_action(
        action_id, handler, description=description, category="links", input_schema=input_schema, output=output
    )


async def _upsert(value: Any, context: ActionContext) -> Json:
    link, created = await _links(context).upsert(_edge(value), value.get("attributes"))
    return {"link_id": link.link_id, "created": created}


async def _lookup(value: Any, context: ActionContext) -> Json:
    link = await _links(context).lookup(_edge(value))
    return {"found": link is not None, "link": None if link is None else _shown(link)}


async def _list(value: Any, context: ActionContext) -> Json:
    given = {name: value[name] for name in _EDGE if name in value}
    return {"items": [_shown(link) for link in await _links(context).list(given, limit=int(value.get("limit", 100)))]}


async def _delete(value: Any, context: ActionContext) -> Json:
    return {"deleted": await _links(context).delete(_edge(value))}


async def _list_namespaces(value: Any, context: ActionContext) -> Json:
    return {"namespaces": await _links(context).list_namespaces(limit=int(value.get("limit", 100)))}


def _edge(value: Any) -> Edge:
    return Edge(*(value[name] for name in _EDGE))


def _shown(link: EntityLink) -> dict[str, Any]:
    return {"link_id": link.link_id, **link.edge._asdict(), "attributes": dict(link.attributes)}


def _links(context: ActionContext) -> EntityLinks:
    if context.links is None:
        message = "links are there only inside the transaction that records the step"
        raise ActionFailed(message, code="LINKS_UNAVAILABLE")
    return context.links
