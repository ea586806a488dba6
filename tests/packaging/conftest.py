"""Wheels once per session, and one environment for each program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.databases import MigratedDatabase
from harness.installed import Installed, build_wheels
from workflows_cli.embedded import EmbeddedTemporal


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every wheel of the tree."""
    directory = tmp_path_factory.mktemp("wheels")
    build_wheels(directory)
    return directory


@pytest.fixture(scope="session")
def installed(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    """A program's environment, made when it is first asked for."""
    made: dict[str, Installed] = {}

    def environment(program: str) -> Installed:
        if program not in made:
            made[program] = Installed.make(program, wheels, tmp_path_factory.mktemp("venv") / program)
        return made[program]

    return environment


@pytest.fixture
def environment(database: MigratedDatabase, temporal: EmbeddedTemporal) -> dict[str, str]:
    """What points a service at a fresh database and the session's Temporal."""
    return {
        **database.environment,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
    }
