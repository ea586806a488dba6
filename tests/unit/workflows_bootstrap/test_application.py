"""The application's runtime: core's pack, the listed application-only packs, and what an installation adds."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from workflows_bootstrap.application import RESERVED_PACKS, application_registry, build_application_runtime
from workflows_bootstrap.inference.settings import InferenceSettings
from workflows_bootstrap.mail.settings import MailSettings
from workflows_bootstrap.registrations import application_packs
from workflows_bootstrap.services import ApplicationServices
from workflows_core.actions.action import Action, ActionContext
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import CORE_PACK, ActionRegistry
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import Json, Refused
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database

SECRETS = MappingSecrets({})
SERVICES = ApplicationServices.build(InferenceSettings(), MailSettings(), SECRETS)


@pytest.fixture
def db() -> Database:
    # Connects when it is first used, which is not in these tests.
    return Database(create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing"))


async def _ring(_input: Json, _context: ActionContext) -> Json:
    return {}


def bell_pack() -> list[Action]:
    schema = {"type": "object"}
    return [
        Action(
            id="bell.ring", version=1, handler=_ring, input_schema=schema, output_schema=schema, description="Rings."
        )
    ]


def test_it_has_cores_actions_and_the_application_only_ones(db: Database) -> None:
    runtime = build_application_runtime(db, SECRETS, SERVICES)
    core = ActionRegistry.of({CORE_PACK: core_pack(HttpPolicy())})
    assert set(runtime.registry.ids()) == {*core.ids(), *application_registry().ids()}
    assert runtime.db is db
    assert runtime.secrets is SECRETS


def test_the_application_only_packs_are_listed() -> None:
    # docs/adr/0002-core-and-bootstrap.md has the same list; it grows there and here.
    assert [(name, [action.key for action in pack()]) for name, pack in application_packs(SERVICES).items()] == [
        ("ai", ["ai.infer@1"]),
        ("email", ["email.send@1"]),
    ]


def test_the_reserved_names_are_those_of_the_packs_it_has() -> None:
    assert (CORE_PACK, *application_packs(SERVICES)) == RESERVED_PACKS


def test_an_installation_adds_packs_and_policy(db: Database) -> None:
    policy = RunPolicy(continue_after_steps=7)
    runtime = build_application_runtime(db, SECRETS, SERVICES, packs={"bells": bell_pack}, policy=policy)
    bell = runtime.registry.get("bell.ring", 1)
    assert bell is not None
    assert bell.origin == "bells"
    assert runtime.policy is policy


def test_a_pack_does_not_replace_another(db: Database) -> None:
    with pytest.raises(Refused, match="already") as refused:
        build_application_runtime(db, SECRETS, SERVICES, packs={CORE_PACK: bell_pack})
    assert [problem.code for problem in refused.value.problems] == ["ACTION_PACK_INVALID"]
    assert refused.value.problems[0].path == CORE_PACK


def test_two_calls_share_nothing(db: Database) -> None:
    with_bell = build_application_runtime(db, SECRETS, SERVICES, packs={"bells": bell_pack})
    without = build_application_runtime(db, SECRETS, SERVICES)
    assert with_bell.registry.get("bell.ring", 1) is not None
    assert without.registry.get("bell.ring", 1) is None


def test_the_same_call_twice_gives_equal_registries(db: Database) -> None:
    one = build_application_runtime(db, SECRETS, SERVICES)
    two = build_application_runtime(db, SECRETS, SERVICES)
    assert one.registry is not two.registry
    assert one.registry.describe() == two.registry.describe()


def test_importing_bootstrap_registers_nothing() -> None:
    probe = (
        "from workflows_core.actions import registry\n"
        "registry.ActionRegistry.of = lambda packs: exit('a registry was built by an import')\n"
        "import workflows_bootstrap.application, workflows_bootstrap.registrations\n"
    )
    run = subprocess.run([sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
