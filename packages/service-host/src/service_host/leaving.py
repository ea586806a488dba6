"""The last step of a process."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from loguru import logger


def leave(code: int) -> NoReturn:
    """Flush logs and streams and end the process without running the interpreter's finalisers.

    The Temporal SDK's threads may still call into Python then and, rarely, abort an exit that was clean (seen with
    temporalio 1.35). Nothing may be left to flush but logs and streams.
    """
    logger.complete()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            # There is none where the process was started with it closed.
            if stream is not None:
                stream.flush()
        except OSError:  # a closed pipe must not change the exit code
            continue
    os._exit(code)
