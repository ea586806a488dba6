"""One file says which service owns which queue: the installed one, which contracts/ shows, and the names agree."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from harness.workspace import ROOT, members
from service_host.ownership import QueueOwnership
from workflows_core.wire.names import APPLICATION_ACTIONS_QUEUE, AUTHORED_QUEUE

SHOWN = ROOT / "contracts" / "queue_ownership.toml"
INSTALLED = files("service_host") / "queue_ownership.toml"

# The literal names of the wire contract, once more and on purpose: a change of either side is seen.
OWNERS = {
    "workflow-runtime-v2": "workflow-worker",
    "workflow-app-actions": "workflow-server",
    "tenant-workflows": "temporal-worker",
    "portal-domain-workflows": "temporal-worker",
    "email-domain-workflows": "temporal-worker",
    "alga-jobs": "temporal-worker",
    "sla-workflows": "temporal-worker",
}


def test_contracts_show_the_installed_file() -> None:
    assert SHOWN.is_symlink()
    assert not SHOWN.readlink().is_absolute()
    assert SHOWN.resolve() == ROOT / "packages/service-host/src/service_host/queue_ownership.toml"
    assert SHOWN.read_text(encoding="utf-8") == INSTALLED.read_text(encoding="utf-8")


def test_the_file_is_the_wire_contract() -> None:
    queues = tomllib.loads(SHOWN.read_text(encoding="utf-8"))["queues"]
    assert {queue: entry["owner"] for queue, entry in queues.items()} == OWNERS


def test_core_calls_the_queues_by_the_same_names() -> None:
    assert OWNERS[AUTHORED_QUEUE] == "workflow-worker"
    assert OWNERS[APPLICATION_ACTIONS_QUEUE] == "workflow-server"


def test_owners_are_services_of_the_workspace() -> None:
    services = {member.name for member in members() if member.directory.startswith("services/")}
    assert set(QueueOwnership.load().services()) == services
