"""The application's runtime: core's worker-safe actions and, on top, what only the application has."""

from __future__ import annotations

from collections.abc import Mapping

from workflows_bootstrap.inference.settings import InferenceSettings
from workflows_bootstrap.mail.settings import MailSettings
from workflows_bootstrap.registrations import application_packs
from workflows_bootstrap.services import ApplicationServices
from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.ports import ActionObserver, SecretProvider
from workflows_core.actions.registry import CORE_PACK, ActionRegistry, Pack
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import Refused
from workflows_core.execution.policy import RunPolicy
from workflows_core.runtime import AuthoredRuntime
from workflows_core.storage.database import Database

RESERVED_PACKS = (CORE_PACK, "ai", "email")
"""Names of the packs that the application has anyway; an installation's own take others."""


def application_registry(packs: Mapping[str, Pack] | None = None) -> ActionRegistry:
    """The application-only actions, without core's, as `describe` lists them; `packs` are the installation's own."""
    services = ApplicationServices.build(InferenceSettings(), MailSettings(), MappingSecrets({}))
    return ActionRegistry.of({**application_packs(services), **(packs or {})})


def build_application_runtime(
    db: Database,
    secrets: SecretProvider,
    services: ApplicationServices,
    *,
    http: HttpPolicy | None = None,
    packs: Mapping[str, Pack] | None = None,
    policy: RunPolicy | None = None,
    observe: ActionObserver | None = None,
) -> AuthoredRuntime:
    """Build the application's runtime. Explicit and repeatable: two calls give two equal, independent runtimes.

    Args:
        db: The database, as the application role.
        secrets: Where `{"$secret": NAME}` is looked up.
        services: What the application's own actions work with.
        http: What `http.request` may reach; public addresses only by default.
        packs: Further packs of the installation by name, loaded last.
        policy: Bounds of runs.
        observe: Told of each call of an action, for traces.

    Raises:
        Refused: Actions that are wrong or registered twice, all of them, or a pack whose name is taken
            (`ACTION_PACK_INVALID`).
    """
    own = {CORE_PACK: core_pack(http or HttpPolicy()), **application_packs(services)}
    further = dict(packs or {})
    taken = sorted(own.keys() & further.keys())
    if taken:
        raise Refused.one(
            "ACTION_PACK_INVALID",
            f"the application has a pack named {taken[0]!r} already; choose another name",
            taken[0],
        )
    return AuthoredRuntime.build(db, {**own, **further}, secrets, policy, observe=observe)
