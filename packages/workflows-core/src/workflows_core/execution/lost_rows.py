"""A run whose row is gone, such as in a database that was restored, gets it again of what Temporal has of its start.

Nothing that a run with a row writes says which version it is of: its history would repeat that with each action.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import activity
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.converter import decode_typed_search_attributes

from workflows_core.execution.payloads import decode
from workflows_core.storage.begun_runs import restore_row
from workflows_core.storage.database import Database
from workflows_core.storage.statements import RunRowMissing
from workflows_core.wire import names
from workflows_core.wire.messages import RunInput

_LOG = logging.getLogger(__name__)
_PARENT = SearchAttributeKey.for_keyword(names.SEARCH_PARENT)
_T = TypeVar("_T")


async def with_row(db: Database, work: Callable[[], Awaitable[_T]]) -> _T:
    """Does what an activity writes for its run, and again if the row had to be made for that."""
    try:
        return await work()
    except RunRowMissing as error:
        _LOG.warning("%s: it gets one of what Temporal knows of its start", error)
        await restore_row(db, *await _begun())
        return await work()


async def _begun() -> tuple[RunInput, str | None]:
    """What the execution was started with, and the run that has started it."""
    info, client = activity.info(), activity.client()
    history = client.get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id).fetch_history_events(
        page_size=1
    )
    async for event in history:
        started = event.workflow_execution_started_event_attributes
        [raw] = await client.data_converter.decode(started.input.payloads, [RawValue])
        parent = decode_typed_search_attributes(started.search_attributes).get(_PARENT)
        return RunInput.from_wire(decode(raw)), parent
    raise RuntimeError(f"Temporal has no history of {info.workflow_id}")
