"""The machine in one line, above the figures that hang on it."""

from __future__ import annotations

import os
import platform
import time


def this_machine() -> str:
    """Interpreter, processors, and how long a plain loop takes: a build without optimisation shows in it."""
    begun = time.perf_counter()
    sum(number for number in range(10_000_000))
    seconds = time.perf_counter() - begun
    built = f"Python {platform.python_version()} ({platform.python_compiler()})"
    return f"{built} on {platform.machine()}, {os.cpu_count()} cores; ten million additions in {seconds:.2f} s"
