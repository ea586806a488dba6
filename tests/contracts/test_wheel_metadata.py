"""The wheels say the same things about themselves: version, pins, licence, Python, types."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib

import pytest

from harness.workspace import ROOT, Member, members

ROOT_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = ROOT_PROJECT["project"]["version"]
FIRST_PARTY = {member.name for member in members()}

each_member = pytest.mark.parametrize("member", members(), ids=lambda member: member.name)


def first_party(requirements: list[str]) -> list[str]:
    names = ((re.split(r"[\[=<>~! ;]", requirement)[0], requirement) for requirement in requirements)
    return [requirement for name, requirement in names if name in FIRST_PARTY]


@each_member
def test_there_is_one_version(member: Member) -> None:
    assert member.project["version"] == VERSION
    assert importlib.metadata.version(member.name) == VERSION


@each_member
def test_wheels_of_ours_are_pinned_exactly(member: Member) -> None:
    for requirement in first_party(member.requirements):
        assert re.sub(r"\[\w+\]", "", requirement).partition("==")[2] == VERSION, requirement


def test_the_search_sees_pins() -> None:
    assert first_party(["workflows-core==0.1.0", "workflows-core[x]>=1", "service-host", "pydantic>=2"]) == [
        "workflows-core==0.1.0",
        "workflows-core[x]>=1",
        "service-host",
    ]
    assert first_party(next(m for m in members() if m.name == "workflow-worker").requirements)


@each_member
def test_other_wheels_are_bounded_above(member: Member) -> None:
    # pydantic pins its own core to one version; a bound of ours could only disagree.
    for requirement in set(member.requirements) - set(first_party(member.requirements)) - {"pydantic-core"}:
        assert re.search(r"<|==", requirement.partition(";")[0]), f"{requirement} has no upper bound"


@each_member
def test_licence_readme_python_and_types(member: Member) -> None:
    folder, project = ROOT / member.directory, member.project
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (folder / project["readme"]).read_text(encoding="utf-8").startswith(f"# {member.name}\n")
    assert project["requires-python"] == ROOT_PROJECT["project"]["requires-python"] == ">=3.11"
    assert "Typing :: Typed" in project["classifiers"]
    assert (member.source / member.import_name / "py.typed").exists()
    assert project["description"].endswith(".")


def test_the_workspace_resolves_its_own_wheels_and_installs_them_all() -> None:
    assert ROOT_PROJECT["tool"]["uv"]["package"] is False
    assert ROOT_PROJECT["tool"]["uv"]["sources"] == {name: {"workspace": True} for name in FIRST_PARTY}
    development = {re.split(r"[\[=<>]", requirement)[0] for requirement in ROOT_PROJECT["dependency-groups"]["dev"]}
    assert development >= FIRST_PARTY


@pytest.mark.parametrize(
    ("service", "closure"),
    [
        ("workflow-worker", {"workflows-core", "service-host", "business-calendar"}),
        ("temporal-worker", {"service-host", "business-calendar"}),
        ("workflow-server", {"workflows-bootstrap", "workflows-core", "service-host", "business-calendar"}),
        ("workflows-cli", {"workflows-core", "service-host", "business-calendar"}),
    ],
)
def test_a_service_brings_only_the_wheels_it_needs(service: str, closure: set[str]) -> None:
    by_name = {member.name: member for member in members()}

    def needs(name: str) -> set[str]:
        direct = {requirement.partition("==")[0] for requirement in first_party(by_name[name].project["dependencies"])}
        return direct.union(*(needs(each) for each in direct))

    assert needs(service) == closure
