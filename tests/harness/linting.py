"""import-linter against a copy of the tree, so that a test can plant a violation and see it reported."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.workspace import ROOT, members

CONFIGURATION = "contracts/importlinter.toml"

# The copy comes first on the path, before the installed members; a run that looked elsewhere would prove nothing.
_RUN = """
import os, sys
from importlib.util import find_spec
from pathlib import Path

root, configuration, *rest = sys.argv[1:]
sources, packages = rest[: len(rest) // 2], rest[len(rest) // 2 :]
os.chdir(root)
sys.path[:0] = [root, *sources]
for package in packages:
    origin = find_spec(package).origin
    if not Path(origin).is_relative_to(root):
        sys.exit(f"{package} was found at {origin}, not in the copy")

from importlinter.cli import lint_imports

sys.exit(lint_imports(config_filename=configuration, no_cache=True, no_logo=True))
"""


def contracts(root: Path = ROOT) -> list[dict[str, Any]]:
    """The contracts of the configuration, as written."""
    table = tomllib.loads((root / CONFIGURATION).read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = table["tool"]["importlinter"]["contracts"]
    return found


@dataclass(frozen=True)
class Report:
    """What one run said: the ids of broken contracts, and everything it printed, on one line."""

    exit_code: int
    broken: frozenset[str]
    kept: frozenset[str]
    text: str


class TreeCopy:
    """A copy of what the linter reads."""

    def __init__(self, root: Path) -> None:
        """Copies the sources below `root`, which must be empty."""
        self.root = root
        self._members = members()
        shutil.copytree(ROOT / "contracts", root / "contracts", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", root)
        for member in self._members:
            (root / member.directory).mkdir(parents=True)
            shutil.copy(ROOT / member.directory / "pyproject.toml", root / member.directory)
            shutil.copytree(member.source, root / member.directory / "src", ignore=_only_python)

    @contextmanager
    def planted(self, lines: Mapping[str, str], declared: Mapping[str, str] | None = None) -> Iterator[None]:
        """The copy with additions, which are taken out again.

        Args:
            lines: Text to append by dotted module name; a module that does not exist is made.
            declared: Distributions to declare as a dependency, by member.
        """
        edits = {self._file(module): self._appended(module, text) for module, text in lines.items()}
        for name, distribution in (declared or {}).items():
            file = self._pyproject(name)
            edits[file] = _declaring(file.read_text(encoding="utf-8"), distribution)
        before = {file: file.read_text(encoding="utf-8") if file.exists() else None for file in edits}
        try:
            for file, text in edits.items():
                file.write_text(text, encoding="utf-8")
            yield
        finally:
            for file, old in before.items():
                if old is None:
                    file.unlink()
                else:
                    file.write_text(old, encoding="utf-8")

    def lint(self) -> Report:
        """Checks every contract."""
        arguments = [
            *(str(self.root / m.directory / "src") for m in self._members),
            *(m.import_name for m in self._members),
        ]
        # A width that no line reaches: names and guidance stay whole.
        environment = {"PATH": os.environ["PATH"], "COLUMNS": "10000", "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(
            [sys.executable, "-c", _RUN, str(self.root), CONFIGURATION, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        text = " ".join((run.stdout + run.stderr).split())
        verdicts = {
            contract["id"]: "BROKEN" if f"{contract['name']} BROKEN" in text else "KEPT"
            for contract in contracts(self.root)
            if f"{contract['name']} BROKEN" in text or f"{contract['name']} KEPT" in text
        }
        assert len(verdicts) == len(contracts(self.root)), f"the linter did not judge every contract: {text}"
        broken = frozenset(name for name, verdict in verdicts.items() if verdict == "BROKEN")
        return Report(run.returncode, broken, frozenset(verdicts) - broken, text)

    def _file(self, module: str) -> Path:
        package, *inner = module.split(".")
        member = next(member for member in self._members if member.import_name == package)
        path = self.root.joinpath(member.directory, "src", package, *inner)
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def _appended(self, module: str, text: str) -> str:
        file = self._file(module)
        old = file.read_text(encoding="utf-8") if file.exists() else '"""Planted."""\n'
        return f"{old}\n{text}\n"

    def _pyproject(self, name: str) -> Path:
        member = next(member for member in self._members if member.name == name)
        return self.root / member.directory / "pyproject.toml"


def _declaring(pyproject: str, distribution: str) -> str:
    declared, replaced = re.subn(
        r"^dependencies = \[", f'dependencies = ["{distribution}",', pyproject, flags=re.MULTILINE
    )
    assert replaced == 1
    return declared


def _only_python(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py") and not Path(directory, name).is_dir()} | {"__pycache__"}
