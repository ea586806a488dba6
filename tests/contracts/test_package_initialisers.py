"""Importing a package runs nothing: a workflow's sandbox loads every parent package of what it imports."""

from __future__ import annotations

import ast

from harness.workspace import ROOT, sources

# Only where workflows are never loaded may an initialiser gather names for its callers.
FACADES = {"packages/workflows-cli/src/workflows_cli/embedded/__init__.py"}


def test_initialisers_hold_a_docstring_only() -> None:
    initialisers = [path for path in sources() if path.name == "__init__.py"]
    assert initialisers
    for path in initialisers:
        name = str(path.relative_to(ROOT))
        if name in FACADES:
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, f"{name} must hold its docstring and nothing else"
        assert isinstance(body[0], ast.Expr), name
        assert isinstance(body[0].value, ast.Constant), name
        assert isinstance(body[0].value.value, str), name
