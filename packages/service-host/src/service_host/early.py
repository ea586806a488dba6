"""What holds while a program is still loaded; imports next to nothing, so that it comes before everything else."""

from __future__ import annotations

import gc
import os
import signal
from types import TracebackType


def end_on_signal() -> None:
    """Ends the process with exit code 0 at SIGTERM or SIGINT, until the supervisor takes the signals over.

    Loading takes a second, in which nothing has been claimed. Process 1 of a container would ignore a signal without a
    handler, start, and be killed at the end of its grace period.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


class Loading:
    """`with Loading():` around a program's imports; what they made is looked at by no later collection of garbage.

    Modules live as long as the process: collecting while they load takes a sixth of that time and finds next to
    nothing, and walking them later only makes the event loop stand still.
    """

    def __enter__(self) -> None:
        gc.disable()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.freeze()
        gc.enable()
