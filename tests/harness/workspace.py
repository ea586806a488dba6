"""The workspace as its files say: members, wheels, sources."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Member:
    """One wheel of the workspace, found at `directory` (relative to the root)."""

    directory: str

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """Its pyproject.toml."""
        return tomllib.loads((ROOT / self.directory / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def project(self) -> dict[str, Any]:
        """Its `[project]` table."""
        table: dict[str, Any] = self.pyproject["project"]
        return table

    @property
    def name(self) -> str:
        """Its distribution name."""
        name: str = self.project["name"]
        return name

    @property
    def import_name(self) -> str:
        """The package it installs."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        """The directory that holds its package."""
        return ROOT / self.directory / "src"

    @property
    def requirements(self) -> list[str]:
        """Everything it may require, extras included."""
        extras = self.project.get("optional-dependencies", {})
        return [*self.project["dependencies"], *(each for extra in extras.values() for each in extra)]


def members() -> list[Member]:
    """Members in the order of the root's pyproject.toml."""
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Member(directory) for directory in root["tool"]["uv"]["workspace"]["members"]]


def sources() -> list[Path]:
    """Every Python file that a wheel ships."""
    return sorted(path for member in members() for path in member.source.rglob("*.py"))


def module_name(path: Path) -> str:
    """Dotted name of a file from `sources()`."""
    inside = str(path.relative_to(ROOT)).partition("/src/")[2]
    return re.sub(r"(\.__init__)?\.py$", "", inside.replace("/", "."))
