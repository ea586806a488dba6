"""The last step of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-"])
def test_the_exit_code_is_kept_where_a_stream_was_closed_before_the_start(closed: str) -> None:
    program = "from service_host.leaving import leave; print('done'); leave(3)"
    shell = ["sh", "-c", f'exec "$0" -P -c "$1" {closed}', sys.executable, program]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
