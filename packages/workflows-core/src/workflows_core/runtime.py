"""`AuthoredRuntime`: everything an authored run needs, built explicitly, once, and then only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workflows_core.actions.ports import ActionObserver, SecretProvider, StepQuota
from workflows_core.actions.registry import ActionRegistry, Pack
from workflows_core.execution.activities import RunActivities
from workflows_core.execution.policy import RunPolicy
from workflows_core.storage.database import Database


@dataclass(frozen=True, slots=True)
class AuthoredRuntime:
    """The parts of one process. Worker, tests and replay are given the very same object."""

    db: Database
    registry: ActionRegistry
    secrets: SecretProvider
    policy: RunPolicy = field(default_factory=RunPolicy)
    quota: StepQuota | None = None
    observe: ActionObserver | None = None

    @classmethod
    def build(
        cls,
        db: Database,
        packs: Mapping[str, Pack],
        secrets: SecretProvider,
        policy: RunPolicy | None = None,
        quota: StepQuota | None = None,
        observe: ActionObserver | None = None,
    ) -> AuthoredRuntime:
        """Registers the packs in their order.

        Args:
            db: The database, as the application role.
            packs: Name of each pack, as operators know it, and the pack.
            secrets: Where `{"$secret": NAME}` is looked up.
            policy: Bounds of runs.
            quota: Asked before each regular action; None for no limit.
            observe: Told of each call of an action, for traces.

        Raises:
            Refused: Actions that are wrong or registered twice, all of them.
        """
        return cls(db, ActionRegistry.of(packs), secrets, policy or RunPolicy(), quota, observe)

    @property
    def activities(self) -> RunActivities:
        """The run's activities over these parts."""
        return RunActivities.of(self.db, self.registry, self.secrets, self.policy, self.quota, self.observe)
