"""requirements/*.txt are what uv.lock says, hashed, and name no place of ours or of an index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.workspace import ROOT, members

SCRIPT = ROOT / "scripts" / "requirements"
FILES = ROOT / "requirements"


def check(directory: Path = FILES) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--check", "--directory", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_files_are_what_the_lock_says() -> None:
    run = check()
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_is_one_for_each_program() -> None:
    programs = {member.name for member in members() if "scripts" in member.project}
    assert {file.stem for file in FILES.iterdir()} == programs


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    changed = tmp_path / "workflow-worker.txt"
    changed.write_text(re.sub(r"^pydantic==[\d.]+", "pydantic==2.0.0", changed.read_text("utf-8"), flags=re.MULTILINE))
    (tmp_path / "temporal-worker.txt").unlink()
    run = check(tmp_path)
    assert run.returncode == 1
    assert "-pydantic==2.0.0" in run.stdout
    assert "temporal-worker.txt" in run.stdout
    assert "workflow-server.txt" not in run.stdout
    assert "run scripts/requirements" in run.stderr


@pytest.mark.parametrize("file", sorted(FILES.iterdir()), ids=lambda file: file.stem)
def test_every_line_is_pinned_hashed_and_from_nowhere(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "://" not in text
    assert str(ROOT) not in text
    requirements = text.replace("\\\n", " ").splitlines()
    assert requirements
    for requirement in requirements:
        assert re.match(r"^[a-z0-9.-]+==\S+( ; [^#]*?)?( +--hash=sha256:[0-9a-f]{64})+$", requirement), requirement
    ours = {member.name for member in members()}
    assert not {re.split("==", requirement)[0] for requirement in requirements} & ours
