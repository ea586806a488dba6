"""Modules stay small enough to read in one sitting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from statistics import median, quantiles

from harness.workspace import ROOT, sources

_LOG = logging.getLogger(__name__)

CEILING = 500
NINTH_DECILE = 300


def test_no_module_is_long(record_property: Callable[[str, object], None]) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    # Files that hold next to nothing would flatter the figures.
    written = sorted(length for length in lengths.values() if length > 5)
    ninth_decile = quantiles(written, n=10)[8]
    record_property("median", median(written))
    record_property("ninth decile", ninth_decile)
    record_property("longest", written[-1])
    _LOG.info(
        "%d modules: median %d, ninth decile %d, longest %d", len(written), median(written), ninth_decile, written[-1]
    )
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > CEILING} == {}
    assert ninth_decile < NINTH_DECILE
