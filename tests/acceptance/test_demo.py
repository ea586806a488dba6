"""A newcomer's first command (FR-1, FR-2, AC-1, AC-2, AC-3, AC-6, F-1, F-2, F-3)."""

from __future__ import annotations

import pytest

from harness.service_process import ended

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_demo_shows_an_authored_run_from_start_to_end() -> None:
    code, output, error = await ended("workflows", "demo", environment={})
    assert (code, error) == (0, "")
    for text in ("Wait for the payment", "published PAYMENT_RECEIVED", "Confirm the order", "SUCCEEDED"):
        assert text in output
    assert "all 5 domain queues answer" in output
    assert "Temporal's web UI shows on workflow-runtime-v2: workflow-worker@" in output


async def test_the_authored_run_finishes_without_temporal_worker() -> None:
    code, output, error = await ended("workflows", "demo", "--without", "temporal-worker", environment={})
    assert (code, error) == (0, "")
    assert "Confirm the order" in output
    assert "temporal-worker  left out" in output


async def test_domain_queues_answer_without_workflow_worker_and_the_run_is_reported_as_not_polled() -> None:
    code, output, error = await ended("workflows", "demo", "--without", "workflow-worker", environment={})
    assert (code, error) == (0, "")
    assert "all 5 domain queues answer" in output
    assert "nobody polls workflow-runtime-v2: the run waits for workflow-worker" in output
