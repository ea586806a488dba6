"""What the tests of the command line begin with."""

from __future__ import annotations

import pytest

from harness.authored import TENANT
from harness.databases import MigratedDatabase
from workflows_cli.embedded import EmbeddedTemporal


@pytest.fixture
def environment(database: MigratedDatabase, temporal: EmbeddedTemporal) -> dict[str, str]:
    """An installation without any worker."""
    return {
        **database.environment,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "WORKFLOWS_TENANT": TENANT,
    }
