"""The ownership table: one owner per queue, and a refusal that names owner and file."""

from __future__ import annotations

from pathlib import Path

import pytest

from service_host.errors import StartRefused
from service_host.ownership import QueueOwnership

TEMPORAL_WORKER_QUEUES = (
    "tenant-workflows",
    "portal-domain-workflows",
    "email-domain-workflows",
    "alga-jobs",
    "sla-workflows",
)


def test_the_installed_table_is_the_wire_contract() -> None:
    ownership = QueueOwnership.load()
    assert ownership.queues_of("workflow-worker") == ("workflow-runtime-v2",)
    assert ownership.queues_of("workflow-server") == ("workflow-app-actions",)
    assert ownership.queues_of("temporal-worker") == TEMPORAL_WORKER_QUEUES
    assert ownership.owner_of("somebody-elses") is None
    assert all(entry.purpose for entry in ownership.queues.values())


def test_every_queue_is_owned_or_refused_by_each_service() -> None:
    ownership = QueueOwnership.load()
    for service in ownership.services():
        owned, refused = set(ownership.queues_of(service)), set(ownership.refused_by(service))
        assert not owned & refused
        assert owned | refused == set(ownership.queues)


def test_the_contracts_folder_holds_the_very_same_file() -> None:
    link = Path(__file__).parents[3] / "contracts" / "queue_ownership.toml"
    assert link.is_symlink()
    assert str(link.resolve()) == QueueOwnership.load().file


def test_a_queue_of_another_service_is_refused_with_owner_and_file() -> None:
    ownership = QueueOwnership.load()
    ownership.check("temporal-worker", TEMPORAL_WORKER_QUEUES)
    with pytest.raises(StartRefused) as caught:
        ownership.check("temporal-worker", ["alga-jobs", "workflow-runtime-v2", "no-such-queue"])
    problems = {problem.where: problem for problem in caught.value.problems}
    assert set(problems) == {"workflow-runtime-v2", "no-such-queue"}
    assert {problem.code for problem in problems.values()} == {"QUEUE_NOT_OWNED"}
    assert "belongs to workflow-worker" in problems["workflow-runtime-v2"].message
    assert ownership.file in problems["workflow-runtime-v2"].message
    assert "belongs to nobody" in problems["no-such-queue"].message


@pytest.mark.parametrize(
    "text", ["", "[queues", "[queues.a]\nowner = 'x'", "[queues.a]\nowner = 1\npurpose = 'p'", "queues = {a = 1}"]
)
def test_a_faulty_table_is_refused(text: str) -> None:
    with pytest.raises(StartRefused, match="OWNERSHIP_FILE_INVALID some-file") as caught:
        QueueOwnership.parse(text, "some-file")
    assert caught.value.code == "OWNERSHIP_FILE_INVALID"
