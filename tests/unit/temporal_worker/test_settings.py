"""temporal-worker's settings: which queues it takes, and how it refuses the rest."""

from __future__ import annotations

import pytest

from service_host.errors import StartRefused
from service_host.ownership import QueueOwnership
from temporal_worker.settings import RETIRED, load

COMPLETE = {
    "TEMPORAL_ADDRESS": "localhost:7233",
    "DB_HOST": "localhost",
    "DB_NAME_SERVER": "server",
    "DB_USER_SERVER": "app",
    "DB_PASSWORD_SERVER": "secret",
}


def test_all_owned_queues_are_the_default() -> None:
    assert load(COMPLETE).task_queues == QueueOwnership.load().queues_of("temporal-worker")
    assert load({**COMPLETE, "TEMPORAL_TASK_QUEUES": ""}).task_queues == load(COMPLETE).task_queues


def test_a_selection_is_trimmed_and_each_queue_taken_once() -> None:
    settings = load({**COMPLETE, "TEMPORAL_TASK_QUEUES": " alga-jobs, sla-workflows,alga-jobs ,"})
    assert settings.task_queues == ("alga-jobs", "sla-workflows")


def test_the_authored_queue_is_refused_with_its_owner_and_the_file_beside_other_problems() -> None:
    with pytest.raises(StartRefused) as caught:
        load({**COMPLETE, "TEMPORAL_TASK_QUEUES": "alga-jobs,workflow-runtime-v2,unknown", "PORT": "x"})
    problems = {problem.where: problem for problem in caught.value.problems}
    assert set(problems) == {"TEMPORAL_TASK_QUEUES", "PORT"}
    refusal = problems["TEMPORAL_TASK_QUEUES"]
    assert refusal.code == "QUEUE_NOT_OWNED"
    assert "'workflow-runtime-v2': it belongs to workflow-worker" in refusal.message
    assert "queue_ownership.toml" in refusal.message
    assert "'unknown': it belongs to nobody" in refusal.message
    assert "'alga-jobs'" not in refusal.message


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(StartRefused, match="TEMPORAL_TASK_QUEUES"):
        load({**COMPLETE, "TEMPORAL_TASK_QUEUES": ", ,"})


@pytest.mark.parametrize("name", sorted(RETIRED))
def test_a_retired_variable_is_refused_with_its_successor(name: str) -> None:
    with pytest.raises(StartRefused) as caught:
        load({**COMPLETE, name: "x"})
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("SETTING_RETIRED", name)
    assert RETIRED[name] in problem.message
