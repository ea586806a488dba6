"""Long tests, on a Temporal server that only real processes poll."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workflows_cli.embedded import EmbeddedTemporal


@pytest.fixture(scope="package")
def own_temporal() -> Iterator[EmbeddedTemporal]:
    """Of this folder's processes alone."""
    with EmbeddedTemporal(ui=True) as server:
        yield server
