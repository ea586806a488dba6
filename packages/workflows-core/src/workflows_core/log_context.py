"""What a log line is about: the run, its tenant, workflow and step, whoever writes the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("workflows_core.log_context", default={})  # noqa: B039 - never changed


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Lines logged inside the block, also by libraries and in its tasks, are about these."""
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def log_context() -> Mapping[str, str]:
    """What a line logged here and now is about: `tenant`, `run_id`, `step_path`, `action`; `workflow_id` of a load."""
    return _ABOUT.get()
