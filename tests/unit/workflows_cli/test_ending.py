"""How a command ends whose output cannot be written, or which was used wrongly."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; sys.argv[0] = 'workflows'; from workflows_cli.start import main; main()"


def begun(*arguments: str) -> list[str]:
    """The command line of a command."""
    return [sys.executable, "-P", "-c", PROGRAM, *arguments]


def without_room() -> None:
    """Lets the process write no byte to a file, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_full_disk_is_told_in_a_sentence(style: str, tmp_path: Path) -> None:
    definition = tmp_path / "definition.json"
    definition.write_text('{"id": "w", "version": 1, "name": "w", "payloadSchemaRef": "payload.W.v1", "steps": []}')
    with (tmp_path / "output").open("w") as output:
        done = subprocess.run(
            begun("simulate", str(definition), "--format", style),
            stdout=output, stderr=subprocess.PIPE, text=True, check=False, preexec_fn=without_room,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, "error OUTPUT_NOT_WRITTEN: the output cannot be written: File too large\n",
    )  # fmt: skip


def test_nothing_is_said_to_a_reader_who_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        done = subprocess.run(begun("--help"), stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("style", [["--format", "json"], ["--format=json"]])
def test_wrong_usage_is_told_as_asked_for(style: list[str]) -> None:
    done = subprocess.run(begun("simulate", *style), capture_output=True, text=True, check=False)
    problem = {"code": "USAGE_INVALID", "message": "Missing argument 'FILE'."}
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (2, {"problems": [problem]}, "")
