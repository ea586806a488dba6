"""Everything that only the application registers: the whole list, in one place, in the order it is loaded.

Nothing is registered by importing this module; `workflows_bootstrap.application` asks for the list.
"""

from __future__ import annotations

from collections.abc import Mapping

from workflows_core.actions.registry import Pack


def application_packs() -> Mapping[str, Pack]:
    """Application-only packs by name, as operators know it.

    Still empty. AI inference and e-mail sending are entered here, and nowhere else, when they are built.
    """
    return {}
