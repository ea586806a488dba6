"""What happens while the command line is loaded."""

from __future__ import annotations

import signal
import subprocess
import sys

INTERRUPTED = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.{before})

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "workflows_cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["workflows", "--version"]
from workflows_cli.start import main

main()
"""


def interrupted(before: str) -> subprocess.CompletedProcess[str]:
    """A command that gets Ctrl-C while it is loaded."""
    program = INTERRUPTED.format(before=before)
    return subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)


def test_an_interrupt_while_loading_ends_it_without_a_trace() -> None:
    done = interrupted("default_int_handler")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_who_is_told_to_ignore_interrupts_does() -> None:
    done = interrupted("SIG_IGN")
    assert (done.returncode, done.stderr) == (0, "")
    assert "version" in done.stdout
