"""What a run is started with travels whole, however its texts look in JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from workflows_core.wire.messages import RunInput

GIVEN = RunInput("r", "acme", "wf", 1, None, "key")


@pytest.mark.parametrize("text", ['"', "\\", "é", "\ud800", "x"])
@pytest.mark.parametrize("length", [10, 900_000])
def test_a_checkpoint_comes_back_and_is_never_more_than_temporal_takes(text: str, length: int) -> None:
    given = replace(GIVEN, checkpoint=json.dumps({"t": text * min(length, length * 2 // len(json.dumps(text)))}))
    wire = given.to_wire()
    assert RunInput.from_wire(json.loads(json.dumps(wire))) == given
    assert len(json.dumps(wire)) < 2_000_000
    assert (wire["checkpoint"] == given.checkpoint) == (len(json.dumps(given.checkpoint)) < 1_572_864)
