"""Everything that only the application registers: the whole list, in one place, in the order it is loaded.

Nothing is registered by importing this module; `workflows_bootstrap.application` asks for the list.
"""

from __future__ import annotations

from collections.abc import Mapping

from workflows_bootstrap.inference.action import infer_actions
from workflows_bootstrap.mail.action import send_actions
from workflows_bootstrap.services import ApplicationServices
from workflows_core.actions.registry import Pack


def application_packs(services: ApplicationServices) -> Mapping[str, Pack]:
    """Application-only packs by name, as operators know it."""
    return {
        "ai": lambda: infer_actions(services.inference, services.tokens),
        "email": lambda: send_actions(services.mail, services.mail_sender),
    }
