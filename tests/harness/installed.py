"""Wheels built from the tree, and environments that have nothing but one program's closure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.workspace import ROOT

CLOSURE: dict[str, dict[str, list[str]]] = tomllib.loads(
    (ROOT / "contracts" / "wheel_closure.toml").read_text(encoding="utf-8")
)
PROGRAMS = tuple(name for name in CLOSURE if name != "everywhere")
FIRST_PARTY = frozenset(name for program in PROGRAMS for name in CLOSURE[program]["first_party"])

_SHARED = (
    *("sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql", "psycopg", "temporalio.client", "temporalio.worker"),
    *("pydantic", "pydantic_settings", "jsonschema", "referencing", "httpx", "loguru", "click", "alembic", "fastapi"),
)
"""Third-party modules that many of ours load."""

IMPORT_EACH = Path(__file__).with_name("import_each.py")


def uv(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """What uv prints; an error is the test's."""
    found = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(Path(sys.base_prefix) / "bin"))
    command = [found] if found else [sys.executable, "-m", "uv"]
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    run = subprocess.run(
        [*command, *arguments], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"uv {' '.join(arguments)}\n{run.stderr}"
    return run.stdout


def build_wheels(directory: Path, *, tree: Path = ROOT) -> list[Path]:
    """Every member's wheel, and the example pack's."""
    uv("build", "--all-packages", "--wheel", "--no-sources", "--out-dir", str(directory), "-q", cwd=tree)
    uv("build", "--wheel", "--out-dir", str(directory), "-q", str(tree / "examples" / "acme-actions"), cwd=tree)
    return sorted(directory.glob("*.whl"))


@dataclass(frozen=True)
class Installed:
    """One program, installed from wheels, outside the tree."""

    program: str
    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.directory.glob("lib/python*/site-packages")
        return found

    @classmethod
    def make(cls, program: str, wheels: Path, directory: Path, *further: str) -> Installed:
        """Third-party packages by hash, ours from the built wheels and from nowhere else."""
        made = cls(program, directory)
        uv("venv", "-q", "--python", sys.executable, str(directory))
        into = ("--python", str(made.python))
        requirements = ROOT / "requirements" / f"{program}.txt"
        uv("pip", "install", "-q", *into, "--require-hashes", "-r", str(requirements))
        uv("pip", "install", "-q", *into, "--no-index", "--find-links", str(wheels), program, *further)
        return made

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command of its own, away from the tree."""
        command = [str(self.directory / "bin" / arguments[0]), *arguments[1:]]
        return subprocess.run(
            command,
            cwd=cwd or self.directory,
            env=dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )

    def tell(self, script: str, *arguments: str) -> Any:
        """The JSON that a script prints in its interpreter."""
        run = self.run("python", "-I", "-c", script, *arguments)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def wrong_imports(self, modules: Sequence[str], *, first_on_path: Sequence[str] = ()) -> dict[str, str]:
        """What goes wrong when each module is imported by itself, and where its first-party files come from."""
        ours = [name.replace("-", "_") for name in FIRST_PARTY]
        asked = {
            "root": str(self.directory.resolve()),
            "modules": list(modules),
            "ours": ours,
            "first_on_path": list(first_on_path),
            "shared": [name for name in _SHARED if self._has(name)],
        }
        run = self.run("python", "-I", str(IMPORT_EACH), json.dumps(asked))
        assert run.returncode == 0, run.stderr
        found: dict[str, str] = json.loads(run.stdout)
        return found

    @contextmanager
    def planted(self, files: Mapping[str, str]) -> Iterator[None]:
        """Files in its site-packages, for as long as the block lasts."""
        paths = {self.site_packages / name: text for name, text in files.items()}
        made = {path.parent for path in paths if not path.parent.exists()}
        try:
            for path, text in paths.items():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            yield
        finally:
            for path in paths:
                path.unlink()
            for directory in made:
                shutil.rmtree(directory)

    def _has(self, module: str) -> bool:
        return (self.site_packages / module.partition(".")[0]).exists()

    def distributions(self) -> dict[str, str]:
        """Name to version of everything that is installed."""
        found = self.tell(
            "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"
        )
        return {name.lower().replace("_", "-"): version for name, version in found.items()}


def modules_of(installed: Installed, packages: Sequence[str]) -> list[str]:
    """Every module of these packages, as files lie there; Alembic's revisions are loaded by path."""
    found = []
    for package in packages:
        root = installed.site_packages / package
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(installed.site_packages).with_suffix("").parts
            if ("migrations" in parts and parts[-2:-1] == ("versions",)) or parts[-2:] == ("migrations", "env"):
                continue
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found
