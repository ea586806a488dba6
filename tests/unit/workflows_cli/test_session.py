"""What a call of the command line knows of who calls it."""

from __future__ import annotations

import os
import pwd

import pytest

from workflows_cli.session import Session


def test_a_user_without_a_name_is_known_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    known = {user.pw_uid for user in pwd.getpwall()}
    nobody = next(number for number in range(10_001, 70_000) if number not in known)
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    assert Session().actor == f"cli:uid-{nobody}"


def test_a_user_with_a_name_is_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert Session().actor == "cli:ada"
