"""The state file of a development stack: how a second terminal finds it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from workflows_core.errors import Refused

DEFAULT_DIRECTORY = Path(".workflows-dev")
TENANT = "dev"


@dataclass(frozen=True, slots=True)
class StackState:
    """What is running. `pid` is the process that owns the stack."""

    pid: int
    temporal_address: str
    temporal_namespace: str
    database_host: str
    database_port: int
    database_name: str
    database_user: str
    database_password: str
    admin_url: str
    api_port: int
    services: dict[str, str]
    """Health URL of each process by its service's name."""

    def environment(self) -> dict[str, str]:
        """The variables that point a process at this stack."""
        return {
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.temporal_namespace,
            "DB_HOST": self.database_host,
            "DB_PORT": str(self.database_port),
            "DB_NAME_SERVER": self.database_name,
            "DB_USER_SERVER": self.database_user,
            "DB_PASSWORD_SERVER": self.database_password,
            "WORKFLOW_SERVER_PORT": str(self.api_port),
            "WORKFLOW_AI_PROVIDER": "local",
            "WORKFLOWS_TENANT": TENANT,
        }

    def write(self, directory: Path) -> None:
        """Replaces the state file in one step; only its owner may read it."""
        path = directory / "stack.json"
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(self), indent=2))
        draft.replace(path)

    @classmethod
    def read(cls, directory: Path) -> StackState:
        """The stack that runs in a directory.

        Raises:
            Refused: `DEV_STACK_NOT_RUNNING`.
        """
        path = directory / "stack.json"
        try:
            state = cls(**json.loads(path.read_text()))
            os.kill(state.pid, 0)
        except (OSError, ValueError, TypeError):
            raise Refused.one(
                "DEV_STACK_NOT_RUNNING",
                f"no development stack runs in {directory}; start one with `workflows dev`",
                str(path),
            ) from None
        return state

    @staticmethod
    def forget(directory: Path) -> None:
        """The stack has stopped."""
        (directory / "stack.json").unlink(missing_ok=True)
