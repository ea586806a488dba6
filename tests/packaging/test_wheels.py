"""What the built wheels contain, and that building again gives the very same files."""

from __future__ import annotations

import os
import shutil
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from harness.installed import build_wheels
from harness.workspace import ROOT, Member, members

each_member = pytest.mark.parametrize("member", members(), ids=lambda member: member.name)


def wheel_of(wheels: Path, member: Member) -> zipfile.ZipFile:
    (path,) = wheels.glob(f"{member.import_name}-*.whl")
    return zipfile.ZipFile(path)


def metadata_of(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@each_member
def test_a_wheel_has_its_one_package_and_its_metadata(wheels: Path, member: Member) -> None:
    names = wheel_of(wheels, member).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {member.import_name}
    assert len(tops) == 2
    assert f"{member.import_name}/py.typed" in names
    assert not [
        name for name in names if "__pycache__" in name or "/tests/" in name or name.endswith((".pyc", ".orig"))
    ]
    inside = {name for name in names if name.startswith(f"{member.import_name}/") and not name.endswith("/")}
    there = {
        str(path.relative_to(member.source))
        for path in (member.source / member.import_name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == there


@each_member
def test_its_metadata_is_complete(wheels: Path, member: Member) -> None:
    wheel = wheel_of(wheels, member)
    found = metadata_of(wheel)
    assert (found["Name"], found["Version"]) == (member.name, member.project["version"])
    assert found["Summary"] == member.project["description"]
    assert (found["License-Expression"], found.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert found["Requires-Python"] == ">=3.11"
    assert found["Description-Content-Type"] == "text/markdown"
    assert str(found.get_payload()).strip().startswith(f"# {member.name}")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    ours = {other.name for other in members()}
    for requirement in found.get_all("Requires-Dist") or ():
        name = requirement.split(";")[0].split("[")[0].split("=")[0].split("<")[0].split(">")[0].strip()
        if name in ours:
            assert f"=={member.project['version']}" in requirement, requirement


def test_package_data_is_files_and_not_links(wheels: Path) -> None:
    host = next(member for member in members() if member.name == "service-host")
    text = wheel_of(wheels, host).read("service_host/queue_ownership.toml").decode()
    assert text == (ROOT / "contracts" / "queue_ownership.toml").read_text(encoding="utf-8")


def copy_of_the_tree(directory: Path, mtime: int, umask: int) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".venv", "*.pyc", ".mypy_cache")
    before = os.umask(umask)
    try:
        directory.mkdir()
        for name in ("packages", "services", "examples"):
            shutil.copytree(ROOT / name, directory / name, ignore=ignored, symlinks=True)
        shutil.copy(ROOT / "pyproject.toml", directory)
        for path in directory.rglob("*"):
            if not path.is_symlink():
                os.utime(path, (mtime, mtime))
                if path.is_file():
                    path.chmod(0o666 & ~umask)
    finally:
        os.umask(before)
    return directory


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    built = []
    for number, (mtime, umask) in enumerate(((1_500_000_000, 0o022), (1_700_000_000, 0o077))):
        tree = copy_of_the_tree(tmp_path / f"tree-{number}", mtime, umask)
        found = build_wheels(tmp_path / f"wheels-{number}", tree=tree)
        built.append({path.name: path.read_bytes() for path in found})
    assert built[0].keys() == built[1].keys()
    assert len(built[0]) == len(members()) + 1
    assert [name for name in built[0] if built[0][name] != built[1][name]] == []
