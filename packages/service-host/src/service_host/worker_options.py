"""Options that every Temporal worker of a process has: its build, its deployment, its pollers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorAutoscaling, WorkerDeploymentConfig

from service_host.settings import TemporalSettings


def worker_options(settings: TemporalSettings, version: str) -> Mapping[str, Any]:
    """Keyword arguments for `temporalio.worker.Worker`.

    Args:
        settings: Build, deployment, pollers.
        version: Of the service, which is the build where the settings name none.
    """
    build = settings.temporal_worker_build_id or version
    pollers = PollerBehaviorAutoscaling(
        minimum=1, maximum=settings.temporal_worker_max_pollers, initial=min(5, settings.temporal_worker_max_pollers)
    )
    options: dict[str, Any] = {
        "workflow_task_poller_behavior": pollers,
        "activity_task_poller_behavior": pollers,
    }
    if settings.temporal_worker_deployment is None:
        # Of two builds on one queue Temporal's list of pollers tells which is which.
        return {**options, "build_id": build}
    deployed = WorkerDeploymentVersion(deployment_name=settings.temporal_worker_deployment, build_id=build)
    config = WorkerDeploymentConfig(
        version=deployed, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE
    )
    return {**options, "deployment_config": config}
