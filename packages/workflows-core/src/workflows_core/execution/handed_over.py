"""What the write of a run answers: events that the waits it opened may take already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from workflows_core.interpreter.messages import EventReceived
from workflows_core.wire.messages import EventSignal


def handed_over(answer: Any, at: int) -> Iterator[EventReceived]:
    """As if each had come by signal; the same one by signal is ignored then. None in histories of before."""
    signals = (EventSignal.from_wire(body) for body in answer or ())
    return (EventReceived(signal, at) for signal in signals if signal is not None)
