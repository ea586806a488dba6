"""The worker-safe pack that every workflow-worker loads: nothing in it needs the application."""

from __future__ import annotations

from collections.abc import Sequence

from workflows_core.actions.action import Action
from workflows_core.actions.entity_links import link_actions
from workflows_core.actions.http import http_actions
from workflows_core.actions.http_policy import HttpPolicy
from workflows_core.actions.key_values import store_actions
from workflows_core.actions.logs import log_actions
from workflows_core.actions.registry import Pack
from workflows_core.actions.transforms import transforms


def core_pack(http: HttpPolicy) -> Pack:
    """The pack `core`, with HTTP requests under a policy; docs/actions.md describes each action."""

    def actions() -> Sequence[Action]:
        return (*transforms(), *log_actions(), *store_actions(), *link_actions(), *http_actions(http))

    return actions
