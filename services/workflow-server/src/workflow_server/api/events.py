"""`/v1/events`: publish."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from workflow_server.api.access import allowed
from workflow_server.api.models import PublishedEvent, PublishEvent
from workflow_server.api.responses import refused, succeeded
from workflows_core.launching.events import publish_checked
from workflows_core.storage.api_tokens import TokenHolder
from workflows_core.storage.database import Database


def events_router(db: Database) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1/events", tags=["events"])

    @router.post(
        "",
        status_code=202,
        response_model=PublishedEvent,
        responses={
            **succeeded(200, PublishedEvent, "An event of this id was published before: nothing has changed."),
            **refused(409, 413, 415, 422, 503),
        },
    )
    async def publish(
        body: PublishEvent, response: Response, holder: Annotated[TokenHolder, Depends(allowed("publisher"))]
    ) -> Any:
        """Publish an event. One whose id was published before changes nothing (200)."""
        event_id = body.event_id or str(uuid.uuid4())
        async with db.tenant(holder.tenant) as conn:
            created = await publish_checked(
                conn,
                tenant=holder.tenant,
                event_id=event_id,
                event_name=body.event_name,
                payload=body.payload,
                correlation_key=body.correlation_key,
                payload_schema_ref=body.payload_schema_ref,
                occurred_at=body.occurred_at,
            )
        response.status_code = 202 if created else 200
        return PublishedEvent(event_id=event_id, created=created)

    return router
