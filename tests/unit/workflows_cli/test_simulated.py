"""What `workflows simulate` says to people."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from harness.interpreted import document
from workflows_cli.commands.simulate import simulate_command
from workflows_core.errors import Refused


def test_values_are_written_as_authors_write_them(tmp_path: Path) -> None:
    """Else they cannot be taken from there into a payload or a fixture."""
    path = tmp_path / "definition.json"
    assign = {"vars.found": {"$expr": "{'ok': payload.n > 1, 'none': null, 'name': 'Jürgen'}"}}
    steps = (
        {"type": "transform.assign", "config": {"assign": assign}},
        {"type": "control.return", "value": {"$expr": "[vars.found.ok, null]"}},
    )
    path.write_text(json.dumps(document(*steps)), encoding="utf-8")
    found = CliRunner().invoke(simulate_command, [str(path), "--payload", '{"n": 2}', "--explain"])
    value = '{"ok": true, "none": null, "name": "Jürgen"}'
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert f"vars.found = {value}" in lines
    assert "result = [true, null]" in lines
    assert any(line.endswith(f"-> {value}  payload.n = 2") for line in lines)


def test_an_action_that_is_not_known_here_is_told_with_the_option_that_simulate_has(tmp_path: Path) -> None:
    """It named an option of another command, which knows what processes announce."""
    path = tmp_path / "definition.json"
    asks = {"type": "action.call", "config": {"actionId": "ai.infer", "version": 1, "saveAs": "said"}}
    path.write_text(json.dumps(document(asks)), encoding="utf-8")
    refused = CliRunner().invoke(simulate_command, [str(path)])
    assert isinstance(refused.exception, Refused)
    (problem,) = refused.exception.problems
    assert problem.code == "UNKNOWN_ACTION"
    assert "`validate --announced`" in problem.message
    (option,) = re.findall(r"with (--[a-z-]+) its fixture answers", problem.message)
    found = CliRunner().invoke(simulate_command, [str(path), option, "--fixtures", '{"ai.infer": {"topic": "bill"}}'])
    assert found.exit_code == 0, found.output
    assert 'vars.said = {"topic": "bill"}' in found.output.splitlines()
