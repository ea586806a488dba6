"""The actions that definitions are checked against on the command line."""

from __future__ import annotations

from workflows_core.actions.core_pack import core_pack
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.registry import ActionRegistry


def declared_actions() -> ActionRegistry:
    """Core's own pack: what every workflow-worker serves."""
    return ActionRegistry.of({"core": core_pack(HttpPolicy())})
