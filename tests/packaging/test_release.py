"""`scripts/release --dry-run`, in a copy of the tree: what it makes, and what it refuses."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from harness.installed import Installed, uv
from harness.workspace import ROOT, members

SCRIPT = ROOT / "scripts" / "release"


def release(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--root", str(tree)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a release reads, with an entry for the next version."""
    copy = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", ".venv", "dist", ".*_cache", ".git", ".workflows-dev", "tests")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    page = copy / "CHANGELOG.md"
    page.write_text(
        page.read_text(encoding="utf-8") + "\n## 9.1.0\n\n- Everything is new.\n\n## 9.2.0\n", encoding="utf-8"
    )
    return copy


def test_a_dry_run_builds_and_checks_every_wheel_and_changes_nothing(tree: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("pyproject.toml")}
    run = release(tree, "9.1.0", "--dry-run")
    assert (run.returncode, run.stderr) == (0, "")
    for member in members():
        assert f"built     {member.import_name}-9.1.0-py3-none-any.whl" in run.stdout
    for program in ("workflow-worker", "temporal-worker", "workflow-server", "workflows-cli"):
        assert f"checked   {program} 9.1.0 in an environment of its own" in run.stdout
    order = [line.split()[0] for line in run.stdout.partition("in this order")[2].splitlines()[1:-1]]
    assert sorted(order) == sorted(member.name for member in members())
    for index, name in enumerate(order):
        needs = {r.split("[")[0].partition("==")[0] for m in members() if m.name == name for r in m.requirements}
        assert needs & set(order) <= set(order[:index]), f"{name} comes before what it needs"
    assert {path: path.read_bytes() for path in tree.rglob("pyproject.toml")} == before
    assert not (tree / "dist").exists()


def test_the_example_of_an_installation_gets_the_images_of_the_release(tree: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    script["tag"](tree, "9.1.0rc1")
    services = yaml.safe_load((tree / "compose/compose.prod-example.yaml").read_text(encoding="utf-8"))["services"]
    images = {service["image"] for service in services.values()}
    assert {image for image in images if image.startswith("localhost/")} == {
        f"localhost/{program}:9.1.0rc1" for program in script["PROGRAMS"]
    }
    assert "postgres:18" in images


@pytest.mark.parametrize(
    ("version", "let_in"),
    [("9.1.0", ">=9.1,<9.2"), ("9.2.3", ">=9.2,<9.3"), ("9.1.0rc1", ">=9.1.0rc1,<9.2"), ("0.1.0", ">=0.1,<0.2")],
)
def test_the_example_of_a_pack_can_be_installed_with_the_release(tree: Path, version: str, let_in: str) -> None:
    runpy.run_path(str(SCRIPT))["let_in"](tree, version)
    for path in ("examples/acme-actions/pyproject.toml", "docs/action-packs.md"):
        assert f'"workflows-core{let_in}"' in (tree / path).read_text(encoding="utf-8")


def test_what_a_release_bumps_installs_with_the_example_of_a_pack(tree: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)  # noqa: S607 - git is where it is
    subprocess.run(["git", "-C", str(tree), "add", "-A"], check=True)  # noqa: S607
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(tree), *author, "commit", "-qm", "all"], check=True)  # noqa: S607
    run = release(tree, "9.1.0")
    assert (run.returncode, run.stderr) == (0, "")
    uv("build", "--wheel", "--out-dir", str(tree / "dist"), "-q", str(tree / "examples" / "acme-actions"))
    Installed.make("workflow-worker", tree / "dist", tmp_path / "worker", "acme-actions")


@pytest.mark.parametrize(
    ("version", "codes"),
    [
        ("9.3.0", ["RELEASE_CHANGELOG_MISSING"]),
        ("9.2.0", ["RELEASE_CHANGELOG_MISSING"]),
        ("0.0.1", ["RELEASE_VERSION_INVALID", "RELEASE_CHANGELOG_MISSING"]),
        ("nine", ["RELEASE_VERSION_INVALID", "RELEASE_CHANGELOG_MISSING"]),
    ],
)
def test_what_cannot_be_released_is_refused_with_every_reason(tree: Path, version: str, codes: list[str]) -> None:
    run = release(tree, version, "--dry-run")
    assert (run.returncode, run.stdout) == (1, "")
    assert [line.split()[1].rstrip(":") for line in run.stderr.splitlines()] == codes


def test_a_release_wants_a_committed_tree(tree: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)  # noqa: S607 - git is where it is
    run = release(tree, "9.1.0")
    assert run.returncode == 1
    assert "RELEASE_TREE_CHANGED" in run.stderr
    version = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
