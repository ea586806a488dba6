"""While a program is loaded: no collection of garbage, and none afterwards of what was made."""

from __future__ import annotations

import gc

from service_host.early import Loading


def test_nothing_is_collected_while_a_program_loads_nor_looked_at_later() -> None:
    before = gc.get_freeze_count()
    try:
        with Loading():
            assert not gc.isenabled()
            made: list[list[int]] = [[] for _ in range(10_000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(made)
    finally:
        gc.unfreeze()


def test_collection_goes_on_after_a_failed_import() -> None:
    try:
        with Loading():
            raise ImportError
    except ImportError:
        assert gc.isenabled()
    finally:
        gc.unfreeze()
