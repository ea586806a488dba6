"""The directory of a stack that outlives its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflows_cli.embedded.failures import EmbeddedStartFailed
from workflows_cli.embedded.state import StateDirectory


def test_what_was_saved_is_loaded_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "new" / "stack")
    assert directory.load() == {}
    directory.save({"port": 1})
    assert StateDirectory(directory.path).load() == {"port": 1}
    assert (directory.path / "server.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content)
    with pytest.raises(EmbeddedStartFailed, match=r"server\.json is damaged; delete the directory"):
        StateDirectory(tmp_path).load()


def test_one_stack_at_a_time_uses_a_directory(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    first.lock()
    with pytest.raises(EmbeddedStartFailed, match="in use by another running stack"):
        second.lock(patience=0)
    first.unlock()
    second.lock(patience=0)
    second.unlock()
