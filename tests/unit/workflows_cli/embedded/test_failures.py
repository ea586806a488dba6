"""What is told of a server that did not start."""

from __future__ import annotations

from pathlib import Path

from workflows_cli.embedded.failures import last_lines, says


def test_a_panic_is_found_and_shown_though_its_trace_is_long(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("begins\npanic: listen tcp: address already in use\n" + "\n".join(f"frame {n}" for n in range(40)))
    assert says(log, "address already in use")
    assert not says(log, "Address already in use")
    shown = last_lines(log).splitlines()
    assert shown[1] == "  panic: listen tcp: address already in use"
    assert shown[-1] == "  frame 39"
    assert len(shown) == 17


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert not says(tmp_path / "none", "")
    assert last_lines(tmp_path / "none") == "\n  (it wrote nothing)"
